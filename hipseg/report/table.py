"""The comparison as values, and what its readable forms share: blocks of cells in words, the definition, the stamp."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hipseg import __version__
from hipseg.report.collect import ArmResult, Collection
from hipseg.report.pairs import PairedComparison, compare_pairs
from hipseg.report.repeats import VarianceComponents, separate_arm
from hipseg.report.statistics import (
    CONFIDENCE,
    ArmStatistics,
    OrganStatistics,
    Spread,
    summarise,
    summarise_organs,
)
from hipseg.score.slicewise import Reading

METRIC_TITLES = {
    "dice": "Dice",
    "iou": "IoU",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
}
"""The thesis's columns between Method and Loss, in its order."""
SCORE_TITLES = {
    "dice": "Dice",
    "iou": "IoU",
    "accuracy": "Accuracy",
    "background_accuracy": "All-background accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
}
"""What an accuracy is worth shows beside that of an answer without any foreground."""
DISTANCE_TITLES = {
    "hd95_mm": "HD95 mm",
    "assd_mm": "ASSD mm",
    "hd95_or_diagonal_mm": "HD95 or diagonal mm",
    "assd_or_diagonal_mm": "ASSD or diagonal mm",
    "nsd_1mm": "NSD 1 mm",
    "nsd_2mm": "NSD 2 mm",
}
VOLUME_TITLES = {
    "volume_truth_ml": "Truth ml",
    "volume_prediction_ml": "Prediction ml",
    "volume_difference_ml": "Difference ml",
    "specificity": "Specificity",
}
SLICE_TITLES = {
    "dice": "Dice",
    "iou": "IoU",
    "mean_iou": "Mean IoU",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
}
ORGAN_TITLES = {"dice": "Dice", "iou": "IoU", "hd95_mm": "HD95 mm", "nsd_2mm": "NSD 2 mm"}
READINGS: dict[Reading, str] = {"skipping": "left out", "empty_as_one": "counted as 1"}
"""Of slices where truth and prediction are both empty."""
DECIMALS = 3
P_DECIMALS = 4
"""With fewer 0.0496 and 0.0504 would read alike, on either side of 0.05."""
UNKNOWN = "n/a"
"""What stands where no number is defined."""
PERCENT = f"{CONFIDENCE:.0%}"
DEFINITION = (
    "Unit: a case is one whole CT volume in its original grid, scored from its counts of TP, FP, FN and TN. Averaging: mean ±"
    " sample SD over the validation cases of all folds; over patients, of the means of each patient's cases; over folds, of the"
    f" folds' means. Intervals are {PERCENT} t intervals over patients or over folds, which take these for independent and are "
    "not cut at 0 and 1; there is none over cases, since a patient's cases are alike."
    " Empties: where truth and prediction are both empty a score is undefined, "
    "left out of the mean and counted; where one of them is empty overlap and NSD are 0, HD95 and ASSD are undefined, and 'or"
    " diagonal' puts the image's diagonal in their place; a miss is an empty prediction of a structure that is there, a false "
    "alarm a prediction of one that is not. "
    "Weights: of the epoch with the highest Dice on the fold's validation cases, of all their pixels in the network's input "
    "together. These are the cases scored here, so that all scores are optimistic, the more so the more an arm fluctuates from "
    "epoch to epoch; so it is with organs of pretraining. "
    "Spacing: distances are in mm by each case's own spacing, from both surfaces together; NSD is the share of both surfaces "
    "within 1 or 2 mm; volume difference is prediction minus truth. F1 is the same number as Dice. Accuracy counts background"
    " too; all-background accuracy is what an answer without any foreground would score. Loss is the mean over folds of the "
    "validation loss at the best epoch. Neither accuracy nor loss ranks. Arms are compared over patients by Wilcoxon's "
    "signed-rank test of Dice (two-sided, zeros after Pratt), with Holm's correction over all pairs tested and a "
    f"distribution-free {PERCENT} interval of the median difference; folds are not tested. Effect size is the matched-pairs "
    "rank-biserial correlation: ranks for the second arm minus ranks for the first, as a share of all ranks, with those of "
    "patients without a difference, so that 1 means that the second is better in every patient. Repeats: an analysis of "
    "variance of Dice, cases and seeds crossed within folds; a negative estimate counts as 0; other numbers are of the first "
    "seed, and all repeats share one pretraining. Slice-wise scores average over "
    f"single slices of all cases and compare with no other block. Implementation: hipseg {__version__}, surfaces by DeepMind's"
    " surface-distance."
)


