"""Names of structures: what one is called by, and when a name is ambiguous."""

from pathlib import Path

import nrrd
import numpy as np
import pytest

from hipseg.ingest.headers import OverlayName
from hipseg.ingest.pairing import NiftiFile, NrrdFile
from hipseg.ingest.rtstruct import read_structure_set
from hipseg.ingest.scan import scan_tree
from hipseg.ingest.segmentation import read_segmentation
from hipseg.ingest.structures import (
    MaskSources,
    NiftiStructure,
    NrrdStructure,
    StructureName,
    find_by_name,
    find_names,
    find_overlays,
    find_structures,
)
from tests.ingest.builders import Plane, rectangle_mm, volume_hu, write_ct_series, write_nifti, write_rtstruct
from tests.ingest.seg_builder import read_sources, write_seg

ONES = np.ones((10, 12), bool)


def headers(tmp_path, overlays):
    write_ct_series(tmp_path, volume_hu(3), overlays=overlays)
    return tuple(sorted(scan_tree(tmp_path).images, key=lambda header: header.instance_number))


def sources(tmp_path, overlays=None, rois=None, niftis=()):
    sets = (read_structure_set(write_rtstruct(tmp_path / "rs", rois)),) if rois else ()
    return MaskSources(headers(tmp_path / "ct", overlays), sets, tuple(niftis))


def test_a_label_holds_planes_together_that_lie_in_different_groups(tmp_path):
    found = find_overlays(
        headers(
            tmp_path,
            {
                0: [Plane(ONES, 0x6000, label="pelvis"), Plane(ONES, 0x6002, label="femur")],
                1: [Plane(ONES, 0x6000, label="femur")],
            },
        )
    )
    assert [(one.title, one.groups) for one in found] == [("femur", {0: 0x6002, 1: 0x6000}), ("pelvis", {0: 0x6000})]


def test_description_stands_in_for_a_label_and_the_group_for_both(tmp_path):
    found = find_overlays(headers(tmp_path, {0: [Plane(ONES, 0x6000, description="femur"), Plane(ONES, 0x601E)]}))
    assert [one.title for one in found] == ["601E", "femur"]


def test_structures_beyond_the_sixteenth_group_are_found(tmp_path):
    planes = [Plane(ONES, 0x6000 + 2 * number, label=f"bone {number}") for number in range(20)]
    found = find_overlays(headers(tmp_path, {0: planes, 1: planes}))
    assert {one.title: one.groups for one in found} == {f"bone {n}": {0: 0x6000 + 2 * n, 1: 0x6000 + 2 * n} for n in range(20)}


def test_words_that_two_planes_of_a_slice_share_give_way_to_the_groups(tmp_path):
    planes = [Plane(ONES, group, label="mask") for group in (0x6000, 0x6002)]
    found = find_overlays(headers(tmp_path, {0: planes, 2: planes[:1]}))
    assert [(one.title, one.groups) for one in found] == [("6000", {0: 0x6000, 2: 0x6000}), ("6002", {0: 0x6002})]


@pytest.mark.parametrize("name", ["bone", "drawn by hand", "600a", "600A"])
def test_an_overlay_is_chosen_by_label_description_or_group(tmp_path, name):
    case = sources(tmp_path, {1: [Plane(ONES, 0x600A, label="bone", description="drawn by hand"), Plane(ONES, 0x6000)]})
    (found,) = find_by_name(name, case)
    assert found.groups == {1: 0x600A}


def test_a_group_is_chosen_as_it_is_even_where_it_holds_several_structures(tmp_path):
    case = sources(tmp_path, {0: [Plane(ONES, label="femur")], 1: [Plane(ONES, label="pelvis")]})
    (found,) = find_by_name("6000", case)
    assert found.groups == {0: 0x6000, 1: 0x6000}


def test_a_description_that_several_labels_share_is_ambiguous(tmp_path):
    planes = [Plane(ONES, 0x6000, label="a", description="export"), Plane(ONES, 0x6002, label="b", description="export")]
    assert len(find_by_name("export", sources(tmp_path, {0: planes}))) == 2


def test_a_name_in_two_kinds_of_source_is_ambiguous(tmp_path):
    contour = rectangle_mm((-9, -8), (-19, -18), 100)
    nifti = NiftiFile(Path("somewhere/femur.nii.gz"))
    case = sources(tmp_path, {0: [Plane(ONES, label="femur")]}, {"femur": [contour]}, [nifti])
    assert len(find_by_name("femur", case)) == 3
    assert len(find_structures(case)) == 3
    assert find_by_name("Femur", case) == ()


def test_a_nifti_value_is_chosen_after_a_colon():
    case = MaskSources((_empty_header(),), (), (NiftiFile(Path("a/organs.nii.gz")), NiftiFile(Path("a/x:5.nii"))))
    assert find_by_name("organs", case) == (NiftiStructure(NiftiFile(Path("a/organs.nii.gz"))),)
    assert find_by_name("organs:5", case) == (NiftiStructure(NiftiFile(Path("a/organs.nii.gz")), 5),)
    assert find_by_name("x:5", case) == (NiftiStructure(NiftiFile(Path("a/x:5.nii"))),)
    assert [find_by_name(f"organs:{value}", case) for value in ("0", "256", "-1", "²", "", "1.0")] == [()] * 6


