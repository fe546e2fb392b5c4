import math

import numpy as np
import pytest

from hipseg.errors import MaskError
from hipseg.score.masks import measure_masks, measure_structures
from hipseg.score.overlap import Counts, count
from hipseg.score.slicewise import sum_slices

# Two structures in three slices of 2x3: label 1 is found but for one voxel, label 2 is missed, label 9 is nobody's.
TRUTH = np.array([[[1, 1, 0], [0, 0, 2]], [[1, 0, 0], [9, 0, 2]], [[0, 0, 0], [0, 0, 0]]], np.uint8)
PREDICTION = np.array([[[1, 1, 0], [0, 0, 0]], [[0, 0, 0], [9, 1, 0]], [[0, 0, 0], [0, 0, 0]]], np.uint8)
SPACING_MM = (2.0, 1.0, 1.0)


def test_several_structures_are_measured_one_by_one():
    truths, predictions = ([volume == label for label in (1, 2)] for volume in (TRUTH, PREDICTION))
    measured = dict(measure_structures(("femur", "pelvis"), truths, predictions, SPACING_MM))
    assert list(measured) == ["femur", "pelvis"]
    assert measured["femur"].counts == Counts(tp=2, fp=1, fn=1, tn=14)
    assert measured["pelvis"].counts == Counts(tp=0, fp=0, fn=2, tn=16)
    assert measured["femur"] == measure_masks(TRUTH == 1, PREDICTION == 1, SPACING_MM)


def test_a_case_is_the_sum_of_its_slices():
    slices = [count(t == 1, p == 1) for t, p in zip(TRUTH, PREDICTION, strict=True)]
    measured = measure_masks(TRUTH == 1, PREDICTION == 1, SPACING_MM)
    assert measured.slices == sum_slices(slices)
    assert (measured.slices.slices, measured.slices.both_empty) == (3, 1)


def test_spacing_reaches_the_surfaces():
    truth = np.zeros((4, 1, 1), bool)
    truth[0] = True
    assert measure_masks(truth, np.roll(truth, 2), (1.0, 1.0, 1.0)).distances.hd95_mm == 2.0
    assert measure_masks(truth, np.roll(truth, 2), (2.5, 1.0, 1.0)).distances.hd95_mm == 5.0


def test_a_missed_structure_has_no_distance_and_no_share_within_tolerance():
    distances = measure_masks(TRUTH == 2, PREDICTION == 2, SPACING_MM).distances
    assert math.isnan(distances.hd95_mm)
    assert (distances.nsd_1mm, distances.nsd_2mm) == (0.0, 0.0)


def test_a_structure_that_is_nowhere_has_no_surface_scores():
    distances = measure_masks(TRUTH == 5, PREDICTION == 5, SPACING_MM).distances
    assert all(math.isnan(value) for value in vars(distances).values())


def test_masks_on_different_grids_are_refused():
    with pytest.raises(MaskError, match=r"\(3, 2, 3\).*\(2, 2, 3\)"):
        measure_masks(TRUTH[:2] == 1, PREDICTION == 1, SPACING_MM)
