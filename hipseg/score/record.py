"""The scores of one structure in one case, checked against each other, and their line in scores.jsonl."""

import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from operator import attrgetter, mul
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from hipseg.errors import MaskError, ReportError
from hipseg.fsio import write_text
from hipseg.runs import Answer
from hipseg.score import overlap
from hipseg.score.distances import DISTANCES, Distances, check_distances, or_diagonal
from hipseg.score.overlap import Counts
from hipseg.score.slicewise import SliceSums
from hipseg.score.space import MM3_PER_ML, SpacingMm

_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any)
METRICS = ("dice", "iou", "accuracy", "precision", "recall", "specificity", "f1", "background_accuracy")
"""Names of the overlap scores, 0..1, as fields of `CaseScore` and as keys of scores.jsonl."""
VOLUMES = ("volume_truth_ml", "volume_prediction_ml", "volume_difference_ml")
"""Names of the volumes."""
MEASURES = (*METRICS, *VOLUMES, *DISTANCES)
"""Names of everything that is averaged over cases."""
_read_measures = attrgetter(*MEASURES)
_OVERLAPS = tuple((name, getattr(overlap, name)) for name in METRICS)
HIP = "hip"
"""Name of the structure that a study is about."""
BOTH_EMPTY = "truth and prediction are both empty"
TRUTH_EMPTY = "the truth is empty, the prediction is not"
PREDICTION_EMPTY = "the prediction is empty, the truth is not"
NO_BACKGROUND = "the truth fills the whole image"
NO_VOXELS = "the case has no voxels"
IDENTITY_TOLERANCE = 1e-9
"""F1 and Dice, or IoU and D / (2 - D), may differ by rounding of float64 only."""


@dataclass(frozen=True)
class Measured:
    """What one look at the masks of truth and prediction gave.

    Args:
        counts: voxels of the whole case in its original grid.
        distances: between the two surfaces.
        slices: the slices' own scores, summed up.
    """

    counts: Counts
    distances: Distances
    slices: SliceSums


