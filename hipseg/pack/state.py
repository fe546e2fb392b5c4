"""What a data set's folder holds before and after a packing: manifest, journals, and files that a killed packing left."""

import contextlib
import operator
import re
import stat
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hipseg.errors import ConfigError
from hipseg.fsio import locked, unwritable
from hipseg.pack.journal import Entry, JournalContent, open_journal, read_journal
from hipseg.pack.plan import PackPlan, Part, PlanRecord, check_same_plan, plan_of, record_plan
from hipseg.pack.shelf import Shelf
from hipseg.runs import DatasetPaths
from hipseg.shards.layout import NAME_DIGITS, SHARD_SUFFIX
from hipseg.shards.manifest import CaseRecord, Manifest, Refusal, read_manifest, write_manifest

SHARD_NAME = re.compile(rf"(?P<case>.+)-[0-9a-f]{{{NAME_DIGITS}}}{re.escape(SHARD_SUFFIX)}")
ORPHANS_S = 2.0
"""The processes of a killed packing hold its lock until they see that they are alone, at their next slice."""
NOTHING = JournalContent()
"""Of a part that has no journal."""
PART_NAME = re.compile(r"\.packed-(?P<part>(\d+)-of-(?P<count>\d+))\.jsonl")


class PackState:
    """Cases by key, as packings so far left them. What is known of each lies on a shelf, so that many take little memory."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._shelf: Shelf[Entry] = Shelf()
        self._packed: dict[str, int] = {}
        self._refused: dict[str, int] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Take the outcome of a case; one that is refused now stays as it was packed before.

        Raises:
            ConfigError: there are many, and it cannot be written to disk.
        """
        case = entry.outcome.case
        if isinstance(entry.outcome, CaseRecord):
            self._packed[case] = self._shelf.append(entry)
            self._refused.pop(case, None)
        elif case not in self._packed:
            self._refused[case] = self._shelf.append(entry)

    def find(self, case: str) -> Entry | None:
        """Give what is known of a case, packed or refused."""
        number = self._packed.get(case, self._refused.get(case))
        return None if number is None else self._shelf[number]

    def find_packed(self, case: str) -> tuple[CaseRecord, str] | None:
        """Give the record of a packed case and what proves that it is finished."""
        entry = self._shelf[self._packed[case]] if case in self._packed else None
        return (entry.outcome, entry.seal) if entry and isinstance(entry.outcome, CaseRecord) else None

    @property
    def entries(self) -> Iterator[Entry]:
        """Every packed case with its seal, by rising key."""
        return (self._shelf[self._packed[case]] for case in sorted(self._packed))

    def manifest(self, plan: PlanRecord) -> Manifest:
        """Give the manifest of these cases, as they are now."""
        cases, refusals = (_Outcomes(self._shelf, numbers) for numbers in (self._packed, self._refused))
        return Manifest(cases, refusals, plan.set_aside, plan.rois, plan.salt_id, plan.precedence, plan.fraction)


class _Outcomes(Sequence[Any]):
    """Outcomes by rising key, read from the shelf when they are asked for."""

    def __init__(self, shelf: Shelf[Entry], numbers: Mapping[str, int]) -> None:
        self._shelf, self._numbers = shelf, array("Q", (numbers[case] for case in sorted(numbers)))

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        found = self._numbers[index]
        return self._shelf[found].outcome if isinstance(found, int) else tuple(self._shelf[one].outcome for one in found)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    def __hash__(self) -> int:
        return hash(tuple(self))


