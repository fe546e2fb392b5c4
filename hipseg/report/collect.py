"""Find the folds of every arm in a results folder, and refuse what is partial or does not fit together."""

import contextlib
import gc
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from hipseg.config import NOT_ARMS
from hipseg.errors import ConfigError, ReportError
from hipseg.fsio import hide_folders, printable, read_json
from hipseg.report.agreement import Pretraining, check_agreement
from hipseg.report.fold import CaseLists, FoldResult, name_run, read_fold, read_organs
from hipseg.runs import StudyPaths
from hipseg.score.record import CaseScore

THESIS_ORDER = ("unet", "modified-unet-tl", "modified-unet")
"""Rows of the thesis's comparison table; other arms follow by name."""
FOLD_PREFIX = "fold_"
REPEAT_PREFIX = "repeat_"
CURE = (
    "`hipseg submit` runs what is partial or missing, `hipseg evaluate` scores a damaged fold again, "
    "and --allow-partial makes a table without them that says so"
)


@dataclass(frozen=True)
class ArmResult:
    """The complete folds of one arm, at least one.

    Args:
        arm: its name.
        folds: those with the seed of the settings, by number; the table is made of these.
        repeats: those with other seeds, by repeat and number.
    """

    arm: str
    folds: tuple[FoldResult, ...]
    repeats: tuple[FoldResult, ...] = ()

    @property
    def scores(self) -> tuple[CaseScore, ...]:
        """Every case of every fold, each once: of the headline's structure, as the network gave it."""
        return tuple(score for fold in self.folds for score in fold.scores)

    @property
    def labels(self) -> Mapping[str, tuple[int, ...]]:
        """Structures and their label numbers, the headline's first."""
        return self.folds[0].labels


@dataclass(frozen=True)
class Collection:
    """What the table is made of.

    Args:
        arms: in the table's order.
        gaps: what is missing, one line a fold.
        warnings: what the folds differ in although they may stand side by side, one line each.
        organs: scores of the pretraining, one a held-out case and organ.
    """

    arms: tuple[ArmResult, ...]
    gaps: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    organs: tuple[CaseScore, ...] = ()


def collect(paths: StudyPaths, planned: Iterable[tuple[str, int, int]] = (), *, allow_partial: bool = False) -> Collection:
    """Read every complete fold of a results folder, and hold each line of scores against itself.

    Overlap scores and volumes are computed anew from the line's counts and must be the same. Distances cannot be, without the
    masks: they are held against the range that the image allows, and against which masks are empty.

    Args:
        paths: the results.
        planned: arm, repeat and fold of each run that was submitted; one that left no folder is missing all the same.
        allow_partial: leave out what is partial or damaged and name it in the answer; otherwise it is an error.
    Returns:
        The arms that have a complete fold; nothing is missing unless `allow_partial`.
    Raises:
        ReportError: there are no results; a fold is partial, missing or damaged; or, whatever `allow_partial` says, folds do not
            belong together (`check_agreement`).
    """
    found, planned = find_folds(paths), tuple(planned)
    folds: list[FoldResult] = []
    gaps: list[str] = []
    case_lists = CaseLists()
    with _without_cycles():
        for arm, repeat, number in found:
            try:
                folds.append(read_fold(paths.fold(arm, number, repeat), arm, number, repeat, case_lists))
            except ReportError as error:
                # The table carries it, and is made to be passed on.
                gaps.append(hide_folders(str(error), [paths.root]))
    gaps += _find_missing(folds, found, planned)
    if gaps and not allow_partial:
        raise ReportError(f"{'; '.join(gaps)}; {CURE}{_leave_out(found, planned)}")
    if not any(fold.repeat == 0 for fold in folds):
        raise ReportError(f"no complete fold in {paths.root}: {'; '.join(gaps)}; a table needs at least one")
    is_needed = any(fold.pretraining is not None for fold in folds)
    pretraining, damage = _read_pretraining(paths, case_lists, is_needed=is_needed)
    warnings = (*check_agreement(folds, paths, pretraining), *damage)
    return Collection(_group(folds), tuple(gaps), warnings, pretraining.lines if pretraining else ())


