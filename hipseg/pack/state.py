"""What a data set's folder holds before and after a packing: manifest, journals, and files that a killed packing left."""

import contextlib
import operator
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hipseg.fsio import find_named, locked, unwritable
from hipseg.ingest.register import Register
from hipseg.ingest.shelf import Shelf
from hipseg.pack.journal import Entry, JournalContent, read_journal, read_plan
from hipseg.pack.plan import PackPlan, Part, PlanRecord, check_same_plan, plan_of, record_plan
from hipseg.runs import DatasetPaths
from hipseg.shards.layout import NAME_DIGITS, SHARD_SUFFIX
from hipseg.shards.manifest import CaseRecord, Manifest, Refusal, read_manifest, write_manifest

SHARD_NAME = re.compile(rf"(?P<case>.+)-[0-9a-f]{{{NAME_DIGITS}}}{re.escape(SHARD_SUFFIX)}")
ORPHANS_S = 2.0
"""The processes of a killed packing hold its lock until they see that they are alone, at their next slice."""
LOCK_NAME = re.compile(r"\.lock-(?P<number>\d+)-of-(?P<count>\d+)")
PART_NAME = re.compile(r"\.packed-(?P<part>\d+-of-(?P<count>\d+))\.jsonl")


class _Known(NamedTuple):
    """What became of a case, and how many outcomes were taken before."""

    number: int
    entry: Entry


class PackState:
    """Cases by key, as packings so far left them; what is known of each of many lies on disk."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._packed: Register[str, _Known] = Register()
        self._refused: Register[str, _Known] = Register()
        self._taken = 0
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Take the outcome of a case; one that is refused now stays as it was packed before.

        Raises:
            ConfigError: there are many, and it cannot be written to disk.
        """
        case = entry.outcome.case
        if isinstance(entry.outcome, CaseRecord):
            self._packed[case] = _Known(self._taken, entry)
            self._refused.pop(case, None)
        elif case not in self._packed:
            self._refused[case] = _Known(self._taken, entry)
        self._taken += 1

    def find(self, case: str) -> Entry | None:
        """Give what is known of a case, packed or refused."""
        known = self._packed.get(case) or self._refused.get(case)
        return known.entry if known else None

    def find_packed(self, case: str) -> tuple[CaseRecord, str] | None:
        """Give the record of a packed case and what proves that it is finished."""
        known = self._packed.get(case)
        return (known.entry.outcome, known.entry.seal) if known and isinstance(known.entry.outcome, CaseRecord) else None

    def __len__(self) -> int:
        """Count the outcomes that were taken so far, those that later ones replaced included."""
        return self._taken

    def forget_refusals(self, count: int) -> int:
        """Forget the refusals among the first `count` outcomes that were taken: nobody has found their cases again since.

        Returns:
            How many were forgotten.
        """
        old = [case for case, known in self._refused.items() if known.number < count]
        for case in old:
            del self._refused[case]
        return len(old)

    @property
    def entries(self) -> Iterator[Entry]:
        """Every packed case with its seal, by rising key."""
        return (known.entry for known in self._packed.by_key())

    def manifest(self, plan: PlanRecord) -> Manifest:
        """Give the manifest of these cases, as they are now."""
        cases, refusals = (_Outcomes(known.by_key()) for known in (self._packed, self._refused))
        return Manifest(cases, refusals, plan.set_aside, plan.rois, plan.salt_id, plan.precedence, plan.fraction)


class _Outcomes(Sequence[Any]):
    """The outcomes of what is known, read when they are asked for."""

    def __init__(self, known: Sequence[_Known]) -> None:
        self._known = known

    def __len__(self) -> int:
        return len(self._known)

    def __getitem__(self, index: Any) -> Any:
        found = self._known[index]
        return found.entry.outcome if isinstance(found, _Known) else tuple(one.entry.outcome for one in found)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    def __hash__(self) -> int:
        return hash(tuple(self))


@contextlib.contextmanager
def claimed(paths: DatasetPaths, part: Part | None) -> Iterator[None]:
    """Hold a data set's folder: alone, or one part of it beside other parts of the same number.

    Raises:
        ConfigError: another command is at work there, or the folder cannot be written.
    """
    if part is None:
        with locked(paths.lock, str(paths.root), wait_s=ORPHANS_S):
            yield
        return
    with (
        locked(paths.lock, str(paths.root), is_shared=True, wait_s=ORPHANS_S),
        locked(paths.part_lock(part.name), f"part {part.number} of {part.count} in {paths.root}", wait_s=ORPHANS_S),
    ):
        _check_alone(paths, part)
        yield


def _check_alone(paths: DatasetPaths, part: Part) -> None:
    """Refuse to pack beside parts of another number, which share cases with this one."""
    for path in paths.part_locks:
        matched = LOCK_NAME.fullmatch(path.name)
        if matched and int(matched["count"]) != part.count:
            with locked(
                path, f"part {matched['number']} of {matched['count']} in {paths.root}", is_shared=True, wait_s=ORPHANS_S
            ):
                pass