@dataclass(frozen=True, slots=True)
class CaseScore:
    """What one run scored for one structure of one case, over the whole volume in its original grid.

    Args:
        case, patient: keys of the data set.
        arm, fold: the run.
        shape_zyx, spacing_mm_zyx: of the case's grid; voxels, and mm between their centres.
        counts: voxels of the whole case.
        dice, iou, accuracy, precision, recall, specificity, f1: the scores, no unit; NaN where undefined.
        background_accuracy: the accuracy of an answer without any foreground.
        hd95_mm, assd_mm, nsd_1mm, nsd_2mm: see `hipseg.score.surface`; NaN where undefined.
        hd95_or_diagonal_mm, assd_or_diagonal_mm: the same, with the image's diagonal where exactly one mask is empty.
        volume_truth_ml, volume_prediction_ml: of the structure, ml.
        volume_difference_ml: prediction minus truth; negative where too little was found.
        slices: scores slice by slice, summed up.
        image_digest: of the case's packed image, as in the manifest.
        repeat: of the study with another seed, from 0.
        label: name of the structure.
        answer: whether the prediction was scored as the network gave it, or cleaned.
        undefined: name of each NaN score -> why it is undefined.
    Raises:
        ReportError: F1 is not Dice, IoU is not D / (2 - D), a score is out of its range, or a NaN has no reason.
    """

    case: str
    patient: str
    arm: str
    fold: int
    shape_zyx: tuple[int, int, int]
    spacing_mm_zyx: SpacingMm
    counts: Counts
    dice: float
    iou: float
    accuracy: float
    precision: float
    recall: float
    specificity: float
    f1: float
    background_accuracy: float
    hd95_mm: float
    assd_mm: float
    nsd_1mm: float
    nsd_2mm: float
    hd95_or_diagonal_mm: float
    assd_or_diagonal_mm: float
    volume_truth_ml: float
    volume_prediction_ml: float
    volume_difference_ml: float
    slices: SliceSums
    image_digest: str
    repeat: int = 0
    label: str = HIP
    answer: Answer = "raw"
    undefined: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Hold the scores against each other."""
        values = self.values()
        without_value = set(_find_undefined(values))
        if without_value != self.undefined.keys():
            raise ReportError(
                f"scores of case {self.case}: undefined are {sorted(without_value)}, reasons are given for "
                f"{sorted(self.undefined)}; each NaN needs one reason"
            )
        for name in METRICS:
            value = values[name]
            if not (0 <= value <= 1 or math.isnan(value)):
                raise ReportError(f"{name} of case {self.case} is {value}; a score lies between 0 and 1")
        self._check_identity("F1", self.f1, "Dice", self.dice)
        self._check_identity("IoU", self.iou, "D / (2 - D)", self.dice / (2 - self.dice))
        check_distances(self.case, self.distances, self.counts, _diagonal_mm(self.shape_zyx, self.spacing_mm_zyx))
        self._check_size()
        self._check_slices()

    @property
    def distances(self) -> Distances:
        """The surface scores together."""
        return Distances(self.hd95_mm, self.assd_mm, self.nsd_1mm, self.nsd_2mm)

    def values(self) -> dict[str, float]:
        """Give overlap scores, volumes and surface scores by name."""
        return dict(zip(MEASURES, _read_measures(self), strict=True))

    def _check_identity(self, name: str, value: float, other_name: str, other: float) -> None:
        if not (abs(value - other) <= IDENTITY_TOLERANCE or (math.isnan(value) and math.isnan(other))):
            raise ReportError(
                f"scores of case {self.case} contradict each other: {name} {value}, {other_name} {other}; must be equal"
            )

    def _check_size(self) -> None:
        if not all(math.isfinite(side) and side > 0 for side in self.spacing_mm_zyx):
            raise ReportError(f"spacing of case {self.case} is {self.spacing_mm_zyx} mm; must be positive")
        if self.counts.total != math.prod(self.shape_zyx) or self.slices.slices != self.shape_zyx[0]:
            raise ReportError(
                f"case {self.case} has shape {self.shape_zyx}, its counts are of {self.counts.total} voxels and "
                f"{self.slices.slices} slices; all must fit"
            )

    def _check_slices(self) -> None:
        """A case is empty where all of its slices are, and nothing is found in it where nothing is in any of them."""
        slices, counts = self.slices, self.counts
        is_empty, is_found = slices.both_empty == slices.slices, slices.sums["dice"] > 0
        if is_empty != (counts.truth == counts.predicted == 0) or is_found != (counts.tp > 0):
            raise ReportError(
                f"slices of case {self.case} are {slices.slices}, {slices.both_empty} of them empty, with a sum of Dice of "
                f"{slices.sums['dice']:.6g}: its counts say otherwise, {counts}"
            )


def score_case(measured: Measured, **origin: Any) -> CaseScore:
    """Derive all scores of a case from its counts, and join them to what was measured on its surfaces and slices.

    Args:
        measured: on the masks.
        origin: the other fields of `CaseScore`: case, patient, arm, fold, repeat, label, answer, image_digest, shape_zyx,
            spacing_mm_zyx.
    Returns:
        The scores, with a reason for each that is undefined.
    Raises:
        ReportError: the scores contradict each other.
    """
    counts, distances = measured.counts, measured.distances
    shape_zyx, spacing_mm_zyx = origin["shape_zyx"], origin["spacing_mm_zyx"]
    diagonal_mm, voxel_ml = _diagonal_mm(shape_zyx, spacing_mm_zyx), math.prod(spacing_mm_zyx) / MM3_PER_ML
    values = {
        **{name: score(counts) for name, score in _OVERLAPS},
        "volume_truth_ml": counts.truth * voxel_ml,
        "volume_prediction_ml": counts.predicted * voxel_ml,
        "volume_difference_ml": (counts.predicted - counts.truth) * voxel_ml,
        **vars(distances),
        "hd95_or_diagonal_mm": or_diagonal(distances.hd95_mm, counts, diagonal_mm),
        "assd_or_diagonal_mm": or_diagonal(distances.assd_mm, counts, diagonal_mm),
    }
    undefined = {name: _reason(name, counts) for name in _find_undefined(values)}
    return CaseScore(counts=counts, slices=measured.slices, undefined=undefined, **values, **origin)


@lru_cache(maxsize=1024)
def _diagonal_mm(shape_zyx: tuple[int, int, int], spacing_mm_zyx: SpacingMm) -> float:
    """Give the length of the image from corner to opposite corner."""
    return math.hypot(*map(mul, shape_zyx, spacing_mm_zyx))


def _find_undefined(values: Mapping[str, float]) -> list[str]:
    """Name what is NaN. The sum says quickly that nothing is, as in nearly all of a hundred thousand lines."""
    return [name for name, value in values.items() if math.isnan(value)] if math.isnan(sum(values.values())) else []


def _reason(name: str, counts: Counts) -> str:
    """Say why a score is NaN."""
    if not counts.total:
        return NO_VOXELS
    if name == "specificity":
        return NO_BACKGROUND
    if counts.truth:
        return PREDICTION_EMPTY
    return TRUTH_EMPTY if counts.predicted else BOTH_EMPTY


def to_json(score: CaseScore) -> str:
    """Write a case's scores as one line of JSON, without the line's end; NaN becomes null."""
    values = {name: None if math.isnan(value) else value for name, value in score.values().items()}
    line = {
        "case": score.case,
        "patient": score.patient,
        "arm": score.arm,
        "fold": score.fold,
        "repeat": score.repeat,
        "label": score.label,
        "answer": score.answer,
        "image_digest": score.image_digest,
        "shape_zyx": score.shape_zyx,
        "spacing_mm_zyx": score.spacing_mm_zyx,
        "counts": asdict(score.counts),
        "metrics": {name: values[name] for name in METRICS},
        "volumes": {name: values[name] for name in VOLUMES},
        "distances": {name: values[name] for name in DISTANCES},
        "slices": asdict(score.slices),
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
        value = _parse_json(line)
        found = {**value["metrics"], **value["volumes"], **value["distances"]}
        score = _rebuild(value, found)
    except MaskError as error:
        raise ReportError(f"damaged line of scores ({error}); evaluate the fold again") from error
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError) as error:
        # Python's own words quote what they could not read, which may be a name.
        raise ReportError(f"damaged line of scores ({type(error).__name__}); evaluate the fold again") from error
    values = score.values()
    for name, wanted in values.items() if found != values else ():
        number = found.get(name)
        if number != wanted and not (number is None and math.isnan(wanted)):
            shown = number if isinstance(number, (int, float)) else "no number"
            raise ReportError(f"{name} of case {score.case} is {shown}, its counts give {wanted}; evaluate the fold again")
    return score


def _rebuild(value: Mapping[str, Any], found: Mapping[str, Any]) -> CaseScore:
    """Score the counts of a line anew."""
    answer, slices = value["answer"], value["slices"]
    if answer not in get_args(Answer):
        raise ValueError(f"answer {answer!r}")
    measured = Measured(
        Counts(**{name: int(number) for name, number in value["counts"].items()}),
        Distances(*(_number(found[name]) for name in ("hd95_mm", "assd_mm", "nsd_1mm", "nsd_2mm"))),
        SliceSums(
            int(slices["slices"]),
            int(slices["both_empty"]),
            {name: float(number) for name, number in slices["sums"].items()},
        ),
    )
    return score_case(
        measured,
        case=_keep_once(value["case"]),
        patient=_keep_once(value["patient"]),
        arm=_keep_once(value["arm"]),
        fold=int(value["fold"]),
        repeat=int(value["repeat"]),
        label=_keep_once(value["label"]),
        answer=answer,
        image_digest=_keep_once(value["image_digest"]),
        shape_zyx=_triple(int, *value["shape_zyx"]),
        spacing_mm_zyx=_triple(float, *value["spacing_mm_zyx"]),
    )


def _keep_once(value: Any) -> str:
    """Keep one copy of a text that many lines hold: arms and repeats score the same cases."""
    return sys.intern(str(value))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


@lru_cache(maxsize=1024)
def _triple(kind: Any, z: Any, y: Any, x: Any) -> tuple[Any, Any, Any]:
    """Keep one copy of three numbers that many lines hold."""
    return kind(z), kind(y), kind(x)


def _parse_json(text: str | bytes) -> Any:
    """Parse JSON three times as fast as Python's own parser does; raises ValueError, which says where and quotes nothing."""
    try:
        return _ANYTHING.validate_json(text)
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"]) from error


def write_scores(path: Path, scores: Iterable[CaseScore]) -> None:
    """Write scores.jsonl, one line a case, structure and answer in the order given, whole or not at all."""
    write_text(path, "".join(to_json(score) + "\n" for score in scores))


def read_scores(path: Path) -> tuple[CaseScore, ...]:
    """Read scores.jsonl.

    Raises:
        ReportError: the file is missing, cannot be read, or a line is damaged or does not follow from its counts.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8"
        raise ReportError(f"cannot read scores at {path}: {reason}; evaluate the fold again") from error
    return tuple(_read_line(line, f"line {number} of {path.name}") for number, line in enumerate(lines, start=1))


def _read_line(line: str, where: str) -> CaseScore:
    try:
        return from_json(line)
    except ReportError as error:
        raise ReportError(f"{where}: {error}") from error