@contextlib.contextmanager
def _without_cycles() -> Iterator[None]:
    """Spare Python's search for cycles what is read: scores have none, and a hundred thousand would be a fifth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # Else the next search, and the one at the program's end, would go through all of them.
        gc.freeze()
        if was_enabled:
            gc.enable()


def find_folds(paths: StudyPaths) -> list[tuple[str, int, int]]:
    """Find the folders of folds, but not what stands beside the arms.

    Returns:
        Arm, repeat and number of each, complete or not; the arms in the table's order.
    Raises:
        ReportError: there is none.
    """
    if not paths.root.is_dir():
        raise ReportError(f"no results at {paths.root}; `hipseg submit` or `hipseg train` makes them")
    found = set()
    folders = chain.from_iterable(paths.root.glob(f"{above}/{FOLD_PREFIX}*/") for above in ("*", f"*/{REPEAT_PREFIX}*"))
    for folder in folders:
        place = folder.relative_to(paths.root).parts
        repeat = place[1].removeprefix(REPEAT_PREFIX) if len(place) == 3 else "0"
        number = folder.name.removeprefix(FOLD_PREFIX)
        if not (number.isdecimal() and repeat.isdecimal()) or place[0] in NOT_ARMS:
            continue
        if folder == paths.fold(place[0], int(number), int(repeat)).root:
            found.add((place[0], int(repeat), int(number)))
    if not found:
        raise ReportError(f"no fold of any arm in {paths.root}; `hipseg submit` or `hipseg train` makes them")
    return sorted(found, key=lambda run: (_place(run[0]), run))


def _leave_out(found: Iterable[tuple[str, int, int]], planned: Iterable[tuple[str, int, int]]) -> str:
    """Say how to go on without arms of which nothing was begun."""
    arms = sorted({arm for arm, _, _ in planned} - {arm for arm, _, _ in found})
    return f"; to go on without {' and '.join(arms)}, take that out of `arms` in the settings and submit again" if arms else ""


def _find_missing(
    folds: Iterable[FoldResult], found: Iterable[tuple[str, int, int]], planned: Iterable[tuple[str, int, int]]
) -> list[str]:
    """Name every fold that an arm with folders lacks, in each of its repeats, and every one that was planned."""
    count = max((fold.folds for fold in folds), default=0)
    begun = {(arm, repeat) for arm, repeat, _ in found} | {(arm, 0) for arm, _, _ in found}
    wanted = {(*key, number) for key in begun for number in range(count)} | set(planned)
    return [f"{name_run(arm, number, repeat)} is missing" for arm, repeat, number in sorted(wanted - set(found))]


def _read_pretraining(paths: StudyPaths, case_lists: CaseLists, *, is_needed: bool) -> tuple[Pretraining | None, tuple[str, ...]]:
    """Read the pretraining, if there is one; say what is wrong with it where no fold needs it, and refuse it where one does."""
    run = paths.pretraining
    try:
        if not run.is_complete:
            return None, ()
        summary = read_json(run.summary, ReportError, "summary")
        sides = case_lists.read(run, summary["cases_digest"])
        lines = read_organs(run, summary, sides) if "scores_digest" in summary else ()
        return Pretraining(str(summary["model_digest"]), sides, lines), ()
    except (ConfigError, ReportError, TypeError, KeyError) as error:
        words = f"the pretraining is damaged ({error}); run `hipseg pretrain` again"
        if is_needed:
            raise ReportError(words) from error
        return None, (printable(hide_folders(words, [paths.root])),)


def _group(folds: Iterable[FoldResult]) -> tuple[ArmResult, ...]:
    """Put the folds of each arm together; repeats of an arm without any fold of its own are left out."""
    by_arm: dict[str, tuple[list[FoldResult], list[FoldResult]]] = {}
    for fold in folds:
        by_arm.setdefault(fold.arm, ([], []))[fold.repeat > 0].append(fold)
    arms = sorted((arm for arm, (own, _) in by_arm.items() if own), key=_place)
    return tuple(ArmResult(arm, *map(tuple, by_arm[arm])) for arm in arms)


def _place(arm: str) -> tuple[int, str]:
    """Give what arms are sorted by for the table."""
    return THESIS_ORDER.index(arm) if arm in THESIS_ORDER else len(THESIS_ORDER), arm