@dataclass(frozen=True)
class Joined:
    """Two numbers of one cell in words: mean ± SD, or low to high."""

    left: str
    sign: str
    right: str


Cell = str | Joined


@dataclass(frozen=True)
class Comparison:
    """The methods-comparison table and what stands behind it.

    Args:
        rows: one an arm, structure and answer: first those of the headline, in the order of the table.
        pairs: every two arms over the same patients.
        repeats: arm -> where its spread comes from; only arms that were repeated with other seeds.
        organs: of the pretraining, over its held-out cases.
        stamp: "PARTIAL: ..." where folds are left out; every form of the table carries it.
        warnings: what the folds differ in.
    """

    rows: tuple[ArmStatistics, ...]
    pairs: tuple[PairedComparison, ...] = ()
    repeats: tuple[tuple[ArmResult, VarianceComponents], ...] = ()
    organs: tuple[OrganStatistics, ...] = ()
    stamp: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """Some columns of the table in words; the readable forms differ only in how they set it.

    Args:
        title: of the block.
        words: titles of the columns of words, which come first.
        numbers: titles of the columns of numbers.
        rows: of cells; what names in the settings say is not escaped.
    """

    title: str
    words: tuple[str, ...]
    numbers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def compare(collection: Collection) -> Comparison:
    """Derive the table from the folds collected."""
    arms = collection.arms
    first = arms[0].folds[0]
    kinds = sorted(
        {(list(first.labels).index(line.label), line.answer != "raw", line.label, line.answer) for line in first.lines}
    )
    separated = ((arm, separate_arm(arm)) for arm in arms)
    return Comparison(
        rows=tuple(summarise(arm, label, answer) for _, _, label, answer in kinds for arm in arms),
        pairs=compare_pairs(arms),
        repeats=tuple((arm, components) for arm, components in separated if components is not None),
        organs=summarise_organs(collection.organs),
        stamp=f"PARTIAL: {'; '.join(collection.gaps)}" if collection.gaps else None,
        warnings=collection.warnings,
    )


def define(comparison: Comparison) -> str:
    """Say how the numbers of a table came about."""
    return f"{DEFINITION} {describe_data(comparison)}"


def describe_data(comparison: Comparison) -> str:
    """Name the structures by their labels, and the scans that the cases were among; a name may be called anything."""
    folds = [fold for row in comparison.rows for fold in row.result.folds]
    labels = {name: numbers for fold in folds for name, numbers in fold.labels.items()}
    told = (f"{name} is label {' and '.join(map(str, numbers))} of the masks" for name, numbers in labels.items())
    scans = "; or ".join(dict.fromkeys(fold.scans for fold in folds if fold.scans))
    return f"Structures: {'; '.join(told)}." + (f" Scans: {scans}." if scans else "")


def blocks(comparison: Comparison) -> tuple[Block, ...]:
    """Put the table into words, block by block; a block without rows is left out."""
    every = (
        *_blocks_over_cases(comparison.rows),
        Block(
            "Arms compared over patients by Dice, second minus first",
            ("First", "Second", "Test"),
            ("Patients", "Cases left out", "Median difference", f"{PERCENT} interval", "Effect size", "p", "p by Holm"),
            tuple(_compared(pair) for pair in comparison.pairs),
        ),
        Block(
            "Slice-wise, not to be compared with scores over cases",
            ("Arm", "Scored", "Empty slices"),
            ("Slices", "Empty", *SLICE_TITLES.values()),
            tuple(_slice_rows(comparison.rows)),
        ),
        Block(
            "Dice over repeats with other seeds, SD by where it comes from",
            ("Arm",),
            ("Repeats", "Cases", "Left out", "Mean", "SD of seeds", "SD of cases", "SD of folds", "SD of the rest"),
            tuple((arm.arm, *_repeat_numbers(components)) for arm, components in comparison.repeats),
        ),
        Block(
            "Organs of pretraining over its held-out cases, by which its epoch was chosen",
            ("Organ",),
            ("Cases", "Patients", "Misses", "False alarms", "Undefined", *ORGAN_TITLES.values()),
            tuple(_organ_row(row) for row in comparison.organs),
        ),
    )
    return tuple(block for block in every if block.rows)


