import math

import numpy as np
import pytest

from hipseg.report.collect import collect
from hipseg.report.repeats import separate, separate_arm
from hipseg.runs import StudyPaths
from hipseg.score.overlap import Counts

from .results import POOR, write_fold


def test_seeds_alone():
    # Both cases move together: rest 0; MS seeds = 2 * (0.1^2 + 0.1^2) = 0.04, shared by 2 cases: 0.02. MS cases = 0.
    parts = separate([np.array([[0.5, 0.7], [0.5, 0.7]])])
    assert (parts.repeats, parts.cases, parts.mean) == (2, 2, pytest.approx(0.6))
    assert parts.sd_seeds == pytest.approx(math.sqrt(0.02))
    assert (parts.sd_cases, parts.sd_rest) == (0.0, pytest.approx(0.0, abs=1e-12))
    assert math.isnan(parts.sd_folds)


def test_cases_alone():
    # MS cases = 2 * (0.2^2 + 0.2^2) = 0.16, seen by 2 seeds: 0.08.
    parts = separate([np.array([[0.4, 0.4], [0.8, 0.8]])])
    assert parts.sd_cases == pytest.approx(math.sqrt(0.08))
    assert (parts.sd_seeds, parts.sd_rest) == (0.0, pytest.approx(0.0, abs=1e-12))


def test_what_a_seed_does_to_one_case_is_the_rest():
    # Residuals are +-0.1 everywhere: MS rest = 4 * 0.01 / 1; seeds and cases have no spread of their own, and no negative one.
    parts = separate([np.array([[0.5, 0.7], [0.7, 0.5]])])
    assert parts.sd_rest == pytest.approx(0.2)
    assert (parts.sd_seeds, parts.sd_cases) == (0.0, 0.0)


def test_folds_alone():
    # MS folds = 2 * (2 * 0.2^2 + 2 * 0.2^2) / 1 = 0.32 over 2 * 2 scores a fold: 0.08.
    parts = separate([np.full((2, 2), 0.4), np.full((2, 2), 0.8)])
    assert parts.sd_folds == pytest.approx(math.sqrt(0.08))
    assert (parts.sd_seeds, parts.sd_cases) == (0.0, 0.0)


def test_known_components_are_found_again_on_average():
    generator = np.random.default_rng(3)
    variances = []
    for _ in range(400):
        folds = [
            0.9
            + generator.normal(0, 0.04)
            + generator.normal(0, 0.03, (cases, 1))
            + generator.normal(0, 0.02, (1, 4))
            + generator.normal(0, 0.01, (cases, 4))
            for cases in (4, 4, 5, 4, 4)
        ]
        parts = separate(folds)
        variances.append([sd**2 for sd in (parts.sd_folds, parts.sd_cases, parts.sd_seeds, parts.sd_rest)])
    # Cutting negative estimates at 0 lifts the mean of the folds' variance a little.
    assert np.sqrt(np.mean(variances, axis=0)) == pytest.approx([0.04, 0.03, 0.02, 0.01], rel=0.06)


def test_a_case_that_is_undefined_once_is_left_out_of_every_repeat():
    whole = np.array([[0.4, 0.5], [0.8, 0.7], [0.6, 0.9]])
    with_gap = np.vstack([whole, [0.1, math.nan]])
    parts = separate([with_gap])
    assert (parts.cases, parts.undefined) == (3, 1)
    assert parts.sd_seeds == separate([whole]).sd_seeds


@pytest.mark.parametrize("folds", [[], [np.full((1, 3), 0.5)], [np.full((3, 1), 0.5)], [np.full((2, 2), math.nan)]])
def test_too_little_to_tell_them_apart_gives_no_numbers(folds):
    parts = separate(folds)
    assert all(math.isnan(sd) for sd in (parts.sd_seeds, parts.sd_cases, parts.sd_folds, parts.sd_rest))


def test_an_arm_is_separated_over_its_repeats_and_has_none_without(tmp_path):
    better = ({"c0": Counts(4, 0, 0, 6), "c1": Counts(2, 0, 0, 8)}, {"c2": Counts(1, 0, 1, 8), "c3": Counts(0, 0, 0, 10)})
    for fold in (0, 1):
        write_fold(tmp_path, "unet", fold, POOR[fold])
    assert separate_arm(collect(StudyPaths(tmp_path)).arms[0]) is None
    for fold in (0, 1):
        write_fold(tmp_path, "unet", fold, better[fold], repeat=1)
    parts = separate_arm(collect(StudyPaths(tmp_path)).arms[0])
    # Dice of fold 0: 1 and 1/2, then 1 and 1; of fold 1: 0, then 2/3, and one undefined.
    assert (parts.repeats, parts.cases, parts.undefined) == (2, 3, 1)
    assert parts == separate([np.array([[1, 1], [0.5, 1]]), np.array([[0, 2 / 3], [math.nan, math.nan]])])


def test_repeats_without_a_fold_in_common_are_not_separated(tmp_path):
    for fold, repeat in ((0, 0), (1, 1)):
        write_fold(tmp_path, "unet", fold, POOR[fold], repeat=repeat)
    (arm,) = collect(StudyPaths(tmp_path), allow_partial=True).arms
    assert len(arm.repeats) == 1
    assert separate_arm(arm) is None