@contextlib.contextmanager
def claimed(paths: DatasetPaths, part: Part | None) -> Iterator[None]:
    """Hold a data set's folder: alone, or one part of it beside other parts.

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
        yield


def load_state(paths: DatasetPaths, plan: PackPlan) -> PackState:
    """Read what is finished: the manifest, and the journals of packings that were killed or are still to be merged.

    Raises:
        ConfigError: what is there has other structures, another window or another salt.
        ShardError: the manifest is damaged.
    """
    state, here = PackState(), record_plan(plan)
    if paths.manifest.exists():
        manifest = read_manifest(paths)
        check_same_plan(plan_of(manifest), here, paths.root, has_cases=bool(manifest.cases))
        for outcome in _outcomes(manifest):
            state.add(Entry(outcome, ""))
        del manifest
    own = [paths.journal(), paths.journal(plan.part.name)] if plan.part else [paths.journal(), *paths.part_journals]
    for path in own:
        _absorb(state, read_journal(path), here, paths)
    return state


def _outcomes(manifest: Manifest) -> tuple[CaseRecord | Refusal, ...]:
    return (*manifest.cases, *manifest.refusals)


def _absorb(state: PackState, content: JournalContent, here: PlanRecord, paths: DatasetPaths) -> None:
    if content.plan is None:
        return
    packed = [entry for entry in content.entries.values() if isinstance(entry.outcome, CaseRecord)]
    check_same_plan(content.plan, here, paths.root, has_cases=bool(packed))
    for entry in packed:
        record = entry.outcome
        # The journal may be older than the manifest beside it, where somebody put an older one back.
        if isinstance(record, CaseRecord) and is_shard_there(paths, record, entry.shard_bytes):
            state.add(entry)


def is_shard_there(paths: DatasetPaths, record: CaseRecord, shard_bytes: int | None = None) -> bool:
    """Say whether the shard of a case is there, and of that size; its name tells its content, and `hipseg verify` reads it."""
    try:
        found = paths.shard(record.shard).stat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and shard_bytes in (None, found.st_size)


def finish_whole(paths: DatasetPaths, state: PackState, plan: PlanRecord) -> Manifest:
    """Write the manifest, then take away what it has made needless: journals of parts, and shards of changed cases.

    Returns:
        The manifest.
    Raises:
        ConfigError: the folder cannot be written.
    """
    manifest = state.manifest(plan)
    write_manifest(paths, manifest)
    for path in paths.root.glob(f"*{SHARD_SUFFIX}"):
        matched = SHARD_NAME.fullmatch(path.name)
        known = state.find_packed(matched["case"]) if matched else None
        # A shard of a case that this manifest does not know may be all that is left of somebody's work: `verify` names it.
        if known and path.name != known[0].shard:
            path.unlink(missing_ok=True)
    for lock in paths.root.glob(".lock-*-of-*"):
        lock.unlink(missing_ok=True)
    # Last of all: as long as one is there, a merge that was killed here can be begun again.
    for path in paths.part_journals:
        path.unlink(missing_ok=True)
    return manifest


def sweep(paths: DatasetPaths, cases: Collection[str], part: Part | None) -> None:
    """Delete what a killed packing was writing; beside other parts, only what it wrote of these cases.

    Raises:
        ConfigError: the folder cannot be written.
    """
    for path in paths.root.glob(".*.tmp"):
        if part is None or path.name.lstrip(".").split(".")[0] in cases:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise unwritable(path, error) from error


def merge_parts(paths: DatasetPaths) -> Manifest:
    """Join the parts that `--part` packed, with what the data set held before, into one manifest.

    A merge that was killed is finished by the same call.

    Returns:
        The manifest, the same to the byte as that of one packing of all cases.
    Raises:
        ConfigError: a part is missing or unfinished, the parts do not fit together or saw different cases, or a command is at
            work there.
        ShardError: the manifest of the data set is damaged.
    """
    with locked(paths.lock, str(paths.root)):
        contents = _read_parts(paths)
        plan = next(one.plan for one in contents.values() if one.plan)
        state = _load_before(paths, plan)
        if not _is_merged(contents, read_journal(paths.journal()), state):
            _check_parts(paths, contents)
        for content in contents.values():
            check_same_plan(plan, content.plan or plan, paths.root, has_cases=True)
            for entry in content.entries.values():
                state.add(entry)
        with open_journal(paths.journal(), plan, state.entries) as journal:
            journal.complete(len(contents))
        return finish_whole(paths, state, plan)


def _load_before(paths: DatasetPaths, plan: PlanRecord) -> PackState:
    """Read what the data set held before a merge."""
    state = PackState()
    if not paths.manifest.exists():
        return state
    manifest = read_manifest(paths)
    check_same_plan(plan_of(manifest), plan, paths.root, has_cases=bool(manifest.cases))
    for entry in read_journal(paths.journal()).entries.values():
        state.add(entry)
    for outcome in _outcomes(manifest):
        known = state.find(outcome.case)
        state.add(replace(known, outcome=outcome) if known else Entry(outcome, ""))
    return state


def _is_merged(contents: Mapping[str, JournalContent], merged: JournalContent, state: PackState) -> bool:
    """Say whether a merge was killed when all was written: then the parts that are still there say nothing new."""
    there = [one for one in contents.values() if one is not NOTHING]
    return merged.parts == len(contents) and all(
        one.is_complete and all(_is_known(entry, state) for entry in one.entries.values()) for one in there
    )


def _is_known(entry: Entry, state: PackState) -> bool:
    known, packed = state.find(entry.outcome.case), state.find_packed(entry.outcome.case)
    if isinstance(entry.outcome, CaseRecord):
        return packed == (entry.outcome, entry.seal)
    return packed is not None or (known is not None and known.outcome == entry.outcome)


def _read_parts(paths: DatasetPaths) -> dict[str, JournalContent]:
    """Read the journals of all parts of one N; one that is missing is NOTHING."""
    found = {matched["part"]: matched["count"] for path in paths.part_journals if (matched := PART_NAME.fullmatch(path.name))}
    counts = sorted(set(found.values()), key=int)
    if len(counts) != 1:
        kinds = " and ".join(f"of {count}" for count in counts)
        what = f"parts {kinds}" if counts else "no parts"
        raise ConfigError(f"{what} are in {paths.root}; pack all parts I/N of one N with `hipseg pack --part I/N`, then merge")
    names = [Part(number, int(counts[0])).name for number in range(1, int(counts[0]) + 1)]
    return {name: read_journal(paths.journal(name)) if name in found else NOTHING for name in names}


def _check_parts(paths: DatasetPaths, contents: Mapping[str, JournalContent]) -> None:
    """Refuse to merge fewer than all parts, or parts between which a case may have fallen."""
    if lacking := [name for name, content in contents.items() if not content.is_complete or content.plan is None]:
        raise ConfigError(
            f"{len(lacking)} of {len(contents)} parts in {paths.root} are not packed to their end ({_say_names(lacking)}); "
            "pack them with `hipseg pack --part I/N`, then merge"
        )
    by_digest: dict[str, list[str]] = defaultdict(list)
    for name, content in contents.items():
        by_digest[content.plan.found_digest if content.plan else ""].append(name)
    if len(by_digest) > 1:
        usual, *others = sorted(by_digest.values(), key=len, reverse=True)
        odd = [name for names in others for name in names]
        raise ConfigError(
            f"the parts in {paths.root} saw different cases in DATA: {_say_names(odd)} not those that {_say_names(usual)} saw, "
            "so that cases may be in no part; pack all parts again with the same DATA (what did not change is kept), then merge"
        )


def _say_names(names: Iterable[str]) -> str:
    first, *more = [name.replace("-of-", "/") for name in names]
    return first if not more else f"{first} and {len(more)} more"
