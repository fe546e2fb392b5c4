"""The facade: a tree of folders in, checked streams of slices out, and refusals that name only the case's key."""

import subprocess
import sys

import numpy as np
import pytest

from hipseg.errors import ConfigError, MaskError, SeriesError
from hipseg.geometry import affine_ras
from hipseg.ingest.cases import find_cases, list_structures, open_case
from hipseg.ingest.structures import StructureName
from tests.ingest.builders import (
    PATIENT,
    SERIES_UID,
    Plane,
    cut,
    rectangle_mm,
    volume_hu,
    write_ct_series,
    write_nifti,
    write_rtstruct,
)

ONES = np.ones((10, 12), bool)
PRIVATE_NAME = "left hip of Secret"


def the_case(root):
    (source,) = find_cases(root).cases
    return source


def read(source, rois=None):
    opened = open_case(source, "c0ffee", rois or {})
    slices = list(opened.slices)
    return opened, np.stack([hu for hu, _ in slices]), [labels for _, labels in slices]


def test_a_series_without_masks_streams_its_values(tmp_path):
    write_ct_series(tmp_path / "x", volume_hu())
    opened, found, labels = read(the_case(tmp_path))
    assert np.array_equal(found, volume_hu())
    assert found.dtype == np.int16
    assert opened.mask_kind is None
    assert labels == [None] * 4


def test_masks_come_with_their_slices(tmp_path):
    drawn = np.random.default_rng(5).random((4, 10, 12)) < 0.4
    write_ct_series(tmp_path, volume_hu(), overlays={z: [Plane(drawn[z])] for z in (0, 1, 3)})
    opened, _, labels = read(the_case(tmp_path))
    drawn[2] = False
    assert opened.mask_kind == "overlay"
    assert np.array_equal(np.stack(labels), drawn)


def test_all_three_kinds_of_mask_agree(tmp_path):
    write_ct_series(tmp_path / "CT", volume_hu(), overlays={1: [Plane(ONES, label="o")], 2: [Plane(ONES, label="o")]})
    grid = open_case(the_case(tmp_path), "c0", {}).grid
    whole = [rectangle_mm((-11, 0), (-21, 0), 100 + 3 * z) for z in (1, 2)]
    write_rtstruct(tmp_path / "rs.dcm", {"r": whole})
    expected = np.zeros((4, 10, 12), np.uint8)
    expected[1:3] = 1
    write_nifti(tmp_path / "n.nii.gz", expected.transpose(2, 1, 0), affine_ras(grid))
    source = the_case(tmp_path)
    for name, kind in (("o", "overlay"), ("r", "rtstruct"), ("n", "nifti")):
        opened, _, labels = read(source, {name: 1})
        assert opened.mask_kind == kind
        assert np.array_equal(np.stack(labels), expected)
    assert list_structures(source) == tuple(
        StructureName(kind, name) for kind, name in (("nifti", "n"), ("overlay", "o"), ("rtstruct", "r"))
    )


def test_a_series_in_two_folders_is_one_case_and_two_series_in_one_folder_are_two(tmp_path):
    paths = write_ct_series(tmp_path / "p" / "a", volume_hu())
    (tmp_path / "p" / "b").mkdir()
    for path in paths[:2]:
        path.rename(tmp_path / "p" / "b" / path.name)
    write_ct_series(tmp_path / "p" / "a" / "c", volume_hu(seed=1), series_uid="2.25.5")
    for path in (tmp_path / "p" / "a" / "c").iterdir():
        path.rename(tmp_path / "p" / "a" / f"second{path.name}")
    first, second = sorted(find_cases(tmp_path).cases, key=lambda source: source.series_uid)
    assert (first.series_uid, first.folder) == ("2.25.5", "p/a")
    assert (second.series_uid, second.folder) == (SERIES_UID, "p")
    assert np.array_equal(read(first)[1], volume_hu(seed=1))
    assert np.array_equal(read(second)[1], volume_hu())


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (PATIENT, SERIES_UID)),
        ({"patient_id": ""}, ("2.25.77001", SERIES_UID)),
        ({"patient_id": "", "study_uid": ""}, ("a/b", SERIES_UID)),
        ({"patient_id": "", "study_uid": "", "series_uid": ""}, ("a/b", "a/b")),
    ],
)
def test_identifiers_fall_back_to_study_and_folder(tmp_path, options, expected):
    def blank(dataset, z):
        dataset.SOPInstanceUID = f"2.25.3.{z}"

    write_ct_series(tmp_path / "a" / "b", volume_hu(), change=blank, **options)
    source = the_case(tmp_path)
    assert (source.patient_id, source.series_uid) == expected


