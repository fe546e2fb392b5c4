"""Find the folds of every arm in a results folder, and refuse what is partial or does not fit together."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hipseg.errors import ReportError
from hipseg.fsio import digest_file, read_json
from hipseg.runs import FoldPaths, StudyPaths
from hipseg.score.record import CaseScore, read_scores

THESIS_ORDER = ("unet", "modified-unet-tl", "modified-unet")
"""Rows of the thesis's comparison table; other arms follow by name."""
FOLD_PREFIX = "fold_"
NEEDED_FACTS = frozenset(
    ("arm", "fold", "study", "method", "cases", "folds", "epochs", "val_loss", "data_digest", "split_digest", "scores_digest")
)
"""What the table needs of a summary's own part."""
EVALUATE_AGAIN = "score both folds again with `hipseg evaluate`"
CURE = (
    "`hipseg submit` runs what is partial or missing, `hipseg evaluate` scores a damaged fold again, "
    "and --allow-partial makes a table without them that says so"
)


@dataclass(frozen=True)
class FoldResult:
    """A complete fold of an arm.

    Args:
        arm, fold: the run.
        study, method: the words of the table's first two columns.
        folds: number of folds that the patients were dealt into.
        epochs: how long it was trained.
        val_loss: validation loss of the best epoch.
        data_digest, split_digest: of the packed data and of the folds that it was trained on.
        scores: one a validation case.
    """

    arm: str
    fold: int
    study: str
    method: str
    folds: int
    epochs: int
    val_loss: float
    data_digest: str
    split_digest: str
    scores: tuple[CaseScore, ...]


@dataclass(frozen=True)
class ArmResult:
    """The complete folds of one arm, at least one, by number."""

    arm: str
    folds: tuple[FoldResult, ...]

    @property
    def scores(self) -> tuple[CaseScore, ...]:
        """Every case of every fold, each once."""
        return tuple(score for fold in self.folds for score in fold.scores)


@dataclass(frozen=True)
class Collection:
    """What the table is made of: the arms in the table's order, and what is missing, one line a fold."""

    arms: tuple[ArmResult, ...]
    gaps: tuple[str, ...] = ()


def collect(paths: StudyPaths, planned: Iterable[tuple[str, int]] = (), *, allow_partial: bool = False) -> Collection:
    """Read every complete fold of a results folder.

    Args:
        paths: the results.
        planned: arm and fold of each run that was submitted; one that left no folder is missing all the same.
        allow_partial: leave out what is partial or damaged and name it in the answer; otherwise it is an error.
    Returns:
        The arms that have a complete fold; nothing is missing unless `allow_partial`.
    Raises:
        ReportError: there are no results; a fold is partial, missing or damaged; or, whatever `allow_partial` says, folds come
            of different data or splits, or score a case twice or not the same cases.
    """
    found = _find_folds(paths)
    folds: list[FoldResult] = []
    gaps: list[str] = []
    for arm, number in found:
        try:
            folds.append(_read_fold(paths.fold(arm, number), arm, number))
        except ReportError as error:
            gaps.append(str(error))
    gaps += _find_missing(folds, found, planned)
    if gaps and not allow_partial:
        raise ReportError(f"{'; '.join(gaps)}; {CURE}")
    if not folds:
        raise ReportError(f"no complete fold in {paths.root}: {'; '.join(gaps)}; a table needs at least one")
    _check_agreement(folds)
    return Collection(_group(folds), tuple(gaps))


def _find_folds(paths: StudyPaths) -> list[tuple[str, int]]:
    """Find the folders of folds: results/<arm>/fold_<k>, but not the pretraining run and the jobs."""
    if not paths.root.is_dir():
        raise ReportError(f"no results at {paths.root}; `hipseg submit` or `hipseg train` makes them")
    found = []
    for folder in sorted(paths.root.glob(f"*/{FOLD_PREFIX}*")):
        number = folder.name.removeprefix(FOLD_PREFIX)
        if folder.is_dir() and number.isdecimal() and folder.parent not in (paths.pretraining.root, paths.jobs):
            found.append((folder.parent.name, int(number)))
    if not found:
        raise ReportError(f"no fold of any arm in {paths.root}; `hipseg submit` or `hipseg train` makes them")
    return sorted(found)


