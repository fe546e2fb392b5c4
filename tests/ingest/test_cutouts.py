"""Masks that a program wrote as a stack of images are no scans, and no second home for the masks of one."""

import numpy as np
import pytest
from pydicom import dcmread

from hipseg.errors import SeriesError
from hipseg.ingest.cases import find_cases, open_case
from tests.ingest.builders import Plane, volume_hu, write_ct_series, write_nifti
from tests.ingest.plane_builder import CT_UID, OTHER_UID, PLANES_UID, A, B, as_capture

SLICES = 5
BONE = np.repeat(A[np.newaxis], SLICES, axis=0)
OWN_OR_ONE = "case c0: its values are those of another series on the same grid, or one and the same: a mask written as images"
TWO_VALUES = "case c0: no more than two different values in all slices, on the grid of another series: a mask written as images"


def write(tmp_path, volume, uid=OTHER_UID, **options):
    return write_ct_series(tmp_path / uid, volume, series_uid=uid, **options)


def write_scan(tmp_path, **options):
    scan_hu = volume_hu(SLICES)
    write(tmp_path, scan_hu, CT_UID, **options)
    return scan_hu


def read(tmp_path, uid=CT_UID):
    """Give kind of mask and labels of a series."""
    (source,) = [one for one in find_cases(tmp_path).cases if one.series_uid == uid]
    opened = open_case(source, "c0", {})
    return opened.mask_kind, [labels for _, labels in opened.slices]


@pytest.mark.parametrize("outside", [-1024, 0])
@pytest.mark.parametrize("z", [0, 4])
def test_the_object_of_a_scan_alone_is_no_scan(tmp_path, outside, z):
    scan_hu = write_scan(tmp_path)
    # On the other slices there is nothing of it.
    bone = BONE & (np.arange(SLICES) == z)[:, np.newaxis, np.newaxis]
    write(tmp_path, np.where(bone, scan_hu, outside))
    with pytest.raises(SeriesError, match=OWN_OR_ONE):
        read(tmp_path, OTHER_UID)
    assert read(tmp_path)[0] is None


@pytest.mark.parametrize(("inside", "outside", "intercept"), [(1, 0, 0), (255, 0, 0), (-1023, -1024, -1024)])
def test_a_label_map_beside_its_scan_is_no_scan(tmp_path, inside, outside, intercept):
    write_scan(tmp_path)
    write(tmp_path, np.where(BONE, inside, outside), intercept=intercept)
    with pytest.raises(SeriesError, match=TWO_VALUES):
        read(tmp_path, OTHER_UID)
    assert read(tmp_path)[0] is None


def test_two_label_maps_without_a_scan_are_taken(tmp_path):
    for uid, mask in ((CT_UID, A), (OTHER_UID, B)):
        write(tmp_path, np.where(mask, 1, BONE * 0), uid)
    assert [read(tmp_path, uid)[0] for uid in (CT_UID, OTHER_UID)] == [None, None]


def test_the_masks_of_a_scan_are_not_given_to_its_object(tmp_path):
    scan_hu = write_scan(tmp_path)
    write(tmp_path, np.where(BONE, scan_hu, -1024))
    affine = np.diag([-0.5, -0.75, 3.0, 1.0])
    affine[:3, 3] = [10.0, 20.0, 100.0]
    write_nifti(tmp_path / "mask.nii", BONE.transpose(2, 1, 0).astype(np.uint8), affine)
    kind, labels = read(tmp_path)
    assert kind == "nifti"
    assert np.array_equal(labels, BONE)


def test_captures_without_names_are_not_given_to_its_object(tmp_path):
    scan_hu = write_scan(tmp_path)
    write(tmp_path, np.where(BONE, scan_hu, -1024))
    write(tmp_path, scan_hu, PLANES_UID, overlays={z: [Plane(B)] for z in range(SLICES)}, change=as_capture())
    kind, labels = read(tmp_path)
    assert kind == "overlay"
    assert np.array_equal(labels, np.repeat(B[np.newaxis], SLICES, axis=0))


@pytest.mark.parametrize("seed", [0, 1], ids=["the same pixels", "another reconstruction"])
def test_a_second_series_of_the_same_place_is_taken(tmp_path, seed):
    write_scan(tmp_path)
    write(tmp_path, volume_hu(SLICES, seed=seed))
    assert [read(tmp_path, uid)[0] for uid in (CT_UID, OTHER_UID)] == [None, None]


def test_two_that_differ_in_their_padding_are_taken(tmp_path):
    scan_hu = volume_hu(SLICES)
    for uid, padding in ((CT_UID, -2000), (OTHER_UID, -1500)):
        write(tmp_path, np.where(BONE, padding, scan_hu), uid)
    assert [read(tmp_path, uid)[0] for uid in (CT_UID, OTHER_UID)] == [None, None]


def test_the_object_of_a_scan_that_lies_elsewhere_is_not_compared(tmp_path):
    scan_hu = write_scan(tmp_path)
    write(tmp_path, np.where(BONE, scan_hu, -1024), origin_mm_xyz=(-10.0, -20.0, 100.2))
    assert read(tmp_path, OTHER_UID)[0] is None


def test_one_that_cannot_be_read_is_refused_for_that(tmp_path):
    scan_hu = write_scan(tmp_path)
    path = write(tmp_path, np.where(BONE, scan_hu, -1024))[2]
    dataset = dcmread(path)
    dataset.PixelData = dataset.PixelData[:-20]
    dataset.save_as(path)
    with pytest.raises(SeriesError, match="slice 3 of 5 by position"):
        read(tmp_path, OTHER_UID)