def test_one_series_of_several_studies_without_patient_is_one_case(tmp_path):
    def split(dataset, z):
        dataset.StudyInstanceUID = f"2.25.4.{9 - z}"

    write_ct_series(tmp_path, volume_hu(), patient_id="", change=split)
    assert the_case(tmp_path).patient_id == "2.25.4.6"


def test_a_slice_that_lost_its_patient_is_still_of_its_series(tmp_path):
    def lose(dataset, z):
        if z == 1:
            dataset.PatientID = dataset.StudyInstanceUID = ""

    write_ct_series(tmp_path / "hip07", volume_hu(), patient_id="hip07", change=lose)
    assert np.array_equal(read(the_case(tmp_path))[1], volume_hu())


def test_cases_do_not_depend_on_the_order_of_folders(tmp_path):
    for root, names in ((tmp_path / "x", "abc"), (tmp_path / "y", "cab")):
        for patient, name in zip("123", names, strict=True):
            write_ct_series(root / name, volume_hu(), patient_id=patient, series_uid=f"2.25.{patient}")
    orders = [[source.patient_id for source in find_cases(tmp_path / root).cases] for root in "xy"]
    assert orders == [["1", "2", "3"], ["1", "2", "3"]]


def test_every_file_is_counted_once(tmp_path):
    paths = write_ct_series(tmp_path / "CT", volume_hu())
    write_rtstruct(tmp_path / "other", {"roi": []}, series_uid="2.25.4", frame_uid="2.25.4")
    write_ct_series(tmp_path / "MR", volume_hu(), series_uid="2.25.5", change=lambda one, _: setattr(one, "Modality", "MR"))
    (tmp_path / "readme").write_text("text")
    cut(paths[0], 300)
    found = find_cases(tmp_path)
    assert found.set_aside == {"RTSTRUCT of no CT series here": 1, "modality MR": 4, "neither DICOM nor NIfTI nor NRRD": 1}
    assert found.files_seen == 10
    assert [(len(source.images), source.damaged) for source in found.cases] == [(3, 1)]


@pytest.mark.parametrize("size", [0, 60, 140, 400])
@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_slice_cut_within_its_header_refuses_its_case_wherever_it_lies(tmp_path, size, which):
    cut(write_ct_series(tmp_path / "bad", volume_hu())[which], size)
    write_ct_series(tmp_path / "good", volume_hu(), patient_id="z", series_uid="2.25.5")
    bad, good = find_cases(tmp_path).cases
    with pytest.raises(SeriesError, match="damaged file in case c0ffee: 1 of 4 files"):
        open_case(bad, "c0ffee", {})
    assert np.array_equal(read(good)[1], volume_hu())


def test_a_slice_cut_within_its_pixels_is_refused_by_its_place(tmp_path):
    cut(write_ct_series(tmp_path, volume_hu())[2], -140)
    words = "^case c0ffee, slice 3 of 4 by position: 100 bytes of pixels, expected 240; export the series again$"
    with pytest.raises(SeriesError, match=words):
        read(the_case(tmp_path))


def test_a_damaged_file_between_two_series_refuses_both(tmp_path):
    write_ct_series(tmp_path / "x", volume_hu())
    for path in (tmp_path / "x").iterdir():
        path.rename(path.with_name(f"first{path.name}"))
    cut(write_ct_series(tmp_path / "x", volume_hu(), series_uid="2.25.5")[3], 200)
    found = find_cases(tmp_path)
    assert found.set_aside == {}
    assert [source.damaged for source in found.cases] == [1, 1]


def test_a_damaged_file_among_lone_images_is_set_aside(tmp_path):
    for number in (1, 2):
        write_ct_series(tmp_path, volume_hu(1), series_uid=f"2.25.{number}")[0].rename(tmp_path / f"lone{number}")
    (tmp_path / "image.dcm").write_bytes(b"no DICOM")
    found = find_cases(tmp_path)
    assert found.set_aside == {"damaged DICOM file": 1}
    assert [source.damaged for source in found.cases] == [0, 0]


def test_a_damaged_structure_set_refuses_the_only_series_beside_it(tmp_path):
    write_ct_series(tmp_path / "CT", volume_hu())
    path = write_rtstruct(tmp_path / "RS" / "rs", {PRIVATE_NAME: [rectangle_mm((-9, -8), (-19, -18), 100)]})
    cut(path, path.stat().st_size - 30)
    with pytest.raises(MaskError, match="mask of case c0ffee: an RTSTRUCT file breaks off"):
        open_case(the_case(tmp_path), "c0ffee", {})


