"""Two arms on the same patients: how far apart they are, and whether chance alone would do that."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from hipseg.report.collect import ArmResult
from hipseg.report.statistics import CONFIDENCE, tabulate

METRIC = "dice"
"""The one measure that is tested, so that the family is the pairs of arms and nothing else."""
SIGNIFICANCE = 1 - CONFIDENCE
MOST_EXACT_PATIENTS = 50
"""Who differ; with few of them among many ties the normal approximation falls below the smallest p that there is."""
TIE_DECIMALS = 12
"""Differences of scores that agree so far are ties; beyond it float64 rounds."""


@dataclass(frozen=True)
class PairedComparison:
    """Two arms compared over patients; each difference is the second arm's Dice minus the first's.

    Args:
        first, second: the arms.
        patients: with a case whose score is defined in both; several cases of a patient are averaged first.
        undefined: cases left out because their score is undefined in one of the arms, or scored by one arm only.
        zeros: patients without a difference.
        median_difference: over the patients; NaN of none.
        low, high: its distribution-free interval, from two order statistics; NaN of fewer than 6 patients, which give none.
        effect_size: matched-pairs rank-biserial correlation: ranks for the second arm minus those for the first, over all ranks,
            also those of patients without a difference. -1 where the first arm is better in every patient, 1 where the second
            is, 0 where none differs; NaN of no patient.
        smallest_p: the smallest that so many patients who differ can give; 1 of none.
        method: how p was found; None where nothing was tested.
        p: two-sided, of the signed-rank test; NaN where nothing was tested.
        p_holm: p with Holm's correction over all pairs tested.
        reason: why nothing was tested; None where it was.
    """

    first: str
    second: str
    patients: int
    undefined: int
    zeros: int
    median_difference: float
    low: float
    high: float
    effect_size: float
    smallest_p: float
    method: str | None = None
    p: float = math.nan
    p_holm: float = math.nan
    reason: str | None = None


def compare_pairs(arms: Sequence[ArmResult]) -> tuple[PairedComparison, ...]:
    """Compare every pair of arms, in the order given, by the headline's Dice.

    Holm's correction is over the pairs that could be tested. Source: Holm, Scandinavian Journal of Statistics 6 (1979) 65.
    """
    tables = [(arm.arm, tabulate(arm.scores, [METRIC]).set_index("case")) for arm in arms]
    pairs = [_compare(*first, *second) for first, second in combinations(tables, 2)]
    corrected = iter(correct_by_holm([pair.p for pair in pairs if pair.reason is None]))
    return tuple(pair if pair.reason else replace(pair, p_holm=next(corrected)) for pair in pairs)


def correct_by_holm(values: Sequence[float]) -> tuple[float, ...]:
    """Give Holm's step-down p values, in the order of those handed in."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected, highest = [math.nan] * len(values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min((len(values) - rank) * values[index], 1.0))
        corrected[index] = highest
    return tuple(corrected)


def compare_differences(first: str, second: str, differences: npt.NDArray[np.float64], undefined: int) -> PairedComparison:
    """Describe and test one difference a patient.

    Wilcoxon's signed-rank test, two-sided. Patients without a difference are ranked and then dropped, after Pratt: to drop them
    before would make the rest look surer. Where up to MOST_EXACT_PATIENTS differ p is exact, over all signs of the ranks that are
    there, ties or not; beyond it comes from the normal approximation, corrected for ties and for continuity. Nothing is tested
    where even the smallest p would not be below SIGNIFICANCE.

    Args:
        first, second: names of the arms.
        differences: second minus first, one a patient; none is NaN.
        undefined: cases left out.
    Source: Wilcoxon, Biometrics Bulletin 1 (1945) 80; Pratt, JASA 54 (1959) 655; of the median's interval, Thompson, Annals of
        Mathematical Statistics 7 (1936) 122; of the effect size, Kerby, Comprehensive Psychology 3 (2014) 11.IT.3.1.
    """
    rounded = np.round(differences, TIE_DECIMALS)
    nonzero = int(np.count_nonzero(rounded))
    low, high = _median_interval(rounded)
    described = PairedComparison(
        first=first,
        second=second,
        patients=rounded.size,
        undefined=undefined,
        zeros=rounded.size - nonzero,
        median_difference=float(np.median(rounded)) if rounded.size else math.nan,
        low=low,
        high=high,
        effect_size=_rank_biserial(rounded),
        smallest_p=min(2.0 ** (1 - nonzero), 1.0),
    )
    if described.smallest_p >= SIGNIFICANCE:
        return replace(described, reason=f"patients who differ: {nonzero}, p cannot fall below {described.smallest_p:.4g}")
    if nonzero <= MOST_EXACT_PATIENTS:
        return replace(described, method="exact", p=_exact_p(rounded))
    # The stubs know this method only with keepdims.
    tested = stats.wilcoxon(rounded, zero_method="pratt", method="asymptotic", correction=True)  # type: ignore[call-overload]
    return replace(described, method="normal approximation", p=float(tested.pvalue))


def _exact_p(differences: npt.NDArray[np.float64]) -> float:
    """Count how many of all signs make the rank sum at least as one-sided as it is; at least one difference is not 0.

    SciPy's own exact distribution knows neither ties nor zeros. Doubled mean ranks are whole numbers, so that the ways to reach
    each sum follow rank by rank; up to 2^53 they are exact in float64.
    """
    ranks = np.rint(2 * stats.rankdata(np.abs(differences))).astype(np.int64)
    kept = ranks[differences != 0]
    ways = np.zeros(kept.sum() + 1)
    ways[0] = 1
    for rank in kept:
        ways[rank:] += ways[:-rank].copy()
    sum_for = ranks[differences > 0].sum()
    tail = ways[: min(sum_for, kept.sum() - sum_for) + 1].sum()
    return min(float(2 * tail / ways.sum()), 1.0)


def _compare(first: str, first_cases: pd.DataFrame, second: str, second_cases: pd.DataFrame) -> PairedComparison:
    """Take the differences case by case, so that both arms are averaged over the same cases of a patient."""
    differences = second_cases[METRIC] - first_cases[METRIC]
    of_patients = differences.groupby(second_cases["patient"]).mean().dropna().to_numpy(dtype=np.float64)
    return compare_differences(first, second, of_patients, int(differences.isna().sum()))


def _median_interval(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    if values.size == 0:
        return math.nan, math.nan
    interval: Any = stats.quantile_test(values, q=0.0, p=0.5).confidence_interval(CONFIDENCE)
    return float(interval.low), float(interval.high)


def _rank_biserial(differences: npt.NDArray[np.float64]) -> float:
    ranks = stats.rankdata(np.abs(differences))
    for_second, for_first = ranks[differences > 0].sum(), ranks[differences < 0].sum()
    # Over the ranks of those who differ alone one patient among many who do not would be an effect of 1.
    return float((for_second - for_first) / ranks.sum()) if ranks.size else math.nan
