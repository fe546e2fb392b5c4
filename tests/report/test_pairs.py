import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hipseg.report.collect import collect
from hipseg.report.pairs import compare_differences, compare_pairs, correct_by_holm
from hipseg.runs import StudyPaths
from hipseg.score.overlap import Counts

from .results import write_fold


def compare(*differences):
    return compare_differences("a", "b", np.array(differences), 0)


def test_six_patients_who_all_gain_give_the_smallest_p_there_is():
    pair = compare(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    # All 2^6 signs are equally likely, and two of them are as one-sided as this.
    assert (pair.p, pair.smallest_p, pair.method) == (2 / 64, 2 / 64, "exact")
    assert (pair.median_difference, pair.effect_size) == (pytest.approx(0.35), 1.0)
    # With six patients only the whole range covers the median often enough: 1 - 2 / 64.
    assert (pair.low, pair.high) == (0.1, 0.6)
    assert pair.reason is None


def test_five_patients_are_described_and_not_tested():
    pair = compare(0.1, 0.2, 0.3, 0.4, 0.5)
    assert pair.reason == "patients who differ: 5, p cannot fall below 0.0625"
    assert (pair.smallest_p, pair.median_difference, pair.effect_size, pair.method) == (0.0625, 0.3, 1.0, None)
    assert all(math.isnan(value) for value in (pair.p, pair.p_holm, pair.low, pair.high))


def test_the_interval_of_the_median_is_between_two_order_statistics():
    # Of 10 the 2nd and 9th: 1 - 2 * (1 + 10) / 1024 = 97.9 %. Of 21 the 6th and 16th: 97.3 %.
    for count, low, high in ((10, 2, 9), (21, 6, 16)):
        pair = compare(*(number / 100 for number in range(1, count + 1)))
        assert (pair.low, pair.high) == (low / 100, high / 100)


def test_signs_and_ranks_by_hand():
    # Ranks 1 to 7; those of 2 and 3 are against: 28 - 5 = 23 for, 5 against.
    pair = compare(0.1, -0.2, -0.3, 0.4, 0.5, 0.6, 0.7)
    assert pair.effect_size == pytest.approx((23 - 5) / 28)
    # Subsets of 1..7 that sum to 5 or less: {}, 1, 2, 3, 4, 5, 12, 13, 14, 23: ten of 128, and as many at the other end.
    assert pair.p == pytest.approx(20 / 128)


def brute_force_p(differences):
    """Try all signs of the ranks after Pratt."""
    ranks, nonzero = stats.rankdata(np.abs(differences)), differences != 0
    kept = ranks[nonzero]
    observed = abs(ranks[differences > 0].sum() - kept.sum() / 2)
    signs = np.array(list(itertools.product((0, 1), repeat=kept.size)))
    return float(np.mean(np.abs(signs @ kept - kept.sum() / 2) >= observed - 1e-9))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-4, 4), min_size=6, max_size=10))
def test_with_ties_and_zeros_p_is_that_of_all_signs(tenths):
    differences = np.array(tenths) / 10
    pair = compare(*differences)
    if pair.reason is None:
        assert pair.p == pytest.approx(brute_force_p(differences))
        assert pair.p >= pair.smallest_p - 1e-12
    assert pair.zeros == tenths.count(0)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1, 1), min_size=6, max_size=30))
def test_exchanging_the_arms_turns_the_signs_and_nothing_else(differences):
    one, other = compare(*differences), compare(*(-value for value in differences))
    assert other.p == pytest.approx(one.p, nan_ok=True)
    assert (other.median_difference, other.effect_size) == pytest.approx((-one.median_difference, -one.effect_size), nan_ok=True)
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low))


@pytest.mark.parametrize("patients", [6, 21, 50])
def test_without_ties_p_is_scipys_exact_one(patients):
    differences = np.random.default_rng(patients).normal(0.01, 0.03, patients)
    assert compare(*differences).p == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue, rel=1e-9)


def test_more_than_fifty_patients_who_differ_are_tested_by_the_normal_approximation():
    differences = [0.1] * 31 + [-0.1] * 20 + [0.0] * 3
    pair = compare(*differences)
    expected = stats.wilcoxon(differences, zero_method="pratt", method="asymptotic", correction=True).pvalue
    assert (pair.method, pair.p, pair.zeros) == ("normal approximation", pytest.approx(expected), 3)