def load_state(paths: DatasetPaths, plan: PackPlan) -> PackState:
    """Read what is finished: the manifest, and the journals of packings that were killed or are still to be merged.

    Raises:
        ConfigError: what is there, or a part beside this one, has other structures, another window or another salt.
        ShardError: the manifest is damaged.
    """
    here, part = record_plan(plan), plan.part
    state = load_whole(paths, here, read_journal(paths.journal()))
    for path in paths.part_journals:
        if part is None or part_count(path) != part.count:
            absorb(state, read_journal(path), here, paths, part)
        elif path != paths.journal(part.name):
            there, has_cases = read_plan(path)
            check_same_plan(there or here, here, paths.root, has_cases=has_cases)
    if part is not None:
        absorb(state, read_journal(paths.journal(part.name)), here, paths)
    return state


def load_whole(paths: DatasetPaths, here: PlanRecord, journal: JournalContent) -> PackState:
    """Read what packings that were no part left: the manifest, and what a killed one finished, of which only its journal tells.

    Raises:
        ConfigError: what is there has other structures, another window or another salt.
        ShardError: the manifest is damaged.
    """
    state = PackState()
    if paths.manifest.exists():
        manifest = read_manifest(paths, Shelf)
        check_same_plan(plan_of(manifest), here, paths.root, has_cases=bool(manifest.cases))
        for outcome in list_outcomes(manifest):
            state.add(Entry(outcome, ""))
        del manifest
    absorb(state, journal, here, paths)
    return state


def list_outcomes(manifest: Manifest) -> Iterator[CaseRecord | Refusal]:
    """Give the packed cases of a manifest, then the refused ones."""
    yield from manifest.cases
    yield from manifest.refusals


def part_count(journal: Path) -> int:
    """Tell of how many parts one is, by the name of its journal; 0 where it is no part's."""
    matched = PART_NAME.fullmatch(journal.name)
    return int(matched["count"]) if matched else 0


def absorb(state: PackState, content: JournalContent, here: PlanRecord, paths: DatasetPaths, part: Part | None = None) -> None:
    """Take the packed cases of a journal whose shards are there; of a part, where one is named.

    Raises:
        ConfigError: they have other structures, another window or another salt.
    """
    if content.plan is None:
        return
    has_cases = any(isinstance(entry.outcome, CaseRecord) for entry in content.entries.values())
    check_same_plan(content.plan, here, paths.root, has_cases=has_cases)
    for entry in content.entries.values():
        if isinstance(entry.outcome, Refusal):
            continue
        # The journal may be older than the manifest beside it, where somebody put an older one back.
        if (part is None or part.has(entry.outcome.case)) and is_entry_there(paths, entry):
            state.add(entry)


def is_entry_there(paths: DatasetPaths, entry: Entry) -> bool:
    """Say whether a journal's case is refused, or packed and its shard is there in its size."""
    return isinstance(entry.outcome, Refusal) or is_shard_there(paths, entry.outcome, entry.shard_bytes)


def is_shard_there(paths: DatasetPaths, record: CaseRecord, shard_bytes: int | None = None) -> bool:
    """Say whether the shard of a case is there, and of that size; its name tells its content, and `hipseg verify` reads it."""
    try:
        found = paths.shard(record.shard).stat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and shard_bytes in (None, found.st_size)


def finish_whole(paths: DatasetPaths, state: PackState, plan: PlanRecord, merged: int = 0) -> Manifest:
    """Write the manifest, then take away what it has made needless: journals of parts, and shards of changed cases.

    Args:
        paths: the data set.
        state: what became of its cases.
        plan: of this packing.
        merged: number of parts that were merged; their journals go last.
    Returns:
        The manifest.
    Raises:
        ConfigError: the folder cannot be written.
    """
    manifest = state.manifest(plan)
    write_manifest(paths, manifest)
    for path in [path for path in find_named(paths.root, f"*{SHARD_SUFFIX}") if _is_replaced(path, state)]:
        path.unlink(missing_ok=True)
    for lock in paths.part_locks:
        lock.unlink(missing_ok=True)
    # Last of all: as long as one is there, a merge that was killed here can be begun again.
    for path in sorted(paths.part_journals, key=lambda one: part_count(one) == merged):
        path.unlink(missing_ok=True)
    return manifest


def _is_replaced(shard: Path, state: PackState) -> bool:
    """Say whether a shard is an older one of a packed case."""
    matched = SHARD_NAME.fullmatch(shard.name)
    known = state.find_packed(matched["case"]) if matched else None
    # A shard of a case that this manifest does not know may be all that is left of somebody's work: `verify` names it.
    return known is not None and shard.name != known[0].shard


def sweep(paths: DatasetPaths, cases: Collection[str], part: Part | None) -> None:
    """Delete what a killed packing was writing; beside other parts, only what it wrote of these cases.

    Raises:
        ConfigError: the folder cannot be written.
    """
    for path in paths.unfinished:
        if path.is_dir() and not path.is_symlink():
            # None of ours.
            continue
        if part is None or path.name.lstrip(".").split(".")[0] in cases:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise unwritable(path, error) from error
