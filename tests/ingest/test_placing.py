"""Mask files that were drawn on another series: refused where they lie beside a single one that has no mask, else set aside."""

import numpy as np
import pytest

from hipseg.errors import MaskError
from hipseg.ingest.cases import find_cases, open_case
from tests.ingest.builders import Plane, rectangle_mm, volume_hu, write_ct_series, write_rtstruct
from tests.ingest.seg_builder import read_sources, write_seg

ONES = np.ones((10, 12), bool)
SET_ASIDE = {"RTSTRUCT of no CT series here": 1}


def write_stranger(path):
    contour = rectangle_mm((-9, -8), (-19, -18), 103.0)
    write_rtstruct(path, {"roi": [contour]}, series_uid="2.25.801", frame_uid="2.25.802", image_uids=["2.25.803"])


def kinds(root):
    found = find_cases(root)
    return [open_case(source, "c0", {}).mask_kind for source in found.cases], dict(found.set_aside)


def test_a_structure_set_of_another_series_in_the_folder_is_refused(tmp_path):
    write_ct_series(tmp_path / "ct", volume_hu())
    write_stranger(tmp_path / "ct" / "rs")
    with pytest.raises(MaskError, match=r"1 mask files \(RTSTRUCT, .* planes\) beside the series, and no mask of its own"):
        kinds(tmp_path)


def test_a_seg_of_another_series_in_the_folder_is_refused(tmp_path):
    write_ct_series(tmp_path / "ct", volume_hu())
    others = write_ct_series(tmp_path / "others", volume_hu(), series_uid="2.25.801", frame_uid="2.25.802")
    write_seg(tmp_path / "ct" / "seg", read_sources(others), np.ones((4, 10, 12, 1), np.uint8), ["a"])
    for path in others:
        path.unlink()
    with pytest.raises(MaskError, match=r"1 mask files \(RTSTRUCT, .* planes\) beside the series"):
        kinds(tmp_path)


def test_one_in_another_folder_may_be_of_another_study_and_is_set_aside(tmp_path):
    write_ct_series(tmp_path / "study1" / "ct", volume_hu())
    write_stranger(tmp_path / "study2" / "rs")
    assert kinds(tmp_path) == ([None], SET_ASIDE)


def test_one_beside_a_series_with_a_mask_or_beside_several_is_set_aside(tmp_path):
    write_ct_series(tmp_path / "a", volume_hu(), overlays={0: [Plane(ONES)]})
    write_stranger(tmp_path / "a" / "rs")
    assert kinds(tmp_path) == (["overlay"], SET_ASIDE)
    for path in write_ct_series(tmp_path / "b", volume_hu(), series_uid="2.25.9", frame_uid="2.25.10"):
        path.rename(tmp_path / "a" / f"b{path.name}")
    assert kinds(tmp_path) == (["overlay", None], SET_ASIDE)


def as_pet(dataset, _):
    dataset.Modality, dataset.SOPClassUID = "PT", "1.2.840.10008.5.1.4.1.1.128"


def test_what_was_drawn_on_the_pet_of_a_pet_ct_is_set_aside_and_the_ct_is_read(tmp_path):
    write_ct_series(tmp_path / "ct", volume_hu())
    pet = write_ct_series(
        *(tmp_path / "ct" / "pet", volume_hu(4, 5, 6)), spacing_mm_zyx=(4, 1.5, 1), series_uid="2.25.801", change=as_pet
    )
    write_seg(tmp_path / "ct" / "seg", read_sources(pet), np.ones((4, 5, 6, 1), np.uint8), ["a"])
    contours = [rectangle_mm((-9, -7), (-19, -17), 104.0)]
    write_rtstruct(tmp_path / "ct" / "rs", {"roi": contours}, series_uid="2.25.801", image_uids=["2.25.801.2"])
    set_aside = {"RTSTRUCT or DICOM SEG drawn on a series here that is no CT": 2, "modality PT": 4}
    assert kinds(tmp_path) == ([None], set_aside)
