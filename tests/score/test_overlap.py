import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipseg.errors import MaskError
from hipseg.score.overlap import (
    NO_COUNTS,
    Counts,
    accuracy,
    background_accuracy,
    count,
    dice,
    f1,
    iou,
    mean_iou,
    precision,
    recall,
    specificity,
)

# Drawn by hand, two slices of 3x3: the truth is 5 voxels, the prediction 4, and 3 of them agree.
TRUTH = np.array([[[1, 1, 0], [1, 1, 0], [0, 0, 0]], [[0, 0, 0], [0, 1, 0], [0, 0, 0]]], dtype=bool)
PREDICTION = np.array([[[1, 1, 0], [0, 0, 0], [0, 0, 1]], [[0, 0, 0], [0, 1, 0], [0, 0, 0]]], dtype=bool)
ANY_COUNTS = st.builds(Counts, *[st.integers(0, 10**9)] * 4)


def test_hand_drawn_masks_give_hand_counted_voxels():
    assert count(TRUTH, PREDICTION) == Counts(tp=3, fp=1, fn=2, tn=12)


def test_hand_drawn_masks_give_hand_derived_scores():
    counts = count(TRUTH, PREDICTION)
    assert dice(counts) == 6 / 9
    assert iou(counts) == 3 / 6
    assert accuracy(counts) == 15 / 18
    assert precision(counts) == 3 / 4
    assert recall(counts) == 3 / 5
    assert f1(counts) == pytest.approx(2 * 0.75 * 0.6 / 1.35)
    assert background_accuracy(counts) == 13 / 18


def test_perfect_prediction_scores_one_throughout():
    counts = count(TRUTH, TRUTH)
    assert [metric(counts) for metric in (dice, iou, accuracy, precision, recall, f1)] == [1.0] * 6


def test_swapping_truth_and_prediction_swaps_precision_and_recall():
    forth, back = count(TRUTH, PREDICTION), count(PREDICTION, TRUTH)
    assert (precision(forth), recall(forth)) == (recall(back), precision(back))
    assert dice(forth) == dice(back)


@pytest.mark.parametrize("metric", [dice, iou, precision, recall, f1])
def test_both_masks_empty_is_undefined(metric):
    assert math.isnan(metric(Counts(0, 0, 0, 18)))


@pytest.mark.parametrize("metric", [dice, iou, precision, recall, f1])
@pytest.mark.parametrize("counts", [Counts(0, 5, 0, 13), Counts(0, 0, 5, 13)], ids=["empty truth", "empty prediction"])
def test_exactly_one_empty_mask_scores_zero(metric, counts):
    assert metric(counts) == 0.0


def test_accuracy_of_an_empty_case_with_empty_prediction_is_one():
    assert accuracy(Counts(0, 0, 0, 18)) == 1.0
    assert background_accuracy(Counts(0, 0, 0, 18)) == 1.0


def test_no_voxels_leaves_accuracy_undefined():
    assert count(np.zeros((0, 3, 3), bool), np.zeros((0, 3, 3), bool)) == NO_COUNTS
    assert math.isnan(accuracy(NO_COUNTS))
    assert math.isnan(background_accuracy(NO_COUNTS))


def test_predicting_nothing_has_the_background_accuracy():
    counts = count(TRUTH, np.zeros_like(TRUTH))
    assert accuracy(counts) == background_accuracy(counts) == 13 / 18


def test_counts_of_slices_pool_to_the_counts_of_the_volume():
    slices = [count(t, p) for t, p in zip(TRUTH, PREDICTION, strict=True)]
    assert sum(slices, NO_COUNTS) == count(TRUTH, PREDICTION)


@given(ANY_COUNTS)
def test_f1_is_dice_and_iou_follows_from_dice(counts):
    if counts.truth + counts.predicted == 0:
        return
    d = dice(counts)
    assert f1(counts) == pytest.approx(d, abs=1e-12)
    assert iou(counts) == pytest.approx(d / (2 - d), abs=1e-12)


def test_masks_on_different_grids_are_refused():
    with pytest.raises(MaskError, match=r"\(2, 3, 3\).*\(1, 3, 3\)"):
        count(TRUTH[:1], PREDICTION)


def test_negative_counts_are_refused():
    with pytest.raises(MaskError, match="negative"):
        Counts(1, -1, 0, 0)


def test_specificity_is_the_share_of_the_background_that_is_found():
    assert specificity(count(TRUTH, PREDICTION)) == 12 / 13
    assert specificity(Counts(0, 5, 0, 15)) == 15 / 20
    assert math.isnan(specificity(Counts(5, 0, 2, 0)))


def test_mean_iou_averages_over_hip_and_background():
    assert mean_iou(count(TRUTH, PREDICTION)) == (3 / 6 + 12 / 15) / 2
    assert mean_iou(Counts(5, 0, 0, 0)) == 1.0
    assert math.isnan(mean_iou(Counts(0, 0, 0, 18)))
