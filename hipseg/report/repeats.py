"""A study repeated with other seeds: how much of the spread comes from the seeds, and how much from cases and folds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from hipseg.report.collect import ArmResult
from hipseg.report.statistics import tabulate

METRIC = "dice"


@dataclass(frozen=True)
class VarianceComponents:
    """Standard deviations of the parts that a score is the sum of: mean + fold + case + seed + rest.

    Args:
        repeats: number of seeds.
        cases: with a defined score in every repeat.
        undefined: cases left out.
        mean: over all these cases and repeats.
        sd_seeds: between trainings on one fold that differ in the seed alone.
        sd_cases: between cases of one fold.
        sd_folds: between folds, beyond what their cases and seeds explain; NaN of one fold.
        sd_rest: what one seed does to one case and not to all, and what else is left.
    All are NaN where there are too few to tell them apart; a variance whose estimate is negative is 0.
    """

    repeats: int
    cases: int
    undefined: int
    mean: float
    sd_seeds: float
    sd_cases: float
    sd_folds: float
    sd_rest: float


def separate_arm(arm: ArmResult) -> VarianceComponents | None:
    """Separate the variance of an arm's Dice; None where the arm was not repeated, or no fold was in every repeat.

    Only folds that every repeat has are used.
    """
    repeated = {fold.repeat for fold in (*arm.folds, *arm.repeats)}
    if len(repeated) < 2:
        return None
    frame = tabulate([score for fold in (*arm.folds, *arm.repeats) for score in fold.scores], [METRIC])
    by_fold = [_cases_by_repeat(part) for _, part in frame.groupby("fold") if part["repeat"].nunique() == len(repeated)]
    return separate(by_fold) if by_fold else None


def separate(folds: Sequence[npt.NDArray[np.float64]]) -> VarianceComponents:
    """Estimate the variance components of scores by the analysis of variance.

    Every fold is trained anew with every seed, and a fold's cases are all scored by each of these networks: cases and seeds cross
    within a fold, and both are nested in folds. The mean squares are set equal to their expectations, where R is the number of
    seeds, n a fold's number of cases, and the variances are those of rest (e), seeds (s), cases (c) and folds (f):
        E(MS rest) = e,  E(MS seeds) = e + mean(n) s,  E(MS cases) = e + R c,
        E(MS folds) = e + R c + n0 s + R n0 f,  n0 = (sum(n) - sum(n^2) / sum(n)) / (folds - 1)
    Source: Searle, Casella and McCulloch, Variance Components (1992), chapters 3 to 5; why seeds are to be repeated: Bouthillier
    et al., Accounting for variance in machine learning benchmarks, MLSys 2021.

    Args:
        folds: Dice of each fold, float64 (case, repeat); a case with a NaN is left out.
    """
    kept = [fold[~np.isnan(fold).any(axis=1)] for fold in folds]
    undefined = sum(len(fold) for fold in folds) - sum(len(fold) for fold in kept)
    kept = [fold for fold in kept if len(fold)]
    repeats = folds[0].shape[1] if folds else 0
    sizes = np.array([len(fold) for fold in kept], dtype=np.float64)
    if not kept or repeats < 2 or (sizes < 2).all():
        mean = float(np.concatenate(kept).mean()) if kept else math.nan
        return VarianceComponents(repeats, int(sizes.sum()), undefined, mean, *[math.nan] * 4)
    rest, seeds, cases = _mean_squares(kept, sizes, repeats)
    of_seeds, of_cases = (seeds - rest) / sizes.mean(), (cases - rest) / repeats
    return VarianceComponents(
        repeats,
        int(sizes.sum()),
        undefined,
        float(np.concatenate(kept).mean()),
        *(_root(variance) for variance in (of_seeds, of_cases, _fold_variance(kept, sizes, repeats, cases, of_seeds), rest)),
    )


def _mean_squares(
    folds: Sequence[npt.NDArray[np.float64]], sizes: npt.NDArray[np.float64], repeats: int
) -> tuple[float, float, float]:
    """Give the mean squares of rest, seeds and cases, pooled over folds."""
    rest = seeds = cases = 0.0
    for fold in folds:
        of_case, of_seed = fold.mean(axis=1, keepdims=True), fold.mean(axis=0, keepdims=True)
        rest += float(((fold - of_case - of_seed + fold.mean()) ** 2).sum())
        seeds += len(fold) * float(((of_seed - fold.mean()) ** 2).sum())
        cases += repeats * float(((of_case - fold.mean()) ** 2).sum())
    case_freedom = float((sizes - 1).sum())
    return rest / (case_freedom * (repeats - 1)), seeds / (len(folds) * (repeats - 1)), cases / case_freedom


def _fold_variance(
    folds: Sequence[npt.NDArray[np.float64]], sizes: npt.NDArray[np.float64], repeats: int, cases: float, of_seeds: float
) -> float:
    if len(folds) < 2:
        return math.nan
    means = np.array([fold.mean() for fold in folds])
    square = repeats * float((sizes * (means - np.average(means, weights=sizes)) ** 2).sum()) / (len(folds) - 1)
    size = float(sizes.sum() - (sizes**2).sum() / sizes.sum()) / (len(folds) - 1)
    return (square - cases - size * of_seeds) / (repeats * size)


def _cases_by_repeat(part: pd.DataFrame) -> npt.NDArray[np.float64]:
    return part.pivot(index="case", columns="repeat", values=METRIC).to_numpy(dtype=np.float64)


def _root(variance: float) -> float:
    return math.nan if math.isnan(variance) else math.sqrt(max(variance, 0.0))