def _read_fold(run: FoldPaths, arm: str, number: int) -> FoldResult:
    where = f"fold {number} of arm {arm}"
    if not run.is_complete:
        raise ReportError(f"{where} is partial (no {run.summary.name})")
    try:
        facts = _read_facts(read_json(run.summary, ReportError, "summary"))
        if digest_file(run.scores) != facts["scores_digest"]:
            raise ReportError(f"{run.scores.name} is not the one that {run.summary.name} was made of")
        scores = read_scores(run.scores)
        _check_scores(scores, facts, arm, number)
        return FoldResult(
            arm=arm,
            fold=number,
            study=str(facts["study"]),
            method=str(facts["method"]),
            folds=int(facts["folds"]),
            epochs=int(facts["epochs"]),
            val_loss=math.nan if facts["val_loss"] is None else float(facts["val_loss"]),
            data_digest=str(facts["data_digest"]),
            split_digest=str(facts["split_digest"]),
            scores=scores,
        )
    except (ReportError, OSError, TypeError, ValueError) as error:
        raise ReportError(f"{where} is damaged ({error})") from error


def _read_facts(summary: Any) -> dict[str, Any]:
    facts = summary.get("hipseg") if isinstance(summary, dict) else None
    if not isinstance(facts, dict):
        raise ReportError("its summary has no part of hipseg's own")
    missing = sorted(NEEDED_FACTS - facts.keys())
    if missing:
        raise ReportError(f"its summary lacks {', '.join(missing)}")
    return facts


def _check_scores(scores: Sequence[CaseScore], facts: dict[str, Any], arm: str, number: int) -> None:
    runs = {(facts["arm"], facts["fold"]), *((score.arm, score.fold) for score in scores)}
    others = sorted(f"fold {fold} of arm {name}" for name, fold in runs - {(arm, number)})
    if others:
        raise ReportError(f"its folder holds results of {', '.join(others)}")
    if len(scores) != facts["cases"] or not scores:
        raise ReportError(f"{len(scores)} lines of scores for {facts['cases']} cases")
    twice = [case for case, times in Counter(score.case for score in scores).items() if times > 1]
    if twice:
        raise ReportError(f"case {twice[0]} is scored twice")


def _find_missing(folds: list[FoldResult], found: list[tuple[str, int]], planned: Iterable[tuple[str, int]]) -> list[str]:
    count = max((fold.folds for fold in folds), default=0)
    wanted = {(arm, k) for arm, _ in found for k in range(count)} | set(planned)
    return [f"fold {k} of arm {arm} is missing" for arm, k in sorted(wanted - set(found))]


def _check_agreement(folds: list[FoldResult]) -> None:
    """Refuse folds that no table may hold side by side."""
    first_of_arm: dict[str, FoldResult] = {}
    for fold in folds:
        if not 0 <= fold.fold < fold.folds:
            raise ReportError(f"fold {fold.fold} of arm {fold.arm} is none of {fold.folds} folds; move its folder away")
        _refuse_different(fold, folds[0], "packed data", fold.data_digest[:12], folds[0].data_digest[:12])
        _refuse_different(fold, folds[0], "splits", fold.split_digest[:12], folds[0].split_digest[:12])
        _refuse_different(fold, folds[0], "numbers of folds", fold.folds, folds[0].folds)
        first = first_of_arm.setdefault(fold.arm, fold)
        _refuse_different(fold, first, "numbers of epochs", fold.epochs, first.epochs)
    _check_cases(folds)


def _refuse_different(fold: FoldResult, other: FoldResult, what: str, value: object, expected: object) -> None:
    if value != expected:
        raise ReportError(
            f"fold {fold.fold} of arm {fold.arm} and fold {other.fold} of arm {other.arm} come of different {what} "
            f"({value} and {expected}); train both on the same"
        )


def _check_cases(folds: list[FoldResult]) -> None:
    """Refuse a case that two folds of an arm score, and a fold that scores other cases in one arm than in another."""
    fold_of: dict[tuple[str, str], int] = {}
    cases_of: dict[int, tuple[str, set[str]]] = {}
    for fold in folds:
        cases = {score.case for score in fold.scores}
        for case in sorted(cases):
            other = fold_of.setdefault((fold.arm, case), fold.fold)
            if other != fold.fold:
                raise ReportError(
                    f"case {case} is scored by fold {other} and fold {fold.fold} of arm {fold.arm}; each case belongs to one fold"
                )
        arm, expected = cases_of.setdefault(fold.fold, (fold.arm, cases))
        if cases != expected:
            raise ReportError(
                f"fold {fold.fold} scores {len(cases)} cases in arm {fold.arm} and {len(expected)} in arm {arm}, "
                f"{len(cases ^ expected)} of them not in both; {EVALUATE_AGAIN}"
            )


def _group(folds: list[FoldResult]) -> tuple[ArmResult, ...]:
    arms = sorted({fold.arm for fold in folds}, key=lambda arm: (_rank(arm), arm))
    return tuple(ArmResult(arm, tuple(fold for fold in folds if fold.arm == arm)) for arm in arms)


def _rank(arm: str) -> int:
    return THESIS_ORDER.index(arm) if arm in THESIS_ORDER else len(THESIS_ORDER)
