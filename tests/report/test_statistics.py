import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipseg.report.collect import collect
from hipseg.report.statistics import estimate, spread, summarise, summarise_organs, tabulate
from hipseg.runs import StudyPaths
from hipseg.score.overlap import Counts
from hipseg.score.record import MEASURES

from ..score.builders import made_score
from .results import LABELS, POOR, write_fold, write_results


def read(values):
    return (values.mean, values.sd, values.counted, values.undefined)


def test_the_standard_deviation_is_that_of_a_sample():
    assert read(spread([1.0, 0.5])) == (0.75, pytest.approx(0.25 * math.sqrt(2)), 2, 0)


def test_undefined_values_are_left_out_and_counted():
    values = spread([math.nan, 0.2, 0.4, math.nan])
    assert read(values) == (pytest.approx(0.3), pytest.approx(0.1 * math.sqrt(2)), 2, 2)


def test_the_interval_is_students():
    # Mean 3, SD sqrt(2.5), t of 97.5 % with 4 degrees of freedom 2.776445, half width 2.776445 * sqrt(2.5 / 5) = 1.963243.
    values = estimate([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (values.low, values.high) == (pytest.approx(1.036757, abs=1e-6), pytest.approx(4.963243, abs=1e-6))


def test_the_interval_of_five_folds_covers_the_mean_as_often_as_it_says():
    folds = np.random.default_rng(1).normal(0.9, 0.03, (2000, 5))
    covered = np.mean([one.low <= 0.9 <= one.high for one in map(estimate, folds)])
    # Standard error of a share of 0.95 in 2,000 draws: 0.005.
    assert 0.935 <= covered <= 0.965


def test_one_value_has_neither_deviation_nor_interval():
    alone = estimate([0.7])
    assert (alone.mean, alone.counted) == (0.7, 1)
    assert all(math.isnan(one) for one in (alone.sd, alone.low, alone.high))


@pytest.mark.parametrize("values", [[], [math.nan]])
def test_without_a_defined_value_there_is_no_mean(values):
    nothing = estimate(values)
    assert math.isnan(nothing.mean)
    assert (nothing.counted, nothing.undefined) == (0, len(values))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.randoms())
def test_order_does_not_matter_and_the_interval_is_around_the_mean(values, random):
    whole = estimate(values)
    shuffled = list(values)
    random.shuffle(shuffled)
    assert read(estimate(shuffled)) == pytest.approx(read(whole))
    assert whole.low <= whole.mean <= whole.high


def test_an_arm_is_summed_up_over_its_cases_and_over_its_folds(tmp_path):
    write_results(tmp_path)
    row = summarise(collect(StudyPaths(tmp_path)).arms[0])
    third = 1 / 3
    # Over cases 1, 1/2, 0 and one undefined; over folds 3/4 and 0.
    assert read(row.over_cases["dice"]) == (pytest.approx(0.5), pytest.approx(0.5), 3, 1)
    assert read(row.over_folds["dice"]) == (pytest.approx(0.375), pytest.approx(0.75 / math.sqrt(2)), 2, 0)
    # t of 97.5 % with 1 degree of freedom is 12.7062.
    assert row.over_folds["dice"].high == pytest.approx(0.375 + 12.7062 * 0.375, abs=1e-4)
    # IoU 1, 1/3, 0: mean 4/9, squared deviations 25/81, 1/81, 16/81.
    assert read(row.over_cases["iou"]) == (pytest.approx(4 * third * third), pytest.approx(math.sqrt(21 / 81)), 3, 1)
    # Accuracy 1, 0.8, 0.8, 1 is defined everywhere.
    assert read(row.over_cases["accuracy"]) == (pytest.approx(0.9), pytest.approx(math.sqrt(0.04 / 3)), 4, 0)
    assert read(row.over_cases["background_accuracy"]) == (pytest.approx(0.8), pytest.approx(math.sqrt(0.08 / 3)), 4, 0)
    assert read(row.loss) == (0.5, pytest.approx(0.25 * math.sqrt(2)), 2, 0)
    # c0 is found, c1 half, c2 missed, c3 has nothing to find: HD95 0 and 2 mm, then undefined, or the diagonal for c2.
    assert read(row.over_cases["hd95_mm"]) == (1.0, pytest.approx(math.sqrt(2)), 2, 2)
    diagonal_mm = math.sqrt(5**2 + 1**2 + 20**2)
    assert row.over_cases["hd95_or_diagonal_mm"].mean == pytest.approx((0 + 2 + diagonal_mm) / 3)
    assert read(row.over_cases["nsd_1mm"])[::2] == (pytest.approx((1 + 0.75 + 0) / 3), 3)
    # Voxels of 10 mm3: 4, 2, 2 and 0 of them in the truth, 4, 2, 0 and 0 in the prediction.
    assert row.over_cases["volume_truth_ml"].mean == pytest.approx(0.02)
    assert row.over_cases["volume_difference_ml"].mean == pytest.approx(-0.005)
    assert (row.cases, row.patients, row.misses, row.label, row.answer) == (4, 4, 1, "hip", "raw")


def test_several_cases_of_a_patient_are_one_in_the_interval(tmp_path):
    patients = {"c0": "p0", "c1": "p0"}
    for fold in (0, 1):
        write_fold(tmp_path, "unet", fold, POOR[fold], patients=patients)
    row = summarise(collect(StudyPaths(tmp_path)).arms[0])
    assert (row.cases, row.patients) == (4, 3)
    assert read(row.over_cases["dice"]) == (pytest.approx(0.5), pytest.approx(0.5), 3, 1)
    # p0 has 1 and 1/2, pc2 has 0, pc3 nothing: 3/4 and 0, with t of 97.5 % with 1 degree of freedom.
    found = row.over_patients["dice"]
    assert read(found) == (pytest.approx(0.375), pytest.approx(0.75 / math.sqrt(2)), 2, 1)
    assert (found.low, found.high) == pytest.approx((0.375 - 12.7062 * 0.375, 0.375 + 12.7062 * 0.375), abs=1e-4)


def test_patients_of_the_pretraining_are_counted_apart_from_its_cases():
    lines = [made_score(case, "p0", "pretraining", 0, Counts(1, 1, 1, 7), label="liver") for case in ("x0", "x1")]
    (liver,) = summarise_organs(lines)
    assert (liver.cases, liver.patients) == (2, 1)


def test_slices_are_pooled_over_cases(tmp_path):
    write_results(tmp_path)
    slices = summarise(collect(StudyPaths(tmp_path)).arms[0]).slices
    # Each case is one slice: Dice 1, 1/2, 0 and one empty.
    assert (slices.slices, slices.both_empty) == (4, 1)
    assert slices.mean("dice", "skipping") == pytest.approx(0.5)
    assert slices.mean("dice", "empty_as_one") == pytest.approx(2.5 / 4)


def test_a_fold_whose_cases_are_all_undefined_has_no_mean_over_folds(tmp_path):
    write_fold(tmp_path, "unet", 0, {"c0": Counts(4, 0, 0, 6)})
    write_fold(tmp_path, "unet", 1, {"c1": Counts(0, 0, 0, 10)})
    row = summarise(collect(StudyPaths(tmp_path)).arms[0])
    assert read(row.over_folds["dice"])[::2] == (1.0, 1)
    assert row.over_folds["dice"].undefined == 1


def test_answers_are_rows_of_their_own_and_only_the_raw_one_has_a_loss(tmp_path):
    for fold in (0, 1):
        write_fold(tmp_path, "unet", fold, POOR[fold], answers=("raw", "cleaned"))
    (arm,) = collect(StudyPaths(tmp_path)).arms
    raw, cleaned = summarise(arm), summarise(arm, "hip", "cleaned")
    assert raw.over_cases["dice"] == cleaned.over_cases["dice"]
    assert (raw.cases, cleaned.cases, cleaned.answer) == (4, 4, "cleaned")
    assert raw.loss.mean == 0.5
    assert math.isnan(cleaned.loss.mean)


def test_the_headline_is_the_first_structure(tmp_path):
    labels = [{"name": "femur", "numbers": [2]}, *LABELS]
    for fold in (0, 1):
        write_fold(tmp_path, "unet", fold, POOR[fold], structures=("hip", "femur"), labels=labels)
    (arm,) = collect(StudyPaths(tmp_path)).arms
    assert summarise(arm).label == "femur"
    assert len(arm.scores) == 4


def test_a_line_of_the_frame_holds_every_measure(tmp_path):
    write_results(tmp_path)
    scores = collect(StudyPaths(tmp_path)).arms[0].scores
    frame = tabulate(scores)
    assert list(frame["case"]) == ["c0", "c1", "c2", "c3"]
    assert list(frame["is_miss"]) == [False, False, True, False]
    for name in MEASURES:
        assert list(frame[name]) == pytest.approx([getattr(score, name) for score in scores], nan_ok=True)


def test_no_scores_make_an_empty_frame():
    assert len(tabulate([])) == 0
