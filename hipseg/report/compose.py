"""What the page and the figures of a study show, chosen from what was collected."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from hipseg.errors import ReportError
from hipseg.fsio import read_json
from hipseg.report.audit import RowAudit, Verdict
from hipseg.report.collect import Collection
from hipseg.report.curves import Curve
from hipseg.report.plots import Example, draw_curves, draw_dice, draw_examples, draw_volumes
from hipseg.runs import StudyPaths
from hipseg.score.record import CaseScore
from hipseg.views import CaseView

ArmScores = Mapping[str, Sequence[CaseScore]]
FIGURES = ("learning-curves", "dice", "volumes", "examples")
"""Names of all figures that `draw_study` can draw."""
PLACES = ("best", "median", "worst")
SHORT_DIGEST = 12
UNKNOWN = "unknown"
DOUBTFUL: Sequence[Verdict] = ("at the edge", "cannot be")


@dataclass(frozen=True)
class Drawing:
    """A figure with the name of its files, its title, and what it shows in words."""

    name: str
    title: str
    description: str
    figure: Figure


def headline_scores(collection: Collection) -> dict[str, tuple[CaseScore, ...]]:
    """Give arm -> its cases, each once: of the headline's structure, as the network gave it."""
    return {arm.arm: arm.scores for arm in collection.arms}


