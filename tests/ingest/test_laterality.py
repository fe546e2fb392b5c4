"""Coded sides against geometry: exchanged ones are refused, and nothing is refused that cannot be told."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from hipseg.errors import MaskError
from hipseg.ingest.cases import find_cases, open_case
from hipseg.ingest.laterality import Anatomy, check_sides, read_anatomy
from tests.ingest.builders import rectangle_mm, volume_hu, write_ct_series, write_rtstruct
from tests.ingest.seg_builder import read_sources, write_seg

FEMUR = ("SCT:71341001",)
SPACING = (3.0, 2.0, 2.0)
"""24 columns of 2 mm: x grows to the patient's left, so that the left femur lies in the right half of the picture."""


def code(scheme, value, **more):
    item = Dataset()
    item.CodingSchemeDesignator, item.CodeValue, item.CodeMeaning = scheme, value, "words count for nothing"
    for keyword, inner in more.items():
        setattr(item, keyword, DicomSequence(inner))
    return item


@pytest.mark.parametrize(
    ("left_x", "right_x", "is_refused"), [(50, -50, False), (-50, 50, True), (-4, 5, False), (-6, 5, True), (0, 0, False)]
)
def test_left_must_not_lie_clearly_to_the_right_of_right(left_x, right_x, is_refused):
    centres = [(Anatomy(FEMUR, "left"), left_x), (Anatomy(FEMUR, "right"), right_x)]
    if not is_refused:
        check_sides(centres)
        return
    with pytest.raises(MaskError, match=rf"laterality contradicts geometry: .* {right_x - left_x}\.0 mm to the patient's right"):
        check_sides(centres)


def test_one_side_alone_or_another_anatomy_says_nothing():
    check_sides([(Anatomy(FEMUR, "left"), -80.0)])
    check_sides([(Anatomy(FEMUR, "left"), -80.0), (Anatomy(("SCT:1",), "right"), 80.0)])
    check_sides([])


@pytest.mark.parametrize(("scheme", "value", "side"), [("SCT", "7771000", "left"), ("SRT", "G-A100", "right")])
@pytest.mark.parametrize(
    ("what", "modifier"),
    [
        ("SegmentedPropertyTypeCodeSequence", "SegmentedPropertyTypeModifierCodeSequence"),
        ("AnatomicRegionSequence", "AnatomicRegionModifierSequence"),
    ],
)
def test_a_side_is_read_from_the_codes(scheme, value, side, what, modifier):
    item = Dataset()
    setattr(item, what, DicomSequence([code("SCT", "71341001", **{modifier: [code(scheme, value)]})]))
    assert read_anatomy(item) == Anatomy(FEMUR, side)


@pytest.mark.parametrize("sides", [[], [("99LOCAL", "7771000")], [("SCT", "7771000"), ("SCT", "24028007")]])
def test_no_code_a_private_one_or_both_sides_are_no_side(sides):
    item = Dataset()
    item.SegmentLabel = "Left femur"
    modifiers = [code(*side) for side in sides]
    what = code("SCT", "71341001", SegmentedPropertyTypeModifierCodeSequence=modifiers)
    item.SegmentedPropertyTypeCodeSequence = DicomSequence([what])
    assert read_anatomy(item) is None


def write_case(tmp_path, sides):
    """Two segments: L in the right half of the picture (the patient's left), R in the other."""
    paths = write_ct_series(tmp_path / "ct", volume_hu(2, 16, 24), spacing_mm_zyx=SPACING)
    masks = np.zeros((2, 16, 24, 2), np.uint8)
    masks[:, 4:9, 17:22, 0] = masks[:, 4:9, 2:7, 1] = 1
    write_seg(tmp_path / "seg" / "s.dcm", read_sources(paths), masks, ["L", "R"], sides=sides)


def open_labels(tmp_path, rois):
    (source,) = find_cases(tmp_path).cases
    return np.stack([labels for _, labels in open_case(source, "c0", rois).slices])


def test_a_seg_with_right_sides_is_packed(tmp_path):
    write_case(tmp_path, {"L": "left", "R": "right"})
    assert np.count_nonzero(open_labels(tmp_path, {"L": 1})) == 50


@pytest.mark.parametrize("rois", [{"L": 1}, {"R": 1}, {"L": 1, "R": 2}])
def test_a_seg_with_exchanged_sides_is_refused_though_one_is_chosen_alone(tmp_path, rois):
    write_case(tmp_path, {"L": "right", "R": "left"})
    with pytest.raises(MaskError, match=r"mask of case c0: laterality contradicts geometry: .* 30\.0 mm"):
        open_labels(tmp_path, rois)


def test_a_side_without_counterpart_is_not_checked(tmp_path):
    write_case(tmp_path, {"L": "right"})
    assert open_labels(tmp_path, {"L": 1}).any()


@pytest.mark.parametrize(("sides", "is_refused"), [(("7771000", "24028007"), False), (("24028007", "7771000"), True)])
def test_an_rtstruct_is_checked_by_the_codes_of_its_observations(tmp_path, sides, is_refused):
    write_ct_series(tmp_path / "ct", volume_hu(2, 16, 24), spacing_mm_zyx=SPACING)
    rois = {"a": [rectangle_mm((25, 33), (-12, -4), 100)], "b": [rectangle_mm((-6, 2), (-12, -4), 100)]}
    path = write_rtstruct(tmp_path / "rs", rois)
    dataset = dcmread(path)
    dataset.RTROIObservationsSequence = DicomSequence([observation(number, side) for number, side in enumerate(sides, 1)])
    dataset.save_as(path)
    if not is_refused:
        assert open_labels(tmp_path, {"a": 1}).any()
        return
    with pytest.raises(MaskError, match="laterality contradicts geometry"):
        open_labels(tmp_path, {"a": 1})


def observation(number, side):
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = number
    what = code("SCT", "71341001", SegmentedPropertyTypeModifierCodeSequence=[code("SCT", side)])
    item.RTROIIdentificationCodeSequence = DicomSequence([what])
    return item
