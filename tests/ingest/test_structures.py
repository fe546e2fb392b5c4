"""Names of structures: what one is called by, and when a name is ambiguous."""

from pathlib import Path

import nrrd
import numpy as np
import pytest
from pydicom import dcmread

from hipseg.errors import MaskError
from hipseg.ingest.pairing import NiftiFile, NrrdFile
from hipseg.ingest.rtstruct import read_structure_set
from hipseg.ingest.scan import scan_tree
from hipseg.ingest.segmentation import read_segmentation
from hipseg.ingest.structures import (
    MaskSources,
    NiftiStructure,
    NrrdStructure,
    StructureName,
    check_lists,
    find_by_name,
    find_names,
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


def write_named(path, *names):
    """Write a structure set of one contour each, numbered from 1 on, under names of which some may be alike."""
    contour = rectangle_mm((-9, -8), (-19, -18), 100)
    write_rtstruct(path, {str(number): [contour] for number in range(len(names))})
    dataset = dcmread(path)
    for roi, name in zip(dataset.StructureSetROISequence, names, strict=True):
        roi.ROIName = name
    dataset.save_as(path)
    return read_structure_set(path)


def test_structures_without_a_name_of_their_own_are_listed_and_chosen_by_number(tmp_path):
    case = MaskSources((_empty_header(),), (write_named(tmp_path / "a", "femur", "x", "", "x", "4"),), ())
    assert [one.name for one in find_names(case)] == ["2", "3", "4", "femur"]
    chosen = {name: [one.number for one in find_by_name(name, case)] for name in ("femur", "1", "2", "3", "4", "x", "6")}
    assert chosen == {"femur": [1], "1": [1], "2": [2], "3": [3], "4": [5], "x": [2, 4], "6": []}


def test_one_name_in_two_structure_sets_is_listed_once_and_ambiguous(tmp_path):
    sets = (write_named(tmp_path / "a", "femur"), write_named(tmp_path / "b", "femur"))
    case = MaskSources((_empty_header(),), sets, ())
    assert [one.name for one in find_names(case)] == ["femur"]
    assert len(find_by_name("femur", case)) == 2


def test_names_that_look_alike_are_one(tmp_path):
    parted, joined = "Fe\u0301mur", "F\u00e9mur"
    files = (NiftiFile(Path(f"a/{parted}.nii.gz")), NiftiFile(Path("a/femur left .nii.gz")))
    case = MaskSources(
        (_empty_header(),), (write_named(tmp_path / "a", "hip"),), files, (), (NrrdFile(Path(f"a/{parted}2.nrrd")),)
    )
    assert find_by_name(joined, case) == find_by_name(parted, case) == (NiftiStructure(files[0]),)
    assert find_by_name(f"{joined}:3", case) == (NiftiStructure(files[0], 3),)
    assert find_by_name("femur left", case) == (NiftiStructure(files[1]),)
    assert len(find_by_name(f"{joined}2", case)) == 1
    assert [one.name for one in find_names(case)] == ["F\u00e9mur", "femur left", "F\u00e9mur2", "hip"]


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


def _move_frames(by_mm):
    def change(dataset):
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            position = frame.PlanePositionSequence[0]
            position.ImagePositionPatient = [float(one) + by_mm for one in position.ImagePositionPatient]

    return change


def test_two_versions_whose_positions_are_not_written_alike_are_not_one_structure(tmp_path):
    moved = {"series_uid": "2.25.500", "change": _move_frames(1e-6)}
    case = seg_sources(tmp_path, (["femur"], [0, 1], {"series_uid": "2.25.500"}), (["femur"], [1], moved))
    assert len(find_by_name("femur", case)) == 2


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


def test_a_file_that_cannot_be_read_may_hold_what_was_not_found(tmp_path):
    (tmp_path / "m.seg.nrrd").write_bytes(b"NRRD0004\ntype: uchar\n")
    case = MaskSources((_empty_header(),), (), (), (), (NrrdFile(tmp_path / "m.seg.nrrd"),))
    assert find_by_name("femur", case) == ()
    with pytest.raises(MaskError, match="an NRRD mask has a damaged header"):
        check_lists(case)
