"""One fold of one arm as it lies in the results folder: read whole, and held against itself."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from hipseg.errors import ConfigError, ReportError
from hipseg.fsio import digest_file, printable, read_json
from hipseg.runs import Answer, FoldPaths
from hipseg.score.record import CaseScore, read_scores

NEEDED_FACTS = frozenset(
    (
        "arm",
        "fold",
        "repeat",
        "seed",
        "study",
        "method",
        "cases",
        "folds",
        "epochs",
        "val_loss",
        "data_digest",
        "split_digest",
        "settings_digest",
        "scores_digest",
        "cases_digest",
        "code_digest",
        "versions",
        "labels",
        "clean",
        "pretraining",
    )
)
"""What the table needs of a summary's own part."""
NOT_CLEANED = "null"
MOST_FOLDS = 10_000
"""A wrong number of folds in one summary would have so many folds looked for as it says."""


@dataclass(frozen=True)
class Side:
    """One side of a split.

    Args:
        keys: case -> its patient and the digest of its image.
        cases, patients, images: each by itself.
    """

    keys: Mapping[str, tuple[str, str]]
    cases: frozenset[str]
    patients: frozenset[str]
    images: frozenset[str]


@dataclass(frozen=True)
class Sides:
    """What a run learned from and what it was validated with.

    Args:
        salt_id: tells salts apart, since keys of patients compare only under one salt.
        train, val: the sides.
    """

    salt_id: str
    train: Side
    val: Side


@dataclass(frozen=True)
class FoldResult:
    """A complete fold of an arm.

    Args:
        arm, fold, repeat: the run.
        seed: that it was trained with.
        study, method: the words of the table's first two columns, printable.
        folds: number of folds that the patients were dealt into.
        epochs: how long it was trained.
        val_loss: validation loss of the best epoch.
        data_digest, split_digest: of the packed data and of the folds that it was trained on.
        settings_digest: of the settings that it was trained with.
        scores_digest: of its scores.jsonl.
        code_digest: of the program that trained and scored it.
        versions: of Python and of the libraries that results depend on.
        labels: structure -> its label numbers, the headline's first.
        cleaning: settings of the cleaning, as JSON; NOT_CLEANED where answers were not cleaned.
        pretraining: SHA-256 of the pretrained model that it started from; None without transfer.
        sides: the cases that it was trained on and validated with.
        lines: every line of scores: one a case, structure and answer.
        scans: what became of the scans found in packing, in words; empty where an earlier version scored the fold.
    """

    arm: str
    fold: int
    repeat: int
    seed: int
    study: str
    method: str
    folds: int
    epochs: int
    val_loss: float
    data_digest: str
    split_digest: str
    settings_digest: str
    scores_digest: str
    code_digest: str
    versions: Mapping[str, str]
    labels: Mapping[str, tuple[int, ...]]
    cleaning: str
    pretraining: str | None
    sides: Sides
    lines: tuple[CaseScore, ...]
    scans: str = ""

    @property
    def title(self) -> str:
        """Name the run in words."""
        return name_run(self.arm, self.fold, self.repeat)

    @property
    def scores(self) -> tuple[CaseScore, ...]:
        """One score a validation case: of the headline's structure, as the network gave it."""
        first = next(iter(self.labels))
        return tuple(line for line in self.lines if line.label == first and line.answer == "raw")


def name_run(arm: str, fold: int, repeat: int) -> str:
    """Name a run in words; an arm is named by its folder, which may be called anything."""
    return printable(f"fold {fold} of arm {arm}" + (f", repeat {repeat}" if repeat else ""))