def test_a_mask_whose_grid_does_not_fit_is_refused_with_both_shapes(tmp_path):
    write_ct_series(tmp_path, volume_hu())
    write_nifti(tmp_path / "m.nii.gz", np.zeros((12, 10, 5), np.uint8), np.diag([-0.5, -0.75, 3.0, 1.0]))
    with pytest.raises(MaskError, match=r"mask of case c0ffee: a NIfTI mask does not fit: 5 x 10 x 12 .* has 4 x 10 x 12"):
        open_case(the_case(tmp_path), "c0ffee", {})


def test_a_bad_overlay_is_refused_by_its_place(tmp_path):
    def shorten(dataset, z):
        if z == 2:
            dataset[0x60003000].value = b"\0\0"

    write_ct_series(tmp_path, volume_hu(), overlays={2: [Plane(ONES)]}, change=shorten)
    with pytest.raises(MaskError, match=r"^mask of case c0ffee, slice 3 of 4 by position: 2 bytes of overlay, expected 15"):
        read(the_case(tmp_path))


def test_a_label_out_of_range_is_refused_before_anything_is_read(tmp_path):
    write_ct_series(tmp_path, volume_hu())
    with pytest.raises(ConfigError, match="label 256"):
        open_case(the_case(tmp_path), "c0", {"x": 256})


def test_an_empty_folder_and_one_of_texts_and_none_are_refused(tmp_path):
    with pytest.raises(SeriesError, match="no CT series in the folder given: it holds no files"):
        find_cases(tmp_path)
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("text")
    write_nifti(tmp_path / "v.nii", np.zeros((2, 2, 2), np.uint8), np.eye(4))
    (tmp_path / "empty").touch()
    with pytest.raises(SeriesError, match=r"5 files looked at \(1 NIfTI, 1 empty file, 3 neither DICOM nor NIfTI nor NRRD\)"):
        find_cases(tmp_path)
    with pytest.raises(ConfigError, match="no folder at"):
        find_cases(tmp_path / "missing")
    with pytest.raises(ConfigError, match="no folder at"):
        find_cases(tmp_path / "empty")


def test_nothing_private_is_shown_when_a_case_is_printed(tmp_path):
    write_ct_series(tmp_path / "folder of Secret", volume_hu(), overlays={0: [Plane(ONES, label=PRIVATE_NAME)]})
    found = find_cases(tmp_path)
    shown = repr(found) + repr(found.cases) + repr(found.cases[0].images)
    assert "Secret" not in shown
    assert SERIES_UID not in shown


def test_no_refusal_repeats_a_word_of_the_source(tmp_path):
    root = tmp_path / "folder of Secret"
    write_ct_series(root, volume_hu(), overlays={0: [Plane(ONES, label=PRIVATE_NAME)], 1: [Plane(ONES, label="Secret too")]})
    write_rtstruct(root / "Secret.dcm", {PRIVATE_NAME: [rectangle_mm((-9, -8), (-19, -18), 500)], "Secret too": [np.eye(3)]})
    write_nifti(root / f"{PRIVATE_NAME}.nii", np.zeros((2, 2, 2), np.uint8), np.eye(4))
    source = the_case(tmp_path)
    messages = []
    for rois in ({}, {PRIVATE_NAME: 1}, {"Secret too": 1}, {f"{PRIVATE_NAME}:3": 1}, {"absent Secret": 1}):
        with pytest.raises(MaskError) as refusal:
            read(source, rois)
        messages.append(str(refusal.value))
    assert not [message for message in messages if "Secret" in message or SERIES_UID in message]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_pydicom_says_nothing_on_the_terminal(tmp_path):
    def spoil(dataset, _):
        dataset.add_new("PatientID", "LO", "Secret " * 20)
        dataset.add_new("PixelPaddingValue", "SS", -2000)
        dataset.SpecificCharacterSet = "unknown Secret"

    write_ct_series(tmp_path, volume_hu(), change=spoil)
    code = (
        "import sys, logging, warnings; from pathlib import Path; logging.basicConfig(level=0)\n"
        "from hipseg.ingest.cases import find_cases, open_case\n"
        "[list(open_case(source, 'c0', {}).slices) for source in find_cases(Path(sys.argv[1])).cases]\n"
    )
    done = subprocess.run([sys.executable, "-W", "always", "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "Secret" not in done.stdout + done.stderr


def test_one_slice_is_decoded_at_a_time(tmp_path, monkeypatch):
    write_ct_series(tmp_path, volume_hu())
    slices = open_case(the_case(tmp_path), "c0", {}).slices
    opened = []
    monkeypatch.setattr("hipseg.ingest.cases.read_slice_hu", lambda path, *_: opened.append(path) or np.zeros((10, 12), np.int16))
    next(slices)
    assert len(opened) == 1
