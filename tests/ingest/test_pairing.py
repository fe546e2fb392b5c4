"""Which series a mask file is given to."""

from dataclasses import replace

import nrrd
import numpy as np
import pytest
from pydicom import dcmread

from hipseg.geometry import affine_lps, affine_ras, make_grid
from hipseg.ingest.grouping import group_images
from hipseg.ingest.images import SeriesImages
from hipseg.ingest.index import SeriesIndex
from hipseg.ingest.pairing import OtherModalityError, pair_nifti, pair_nrrd, pair_rtstruct, pair_segmentation
from hipseg.ingest.scan import scan_tree
from hipseg.ingest.spill import Spill
from tests.ingest.builders import FRAME_UID, rectangle_mm, volume_hu, write_ct_series, write_nifti, write_rtstruct
from tests.ingest.seg_builder import read_sources, write_seg

GRID = make_grid((3, 10, 12), (3.0, 0.75, 0.5), (-10, -20, 100), ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
FLAT = rectangle_mm((-9, -8), (-19, -18), 103.0)


def write(root, folder, patient="p", series="2.25.1", **options):
    write_ct_series(root / folder, volume_hu(3), patient_id=patient, series_uid=series, **options)


def collect(headers):
    images = SeriesImages(Spill())
    images.extend(headers)
    return images


def labels(root, name, shift_mm=0.0, slices=3):
    affine = affine_ras(GRID)
    affine[2, 3] += shift_mm
    write_nifti(root / name, np.ones((12, 10, slices), np.uint8), affine)


def pair_all(root):
    """Pair every mask file of a tree: series identifiers (with the number of rivals for NIfTI) by file name."""
    scan = scan_tree(root)
    index = SeriesIndex(group_images(scan.images))
    paired = {found.path.name: [uid for _, uid in pair_rtstruct(found, index)] for found in scan.rtstructs}
    for found in scan.niftis:
        paired[found.path.name] = {uid: nifti.rivals for (_, uid), nifti in pair_nifti(found, index).items()}
    return paired


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        ({"series_uid": "2.25.1", "image_uids": ["2.25.2.1"], "frame_uid": "2.25.50"}, ["2.25.1"]),
        ({"series_uid": "2.25.9", "image_uids": ["2.25.2.1"], "frame_uid": "2.25.50"}, ["2.25.2"]),
        ({"series_uid": "2.25.9", "image_uids": ["2.25.9.1"], "frame_uid": "2.25.50"}, ["2.25.1"]),
        ({"series_uid": "2.25.9", "image_uids": ["2.25.9.1"], "frame_uid": "2.25.51"}, []),
        ({"series_uid": "", "image_uids": [""], "frame_uid": ""}, []),
    ],
)
def test_series_then_images_then_frame_of_reference_decide(tmp_path, references, expected):
    write(tmp_path, "a", series="2.25.1", frame_uid="2.25.50")
    write(tmp_path, "b", series="2.25.2", frame_uid="")
    write_rtstruct(tmp_path / "rs", {"roi": [FLAT]}, **references)
    assert pair_all(tmp_path) == {"rs": expected}


@pytest.mark.parametrize(
    ("image_uids", "z_mm", "expected"), [(["2.25.1.2"], 203.0, "a"), (["2.25.9"], 203.0, "b"), (["2.25.9"], 9, "ab")]
)
def test_of_the_stacks_of_one_series_images_and_then_contours_decide(tmp_path, image_uids, z_mm, expected):
    write(tmp_path, "a", series="2.25.1")
    write(tmp_path, "b", series="2.25.2", origin_mm_xyz=(-10, -20, 200))
    contour = rectangle_mm((-9, -8), (-19, -18), z_mm)
    write_rtstruct(tmp_path / "rs", {"roi": [contour]}, series_uid="2.25.7", image_uids=image_uids)
    scan = scan_tree(tmp_path)
    stacks = {
        ("p", f"2.25.7{folder}"): collect([replace(one, series_uid="2.25.7") for one in scan.images if one.folder == folder])
        for folder in "ab"
    }
    assert pair_rtstruct(scan.rtstructs[0], SeriesIndex(stacks)) == tuple(("p", f"2.25.7{folder}") for folder in expected)