def test_few_who_differ_among_many_who_tie_are_tested_exactly():
    # All 2^6 signs are equally likely, and two of them are as one-sided as this; 45 ties change neither.
    pair = compare(*[0.0] * 45, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    assert (pair.patients, pair.zeros, pair.p, pair.smallest_p, pair.method) == (51, 45, 0.03125, 0.03125, "exact")
    # The six have the ranks 46 to 51, 291 of 51 * 52 / 2 = 1326: nearly nobody differs, and the effect is small.
    assert pair.effect_size == pytest.approx(291 / 1326)


def test_the_effect_is_weighed_over_all_patients_also_those_without_a_difference():
    # Ranks of 0, 0, 1, -2 and 3 tenths: 1.5, 1.5, 3, 4, 5; for the second 3 + 5, against 4, of 15.
    assert compare(0.0, 0.0, 0.1, -0.2, 0.3).effect_size == pytest.approx((8 - 4) / 15)
    assert compare(0.0, 0.0, 0.0).effect_size == 0
    assert math.isnan(compare().effect_size)


def test_differences_that_only_rounding_tells_apart_are_ties():
    assert compare(0.3, 0.1 + 0.2, -0.5, 0.6, 0.7, 0.8, 0.9).p == compare(0.3, 0.3, -0.5, 0.6, 0.7, 0.8, 0.9).p


@pytest.mark.parametrize(("differences", "count"), [((0.0, 0.0), 0), ((0.5, 0.0), 1), ((), 0)])
def test_arms_that_hardly_differ_are_not_tested(differences, count):
    pair = compare(*differences)
    assert pair.reason.startswith(f"patients who differ: {count}, ")
    assert pair.smallest_p == 1.0


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.04: times 3, 2 and 1, and never less than the one before.
    assert correct_by_holm([0.04, 0.01, 0.02]) == pytest.approx((0.04, 0.03, 0.04))
    assert correct_by_holm([0.5, 0.6]) == (1.0, 1.0)
    assert correct_by_holm([]) == ()


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_never_lessens_p_keeps_the_order_and_stays_within_bonferroni(values):
    corrected = correct_by_holm(values)
    for p, holm in zip(values, corrected, strict=True):
        assert p <= holm <= min(1.0, p * len(values))
    for (p, holm), (other_p, other_holm) in itertools.combinations(zip(values, corrected, strict=True), 2):
        assert (p <= other_p) == (holm <= other_holm) or holm == other_holm


def write_arms(root, **dice_tenths):
    """Write arms of two folds in which each case has the Dice given in tenths."""
    for arm, tenths in dice_tenths.items():
        for fold in (0, 1):
            # Dice t / 10 of masks of 10 voxels each: t found, 10 - t missed, 10 - t too much.
            counts = {f"c{i}": Counts(t, 10 - t, 10 - t, 80) for i, t in enumerate(tenths) if i % 2 == fold}
            write_fold(root, arm, fold, counts, train=[f"c{i}" for i in range(len(tenths)) if i % 2 != fold])


def test_every_pair_of_arms_is_compared_and_corrected_for_all(tmp_path):
    write_arms(tmp_path, a=[1, 2, 3, 4, 5, 6], b=[2, 4, 6, 8, 9, 9], c=[1, 2, 3, 4, 5, 7])
    first, second, third = compare_pairs(collect(StudyPaths(tmp_path)).arms)
    assert [(pair.first, pair.second) for pair in (first, second, third)] == [("a", "b"), ("a", "c"), ("b", "c")]
    # Differences of a and b: 1, 2, 3, 4, 4, 3 tenths. One case of c differs from a. Those of b and c all fall.
    assert (first.median_difference, first.p, first.effect_size) == (pytest.approx(0.3), 0.03125, 1.0)
    assert second.reason == "patients who differ: 1, p cannot fall below 1"
    assert (third.p, third.effect_size) == (0.03125, -1.0)
    assert (first.p_holm, third.p_holm) == (0.0625, 0.0625)
    assert math.isnan(second.p_holm)


def test_several_cases_of_a_patient_are_one_and_undefined_cases_are_left_out_of_both_arms(tmp_path):
    patients = {"c0": "p0", "c1": "p0", "c2": "p1", "c3": "p1"}
    counts = {
        "a": {"c0": Counts(5, 5, 5, 85), "c1": Counts(5, 5, 5, 85), "c2": Counts(0, 0, 0, 100), "c3": Counts(5, 5, 5, 85)},
        "b": {"c0": Counts(6, 4, 4, 86), "c1": Counts(8, 2, 2, 88), "c2": Counts(0, 9, 0, 91), "c3": Counts(4, 6, 6, 84)},
    }
    for arm, cases in counts.items():
        write_fold(tmp_path, arm, 0, cases, patients=patients, folds=1, train=[])
    (pair,) = compare_pairs(collect(StudyPaths(tmp_path)).arms)
    # p0 gains 0.1 and 0.3, p1 loses 0.1 in c3; c2 is undefined in a.
    assert (pair.patients, pair.undefined, pair.median_difference) == (2, 1, pytest.approx((0.2 - 0.1) / 2))


def test_one_arm_alone_has_no_pair(tmp_path):
    write_arms(tmp_path, a=[1, 2])
    assert compare_pairs(collect(StudyPaths(tmp_path)).arms) == ()