def test_every_name_is_listed_with_its_kind(tmp_path):
    contour = rectangle_mm((-9, -8), (-19, -18), 100)
    many = write_nifti(tmp_path / "m" / "organs.nii.gz", np.array([0, 3, 7], np.uint8).reshape(3, 1, 1), np.eye(4))
    one = write_nifti(tmp_path / "m" / "bone.nii", np.array([0, 3, 3], np.uint8).reshape(3, 1, 1), np.eye(4))
    image = write_nifti(tmp_path / "m" / "image.nii", np.array([-5, 3, 3], np.int16).reshape(3, 1, 1), np.eye(4))
    files = [NiftiFile(path) for path in (many, one, image)]
    case = sources(tmp_path, {0: [Plane(ONES)]}, {"femur": [contour], "empty": []}, files)
    assert find_names(case) == (
        *(StructureName("nifti", name) for name in ("bone", "image", "organs", "organs:3", "organs:7")),
        StructureName("overlay", "6000"),
        StructureName("rtstruct", "femur"),
    )


def test_overlay_names_come_stripped(tmp_path):
    (header, *_) = headers(tmp_path, {0: [Plane(ONES, label="bone ")]})
    assert header.overlays == (OverlayName(0x6000, "bone", ""),)


def _empty_header():
    class Header:
        overlays = ()
        frame_uid = ""

    return Header()


def seg_sources(tmp_path, *files):
    """Make a case with SEG files: labels, slices and options of each."""
    paths = write_ct_series(tmp_path / "ct", volume_hu(3))
    images = read_sources(paths)
    parsed = []
    for number, (labels, slices, options) in enumerate(files):
        pixels = np.ones((len(slices), 10, 12, len(labels)), np.uint8)
        path = write_seg(tmp_path / f"seg{number}", [images[z] for z in slices], pixels, labels, **options)
        parsed.append(read_segmentation(path))
    found = tuple(sorted(scan_tree(tmp_path / "ct").images, key=lambda header: header.instance_number))
    return MaskSources(found, (), (), tuple(parsed))


def test_a_segment_is_chosen_by_label_else_by_number(tmp_path):
    case = seg_sources(tmp_path, (["femur", "pelvis", "pelvis", "7"], [0], {}))
    assert [one.parts[0][1] for one in find_by_name("femur", case)] == [1]
    assert [one.parts[0][1] for one in find_by_name("pelvis", case)] == [2, 3]
    assert [one.parts[0][1] for one in find_by_name("3", case)] == [3]
    assert [one.parts[0][1] for one in find_by_name("7", case)] == [4]
    assert find_by_name("9", case) == ()
    assert [one.name for one in find_names(case)] == ["2", "3", "7", "femur"]


def test_files_of_one_series_on_different_slices_are_one_structure(tmp_path):
    case = seg_sources(tmp_path, (["femur"], [0], {}), (["femur"], [2], {}), (["pelvis"], [2], {}))
    assert sorted(len(one.parts) for one in find_structures(case)) == [1, 2]


@pytest.mark.parametrize("series_uid", ["2.25.500", "2.25.501"])
def test_files_on_the_same_slice_or_of_other_series_make_a_name_ambiguous(tmp_path, series_uid):
    slices = [0] if series_uid == "2.25.500" else [1]
    case = seg_sources(tmp_path, (["femur"], [0], {}), (["femur"], slices, {"series_uid": series_uid}))
    assert len(find_by_name("femur", case)) == 2


def test_an_nrrd_is_chosen_by_segment_else_by_name_and_value(tmp_path):
    fields = {"space": "LPS", "space directions": np.eye(3), "space origin": np.zeros(3)}
    voxels = np.array([0, 1, 2], np.uint8).reshape(3, 1, 1)
    nrrd.write(str(tmp_path / "plain.nrrd"), voxels, fields)
    segments = {"Segment0_Name": "femur", "Segment0_LabelValue": "2", "Segment1_Name": "pelvis", "Segment1_LabelValue": "1"}
    nrrd.write(str(tmp_path / "named.seg.nrrd"), voxels, fields | segments)
    plain, named = NrrdFile(tmp_path / "plain.nrrd"), NrrdFile(tmp_path / "named.seg.nrrd")
    case = MaskSources((_empty_header(),), (), (), (), (plain, named))
    assert find_by_name("plain", case) == (NrrdStructure(plain),)
    assert find_by_name("plain:2", case) == (NrrdStructure(plain, 2),)
    assert find_by_name("femur", case) == (NrrdStructure(named, 2),)
    assert find_by_name("named", case) == ()
    assert [one.name for one in find_names(case)] == ["femur", "pelvis", "plain", "plain:1", "plain:2"]
    assert len(find_structures(case)) == 3
