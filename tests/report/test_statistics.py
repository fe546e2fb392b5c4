import math

import pytest

from hipseg.report.collect import collect
from hipseg.report.statistics import Spread, spread, summarise
from hipseg.runs import StudyPaths
from hipseg.score.overlap import Counts

from .results import write_fold, write_results


def test_the_standard_deviation_is_that_of_a_sample():
    assert spread([1.0, 0.5]) == Spread(0.75, pytest.approx(0.25 * math.sqrt(2)), 2, 0)


def test_undefined_values_are_left_out_and_counted():
    assert spread([math.nan, 0.2, 0.4, math.nan]) == Spread(pytest.approx(0.3), pytest.approx(0.1 * math.sqrt(2)), 2, 2)


def test_one_value_has_no_deviation():
    alone = spread([0.7])
    assert (alone.mean, alone.counted) == (0.7, 1)
    assert math.isnan(alone.sd)


@pytest.mark.parametrize("values", [[], [math.nan]])
def test_without_a_defined_value_there_is_no_mean(values):
    nothing = spread(values)
    assert math.isnan(nothing.mean)
    assert (nothing.counted, nothing.undefined) == (0, len(values))


def test_an_arm_is_summed_up_over_its_cases_and_over_its_folds(tmp_path):
    write_results(tmp_path)
    row = summarise(collect(StudyPaths(tmp_path)).arms[0])
    third = 1 / 3
    # Over cases 1, 1/2, 0 and one undefined; over folds 3/4 and 0.
    assert row.over_cases["dice"] == Spread(pytest.approx(0.5), pytest.approx(0.5), 3, 1)
    assert row.over_folds["dice"] == Spread(pytest.approx(0.375), pytest.approx(0.75 / math.sqrt(2)), 2, 0)
    # IoU 1, 1/3, 0: mean 4/9, squared deviations 25/81, 1/81, 16/81.
    assert row.over_cases["iou"] == Spread(pytest.approx(4 * third * third), pytest.approx(math.sqrt(21 / 81)), 3, 1)
    # Accuracy 1, 0.8, 0.8, 1 is defined everywhere.
    assert row.over_cases["accuracy"] == Spread(pytest.approx(0.9), pytest.approx(math.sqrt(0.04 / 3)), 4, 0)
    assert row.over_cases["background_accuracy"] == Spread(pytest.approx(0.8), pytest.approx(math.sqrt(0.08 / 3)), 4, 0)
    assert row.loss == Spread(0.5, pytest.approx(0.25 * math.sqrt(2)), 2, 0)


def test_a_fold_whose_cases_are_all_undefined_has_no_mean_over_folds(tmp_path):
    write_fold(tmp_path, "unet", 0, {"c0": Counts(4, 0, 0, 6)})
    write_fold(tmp_path, "unet", 1, {"c1": Counts(0, 0, 0, 10)})
    row = summarise(collect(StudyPaths(tmp_path)).arms[0])
    assert (row.over_folds["dice"].mean, row.over_folds["dice"].counted, row.over_folds["dice"].undefined) == (1.0, 1, 1)
