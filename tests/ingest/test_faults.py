"""What a tree lacks: a damaged archive and a medium copied in part refuse their own series by name, and no others."""

import os

import numpy as np
import pytest
from pydicom import dcmread

from hipseg.errors import SeriesError
from hipseg.ingest import archive
from hipseg.ingest.cases import find_cases, open_case
from tests.ingest.builders import Plane, cut, rectangle_mm, volume_hu, write_ct_series, write_rtstruct
from tests.ingest.media import write_medium, zip_folder

ONES = np.ones((10, 12), bool)


def by_series(root):
    return {case.series_uid: case for case in find_cases(root).cases}


def read(case, rois=None):
    slices = list(open_case(case, "c0", rois or {}).slices)
    return np.stack([hu for hu, _ in slices]), [labels for _, labels in slices]


def test_a_patient_in_a_zip_reads_as_in_a_folder_with_several_series_and_masks(tmp_path):
    loose = tmp_path / "loose"
    write_ct_series(loose / "one", volume_hu(seed=1), series_uid="2.25.1", overlays={1: [Plane(ONES, label="hip")]})
    write_ct_series(loose / "two", volume_hu(seed=2), series_uid="2.25.2", frame_uid="2.25.22")
    write_rtstruct(loose / "two" / "rs", {"hip": [rectangle_mm((-9, -8), (-19, -18), 103)]}, series_uid="2.25.2")
    (loose / "report.txt").write_text("text")
    zip_folder(loose, tmp_path / "data" / "patient.zip")
    write_ct_series(tmp_path / "data" / "other", volume_hu(seed=3), patient_id="other", series_uid="2.25.3")
    found = find_cases(tmp_path / "data")
    assert found.set_aside == {"ZIP archive, looked into": 1, "neither DICOM nor NIfTI nor NRRD": 1}
    assert found.files_seen == 1 + 4 + 5 + 1 + 4
    zipped, plain = by_series(tmp_path / "data"), by_series(loose)
    assert set(zipped) == {"2.25.1", "2.25.2", "2.25.3"}
    for uid, case in plain.items():
        assert (zipped[uid].patient_id, zipped[uid].folder) == (case.patient_id, f"patient.zip/{case.folder}")
        expected, found_labels = read(case), read(zipped[uid])
        assert np.array_equal(found_labels[0], expected[0])
        assert all(np.array_equal(one, two) for one, two in zip(found_labels[1], expected[1], strict=True))
        assert any(labels.any() for labels in expected[1])


@pytest.mark.parametrize("size", [0, 50, -40])
def test_an_archive_without_table_of_contents_is_refused_by_name_and_the_others_are_read(tmp_path, size):
    write_ct_series(tmp_path / "loose", volume_hu())
    path = zip_folder(tmp_path / "loose", tmp_path / "data" / "Secret.zip")
    cut(path, size % path.stat().st_size)
    write_ct_series(tmp_path / "data" / "other", volume_hu(seed=3), series_uid="2.25.3")
    cases = by_series(tmp_path / "data")
    assert set(cases) == {"Secret.zip", "2.25.3"}
    with pytest.raises(SeriesError, match=r"^case c0: damaged ZIP archive: it has no readable table") as refusal:
        open_case(cases["Secret.zip"], "c0", {})
    assert "Secret" not in str(refusal.value)
    assert np.array_equal(read(cases["2.25.3"])[0], volume_hu(seed=3))


def test_a_folder_with_nothing_but_a_damaged_archive_is_a_refused_case(tmp_path):
    (tmp_path / "patient.zip").write_bytes(b"PK\x03\x04")
    (case,) = find_cases(tmp_path).cases
    with pytest.raises(SeriesError, match="damaged ZIP archive"):
        open_case(case, "c0", {})


def test_one_damaged_member_refuses_every_series_of_its_archive(tmp_path):
    for number in (1, 2):
        write_ct_series(tmp_path / "loose" / str(number), volume_hu(), series_uid=f"2.25.{number}")
    path = zip_folder(tmp_path / "loose", tmp_path / "data" / "patient.zip")
    raw = bytearray(path.read_bytes())
    # The last member: all others are read before it.
    at = raw.rfind(b"PK\x03\x04") + 300
    raw[at] ^= 255
    path.write_bytes(raw)
    cases = by_series(tmp_path / "data")
    assert set(cases) == {"2.25.1", "2.25.2"}
    for case in cases.values():
        with pytest.raises(SeriesError, match="case c0: damaged ZIP archive: a member"):
            open_case(case, "c0", {})


