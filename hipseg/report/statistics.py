"""Means, deviations and intervals of an arm, over its cases, patients and folds, with what was left out counted."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from hipseg.fsio import printable
from hipseg.report.collect import ArmResult
from hipseg.runs import Answer
from hipseg.score.record import MEASURES, CaseScore
from hipseg.score.slicewise import SliceSums

CONFIDENCE = 0.95


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
class Estimate(Spread):
    """A spread of values that may be taken for independent, with a t interval.

    Args:
        low, high: ends of the interval of CONFIDENCE for the mean, by Student's t with counted - 1 degrees of freedom; NaN where
            fewer than two values are defined. It is not cut at the ends of the score's range.
    """

    low: float
    high: float


@dataclass(frozen=True)
class ArmStatistics:
    """One row of the table: an arm, one structure and one answer.

    Args:
        result: what the numbers are made of.
        label: the structure.
        answer: whether as the network gave it, or cleaned.
        cases, patients: how many.
        misses: cases whose prediction is empty and whose truth is not.
        false_alarms: cases whose truth is empty and whose prediction is not.
        over_cases: measure -> spread over all cases of all folds; the headline. It has no interval, since cases of one patient
            are alike.
        over_patients: measure -> estimate over the means of each patient's cases.
        over_folds: measure -> estimate over the folds' means.
        loss: estimate over the folds' validation losses at the best epoch; of the network's own answer to the first structure.
        slices: scores of single slices, summed up over all cases; a block of its own.
    """

    result: ArmResult
    label: str
    answer: Answer
    cases: int
    patients: int
    misses: int
    false_alarms: int
    over_cases: Mapping[str, Spread]
    over_patients: Mapping[str, Estimate]
    over_folds: Mapping[str, Estimate]
    loss: Estimate
    slices: SliceSums


@dataclass(frozen=True)
class OrganStatistics:
    """One organ of the pretraining, over its held-out cases.

    Args:
        organ: its name, printable.
        cases, patients, misses, false_alarms, over_cases: as of an arm.
    """

    organ: str
    cases: int
    patients: int
    misses: int
    false_alarms: int
    over_cases: Mapping[str, Spread]


def spread(values: npt.ArrayLike) -> Spread:
    """Give mean and sample standard deviation; NaN values are left out and counted."""
    everything = np.asarray(values, dtype=np.float64)
    defined = everything[~np.isnan(everything)]
    counted = defined.size
    mean = float(defined.mean()) if counted else math.nan
    sd = float(defined.std(ddof=1)) if counted > 1 else math.nan
    return Spread(mean, sd, counted, everything.size - counted)


def estimate(values: npt.ArrayLike) -> Estimate:
    """Give besides the t interval of the mean of independent values.

    Source: Student, Biometrika 6 (1908) 1.
    """
    found = spread(values)
    times = float(stats.t.ppf((1 + CONFIDENCE) / 2, found.counted - 1)) if found.counted > 1 else math.nan
    half = times * found.sd / math.sqrt(found.counted) if found.counted > 1 else math.nan
    return Estimate(**vars(found), low=found.mean - half, high=found.mean + half)


def tabulate(scores: Sequence[CaseScore], measures: Sequence[str] = MEASURES) -> pd.DataFrame:
    """Give one line a score: its keys, whether it is a miss or a false alarm, and its measures."""
    # Column by column: a tuple a line would set Python looking for cycles among all lines, again and again.
    keys = {name: [getattr(one, name) for one in scores] for name in ("repeat", "fold", "case", "patient")}
    misses = np.array([one.counts.predicted == 0 < one.counts.truth for one in scores], dtype=np.bool_)
    alarms = np.array([one.counts.truth == 0 < one.counts.predicted for one in scores], dtype=np.bool_)
    values = {name: np.array([getattr(one, name) for one in scores], dtype=np.float64) for name in measures}
    return pd.DataFrame({**keys, "is_miss": misses, "is_false_alarm": alarms, **values})


def summarise(result: ArmResult, label: str | None = None, answer: Answer = "raw") -> ArmStatistics:
    """Derive a row from the scores of an arm's cases.

    Args:
        result: the arm; repeats with other seeds are left out.
        label: the structure; None means the first one.
        answer: which answer.
    """
    headline = next(iter(result.labels))
    label = headline if label is None else label
    scores = [one for fold in result.folds for one in fold.lines if (one.label, one.answer) == (label, answer)]
    frame = tabulate(scores)
    patient_means, fold_means = (frame.groupby(key)[list(MEASURES)].mean() for key in ("patient", "fold"))
    is_headline = (label, answer) == (headline, "raw")
    return ArmStatistics(
        result=result,
        label=label,
        answer=answer,
        cases=len(frame),
        patients=len(patient_means),
        misses=int(frame["is_miss"].sum()),
        false_alarms=int(frame["is_false_alarm"].sum()),
        over_cases={name: spread(frame[name]) for name in MEASURES},
        over_patients={name: estimate(patient_means[name]) for name in MEASURES},
        over_folds={name: estimate(fold_means[name]) for name in MEASURES},
        loss=estimate([fold.val_loss if is_headline else math.nan for fold in result.folds]),
        slices=reduce(add, (one.slices for one in scores)),
    )


def summarise_organs(lines: Sequence[CaseScore]) -> tuple[OrganStatistics, ...]:
    """Derive a row for each organ of a pretraining, in the order of its scores; none without scores."""
    rows = []
    for organ in dict.fromkeys(line.label for line in lines):
        frame = tabulate([line for line in lines if line.label == organ])
        over_cases = {name: spread(frame[name]) for name in MEASURES}
        misses, alarms = int(frame["is_miss"].sum()), int(frame["is_false_alarm"].sum())
        rows.append(OrganStatistics(printable(organ), len(frame), frame["patient"].nunique(), misses, alarms, over_cases))
    return tuple(rows)
