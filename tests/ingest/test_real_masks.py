"""The published masks: SEG, NRRD, RTSTRUCT and overlay planes give the voxels that their publishers give."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own usual name
from pydicom import dcmread
from skimage.draw import polygon2mask

from hipseg.errors import MaskError
from hipseg.ingest.cases import find_cases, list_structures, open_case
from hipseg.ingest.overlay import OverlayReader
from hipseg.ingest.scan import scan_tree
from hipseg.ingest.source import SourceCase

pytestmark = pytest.mark.data

ABDOMEN_SHAPE = (3, 512, 512)


def read(source: SourceCase, rois: dict[str, int]) -> tuple[str | None, np.ndarray]:
    opened = open_case(source, "c0", rois)
    return opened.mask_kind, np.stack([labels for _, labels in opened.slices])


def published(data_root: Path, name: str) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(data_root / "dcmqi-ct-seg" / name)))


@pytest.fixture(scope="module")
def abdomen(data_root: Path) -> SourceCase:
    (source,) = [one for one in find_cases(data_root / "dcmqi-ct-seg").cases if one.images[0].rows == ABDOMEN_SHAPE[1]]
    return source


def test_a_binary_seg_equals_its_nrrd(data_root, abdomen):
    kind, labels = read(abdomen, {"Liver": 1})
    assert kind == "segmentation"
    assert [np.count_nonzero(image) for image in labels] == [36233, 35645, 35220]
    assert np.array_equal(labels > 0, published(data_root, "nrrd/liver_seg.nrrd") > 0)


@pytest.mark.parametrize(
    ("segment", "file", "value"), [("GREEN", 1, 1), ("ORANGE", 2, 2), ("PURPLE", 3, 3), ("LIGHT_BLUE", 1, 4), ("DARK_BLUE", 1, 5)]
)
def test_overlapping_segments_on_some_slices_equal_their_nrrds(data_root, abdomen, segment, file, value):
    _, labels = read(abdomen, {segment: 1})
    assert np.array_equal(labels > 0, published(data_root, f"nrrd/partial_overlaps-{file}.nrrd") == value)


def test_segments_that_overlap_need_a_rule(abdomen):
    with pytest.raises(MaskError, match="3106 voxels on 1 of 3 slices of the case lie in structures of two labels"):
        read(abdomen, {"GREEN": 1, "ORANGE": 2, "PURPLE": 3})


@pytest.mark.parametrize("name", ["liver_seg", "spine_seg", "heart_seg", "partial_overlaps-2"])
def test_an_nrrd_equals_simpleitk(data_root, abdomen, name):
    kind, labels = read(abdomen, {name: 1})
    assert kind == "nrrd"
    assert np.array_equal(labels > 0, published(data_root, f"nrrd/{name}.nrrd") > 0)


def test_values_of_an_nrrd_are_told_apart(data_root, abdomen):
    _, labels = read(abdomen, {"liver_spine_seg:1": 1, "liver_spine_seg:2": 2})
    assert np.array_equal(labels, published(data_root, "nrrd/liver_spine_seg.nrrd"))


def test_the_seg_of_a_small_series_has_its_one_frame_with_a_mask(data_root):
    (source,) = [one for one in find_cases(data_root / "dcmqi-ct-seg").cases if one.segmentations and one.images[0].rows == 38]
    _, labels = read(source, {"Liver": 1})
    assert [bool(image.any()) for image in labels] == [False, True, False]
    assert np.array_equal(labels > 0, published(data_root, "tiny24x38x3/nrrd/label.nrrd") > 0)


def test_the_philips_planes_are_graphics_of_their_own_size_and_no_mask(data_root):
    folder = data_root / "overlay-philips-ct"
    for name, ones in (("I10", 2361), ("I20", 4007), ("I30", 4007)):
        assert np.count_nonzero(OverlayReader({0x6000}).read(folder / name, {0x6000}, (256, 512))[0x6000]) == ones
    scan = scan_tree(folder)
    assert list(scan.captures) == []
    (source,) = find_cases(folder).cases
    assert list_structures(source) == ()
    assert open_case(source, "c0", {}).mask_kind is None


def test_the_siemens_outline_is_read_bit_by_bit(data_root):
    path = data_root / "overlay-siemens-roi" / "MR-SIEMENS-DICOM-WithOverlays.dcm"
    mask = OverlayReader({0x6000}).read(path, {0x6000}, (484, 484))[0x6000]
    assert np.count_nonzero(mask) == 323
    rows, columns = np.nonzero(mask)
    # A closed outline: every pixel of it has a neighbour, and it encloses more than it covers.
    assert all(mask[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].sum() > 1 for y, x in zip(rows, columns, strict=True))
    assert np.ptp(rows) * np.ptp(columns) > 10 * mask.sum()


def test_structures_drawn_on_slices_that_are_not_there_are_refused(data_root):
    (source,) = find_cases(data_root / "dicompyler-rtstruct").cases
    assert {one.kind for one in list_structures(source)} == {"rtstruct"}
    with pytest.raises(MaskError, match=r"a contour lies off the slices: .* from slice 1 of 1 by position"):
        read(source, {"BODY": 1})


def beside_slices(data_root: Path, folder: Path, name: str) -> SourceCase:
    """Put one of the three structure sets beside the two slices."""
    for file in ("ct_1.dcm", "ct_2.dcm", name):
        shutil.copy(data_root / "rt-utils-rtstruct" / "mock_data" / file, folder / file)
    (source,) = find_cases(folder).cases
    return source


def test_a_structure_set_of_another_frame_of_reference_is_matched_by_the_images_that_it_names(data_root, tmp_path):
    source = beside_slices(data_root, tmp_path, "rt.dcm")
    kind, labels = read(source, {"ROI-1": 1})
    assert (kind, [np.count_nonzero(image) for image in labels]) == ("rtstruct", [1443, 0])
    contours = dcmread(tmp_path / "rt.dcm").ROIContourSequence[0].ContourSequence
    spacing, corner = source.images[0].pixel_spacing_mm[0], np.array(source.images[0].position_mm[:2])
    filled = [
        polygon2mask((512, 512), ((np.array(one.ContourData, float).reshape(-1, 3)[:, :2] - corner) / spacing)[:, ::-1])
        for one in contours
    ]
    assert len(filled) == 2
    # skimage gives pixels on the edge to the inside, we to one side.
    assert np.count_nonzero(np.logical_xor(*filled) != (labels[0] > 0)) < 0.1 * 1443


@pytest.mark.parametrize("name", ["invalid_reference_rt.dcm", "non_existent_reference_rt.dcm"])
def test_contours_whose_slice_is_not_there_are_refused(data_root, tmp_path, name):
    source = beside_slices(data_root, tmp_path, name)
    structures = list_structures(source)
    assert len(structures) == 4
    for one in structures:
        with pytest.raises(MaskError, match=r"a contour lies off the slices: 5\.00 mm from slice 2 of 2 by position"):
            read(source, {one.name: 1})