def zip_halves(tmp_path):
    """Put the halves of one series into an archive each, and another patient's into a third; give the second half's."""
    paths = write_ct_series(tmp_path / "loose", volume_hu(8))
    for path in paths[4:]:
        (tmp_path / "rest").mkdir(exist_ok=True)
        path.rename(tmp_path / "rest" / path.name)
    write_ct_series(tmp_path / "other", volume_hu(seed=3), series_uid="2.25.3", patient_id="other", frame_uid="2.25.33")
    zip_folder(tmp_path / "loose", tmp_path / "data" / "part1.zip")
    zip_folder(tmp_path / "other", tmp_path / "data" / "other.zip")
    return zip_folder(tmp_path / "rest", tmp_path / "data" / "part2.zip")


@pytest.mark.parametrize("damage", [lambda raw: raw[:-40], lambda raw: raw[:500], lambda raw: raw[:-60] + bytes(40) + raw[-20:]])
def test_a_series_that_goes_on_in_a_damaged_archive_is_not_packed_short(tmp_path, damage):
    part = zip_halves(tmp_path)
    assert read(by_series(tmp_path / "data")["2.25.77002"])[0].shape[0] == 8
    part.write_bytes(damage(part.read_bytes()))
    cases = by_series(tmp_path / "data")
    assert set(cases) == {"2.25.77002", "2.25.3"}
    with pytest.raises(SeriesError, match="case c0: damaged ZIP archive"):
        open_case(cases["2.25.77002"], "c0", {})
    assert np.array_equal(read(cases["2.25.3"])[0], volume_hu(seed=3))


def test_an_archive_on_a_failing_disk_refuses_its_series(tmp_path, monkeypatch):
    write_ct_series(tmp_path / "loose", volume_hu())
    zip_folder(tmp_path / "loose", tmp_path / "data" / "patient.zip")
    reads = []

    def fail_at_last(entry, *_):
        reads.append(entry)
        if len(set(reads)) == 4:
            raise OSError("Input/output error")
        return unpack(entry, 0)

    unpack = archive._unpack_small
    monkeypatch.setattr(archive, "_unpack_small", fail_at_last)
    (case,) = find_cases(tmp_path / "data").cases
    with pytest.raises(SeriesError, match="case c0: a ZIP archive cannot be read to its end"):
        open_case(case, "c0", {})


def test_a_medium_that_is_whole_is_read_and_its_directory_counted(tmp_path):
    write_medium(tmp_path / "disc")
    found = find_cases(tmp_path / "disc")
    assert found.set_aside == {"DICOM directory": 1}
    assert [np.array_equal(read(case)[0], volume_hu(seed=seed)) for seed, case in enumerate(found.cases)] == [True, True]


@pytest.mark.parametrize("lost", [0, 1, 3])
def test_a_slice_that_a_medium_lists_and_lacks_refuses_its_series(tmp_path, lost):
    # At either end of the stack no geometry shows that it is gone.
    files = write_medium(tmp_path / "disc")
    files["2.25.771"][lost].unlink()
    cases = by_series(tmp_path / "disc")
    words = "case c0: incomplete series: 1 of the 4 images that a DICOMDIR lists for it are missing; copy the medium again"
    with pytest.raises(SeriesError, match=words):
        open_case(cases["2.25.771"], "c0", {})
    assert np.array_equal(read(cases["2.25.772"])[0], volume_hu(seed=1))


def test_a_series_that_a_medium_lists_and_lacks_whole_is_a_refused_case(tmp_path):
    for path in write_medium(tmp_path / "disc")["2.25.771"]:
        path.unlink()
    cases = by_series(tmp_path / "disc")
    with pytest.raises(SeriesError, match="4 of the 4 images"):
        open_case(cases["2.25.771"], "c0", {})
    assert np.array_equal(read(cases["2.25.772"])[0], volume_hu(seed=1))


def test_a_medium_in_an_archive_is_judged_alike(tmp_path):
    files = write_medium(tmp_path / "disc")
    zip_folder(tmp_path / "disc", tmp_path / "whole" / "disc.zip")
    files["2.25.771"][3].unlink()
    zip_folder(tmp_path / "disc", tmp_path / "part" / "disc.zip")
    assert np.array_equal(read(by_series(tmp_path / "whole")["2.25.771"])[0], volume_hu())
    with pytest.raises(SeriesError, match="1 of the 4 images"):
        open_case(by_series(tmp_path / "part")["2.25.771"], "c0", {})


def test_a_listed_image_that_is_set_aside_is_not_missing(tmp_path):
    files = write_medium(tmp_path / "disc")
    dataset = dcmread(files["2.25.771"][3])
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.save_as(files["2.25.771"][3])
    assert np.array_equal(read(by_series(tmp_path / "disc")["2.25.771"])[0], volume_hu()[:3])


