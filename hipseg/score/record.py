"""The scores of one case, checked against each other, and their line in scores.jsonl."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hipseg.errors import ReportError
from hipseg.fsio import write_text
from hipseg.score import overlap
from hipseg.score.overlap import Counts

METRICS = ("dice", "iou", "accuracy", "precision", "recall", "f1", "background_accuracy")
"""Names of the scores, as fields of `CaseScore` and as keys of scores.jsonl."""
BOTH_EMPTY = "truth and prediction are both empty"
NO_VOXELS = "the case has no voxels"
IDENTITY_TOLERANCE = 1e-9
"""F1 and Dice, or IoU and D / (2 - D), may differ by rounding of float64 only."""


@dataclass(frozen=True)
class CaseScore:
    """What one case of one run scored, over the whole volume in its original grid.

    Args:
        case, patient: keys of the data set.
        arm, fold: the run.
        counts: voxels of the whole case.
        dice, iou, accuracy, precision, recall, f1: the scores, no unit; NaN where undefined.
        background_accuracy: the accuracy of an answer without any foreground.
        undefined: name of each NaN score -> why it is undefined.
    Raises:
        ReportError: F1 is not Dice, IoU is not D / (2 - D), a score is outside 0..1, or a NaN has no reason.
    """

    case: str
    patient: str
    arm: str
    fold: int
    counts: Counts
    dice: float
    iou: float
    accuracy: float
    precision: float
    recall: float
    f1: float
    background_accuracy: float
    undefined: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Hold the scores against each other."""
        without_value = {name for name, value in self.metrics().items() if math.isnan(value)}
        if without_value != set(self.undefined):
            raise ReportError(
                f"scores of case {self.case}: undefined are {sorted(without_value)}, reasons are given for "
                f"{sorted(self.undefined)}; each NaN needs one reason"
            )
        for name, value in self.metrics().items():
            if not (math.isnan(value) or 0 <= value <= 1):
                raise ReportError(f"{name} of case {self.case} is {value}; a score lies between 0 and 1")
        self._check_identity("F1", self.f1, "Dice", self.dice)
        self._check_identity("IoU", self.iou, "D / (2 - D)", self.dice / (2 - self.dice))

    def metrics(self) -> dict[str, float]:
        """Give the scores by name."""
        return {name: getattr(self, name) for name in METRICS}

    def _check_identity(self, name: str, value: float, other_name: str, other: float) -> None:
        both_undefined = math.isnan(value) and math.isnan(other)
        if not both_undefined and not abs(value - other) <= IDENTITY_TOLERANCE:
            raise ReportError(
                f"scores of case {self.case} contradict each other: {name} {value}, {other_name} {other}; must be equal"
            )


def score_case(case: str, patient: str, arm: str, fold: int, counts: Counts) -> CaseScore:
    """Derive all scores of a case from its counts.

    Args:
        case: key of the case.
        patient: key of its patient.
        arm: name of the run's arm.
        fold: number of the run's fold, from 0.
        counts: voxels of the whole case in its original grid.
    Returns:
        The scores, with a reason for each that is undefined.
    Raises:
        ReportError: the scores contradict each other.
    """
    values = {name: getattr(overlap, name)(counts) for name in METRICS}
    reason = BOTH_EMPTY if counts.total else NO_VOXELS
    undefined = {name: reason for name, value in values.items() if math.isnan(value)}
    return CaseScore(case=case, patient=patient, arm=arm, fold=fold, counts=counts, undefined=undefined, **values)


def to_json(score: CaseScore) -> str:
    """Write a case's scores as one line of JSON, without the line's end; NaN becomes null."""
    counts = score.counts
    line = {
        "case": score.case,
        "patient": score.patient,
        "arm": score.arm,
        "fold": score.fold,
        "counts": {"tp": counts.tp, "fp": counts.fp, "fn": counts.fn, "tn": counts.tn},
        "metrics": {name: None if math.isnan(value) else value for name, value in score.metrics().items()},
        "undefined": dict(score.undefined),
    }
    return json.dumps(line, allow_nan=False)


def from_json(line: str) -> CaseScore:
    """Read a case's scores back and hold them against their counts.

    Args:
        line: what `to_json` gave.
    Returns:
        The same scores.
    Raises:
        ReportError: the line is damaged, or a score does not follow from the counts.
    """
    try:
        value = json.loads(line)
        counts = Counts(**{name: int(number) for name, number in value["counts"].items()})
        found = {name: math.nan if value["metrics"][name] is None else float(value["metrics"][name]) for name in METRICS}
        score = score_case(str(value["case"]), str(value["patient"]), str(value["arm"]), int(value["fold"]), counts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReportError(
            f"damaged line of scores ({type(error).__name__}: {error}): {line[:80]!r}; evaluate the fold again"
        ) from error
    for name, wanted in score.metrics().items():
        if found[name] != wanted and not (math.isnan(found[name]) and math.isnan(wanted)):
            raise ReportError(f"{name} of case {score.case} is {found[name]}, its counts give {wanted}; evaluate the fold again")
    return score


def write_scores(path: Path, scores: Iterable[CaseScore]) -> None:
    """Write scores.jsonl, one line a case in the order given, whole or not at all."""
    write_text(path, "".join(to_json(score) + "\n" for score in scores))


def read_scores(path: Path) -> tuple[CaseScore, ...]:
    """Read scores.jsonl.

    Raises:
        ReportError: the file is missing, cannot be read, or a line is damaged or does not follow from its counts.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"cannot read scores at {path}: {error}; evaluate the fold again") from error
    return tuple(from_json(line) for line in lines)
