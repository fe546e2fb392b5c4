"""Means and standard deviations of an arm, over its cases and over its folds, with what was left out counted."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from hipseg.report.collect import ArmResult
from hipseg.score.record import METRICS


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1) of the values that are defined.

    Args:
        mean: NaN where no value is defined.
        sd: NaN where fewer than two are.
        counted: number of values that are defined.
        undefined: number of NaN, which are left out.
    """

    mean: float
    sd: float
    counted: int
    undefined: int


@dataclass(frozen=True)
class ArmStatistics:
    """One row of the table.

    Args:
        result: what the numbers are made of.
        over_cases: metric -> spread over all cases of all folds; the headline.
        over_folds: metric -> spread over the folds' means.
        loss: spread over the folds of the validation loss of the best epoch.
    """

    result: ArmResult
    over_cases: dict[str, Spread]
    over_folds: dict[str, Spread]
    loss: Spread


def spread(values: Iterable[float]) -> Spread:
    """Give mean and sample standard deviation; NaN values are left out and counted."""
    everything = list(values)
    defined = [value for value in everything if not math.isnan(value)]
    return Spread(
        mean=statistics.fmean(defined) if defined else math.nan,
        sd=statistics.stdev(defined) if len(defined) > 1 else math.nan,
        counted=len(defined),
        undefined=len(everything) - len(defined),
    )


def summarise(result: ArmResult) -> ArmStatistics:
    """Derive an arm's row from the scores of its cases."""
    by_fold = {name: [spread(getattr(score, name) for score in fold.scores).mean for fold in result.folds] for name in METRICS}
    return ArmStatistics(
        result=result,
        over_cases={name: spread(getattr(score, name) for score in result.scores) for name in METRICS},
        over_folds={name: spread(by_fold[name]) for name in METRICS},
        loss=spread(fold.val_loss for fold in result.folds),
    )