class CaseLists:
    """Reader of cases.json that parses equal files once: the arms and repeats of a study have the same folds."""

    def __init__(self) -> None:
        self._read: dict[str, Sides] = {}

    def read(self, run: FoldPaths, digest: str) -> Sides:
        """Read the cases of a run.

        Raises:
            ReportError: the file is missing, damaged, or not the one that the summary was written with.
        """
        try:
            found = digest_file(run.cases)
        except OSError as error:
            raise ReportError(f"cannot read {run.cases.name}: {error.strerror}") from error
        if found != digest:
            raise ReportError(f"{run.cases.name} is not the one that {run.summary.name} was made of")
        if found not in self._read:
            value = read_json(run.cases, ReportError, "cases of the run")
            self._read[found] = Sides(str(value["salt_id"]), _read_side(value["train"]), _read_side(value["val"]))
        return self._read[found]


def _read_side(records: Iterable[Mapping[str, Any]]) -> Side:
    columns = [[str(record[name]) for record in records] for name in ("case", "patient", "image_digest")]
    cases, patients, images = columns
    keys = dict(zip(cases, zip(patients, images, strict=True), strict=True))
    return Side(keys, *(frozenset(column) for column in columns))


def read_fold(run: FoldPaths, arm: str, number: int, repeat: int, case_lists: CaseLists) -> FoldResult:
    """Read one fold.

    Args:
        run: its files.
        arm, number, repeat: the run that its folder is named for.
        case_lists: what reads its cases.
    Raises:
        ReportError: it is partial or damaged, its folder holds another run, or its lines are not one a case, structure and
            answer.
    """
    where = name_run(arm, number, repeat)
    try:
        is_complete = run.is_complete
    except ConfigError as error:
        raise ReportError(f"{where} is damaged ({error})") from error
    if not is_complete:
        raise ReportError(f"{where} is partial (no {run.summary.name})")
    if arm != printable(arm):
        raise ReportError(f"{where} lies in a folder whose name a terminal would obey; give the arm a plain name")
    try:
        facts = _read_facts(read_json(run.summary, ReportError, "summary"))
        fold = _make_fold(facts, case_lists.read(run, facts["cases_digest"]), read_scores(run.scores))
        _check_lines(fold, (arm, number, repeat))
        if facts["cases"] != (scored := len(fold.sides.val.cases)):
            raise ReportError(f"its summary does not say that it has {scored} cases, as its validation side has")
        if digest_file(run.scores) != facts["scores_digest"]:
            raise ReportError(f"{run.scores.name} is not the one that {run.summary.name} was made of")
    except (ReportError, OSError, TypeError, ValueError, OverflowError, KeyError, AttributeError) as error:
        raise ReportError(f"{where} is damaged ({printable(str(error))})") from error
    return fold


def read_organs(run: FoldPaths, summary: Mapping[str, Any], sides: Sides) -> tuple[CaseScore, ...]:
    """Read the scores of a pretraining, one a held-out case and organ.

    Raises:
        ReportError: a line is damaged, missing, doubled or of another run, or the file is not the one of the summary.
    """
    lines = read_scores(run.scores)
    if digest_file(run.scores) != summary["scores_digest"]:
        raise ReportError(f"{run.scores.name} is not the one that {run.summary.name} was made of")
    found = Counter((line.case, line.label) for line in lines)
    if found != Counter((case, organ) for case in sides.val.cases for organ in summary["organs"]):
        raise ReportError(f"{run.scores.name} has not one line for each held-out case and organ")
    _check_keys(lines, sides.val)
    return lines


def _read_facts(summary: Any) -> dict[str, Any]:
    facts = summary.get("hipseg") if isinstance(summary, dict) else None
    if not isinstance(facts, dict):
        raise ReportError("its summary has no part of hipseg's own")
    missing = sorted(NEEDED_FACTS - facts.keys())
    if missing:
        raise ReportError(f"its summary lacks {', '.join(missing)}; `hipseg evaluate` writes it")
    return facts


