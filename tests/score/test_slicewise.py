import dataclasses
import math

import pytest

from hipseg.errors import ReportError
from hipseg.score.overlap import Counts
from hipseg.score.slicewise import SLICE_METRICS, sum_slices

# Four slices of ten pixels: perfect, half found, missed, empty in both.
SLICES = (Counts(4, 0, 0, 6), Counts(1, 1, 1, 7), Counts(0, 0, 2, 8), Counts(0, 0, 0, 10))
SUMS = sum_slices(SLICES)


def test_slices_are_summed_up_without_those_that_are_empty():
    assert (SUMS.slices, SUMS.both_empty) == (4, 1)
    assert SUMS.sums == pytest.approx(
        {
            "dice": 1 + 0.5 + 0,
            "iou": 1 + 1 / 3 + 0,
            # Hip and background of each slice: (1 + 1) / 2, (1/3 + 7/9) / 2, (0 + 8/10) / 2.
            "mean_iou": 1 + 5 / 9 + 0.4,
            "accuracy": 1 + 0.8 + 0.8,
            "precision": 1 + 0.5 + 0,
            "recall": 1 + 0.5 + 0,
            "f1": 1 + 0.5 + 0,
        }
    )


def test_the_two_readings_of_empty_slices_differ():
    assert SUMS.mean("dice", "skipping") == 1.5 / 3
    assert SUMS.mean("dice", "empty_as_one") == 2.5 / 4


def test_a_case_without_hip_has_a_mean_in_one_reading_only():
    empty = sum_slices(SLICES[3:])
    assert math.isnan(empty.mean("dice", "skipping"))
    assert empty.mean("dice", "empty_as_one") == 1.0


def test_no_slices_have_no_mean():
    assert all(math.isnan(sum_slices([]).mean(name, "empty_as_one")) for name in SLICE_METRICS)


def test_slices_of_two_cases_pool():
    pooled = sum_slices(SLICES[:2]) + sum_slices(SLICES[2:])
    assert (pooled.slices, pooled.both_empty, pooled.sums) == (4, 1, pytest.approx(SUMS.sums))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"both_empty": 5}, "5 of 4 are empty"),
        ({"sums": {"dice": 1.0}}, "needed are sums of dice, iou"),
        ({"sums": {**SUMS.sums, "iou": 3.5}}, "sum of iou over 3 slices: 3.5"),
        ({"sums": {**SUMS.sums, "iou": -0.5}}, "sum of iou over 3 slices: -0.5"),
    ],
)
def test_sums_that_no_slices_can_have_are_refused(changes, complaint):
    with pytest.raises(ReportError, match=complaint):
        dataclasses.replace(SUMS, **changes)
