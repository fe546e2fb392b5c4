"""The comparison table as values, and what its readable forms share: titles, numbers in words, the definition, the stamp."""

import math
from dataclasses import dataclass

from hipseg import __version__
from hipseg.report.collect import Collection
from hipseg.report.statistics import ArmStatistics, Spread, summarise

METRIC_TITLES = {
    "dice": "Dice",
    "iou": "IoU",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
}
"""The thesis's columns between Method and Loss, in its order."""
DECIMALS = 3
UNKNOWN = "n/a"
"""What stands where no number is defined."""
DEFINITION = (
    "Scores are mean ± sample SD over the validation cases of all folds; a case is one whole CT volume in its original grid, "
    "scored from its counts of TP, FP, FN and TN. Where truth and prediction are both empty a score is undefined: left out of "
    "the mean and counted; where one of them is empty it is 0. F1 is the same number as Dice. Accuracy counts background too; "
    "all-background accuracy is what an answer without any foreground would score. Dice over folds is mean ± sample SD of the "
    "folds' means. Loss is the mean over folds of the validation loss at the best epoch. Neither accuracy nor loss ranks. "
    f"Computed by hipseg {__version__}."
)


@dataclass(frozen=True)
class Comparison:
    """The methods-comparison table.

    Args:
        rows: one an arm, in the order of the table.
        stamp: "PARTIAL: ..." where folds are left out; every form of the table carries it.
    """

    rows: tuple[ArmStatistics, ...]
    stamp: str | None = None


@dataclass(frozen=True)
class TextRow:
    """One arm in words; the readable forms differ only in how they set it.

    Args:
        study, method, arm: as the settings name them; not escaped.
        metrics: mean ± SD of each of METRIC_TITLES, as (mean, SD).
        loss: mean over the folds.
        folds: complete folds of all folds.
        cases, undefined: numbers of cases, and of those without a defined overlap.
        background_accuracy, dice_over_folds: (mean, SD).
    """

    study: str
    method: str
    arm: str
    metrics: tuple[tuple[str, str], ...]
    loss: str
    folds: str
    cases: str
    undefined: str
    background_accuracy: tuple[str, str]
    dice_over_folds: tuple[str, str]


def compare(collection: Collection) -> Comparison:
    """Derive the table from the folds collected."""
    stamp = f"PARTIAL: {'; '.join(collection.gaps)}" if collection.gaps else None
    return Comparison(tuple(summarise(arm) for arm in collection.arms), stamp)


def put_in_words(row: ArmStatistics) -> TextRow:
    """Round an arm's numbers for reading."""
    first = row.result.folds[0]
    return TextRow(
        study=first.study,
        method=first.method,
        arm=row.result.arm,
        metrics=tuple(_pair(row.over_cases[name]) for name in METRIC_TITLES),
        loss=_number(row.loss.mean),
        folds=f"{len(row.result.folds)}/{first.folds}",
        cases=str(len(row.result.scores)),
        undefined=str(row.over_cases["dice"].undefined),
        background_accuracy=_pair(row.over_cases["background_accuracy"]),
        dice_over_folds=_pair(row.over_folds["dice"]),
    )


def _pair(values: Spread) -> tuple[str, str]:
    return _number(values.mean), _number(values.sd)


def _number(value: float) -> str:
    return UNKNOWN if math.isnan(value) else f"{value:.{DECIMALS}f}"
