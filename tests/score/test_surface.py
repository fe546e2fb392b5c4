import math
import tracemalloc

import numpy as np
import pytest
import SimpleITK
import surface_distance

from hipseg.errors import MaskError
from hipseg.ingest.nifti import read_labels
from hipseg.score.distances import Distances
from hipseg.score.masks import measure_masks
from hipseg.score.overlap import count, dice, iou, precision, recall, specificity
from hipseg.score.surface import encode_neighbourhoods, measure_surfaces

PEAK_BYTES_A_VOXEL = 20


def box(shape, low, high):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def noise(seed, share=0.3):
    return np.random.default_rng(seed).random((7, 11, 9)) < share


def as_itk(mask, spacing_mm_zyx):
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(spacing_mm_zyx[::-1])
    return image


def test_two_voxels_apart_gives_two_millimetres():
    # A voxel has a surfel on each of its eight corners, of equal area. The four of each that look at the other voxel are 1 mm
    # from it, the four behind are 2 mm from it.
    truth, prediction = box((4, 3, 3), (0, 1, 1), (1, 2, 2)), box((4, 3, 3), (2, 1, 1), (3, 2, 2))
    found = measure_surfaces(truth, prediction, (1.0, 1.0, 1.0))
    assert found == Distances(hd95_mm=2.0, assd_mm=pytest.approx(1.5), nsd_1mm=pytest.approx(0.5), nsd_2mm=1.0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_each_axis_is_measured_with_its_own_spacing(axis):
    # One voxel beside the other: the four corners that they share are 0 mm apart, the others one voxel.
    spacing = (3.0, 0.75, 1.25)
    truth = box((5, 5, 5), (2, 2, 2), (3, 3, 3))
    found = measure_surfaces(truth, np.roll(truth, 1, axis), spacing)
    assert found.hd95_mm == spacing[axis]
    assert found.assd_mm == pytest.approx(spacing[axis] / 2)
    assert found.nsd_1mm == (1.0 if spacing[axis] <= 1 else pytest.approx(0.5))


def test_a_tolerance_includes_its_own_length():
    truth = box((5, 5, 5), (2, 2, 2), (3, 3, 3))
    assert measure_surfaces(truth, np.roll(truth, 1, 0), (2.0, 1.0, 1.0)).nsd_2mm == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_equal_masks_are_nowhere_apart(seed):
    assert measure_surfaces(noise(seed), noise(seed), (2.0, 0.7, 0.7)) == Distances(0.0, 0.0, 1.0, 1.0)


def test_the_image_s_edge_is_a_surface():
    # Without surfels on the edge, the truth that fills the image would have none at all.
    full = np.ones((4, 4, 4), bool)
    found = measure_surfaces(full, box((4, 4, 4), (0, 0, 0), (4, 4, 2)), (1.0, 1.0, 1.0))
    assert found.hd95_mm == 2.0


def test_ninety_five_percent_of_the_area_ignores_a_speck_and_the_mean_does_not():
    truth = box((30, 30, 30), (2, 2, 2), (18, 18, 18))
    prediction = truth | box((30, 30, 30), (28, 28, 28), (29, 29, 29))
    found = measure_surfaces(truth, prediction, (1.0, 1.0, 1.0))
    assert found.hd95_mm == 0.0
    assert found.assd_mm > 0.0


def test_the_worse_direction_counts():
    # All of the small box lies on the long one, but two thirds of the long one lie far from the small box.
    shape, spacing = (5, 5, 40), (1.0, 1.0, 1.0)
    small, long = box(shape, (1, 1, 1), (4, 4, 11)), box(shape, (1, 1, 1), (4, 4, 31))
    forth, back = measure_surfaces(small, long, spacing), measure_surfaces(long, small, spacing)
    assert forth == back
    assert forth.hd95_mm > 18.0


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
def test_numbers_are_those_of_the_library_s_own_way(seed):
    truth, prediction = noise(seed), noise(seed + 100, 0.1)
    spacing = tuple(np.random.default_rng(seed).uniform(0.3, 3.0, 3))
    expected = surface_distance.compute_surface_distances(truth, prediction, spacing)
    forth, back = surface_distance.compute_average_surface_distance(expected)
    areas = expected["surfel_areas_gt"].sum(), expected["surfel_areas_pred"].sum()
    found = measure_surfaces(truth, prediction, spacing)
    assert found.hd95_mm == pytest.approx(surface_distance.compute_robust_hausdorff(expected, 95), abs=1e-12)
    assert found.nsd_1mm == pytest.approx(surface_distance.compute_surface_dice_at_tolerance(expected, 1.0), abs=1e-12)
    assert found.nsd_2mm == pytest.approx(surface_distance.compute_surface_dice_at_tolerance(expected, 2.0), abs=1e-12)
    assert found.assd_mm == pytest.approx(np.average([forth, back], weights=areas), abs=1e-12)


@pytest.mark.data
@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
def test_real_tumour_scores_as_by_the_library_s_own_way(data_root):
    path = data_root / "ibsi-sts-hip" / "STS_012" / "CT_mask.nii.gz"
    if not path.is_file():
        pytest.skip(f"no real mask at {path}")
    labels, grid = read_labels(path)
    truth = labels > 0
    prediction = np.roll(truth, (1, -2, 3), (0, 1, 2))
    expected = surface_distance.compute_surface_distances(truth, prediction, grid.spacing_mm_zyx)
    measured = measure_masks(truth, prediction, grid.spacing_mm_zyx)
    assert measured.counts.truth == 25263
    assert measured.distances.hd95_mm == pytest.approx(surface_distance.compute_robust_hausdorff(expected, 95), abs=1e-9)
    assert measured.distances.nsd_1mm == pytest.approx(surface_distance.compute_surface_dice_at_tolerance(expected, 1), abs=1e-9)
    theirs = SimpleITK.LabelOverlapMeasuresImageFilter()
    theirs.Execute(as_itk(prediction, grid.spacing_mm_zyx), as_itk(truth, grid.spacing_mm_zyx))
    assert dice(measured.counts) == pytest.approx(theirs.GetDiceCoefficient())


def test_hausdorff_of_simpleitk_agrees_where_a_whole_face_is_off():
    # SimpleITK takes the farthest voxel of either mask, inside included; that is the distance of the faces here, and the faces
    # are more than 5 % of the surface. For other shapes the two differ, as a maximum differs from a percentile.
    spacing = (2.5, 0.75, 1.25)
    truth = box((20, 14, 14), (3, 2, 2), (8, 12, 12))
    prediction = np.roll(truth, 2, 0)
    theirs = SimpleITK.HausdorffDistanceImageFilter()
    theirs.Execute(as_itk(truth, spacing), as_itk(prediction, spacing))
    assert measure_surfaces(truth, prediction, spacing).hd95_mm == theirs.GetHausdorffDistance() == 5.0


def test_average_hausdorff_of_simpleitk_is_no_mean_of_surface_distances():
    # It averages over all voxels, of which those in both masks count 0, and halves nothing by area.
    truth = box((20, 14, 14), (3, 2, 2), (13, 12, 12))
    prediction = np.roll(truth, 2, 0)
    theirs = SimpleITK.HausdorffDistanceImageFilter()
    theirs.Execute(as_itk(truth, (1.0, 1.0, 1.0)), as_itk(prediction, (1.0, 1.0, 1.0)))
    # Two of ten layers are outside the other mask, 2 and 1 voxels away.
    assert theirs.GetAverageHausdorffDistance() == pytest.approx(0.3)
    assert measure_surfaces(truth, prediction, (1.0, 1.0, 1.0)).assd_mm > 0.6


@pytest.mark.parametrize("seed", range(4))
def test_overlap_is_that_of_simpleitk(seed):
    truth, prediction = noise(seed), noise(seed + 50)
    theirs = SimpleITK.LabelOverlapMeasuresImageFilter()
    theirs.Execute(as_itk(prediction, (1.0, 1.0, 1.0)), as_itk(truth, (1.0, 1.0, 1.0)))
    counts = count(truth, prediction)
    assert dice(counts) == pytest.approx(theirs.GetDiceCoefficient())
    assert iou(counts) == pytest.approx(theirs.GetJaccardCoefficient())
    assert recall(counts) == pytest.approx(1 - theirs.GetFalseNegativeError())
    assert precision(counts) == pytest.approx(1 - theirs.GetFalseDiscoveryRate())
    assert specificity(counts) == pytest.approx(1 - theirs.GetFalsePositiveError())


def test_area_of_a_ball_is_right_within_the_steps_of_its_voxels():
    z, y, x = np.mgrid[:41, :41, :41] - 20
    ball = z**2 + y**2 + x**2 <= 15**2
    area_mm2 = surface_distance.lookup_tables.create_table_neighbour_code_to_surface_area((1.0, 1.0, 1.0))
    codes = encode_neighbourhoods(ball)
    assert area_mm2[codes].sum() == pytest.approx(4 * math.pi * 15**2, rel=0.1)


def test_memory_is_bounded_by_the_box_around_both_masks():
    shape = (60, 100, 100)
    truth, prediction = box(shape, (0, 0, 0), (3, 3, 3)), box(shape, (57, 97, 97), shape)
    tracemalloc.start()
    measure_surfaces(truth, prediction, (1.0, 1.0, 1.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / truth.size < PEAK_BYTES_A_VOXEL


@pytest.mark.parametrize("empty", ["truth", "prediction", "both"])
def test_an_empty_mask_is_refused(empty):
    full, none = np.ones((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    with pytest.raises(MaskError, match="no surface"):
        measure_surfaces(full if empty == "prediction" else none, full if empty == "truth" else none, (1.0, 1.0, 1.0))


def test_masks_on_different_grids_are_refused():
    with pytest.raises(MaskError, match=r"\(2, 2, 2\).*\(1, 2, 2\)"):
        measure_surfaces(np.ones((1, 2, 2), bool), np.ones((2, 2, 2), bool), (1.0, 1.0, 1.0))
