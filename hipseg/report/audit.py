"""Which cells of a published table cannot be, by what Dice, IoU, accuracy, precision and recall owe to each other.

A table does not say how its scores were averaged, so each row is read twice.

As pooled counts, where each score comes from one sum of TP, FP, FN and TN, four sources give one and the same Dice D: the
printed Dice; the printed F1; IoU J, as 2 J / (1 + J); precision P and recall R, as their harmonic mean H(P, R).

As means, over cases, slices or folds, identities are lost and bounds are left. Each holds where it holds within every case and
the averages have the same cases, the same weights and the same rule for empty masks in every column:
    D <= H(P, R)       within a case they are equal, and H is concave (Jensen)
    D >= P + R - 1     H has this bound within each case: 2 P R - (P + R)(P + R - 1) = P (1 - P) + R (1 - R) >= 0
    J <= D <= 2 J / (1 + J)   within a case J = D / (2 - D) <= D, and D / (2 - D) is convex (Jensen)
    J <= P, J <= R     within each case, J having the larger denominator
    F1: a mean of F1 is the mean of Dice; an F1 of means is H(P, R); either way D <= F1 <= H(P, R)
Under both readings J <= accuracy, since true negatives are added to the numerator and the denominator of J.

A pair of sources that have no value in common is a contradiction. All arithmetic is in exact fractions.

Some tables print under IoU the mean M of the structure's and the background's. Where more voxels are rightly left out than found
the background's is the larger, so that 2 M - 1 <= J <= M; both readings are judged once more so. M <= accuracy, too.

Source: of the inequality, Jensen, Acta Mathematica 30 (1906) 175; of D and J, Taha and Hanbury, BMC Medical Imaging 15 (2015) 29.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Literal

from hipseg.report.published import Cell, PublishedRow, Range

Reading = Literal["pooled", "means"]
Verdict = Literal["nothing compared", "possible", "at the edge", "cannot be"]
READINGS: Mapping[Reading, str] = {
    "pooled": "pooled counts",
    "means": "means over cases",
}
TITLES = {"dice": "Dice", "iou": "IoU", "accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1"}
COMPARED = (("dice",), ("f1",), ("iou",), ("precision", "recall"), ("accuracy",))
"""Cells are held against those of another of these groups; precision and recall may be any two numbers."""
SEVERITY: Sequence[Verdict] = ("possible", "at the edge", "cannot be")
UNKNOWN = Range(Fraction(0), Fraction(1))
DECIMALS = 5


@dataclass(frozen=True)
class Finding:
    """A contradiction between cells.

    Args:
        columns: whose cells cannot all be.
        verdict: "cannot be", or "at the edge" where one single value is left, at the end of what was rounded.
        arithmetic: how it follows, in numbers.
    """

    columns: tuple[str, ...]
    verdict: Verdict
    arithmetic: str


Findings = Mapping[Reading, tuple[Finding, ...]]


@dataclass(frozen=True)
class RowAudit:
    """What the two readings of a row find.

    Args:
        row: the row.
        findings: reading -> contradictions; nothing found is no proof that a row is right.
        averaged: the same, were IoU the mean of the structure's and the background's; None without IoU.
        implied: what IoU and accuracy say about the images; None without both.
    """

    row: PublishedRow
    findings: Findings
    averaged: Findings | None
    implied: str | None

    def judge(self, findings: Sequence[Finding]) -> Verdict:
        """Give the worst of the verdicts, or say that the row has no two cells to hold against each other."""
        groups = sum(any(name in self.row.cells for name in group) for group in COMPARED)
        return worst(findings) if groups > 1 else "nothing compared"

    @property
    def is_impossible(self) -> bool:
        """Whether the row cannot be under either reading, the structure having an IoU of its own."""
        return all(worst(self.findings[reading]) == "cannot be" for reading in READINGS)


@dataclass(frozen=True)
class _Source:
    """Cells, in words, and the range of Dice that they leave."""

    columns: tuple[str, ...]
    words: str
    dice: Range


def audit_row(row: PublishedRow) -> RowAudit:
    """Hold the cells of a row against each other, under both readings."""
    averaged = None
    if "iou" in row.cells:
        iou = row.cells["iou"]
        alone = Range(max(2 * iou.values.low - 1, Fraction(0)), iou.values.high)
        averaged = _find({**row.cells, "iou": Cell(f"{iou.text} with the background, alone", alone)}, iou)
    return RowAudit(row, _find(row.cells, row.cells.get("iou")), averaged, _implied_share(row.cells))


def worst(findings: Sequence[Finding]) -> Verdict:
    """Give the worst of the verdicts."""
    return max((one.verdict for one in findings), key=SEVERITY.index, default="possible")


def _find(cells: Mapping[str, Cell], printed_iou: Cell | None) -> Findings:
    pooled, means = list(_pooled_sources(cells)), list(_mean_sources(cells))
    return {
        "pooled": (*_contradictions(pooled), *_accuracy_findings(cells, pooled, printed_iou)),
        "means": (*_contradictions(means), *_mean_findings(cells), *_accuracy_findings(cells, means, printed_iou)),
    }


def harmonic_mean(p: Fraction, r: Fraction) -> Fraction:
    """Give 2 P R / (P + R); 0 of two zeros."""
    return 2 * p * r / (p + r) if p + r else Fraction(0)


def dice_of_iou(iou: Fraction) -> Fraction:
    """Give 2 J / (1 + J)."""
    return 2 * iou / (1 + iou)


def iou_of_dice(dice: Fraction) -> Fraction:
    """Give D / (2 - D)."""
    return dice / (2 - dice)


def _pooled_sources(cells: Mapping[str, Cell]) -> Iterator[_Source]:
    for name in ("dice", "f1"):
        if name in cells:
            yield _Source((name,), f"{TITLES[name]} {_cell(cells[name])}", cells[name].values)
    if "iou" in cells:
        iou = cells["iou"]
        dice = Range(dice_of_iou(iou.values.low), dice_of_iou(iou.values.high))
        yield _Source(("iou",), f"IoU {_cell(iou)} gives Dice 2J/(1+J) = {_range(dice)}", dice)
    if names := [name for name in ("precision", "recall") if name in cells]:
        p, r = (cells[name].values if name in cells else UNKNOWN for name in ("precision", "recall"))
        dice = Range(harmonic_mean(p.low, r.low), harmonic_mean(p.high, r.high))
        yield _Source(tuple(names), f"{_list(names, cells)} give F1 2PR/(P+R) = {_range(dice)}", dice)


def _mean_sources(cells: Mapping[str, Cell]) -> Iterator[_Source]:
    if "dice" in cells:
        yield _Source(("dice",), f"mean Dice {_cell(cells['dice'])}", cells["dice"].values)
    if "f1" in cells:
        high = cells["f1"].values.high
        yield _Source(("f1",), f"F1 {_cell(cells['f1'])} leaves mean Dice at most {_number(high)}", Range(Fraction(0), high))
    if "iou" in cells:
        iou = cells["iou"]
        dice = Range(iou.values.low, dice_of_iou(iou.values.high))
        yield _Source(("iou",), f"mean IoU {_cell(iou)} leaves mean Dice between J and 2J/(1+J), {_range(dice)}", dice)
    if names := [name for name in ("precision", "recall") if name in cells]:
        dice = _dice_of_means(cells)
        words = f"mean {_list(names, cells)} leave mean Dice between P+R-1 and 2PR/(P+R), {_range(dice)}"
        yield _Source(tuple(names), words, dice)


def _dice_of_means(cells: Mapping[str, Cell]) -> Range:
    p, r = (cells[name].values if name in cells else UNKNOWN for name in ("precision", "recall"))
    return Range(max(p.low + r.low - 1, Fraction(0)), harmonic_mean(p.high, r.high))


def _contradictions(sources: Sequence[_Source]) -> Iterator[Finding]:
    for one, other in combinations(sources, 2):
        low, high = max(one.dice.low, other.dice.low), min(one.dice.high, other.dice.high)
        if verdict := _judge(low, high):
            left = "no value in common" if verdict == "cannot be" else "no other value in common"
            yield Finding((*one.columns, *other.columns), verdict, f"{one.words}; {other.words}: {_compare(low, high)}, {left}")


def _mean_findings(cells: Mapping[str, Cell]) -> Iterator[Finding]:
    """Find what the range of Dice does not show: IoU beyond precision or recall, F1 beyond their harmonic mean."""
    for name in ("precision", "recall"):
        if "iou" in cells and name in cells:
            yield from _at_most(
                ("iou", name), "mean IoU", cells["iou"].values.low, f"mean {name} {_cell(cells[name])}", cells[name].values.high
            )
    if "f1" in cells and "precision" in cells and "recall" in cells:
        bound = _dice_of_means(cells)
        words = f"2PR/(P+R) of mean {_list(['precision', 'recall'], cells)}"
        yield from _at_most(("f1", "precision", "recall"), "F1", cells["f1"].values.low, words, bound.high)


def _accuracy_findings(cells: Mapping[str, Cell], sources: Sequence[_Source], iou: Cell | None) -> Iterator[Finding]:
    """Find an accuracy below the least IoU that the cells allow."""
    if "accuracy" not in cells or not sources:
        return
    least = max(sources, key=lambda source: source.dice.low)
    low, columns, words = iou_of_dice(least.dice.low), least.columns, f"IoU D/(2-D), where {least.words},"
    if iou is not None and iou.values.low >= low:
        low, columns, words = iou.values.low, ("iou",), f"IoU {_cell(iou)}"
    accuracy = cells["accuracy"]
    yield from _at_most((*columns, "accuracy"), words, low, f"accuracy {_cell(accuracy)}", accuracy.values.high)


def _at_most(columns: tuple[str, ...], words: str, low: Fraction, bound_words: str, high: Fraction) -> Iterator[Finding]:
    if verdict := _judge(low, high):
        yield Finding(columns, verdict, f"{words} must be at most {bound_words}: lowest and highest are {_compare(low, high)}")


def _judge(low: Fraction, high: Fraction) -> Verdict | None:
    """Judge what is left between two bounds; a range of rounding is never a single value, so that one in common is its end."""
    if low > high:
        return "cannot be"
    return "at the edge" if low == high else None


def _implied_share(cells: Mapping[str, Cell]) -> str | None:
    """Give the least share of the image that truth and prediction together fill.

    Within a case 1 - accuracy = share * (1 - IoU), both being (FP + FN) over a total. So the share of pooled counts, and the
    largest share of any case behind means, is at least (1 - accuracy) / (1 - IoU).
    """
    if "iou" not in cells or "accuracy" not in cells or cells["iou"].values.low == 1:
        return None
    wrong, without_overlap = 1 - cells["accuracy"].values.high, 1 - cells["iou"].values.low
    share = wrong / without_overlap
    return (
        f"truth and prediction together fill at least (1 - accuracy)/(1 - IoU) = {_number(wrong)}/{_number(without_overlap)} = "
        f"{float(100 * share):.1f} % of the image, in at least one case (IoU of the structure alone)"
    )


def _list(names: Sequence[str], cells: Mapping[str, Cell]) -> str:
    return " and ".join(f"{name} {_cell(cells[name])}" for name in names)


def _compare(low: Fraction, high: Fraction) -> str:
    """Write both with as many decimals as tell them apart."""
    if low == high:
        return f"{_number(low)} = {_number(high)}"
    decimals = next(count for count in range(DECIMALS, 100) if f"{float(low - high):.{count}f}".strip("0."))
    return f"{_number(low, decimals)} > {_number(high, decimals)}"


def _cell(cell: Cell) -> str:
    return f"{cell.text} ({_range(cell.values)})"


def _range(values: Range) -> str:
    return f"{_number(values.low)} to {_number(values.high)}"


def _number(value: Fraction, decimals: int = DECIMALS) -> str:
    text = f"{float(value):.{decimals}f}".rstrip("0").rstrip(".")
    return text or "0"
