"""What the walk says of every kind of file, and that none of them vanishes."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import MediaStorageDirectoryStorage, SecondaryCaptureImageStorage

from hipseg.errors import SeriesError
from hipseg.ingest.elements import OddLayoutError
from hipseg.ingest.headers import parse_header
from hipseg.ingest.pixels import read_slice_hu
from hipseg.ingest.rounding import Rounding
from hipseg.ingest.scan import scan_file, scan_tree
from tests.ingest.builders import Plane, cut, rectangle_mm, volume_hu, write_ct_series, write_nifti, write_rtstruct


def write_image(folder, **values):
    """Write one CT image, and change or drop elements of it afterwards."""
    path = write_ct_series(folder, volume_hu(1))[0]
    dataset = dcmread(path)
    for keyword, value in values.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


def reasons(root):
    scan = scan_tree(root)
    kept = len(scan.images) + len(scan.rtstructs) + len(scan.niftis) + len(scan.damaged)
    assert kept + sum(scan.others.values()) + scan.set_aside.total() == scan.files_seen
    return dict(scan.set_aside)


def test_one_file_is_told_like_one_in_a_tree(tmp_path):
    whole, half, *_ = write_ct_series(tmp_path, volume_hu(), series_uid="2.25.9")
    cut(half, half.stat().st_size // 2)
    (tmp_path / "notes.txt").write_text("seen twice")
    image, damaged, other = map(scan_file, (whole, half, tmp_path / "notes.txt"))
    assert [one.series_uid for one in image.images] == ["2.25.9"]
    assert [one.path for one in damaged.damaged] == [half]
    assert (len(other.images), len(other.damaged), other.set_aside.total()) == (0, 0, 1)


def test_a_structure_set_is_told_by_its_class_where_its_modality_is_lost(tmp_path):
    path = write_rtstruct(tmp_path / "rs", {"roi": [rectangle_mm((0, 1), (0, 1), 0)]})
    dataset = dcmread(path)
    dataset.Modality = ""
    dataset.save_as(path)
    scan = scan_tree(tmp_path)
    assert [found.path for found in scan.rtstructs] == [path]
    assert not scan.set_aside


def test_images_structure_sets_and_volumes_are_told_apart_by_content(tmp_path):
    write_image(tmp_path / "a").rename(tmp_path / "a" / "notes.txt")
    write_rtstruct(tmp_path / "scan.dcm", {"roi": [rectangle_mm((0, 1), (0, 1), 0)]})
    write_nifti(tmp_path / "v.nii", np.zeros((2, 2, 2), np.uint8), np.eye(4)).rename(tmp_path / "volume.dcm")
    (tmp_path / "image.img").write_text("not an image")
    scan = scan_tree(tmp_path)
    assert [header.folder for header in scan.images] == ["a"]
    assert [(found.path.name, found.folder) for found in (*scan.rtstructs, *scan.niftis)] == [
        ("scan.dcm", "."),
        ("volume.dcm", "."),
    ]
    assert reasons(tmp_path) == {"neither DICOM nor NIfTI nor NRRD": 1}


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REF_SURVIEW"]}, "localizer"),
    ],
)
def test_what_is_no_slice_of_a_ct_volume_is_set_aside_with_its_reason(tmp_path, values, reason):
    write_image(tmp_path, **values)
    assert reasons(tmp_path) == {reason: 1}


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"Modality": "MR"}, "modality MR"),
        ({"Modality": "John Smith"}, "another modality"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66", "Modality": None}, "DICOM object without a modality"),
    ],
)
def test_an_object_of_another_modality_is_counted_by_the_series_that_it_names(tmp_path, values, reason):
    write_image(tmp_path, **values, SeriesInstanceUID="2.25.6")
    write_image(tmp_path / "again", **values, SeriesInstanceUID="2.25.6")
    assert reasons(tmp_path) == {}
    assert scan_tree(tmp_path).others == {(reason, "2.25.6"): 2}


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize(
    ("values", "reason"),
    [({"Modality": "CX"}, "another modality"), ({"Modality": "", "SOPClassUID": "1.2.3"}, "damaged DICOM file")],
)
def test_an_object_of_no_known_modality_without_a_series_may_be_a_damaged_slice(tmp_path, values, reason):
    write_image(tmp_path, **values, SeriesInstanceUID="")
    assert [found.reason for found in scan_tree(tmp_path).damaged] == [reason]


def test_what_nobody_foresaw_in_one_file_leaves_the_others_to_be_found(tmp_path, monkeypatch):
    paths = write_ct_series(tmp_path, volume_hu(3))

    def fail(dataset, path, folder, stamp):
        if path == paths[1]:
            raise RecursionError("text of the file")
        return parse_header(dataset, path, folder, stamp)

    monkeypatch.setattr("hipseg.ingest.scan.parse_header", fail)
    scan = scan_tree(tmp_path)
    assert [(found.path, found.reason) for found in scan.damaged] == [(paths[1], "damaged DICOM file")]
    assert len(scan.images) == 2


def test_a_screenshot_is_set_aside_and_a_secondary_capture_with_a_place_is_an_image(tmp_path):
    write_image(tmp_path / "a", SOPClassUID=SecondaryCaptureImageStorage, ImagePositionPatient=None, ImageOrientationPatient=None)
    write_image(tmp_path / "b", SOPClassUID=SecondaryCaptureImageStorage)
    assert reasons(tmp_path) == {"CT object without a place in the patient (screenshot, report or raw data)": 1}
    assert [header.folder for header in scan_tree(tmp_path).images] == ["b"]


def test_an_emptied_class_or_modality_is_made_up_for_by_the_other(tmp_path):
    write_image(tmp_path / "a", SOPClassUID="")
    write_image(tmp_path / "b", Modality="")
    assert len(scan_tree(tmp_path).images) == 2


def test_a_directory_file_is_named(tmp_path):
    path = write_image(tmp_path, Modality=None, SOPClassUID=None)
    dataset = dcmread(path)
    dataset.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    dataset.save_as(path)
    assert reasons(tmp_path) == {"DICOM directory": 1}


def test_a_data_set_without_preamble_is_read(tmp_path):
    path = write_image(tmp_path)
    with_preamble = path.read_bytes()
    path.write_bytes(with_preamble[132:])
    assert len(scan_tree(tmp_path).images) == 1
    # From the first element of the data set on: no file meta information either.
    path.write_bytes(with_preamble[with_preamble.index(b"\x08\x00\x08\x00CS") :])
    assert [header.transfer_syntax for header in scan_tree(tmp_path).images] == ["1.2.840.10008.1.2.1"]


def test_a_data_set_in_big_endian_without_preamble_is_read(tmp_path):
    (path,) = write_ct_series(tmp_path, volume_hu(1), syntax="1.2.840.10008.1.2.2")
    raw = path.read_bytes()
    path.write_bytes(raw[raw.index(b"\0\x08\0\x08CS") :])
    (header,) = scan_tree(tmp_path).images
    assert header.transfer_syntax == "1.2.840.10008.1.2.2"
    assert np.array_equal(read_slice_hu(path, header, Rounding()), volume_hu(1)[0])


@pytest.mark.parametrize("size", [0, 60, 131])
def test_a_file_cut_within_its_preamble_may_be_a_slice(tmp_path, size):
    cut(write_image(tmp_path), size)
    scan = scan_tree(tmp_path)
    assert [found.reason for found in scan.damaged] == ["empty file"]


@pytest.mark.parametrize("name", ["mask.mha", "mask.mhd", "mask.hdr"])
def test_volumes_that_are_not_read_are_told_by_name(tmp_path, name):
    (tmp_path / name).write_text("ObjectType = Image" + 200 * " ")
    (tmp_path / f".{name}").write_text("hidden" + 200 * " ")
    assert reasons(tmp_path) == {
        "MetaImage or NIfTI in two files by name, not read: save masks as .nii.gz": 1,
        "neither DICOM nor NIfTI nor NRRD": 1,
    }


def test_an_empty_hidden_file_is_nothing(tmp_path):
    (tmp_path / ".keep").touch()
    assert reasons(tmp_path) == {"neither DICOM nor NIfTI nor NRRD": 1}


def test_a_header_cut_anywhere_is_damaged_or_an_image_without_pixels(tmp_path):
    path = write_image(tmp_path)
    whole = path.read_bytes()
    rows = whole.index(b"\x28\x00\x10\x00US")
    for size in range(132, whole.index(b"\xe0\x7f\x10\x00"), 7):
        path.write_bytes(whole[:size])
        scan = scan_tree(tmp_path)
        assert len(scan.damaged) + len(scan.images) == 1
        if size <= rows:
            assert [found.reason for found in scan.damaged] == ["damaged DICOM file"]


def test_links_are_counted_and_not_followed(tmp_path):
    outside = tmp_path / "outside"
    write_image(outside)
    root = tmp_path / "root"
    write_image(root / "own")
    (root / "folder").symlink_to(outside)
    (root / "loop").symlink_to(root)
    (root / "file").symlink_to(next(outside.iterdir()))
    (root / ".hidden").symlink_to(next(outside.iterdir()))
    scan = scan_tree(root)
    assert [header.folder for header in scan.images] == ["own"]
    elsewhere = "symbolic link to data elsewhere, not followed: put the files themselves in its place"
    assert reasons(root) == {"symbolic link, not followed": 2, elsewhere: 1}
    # What a link to a file leads to may be a slice; a folder is none.
    assert [(found.path.name, found.folder) for found in scan.damaged] == [("file", ".")]


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert reasons(tmp_path) == {"not a regular file": 1}


def test_what_cannot_be_opened_is_counted(tmp_path, monkeypatch):
    (tmp_path / "locked").write_bytes(b"x" * 200)
    (tmp_path / "closed").mkdir()
    # Permissions do not hold a superuser back, who may be running this.
    opened, listed = os.open, os.scandir

    def refuse(path, *args, **options):
        if Path(path).name == "locked":
            raise PermissionError
        return opened(path, *args, **options)

    def refuse_listing(path):
        if str(path).endswith("closed"):
            raise PermissionError
        return listed(path)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "scandir", refuse_listing)
    assert reasons(tmp_path) == {"cannot be opened": 1}
    assert [(found.path.name, found.folder, found.reason) for found in scan_tree(tmp_path).damaged] == [
        ("locked", ".", "cannot be opened")
    ]


def test_the_order_of_finds_is_that_of_the_names(tmp_path):
    for name in ("b", "c", "a"):
        write_image(tmp_path / name)
    assert [header.folder for header in scan_tree(tmp_path).images] == ["a", "b", "c"]


def test_a_link_put_in_place_of_a_found_file_is_refused_when_it_is_read(tmp_path):
    path = write_image(tmp_path / "root")
    (header,) = scan_tree(tmp_path / "root").images
    other = write_image(tmp_path / "outside")
    path.unlink()
    path.symlink_to(other)
    with pytest.raises(SeriesError, match="has changed"):
        read_slice_hu(header.path, header, Rounding())


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"])
def test_the_header_found_does_not_depend_on_how_it_is_read(tmp_path, monkeypatch, syntax):
    write_ct_series(tmp_path, volume_hu(3), syntax=syntax, overlays={1: [Plane(np.ones((10, 12)), label="bone")]})
    found = scan_tree(tmp_path).images

    def be_odd(*_):
        raise OddLayoutError

    monkeypatch.setattr("hipseg.ingest.scan.HeaderReader.read", be_odd)
    assert list(scan_tree(tmp_path).images) == [replace(header, pixels=None) for header in found]
    is_plain = syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")
    assert [header.pixels is not None for header in found] == [is_plain] * 3
    assert all(header.stamp.size_bytes == header.path.stat().st_size for header in found)


def test_plain_files_are_found_without_pydicom(tmp_path, monkeypatch):
    write_ct_series(tmp_path, volume_hu(3))
    monkeypatch.setattr("hipseg.ingest.scan.read_dataset", lambda *_, **__: pytest.fail("read by pydicom"))
    assert len(scan_tree(tmp_path).images) == 3


def test_a_file_called_like_an_image_whose_first_bytes_are_damaged_is_damaged_and_no_other_file(tmp_path):
    paths = write_ct_series(tmp_path, volume_hu(3))
    content = bytearray(paths[2].read_bytes())
    content[128] ^= 4
    paths[2].write_bytes(content)
    paths[1].write_bytes(b" " + paths[1].read_bytes())
    paths[1].rename(tmp_path / "moved.dcm")
    (tmp_path / "._slice.dcm").write_bytes(b"a table of the disk that the folder was copied from")
    scan = scan_tree(tmp_path)
    assert [found.path for found in scan.damaged] == [paths[2], tmp_path / "moved.dcm"]
    assert scan.set_aside == {"neither DICOM nor NIfTI nor NRRD": 1}


def test_voxels_of_headers_are_counted_once_and_an_empty_file_beside_them_is_still_one(tmp_path):
    fields = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\nspace: RAS\nspace origin: (0,0,0)\n"
    fields += "space directions: (1,0,0) (0,1,0) (0,0,1)\ndata file: m.raw\n"
    for name in ("a.nhdr", "b.nhdr"):
        (tmp_path / name).write_text(fields)
    (tmp_path / "m.raw").write_bytes(bytes(8))
    (tmp_path / "n.raw").write_bytes(bytes(8))
    scan = scan_tree(tmp_path)
    assert len(scan.nrrds) == 2
    assert [found.path.name for found in scan.damaged] == ["n.raw"]
    (tmp_path / "m.raw").write_bytes(bytes(range(200)))
    (tmp_path / "n.raw").write_bytes(bytes(range(200)))
    assert scan_tree(tmp_path).set_aside == {"neither DICOM nor NIfTI nor NRRD": 1}