def _blocks_over_cases(rows: Sequence[ArmStatistics]) -> tuple[Block, ...]:
    return (
        Block(
            "Scores over cases",
            ("Study", "Method", "Arm", "Scored"),
            (*SCORE_TITLES.values(), "Loss"),
            tuple((*_names(row), _scored(row), *_means(row, SCORE_TITLES), _number(row.loss.mean)) for row in rows),
        ),
        Block(
            "Cases behind them",
            ("Study", "Method", "Arm", "Scored"),
            ("Folds", "Cases", "Patients", "Misses", "False alarms", "Undefined"),
            tuple((*_names(row), _scored(row), *_counts(row)) for row in rows),
        ),
        Block(
            "Dice over cases, patients and folds",
            ("Arm", "Scored"),
            ("Over cases", "Over patients", f"{PERCENT} interval", "Over folds", f"{PERCENT} interval"),
            tuple((row.result.arm, _scored(row), *_intervals(row)) for row in rows),
        ),
        Block(
            "Distances over cases",
            ("Arm", "Scored"),
            (*DISTANCE_TITLES.values(), "HD95 undefined"),
            tuple((row.result.arm, _scored(row), *_distances(row)) for row in rows),
        ),
        Block(
            "Volumes and specificity over cases",
            ("Arm", "Scored"),
            tuple(VOLUME_TITLES.values()),
            tuple((row.result.arm, _scored(row), *_means(row, VOLUME_TITLES)) for row in rows),
        ),
    )


def _names(row: ArmStatistics) -> tuple[str, str, str]:
    first = row.result.folds[0]
    return first.study, first.method, row.result.arm


def _scored(row: ArmStatistics) -> str:
    return f"{row.label}, {row.answer}"


def _means(row: ArmStatistics, names: Iterable[str]) -> Iterator[Cell]:
    return (_spread(row.over_cases[name]) for name in names)


def _counts(row: ArmStatistics) -> Sequence[Cell]:
    return (
        f"{len(row.result.folds)}/{row.result.folds[0].folds}",
        str(row.cases),
        str(row.patients),
        str(row.misses),
        str(row.false_alarms),
        str(row.over_cases["dice"].undefined),
    )


def _intervals(row: ArmStatistics) -> Iterator[Cell]:
    yield _spread(row.over_cases["dice"])
    for values in (row.over_patients["dice"], row.over_folds["dice"]):
        yield _spread(values)
        yield _interval(values.low, values.high)


def _distances(row: ArmStatistics) -> Iterator[Cell]:
    yield from _means(row, DISTANCE_TITLES)
    yield str(row.over_cases["hd95_mm"].undefined)


def _compared(pair: PairedComparison) -> tuple[Cell, ...]:
    return (
        pair.first,
        pair.second,
        pair.method or f"not tested, {pair.reason}",
        str(pair.patients),
        str(pair.undefined),
        _number(pair.median_difference),
        _interval(pair.low, pair.high),
        _number(pair.effect_size),
        _p_value(pair.p),
        _p_value(pair.p_holm),
    )


def _slice_rows(rows: Iterable[ArmStatistics]) -> Iterator[tuple[Cell, ...]]:
    for row in rows:
        for reading, words in READINGS.items():
            means = (_number(row.slices.mean(name, reading)) for name in SLICE_TITLES)
            yield row.result.arm, _scored(row), words, str(row.slices.slices), str(row.slices.both_empty), *means


def _organ_row(row: OrganStatistics) -> tuple[Cell, ...]:
    means = (_spread(row.over_cases[name]) for name in ORGAN_TITLES)
    counts = (row.cases, row.patients, row.misses, row.false_alarms, row.over_cases["dice"].undefined)
    return row.organ, *map(str, counts), *means


def _repeat_numbers(parts: VarianceComponents) -> Sequence[Cell]:
    numbers = (parts.mean, parts.sd_seeds, parts.sd_cases, parts.sd_folds, parts.sd_rest)
    return (str(parts.repeats), str(parts.cases), str(parts.undefined), *map(_number, numbers))


def _spread(values: Spread) -> Cell:
    return UNKNOWN if math.isnan(values.mean) else Joined(_number(values.mean), "±", _number(values.sd))


def _interval(low: float, high: float) -> Cell:
    return UNKNOWN if math.isnan(low) else Joined(_number(low), "to", _number(high))


def _number(value: float) -> str:
    return UNKNOWN if math.isnan(value) else f"{value:z.{DECIMALS}f}"


def _p_value(value: float) -> str:
    if math.isnan(value):
        return UNKNOWN
    return f"{value:.{P_DECIMALS}f}" if value >= 10**-P_DECIMALS else f"< {10**-P_DECIMALS:.{P_DECIMALS}f}"