def choose_cases(scores: Sequence[CaseScore]) -> tuple[tuple[str, CaseScore], ...]:
    """Choose the best, the median and the worst case of an arm by Dice, fewer where it has fewer; the undefined are left out."""
    ranked = sorted((one for one in scores if not math.isnan(one.dice)), key=lambda one: (-one.dice, one.case))
    if len(ranked) < len(PLACES):
        return tuple(zip((PLACES[0], PLACES[-1]), ranked, strict=False))
    return tuple(zip(PLACES, (ranked[0], ranked[len(ranked) // 2], ranked[-1]), strict=True))


def draw_study(scores: ArmScores, curves: Sequence[Curve], views: Mapping[str, CaseView]) -> Iterator[Drawing]:
    """Draw what there is to draw of a study.

    Args:
        scores: arm -> its cases; none before the first fold is complete.
        curves: of the runs that have ended an epoch.
        views: case -> its pictures, of those that have any.
    """
    if curves:
        words = (
            "Training (solid) and validation (dashed): mean over the folds as far as all of them came, the band from the "
            "lowest to the highest fold; thin lines are single folds that came farther. Accuracy and IoU are of all pixels of an "
            "epoch together, in training while the weights change: they are not the table's."
        )
        yield Drawing("learning-curves", "Learning curves", words, draw_curves(curves))
    if not scores:
        return
    words = (
        "A dot is one patient with a defined Dice; the box spans the quartiles, its line is the median, its whiskers reach the "
        "farthest dots within 1.5 times the box's height from it."
    )
    yield Drawing("dice", "Dice of each patient by arm", words, draw_dice(scores))
    words = (
        "Difference over mean of predicted and true volume; the line is the bias, dotted are the limits of agreement (1.96 SD)."
    )
    yield Drawing("volumes", "Agreement of volumes (Bland-Altman)", words, draw_volumes(scores))
    examples = {
        arm: [Example(place, one, views[one.case]) for place, one in choose_cases(lines) if one.case in views]
        for arm, lines in scores.items()
    }
    if any(examples.values()):
        words = (
            "Truth (solid) and prediction (dashed) on the slice with most of the truth: best, median and worst case of each arm."
        )
        yield Drawing("examples", "Outlines", words, draw_examples({arm: row for arm, row in examples.items() if row}))


def describe_checks(collection: Collection, audits: Sequence[RowAudit]) -> tuple[str, ...]:
    """Say what was checked before the table was made, and what was found in it."""
    if not collection.arms:
        return ("No fold is complete: nothing was checked yet.",)
    scores = [one for arm in collection.arms for one in arm.scores]
    cases, patients = len({one.case for one in scores}), len({one.patient for one in scores})
    folds = sum(len(arm.folds) for arm in collection.arms)
    return (
        f"{len(scores)} scores of {cases} cases of {patients} patients from {folds} folds: overlap scores and volumes were "
        "computed anew from the counts of each line, with F1 = Dice and IoU = D / (2 - D) in each; distances were held against "
        "the range that they can have.",
        "Every validation case of every fold above is scored once: none missing, none twice.",
        "Folds of all arms come of the same data, splits, structures and program; folds of one arm of the same settings.",
        "No patient and no image is on both sides of a fold.",
        _describe_pretraining(collection),
        *_describe_audits(audits),
    )


def _describe_pretraining(collection: Collection) -> str:
    """Say what of pretraining could be held against the folds; what it was is refused before it comes here."""
    if all(fold.pretraining is None for arm in collection.arms for fold in (*arm.folds, *arm.repeats)):
        return "No fold started from a pretrained network: there was no pretraining to hold against the folds."
    if any("another salt" in warning for warning in collection.warnings):
        return (
            "No image that a fold validates was among those of the pretraining that it started from; whether a patient was, by "
            "another image, cannot be told, since the keys of patients were made with another salt."
        )
    return "No patient and no image that a fold validates was among those of the pretraining that it started from."


def _describe_audits(audits: Sequence[RowAudit]) -> Iterator[str]:
    """Name the rows of the table whose scores, read as means over cases, cannot stand beside each other."""
    if not audits:
        return
    verdicts = [audit.judge(audit.findings["means"]) for audit in audits]
    counts = Counter("doubtful" if one in DOUBTFUL else one for one in verdicts)
    words = f"{counts['possible']} possible, {counts['doubtful']} doubtful"
    if bare := counts["nothing compared"]:
        words += f", {bare} with fewer than two scores to hold against each other"
    yield f"The table's own rows ({len(audits)}), audited in full precision, as its CSV has them, and as means: {words}."
    for audit, verdict in zip(audits, verdicts, strict=True):
        if verdict in DOUBTFUL:
            yield f"{audit.row.name}: {verdict}; {'; '.join(one.arithmetic for one in audit.findings['means'])}."


def describe_provenance(collection: Collection, paths: StudyPaths) -> dict[str, str]:
    """Name versions, digests and how the runs were made, as far as that was recorded; nothing of it tells of a patient."""
    if not collection.arms:
        return {}
    folds = [fold for arm in collection.arms for fold in arm.folds]
    first = folds[0]
    records = [record for fold in folds if (record := _read_record(paths.fold(fold.arm, fold.fold).provenance))]
    begun = sorted(str(record["started"]) for record in records if "started" in record)
    return {
        "Versions": ", ".join(f"{name} {version}" for name, version in sorted(first.versions.items())),
        "Commit": _join(str(record.get("commit") or "installed package") for record in records),
        "Program (SHA-256)": first.code_digest[:SHORT_DIGEST],
        "Packed data (SHA-256)": first.data_digest[:SHORT_DIGEST],
        "Folds (SHA-256)": first.split_digest[:SHORT_DIGEST],
        "Settings (SHA-256)": _join(f"{fold.arm} {fold.settings_digest[:SHORT_DIGEST]}" for fold in folds),
        "Ranks of a run": _join(str(record.get("ranks", UNKNOWN)) for record in records),
        "Begun": f"{begun[0]} to {begun[-1]}" if begun else UNKNOWN,
        "Gone on after a stop": f"{sum(bool(record.get('resumed')) for record in records)} of {len(records)} runs",
        "Runs whose record can be read": f"{len(records)} of {len(folds)}",
    }


def _read_record(path: Path) -> dict[str, Any]:
    """Read how a run was made; empty where that is not known."""
    try:
        record = read_json(path, ReportError, "provenance")
    except ReportError:
        return {}
    return record if isinstance(record, dict) else {}


def _join(values: Iterator[str]) -> str:
    return ", ".join(dict.fromkeys(values)) or UNKNOWN