def test_a_medium_mounted_with_small_letters_is_whole(tmp_path):
    files = write_medium(tmp_path / "disc")
    for path in [one for found in files.values() for one in found]:
        small = tmp_path / "small" / str(path.relative_to(tmp_path / "disc")).lower()
        small.parent.mkdir(parents=True, exist_ok=True)
        path.rename(small)
    (tmp_path / "disc" / "DICOMDIR").rename(tmp_path / "small" / "dicomdir")
    assert np.array_equal(read(by_series(tmp_path / "small")["2.25.771"])[0], volume_hu())


@pytest.mark.parametrize(
    "rename", [lambda path: f"{path.name}.dcm", lambda path: f"{path.name};1", lambda path: f"S1/{path.name}"]
)
def test_a_medium_of_which_files_were_renamed_or_sorted_is_whole(tmp_path, rename):
    files = write_medium(tmp_path / "disc")
    view = dcmread(files["2.25.772"][3])
    view.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    view.save_as(files["2.25.772"][3])
    moved = {uid: [path.parent / rename(path) for path in paths] for uid, paths in files.items()}
    for uid, paths in files.items():
        for path, new in zip(paths, moved[uid], strict=True):
            new.parent.mkdir(exist_ok=True)
            path.rename(new)
    cases = by_series(tmp_path / "disc")
    assert np.array_equal(read(cases["2.25.771"])[0], volume_hu())
    assert np.array_equal(read(cases["2.25.772"])[0], volume_hu(seed=1)[:3])
    moved["2.25.771"][3].unlink()
    with pytest.raises(SeriesError, match=r"1 of the 4 images .* are missing; copy the medium again, or remove the DICOMDIR"):
        open_case(by_series(tmp_path / "disc")["2.25.771"], "c0", {})


@pytest.mark.parametrize(("size", "reason"), [(150, "damaged DICOM directory"), (700, "DICOM directory")])
def test_a_damaged_directory_is_set_aside_and_refuses_nothing(tmp_path, size, reason):
    write_medium(tmp_path / "disc")
    cut(tmp_path / "disc" / "DICOMDIR", size)
    found = find_cases(tmp_path / "disc")
    assert found.set_aside == {reason: 1}
    assert np.array_equal(read(found.cases[0])[0], volume_hu())


def test_a_medium_that_can_no_longer_be_read_leaves_its_series_to_their_slices(tmp_path, monkeypatch):
    files = write_medium(tmp_path / "disc")
    files["2.25.771"][3].unlink()

    def fail(*_):
        raise OSError("Input/output error")

    monkeypatch.setattr("hipseg.ingest.faults.find_absent", fail)
    assert np.array_equal(read(by_series(tmp_path / "disc")["2.25.771"])[0], volume_hu()[:3])


@pytest.mark.parametrize("reason", ["cannot be opened", "symbolic link, not followed"])
def test_what_cannot_be_read_refuses_every_series_of_its_folder_and_no_other(tmp_path, monkeypatch, reason):
    data = tmp_path / "data"
    paths = write_ct_series(data / "both", volume_hu(), series_uid="2.25.1", frame_uid="2.25.11")
    for path in paths:
        path.rename(path.with_name(f"one{path.name}"))
    lost = write_ct_series(data / "both", volume_hu(seed=1), series_uid="2.25.2")[3]
    write_ct_series(data / "other", volume_hu(seed=2), series_uid="2.25.3", frame_uid="2.25.13")
    if reason == "cannot be opened":
        # Permissions do not hold a superuser back, who may be running this.
        opened = os.open

        def refuse(path, *args, **options):
            if str(path) == str(lost):
                raise PermissionError
            return opened(path, *args, **options)

        monkeypatch.setattr(os, "open", refuse)
    else:
        lost.symlink_to(lost.rename(tmp_path / "slice"))
    cases = by_series(data)
    for uid, count in (("2.25.1", 5), ("2.25.2", 4)):
        with pytest.raises(SeriesError, match=f"case c0: incomplete series: 1 of {count} files beside each other"):
            open_case(cases[uid], "c0", {})
    assert np.array_equal(read(cases["2.25.3"])[0], volume_hu(seed=2))
    assert reason not in find_cases(data).set_aside


def test_a_lone_slice_beside_a_damaged_file_may_lack_it(tmp_path):
    (tmp_path / "data").mkdir()
    whole, damaged = write_ct_series(tmp_path / "data", volume_hu(2))
    # Behind the first bytes nothing says of which series it was.
    cut(damaged, 150)
    (case,) = find_cases(tmp_path / "data").cases
    assert (case.damaged, [header.path for header in case.images]) == (1, [whole])
    with pytest.raises(SeriesError, match="damaged file in case c0: 1 of 2 files"):
        open_case(case, "c0", {})