def _make_fold(facts: Mapping[str, Any], sides: Sides, lines: tuple[CaseScore, ...]) -> FoldResult:
    pretraining = facts["pretraining"]
    return FoldResult(
        arm=str(facts["arm"]),
        fold=int(facts["fold"]),
        repeat=int(facts["repeat"]),
        seed=int(facts["seed"]),
        study=printable(str(facts["study"])),
        method=printable(str(facts["method"])),
        folds=int(facts["folds"]),
        epochs=int(facts["epochs"]),
        val_loss=_read_loss(facts["val_loss"]),
        data_digest=str(facts["data_digest"]),
        split_digest=str(facts["split_digest"]),
        settings_digest=str(facts["settings_digest"]),
        scores_digest=str(facts["scores_digest"]),
        code_digest=str(facts["code_digest"]),
        versions={printable(str(name)): printable(str(version)) for name, version in facts["versions"].items()},
        labels={printable(str(one["name"])): tuple(int(number) for number in one["numbers"]) for one in facts["labels"]},
        cleaning=json.dumps(facts["clean"], sort_keys=True),
        pretraining=None if pretraining is None else str(pretraining["model_digest"]),
        sides=sides,
        lines=lines,
        scans=_tell_scans(facts["scans"]) if "scans" in facts else "",
    )


def _tell_scans(scans: Mapping[str, Any]) -> str:
    """Say what became of all scans, so that nobody takes the cases of a table for all there were."""
    packed, refused, bare, kept = (int(scans[name]) for name in ("packed", "refused", "without_mask", "kept_for_testing"))
    return (
        f"{packed} of {packed + refused} were packed and {refused} refused; of the packed, {bare} without a mask and {kept} kept "
        "for testing by their publisher are in no fold"
    )


def _read_loss(value: Any) -> float:
    """Read a loss; one that is infinite would be printed by some forms of the table and not by others."""
    if value is None:
        return math.nan
    is_number = isinstance(value, (int, float))
    if not is_number or isinstance(value, bool) or not 0 <= value < math.inf:
        raise ReportError(f"its val_loss is {value if is_number else 'no number'}; a number from 0 on is needed, or null")
    return float(value)


def _check_lines(fold: FoldResult, run: tuple[str, int, int]) -> None:
    """Refuse lines of another run, and cases, structures or answers that are missing or doubled."""
    if not 1 <= fold.folds <= MOST_FOLDS:
        raise ReportError(f"its summary says {fold.folds} folds; between 1 and {MOST_FOLDS} are possible")
    runs = {(fold.arm, fold.fold, fold.repeat), *((line.arm, line.fold, line.repeat) for line in fold.lines)}
    if others := sorted(name_run(*other) for other in runs - {run}):
        raise ReportError(f"its folder holds results of {', '.join(others)}")
    if not fold.sides.val.cases:
        raise ReportError("it has no case")
    found = Counter((line.case, line.label, line.answer) for line in fold.lines)
    if twice := [key for key, times in found.items() if times > 1]:
        raise ReportError(f"case {twice[0][0]} is scored twice ({', '.join(twice[0][1:])})")
    answers = ("raw",) if fold.cleaning == NOT_CLEANED else get_args(Answer)
    wanted = {(case, label, answer) for case in fold.sides.val.cases for label in fold.labels for answer in answers}
    if missing := sorted(wanted - found.keys()):
        case, label, answer = missing[0]
        raise ReportError(f"case {case} is not scored ({label}, {answer}), {len(missing)} of {len(wanted)} lines are missing")
    if beyond := sorted(found.keys() - wanted):
        case, label, answer = beyond[0]
        raise ReportError(f"case {case} is scored ({label}, {answer}) and is not of its validation side")
    _check_keys(fold.lines, fold.sides.val)


def _check_keys(lines: Iterable[CaseScore], side: Side) -> None:
    """Refuse a case under the patient or the image of another: it is paired with other arms by these."""
    if any((line.patient, line.image_digest) != side.keys[line.case] for line in lines):
        raise ReportError("its scores name other patients or images than its validation side")