def test_among_series_of_one_frame_the_contours_decide(tmp_path):
    write(tmp_path, "thick", series="2.25.1")
    write(tmp_path, "above", series="2.25.2", origin_mm_xyz=(-10, -20, 110))
    write(tmp_path, "kernel", series="2.25.3")
    write_rtstruct(tmp_path / "rs", {"roi": [FLAT]}, series_uid="2.25.9", frame_uid=FRAME_UID)
    assert pair_all(tmp_path) == {"rs": ["2.25.1", "2.25.3"]}


@pytest.mark.parametrize("kind", ["rtstruct", "seg"])
def test_what_was_drawn_on_a_thick_series_is_not_given_to_the_thin_one_beside_it(tmp_path, kind):
    write_ct_series(tmp_path / "thin", volume_hu(9), spacing_mm_zyx=(1.5, 0.75, 0.5), patient_id="p", series_uid="2.25.1")
    thick = write_ct_series(tmp_path / "thick", volume_hu(5), patient_id="p", series_uid="2.25.2")
    if kind == "seg":
        sources = read_sources(thick)
        for source in sources:
            source.SeriesInstanceUID, source.SOPInstanceUID = "2.25.9", f"{source.SOPInstanceUID}.9"
        write_seg(tmp_path / "s", sources, np.ones((5, 10, 12, 1), np.uint8), ["x"])
        pair, found = pair_segmentation, scan_tree(tmp_path).segmentations
    else:
        contours = [rectangle_mm((-9, -8), (-19, -18), 100.0 + 3 * z) for z in range(5)]
        write_rtstruct(tmp_path / "rs", {"roi": contours}, series_uid="2.25.9", image_uids=["2.25.9.1"])
        pair, found = pair_rtstruct, scan_tree(tmp_path).rtstructs
    assert pair(found[0], SeriesIndex(group_images(scan_tree(tmp_path).images))) == (("p", "2.25.2"),)


def test_contours_on_no_slice_of_their_frame_are_given_to_all_of_it_for_the_refusal(tmp_path):
    write(tmp_path, "a", series="2.25.1")
    write(tmp_path, "b", series="2.25.2", origin_mm_xyz=(-10, -20, 110))
    write_rtstruct(tmp_path / "rs", {"roi": [FLAT + np.array([0, 0, 500])]}, series_uid="2.25.9")
    assert pair_all(tmp_path) == {"rs": ["2.25.1", "2.25.2"]}


@pytest.mark.parametrize(
    ("patient", "study", "folder", "expected"),
    [
        ("p2", "", "", ["2.25.2"]),
        ("p2", "2.25.31", "p1", ["2.25.2"]),
        ("other", "2.25.32", "", ["2.25.2"]),
        ("other", "", "p2/masks", ["2.25.2"]),
        ("", "", "p1", ["2.25.1"]),
        ("other", "2.25.33", "", []),
        ("", "", "", []),
    ],
)
def test_a_frame_of_reference_that_patients_share_leads_to_the_files_own_one_alone(tmp_path, patient, study, folder, expected):
    for number in "12":
        write(tmp_path, f"p{number}", patient=f"p{number}", series=f"2.25.{number}", study_uid=f"2.25.3{number}")
    path = write_rtstruct(tmp_path / folder / "rs", {"roi": [FLAT]}, series_uid="2.25.9", image_uids=["2.25.9.1"])
    dataset = dcmread(path)
    dataset.PatientID, dataset.StudyInstanceUID = patient, study
    dataset.save_as(path)
    assert pair_all(tmp_path) == {"rs": expected}


def test_another_patient_in_a_frame_of_reference_is_nobodys_in_a_tree_of_several(tmp_path):
    write(tmp_path, "p1", patient="p1", series="2.25.1")
    write(tmp_path, "p2", patient="p2", series="2.25.2", frame_uid="2.25.51")
    write_rtstruct(tmp_path / "rs", {"roi": [FLAT]}, series_uid="2.25.9", image_uids=["2.25.9.1"])
    assert pair_all(tmp_path) == {"rs": []}


def test_a_file_that_names_a_series_of_another_modality_is_not_taken_by_its_frame_of_reference(tmp_path):
    write(tmp_path, "a")
    write_rtstruct(tmp_path / "rs", {"roi": [FLAT]}, series_uid="2.25.9", image_uids=["2.25.9.1"])
    scan = scan_tree(tmp_path)
    series = group_images(scan.images)
    assert pair_rtstruct(scan.rtstructs[0], SeriesIndex(series)) == (("p", "2.25.1"),)
    with pytest.raises(OtherModalityError):
        pair_rtstruct(scan.rtstructs[0], SeriesIndex(series, ["2.25.9"]))


@pytest.mark.parametrize("place", ["p1", "p1/CT", "p1/CT/deeper", "p1/masks/bone"])
def test_the_only_series_near_by_has_the_labels_whether_they_fit_or_not(tmp_path, place):
    write(tmp_path, "p1/CT", series="2.25.1")
    write(tmp_path, "p2/CT", series="2.25.2")
    labels(tmp_path, f"{place}/m.nii", shift_mm=500)
    assert pair_all(tmp_path) == {"m.nii": {"2.25.1": 0}}


def test_a_part_of_several_grids_belongs_to_the_one_that_it_is_the_whole_of(tmp_path):
    write(tmp_path, "a", patient="p1", series="2.25.1")
    write_ct_series(tmp_path / "b", volume_hu(6), patient_id="p2", series_uid="2.25.2")
    labels(tmp_path, "masks/whole.nii.gz")
    labels(tmp_path, "masks/part.nii.gz", slices=2)
    labels(tmp_path, "masks/above.nii.gz", slices=2, shift_mm=9)
    assert pair_all(tmp_path) == {
        "whole.nii.gz": {"2.25.1": 0},
        "part.nii.gz": {"2.25.1": 1, "2.25.2": 1},
        "above.nii.gz": {"2.25.2": 0},
    }


def test_of_several_series_the_one_on_the_grid_has_the_labels(tmp_path):
    write(tmp_path, "a", patient="p1", series="2.25.1")
    write(tmp_path, "b", patient="p2", series="2.25.2", origin_mm_xyz=(-10, -20, 400))
    labels(tmp_path, "masks/m.nii.gz")
    assert pair_all(tmp_path) == {"m.nii.gz": {"2.25.1": 0}}


def test_labels_that_fit_several_series_name_their_rivals(tmp_path):
    write(tmp_path, "a", patient="p1", series="2.25.1")
    write(tmp_path, "b", patient="p2", series="2.25.2")
    labels(tmp_path, "m.nii")
    assert pair_all(tmp_path) == {"m.nii": {"2.25.1": 1, "2.25.2": 1}}


@pytest.mark.parametrize(("other", "expected"), [("p1", {"2.25.1": 0, "2.25.2": 0}), ("p2", {})])
def test_labels_that_fit_no_series_are_one_patients_or_nobodys(tmp_path, other, expected):
    write(tmp_path, "a", patient="p1", series="2.25.1")
    write(tmp_path, "b", patient=other, series="2.25.2")
    labels(tmp_path, "m.nii", shift_mm=1)
    assert pair_all(tmp_path) == {"m.nii": expected}


def test_two_series_in_one_folder_are_told_apart_by_grid(tmp_path):
    write(tmp_path, "a", series="2.25.1", origin_mm_xyz=(-10, -20, 400))
    for path in (tmp_path / "a").iterdir():
        path.rename(path.with_name(f"first{path.name}"))
    write(tmp_path, "a", series="2.25.2")
    labels(tmp_path, "a/m.nii")
    assert pair_all(tmp_path) == {"m.nii": {"2.25.2": 0}}


def test_a_broken_series_does_not_fit(tmp_path):
    write(tmp_path, "a", series="2.25.1", change=lambda dataset, _: setattr(dataset, "PixelSpacing", None))
    write(tmp_path, "b", series="2.25.2")
    labels(tmp_path, "m.nii")
    assert pair_all(tmp_path) == {"m.nii": {"2.25.2": 0}}


def test_a_series_without_one_of_its_slices_is_still_a_rival(tmp_path):
    paths = write_ct_series(tmp_path / "a", volume_hu(4), patient_id="p1", series_uid="2.25.1")
    write_ct_series(tmp_path / "b", volume_hu(4), patient_id="p2", series_uid="2.25.2")
    write_ct_series(tmp_path / "c", volume_hu(4), patient_id="p3", series_uid="2.25.3", origin_mm_xyz=(-10, -20, 400))
    labels(tmp_path, "m.nii", slices=4)
    labels(tmp_path, "above.nii", slices=4, shift_mm=300)
    paths[1].unlink()
    assert pair_all(tmp_path) == {"m.nii": {"2.25.2": 1}, "above.nii": {"2.25.3": 0}}


@pytest.mark.parametrize(("patients", "expected"), [(("p1", "p2"), True), (("p1", "p1"), False)])
def test_a_part_that_begins_at_the_corner_of_one_of_several_patients_is_doubtful(tmp_path, patients, expected):
    write(tmp_path, "a", patient=patients[0], series="2.25.1")
    write_ct_series(tmp_path / "b", volume_hu(6, 12, 14), patient_id=patients[1], series_uid="2.25.2", origin_mm_xyz=(0, 0, 400))
    affine = affine_ras(GRID)
    affine[:3, 3] = [0, 0, 400]
    write_nifti(tmp_path / "m" / "corner.nii", np.ones((12, 10, 3), np.uint8), affine)
    affine[:3, 3] = [-0.5, -0.75, 403]
    write_nifti(tmp_path / "m" / "inside.nii", np.ones((12, 10, 3), np.uint8), affine)
    scan = scan_tree(tmp_path)
    index = SeriesIndex(group_images(scan.images))
    found = {one.path.name: pair_nifti(one, index) for one in scan.niftis}
    assert {name: [uid for _, uid in files] for name, files in found.items()} == {
        "corner.nii": ["2.25.2"],
        "inside.nii": ["2.25.2"],
    }
    doubts = {name: [file.has_common_corner for file in files.values()] for name, files in found.items()}
    assert doubts == {"corner.nii": [expected], "inside.nii": [False]}


def test_a_seg_is_given_to_the_series_that_it_names_and_an_nrrd_to_the_one_on_its_grid(tmp_path):
    paths = write_ct_series(tmp_path / "a", volume_hu(3), patient_id="p1", series_uid="2.25.1")
    write(tmp_path, "b", patient="p2", series="2.25.2", origin_mm_xyz=(-10, -20, 400), frame_uid="2.25.77")
    pixels = np.ones((3, 10, 12, 1), np.uint8)
    write_seg(tmp_path / "elsewhere" / "s.dcm", read_sources(paths), pixels, ["x"])
    affine = affine_lps(GRID)
    fields = {"space": "LPS", "space directions": affine[:3, :3].T, "space origin": affine[:3, 3]}
    nrrd.write(str(tmp_path / "m.nrrd"), np.ones((12, 10, 3), np.uint8), fields)
    scan = scan_tree(tmp_path)
    series = group_images(scan.images)
    index = SeriesIndex(series)
    assert pair_segmentation(scan.segmentations[0], index) == (("p1", "2.25.1"),)
    assert {key: file.rivals for key, file in pair_nrrd(scan.nrrds[0], index).items()} == {("p1", "2.25.1"): 0}
    renamed = SeriesIndex(
        {("p1", "2.25.8"): _renamed(series["p1", "2.25.1"]), ("p1", "2.25.9"): _renamed(series["p2", "2.25.2"])}
    )
    # Neither series nor images are those that it names: of two in its frame of reference, the one on whose slices it lies.
    assert pair_segmentation(scan.segmentations[0], renamed) == (("p1", "2.25.8"),)


def _renamed(images):
    return collect(
        [replace(one, series_uid="2.25.8", instance_uid=f"{one.instance_uid}.9", frame_uid=FRAME_UID) for one in images]
    )
