"""Found cases -> shards and manifest, several at once; a refused case never stops the others, a finished one is not redone."""

import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

from hipseg.errors import ConfigError, MaskError, SeriesError
from hipseg.fsio import unwritable
from hipseg.ingest.cases import FoundCases, OpenedCase, SourceCase, open_case
from hipseg.pack.journal import Entry, Journal, open_journal
from hipseg.pack.keys import case_key, patient_key
from hipseg.pack.plan import PackPlan, record_plan
from hipseg.pack.seals import SourceStamps, seal_source, stamp_again, stamp_source
from hipseg.pack.state import PackState, claimed, finish_whole, is_shard_there, load_state, sweep
from hipseg.runs import DatasetPaths
from hipseg.shards.layout import shard_name
from hipseg.shards.manifest import CaseRecord, Manifest, Refusal
from hipseg.shards.writer import SourceSlice, WrittenShard, write_shard

REFUSING = (SeriesError, MaskError)
"""What refuses one case; any other error ends the packing."""
CASES_AHEAD = 2
"""Cases that may be under way or waiting for an earlier one, for each job."""

Tick = Callable[[int], None]
"""Called from any thread after each slice with its bytes as int16."""


@dataclass(frozen=True, repr=False)
class KeyedCase:
    """A found case with its keys. Private, so it has no repr that a log could show."""

    case: str
    patient: str
    source: SourceCase


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Args:
        result: its record, or why it was refused.
        is_kept: whether it was packed before out of the same files, and was left as it is.
    """

    result: CaseRecord | Refusal
    is_kept: bool = False


class _StoppedError(Exception):
    """The packing ends before this case is done."""


def check_output(data: Path, paths: DatasetPaths) -> None:
    """Refuse an output folder before anything is read; nothing is made yet.

    Raises:
        ConfigError: the folder cannot be written, or lies in the folder that is to be read.
    """
    if paths.root.resolve().is_relative_to(data.resolve()):
        raise ConfigError(f"output folder {paths.root} lies in the input folder {data}; name one outside, as in -o ../shards")
    check_writable(paths.root)


def check_writable(folder: Path) -> None:
    """Try to write where a folder is, or where it would be made, and leave nothing behind.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        nearest = next(one for one in (folder, *folder.absolute().parents) if one.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise unwritable(folder, error) from error


def key_cases(found: FoundCases, salt: bytes) -> tuple[KeyedCase, ...]:
    """Give every found case its keys.

    Returns:
        Cases by rising key.
    Raises:
        SeriesError: two cases share a key.
    """
    keyed = [
        KeyedCase(case_key(salt, one.patient_id, one.series_uid), patient_key(salt, one.patient_id), one) for one in found.cases
    ]
    keyed.sort(key=lambda one: one.case)
    for one, following in pairwise(keyed):
        if one.case == following.case:
            raise SeriesError(f"two series have the case key {one.case}; give one of them its own series UID, or pack them apart")
    return tuple(keyed)


def pack_cases(
    cases: Sequence[KeyedCase],
    paths: DatasetPaths,
    plan: PackPlan,
    tick: Tick = lambda _: None,
    finished: Callable[[Manifest], None] = lambda _: None,
) -> Iterator[Outcome]:
    """Pack cases into a data set, beside those that it holds already.

    Each finished case is noted in a journal, and the manifest is written at the end, also when an error or the caller ends the
    packing. A killed packing leaves the manifest of before, whose shards are all still there, and the same call goes on from
    the journal. A case that was packed before out of the same files is left as it is; one whose files changed gets a new
    shard; if it is refused now, what was packed before stays. The bytes do not depend on `plan.jobs`.

    Args:
        cases: what to pack.
        paths: the data set; its folder is made, and locked until the last case is taken.
        plan: structures, salt, form and counts of this packing.
        tick: told of each slice that is written.
        finished: told of the manifest when it is written; a part has none.
    Returns:
        For each case of the plan's part, in the order given, what became of it.
    Raises:
        ConfigError: the folder cannot be written, another command is at work there, or its cases have other
            structures, another window or another salt.
        ShardError: its manifest is damaged.
    """
    chosen = [one for one in cases if plan.part is None or plan.part.has(one.case)]
    with claimed(paths, plan.part):
        state = load_state(paths, plan)
        keys = {one.case for one in chosen}
        sweep(paths, keys, plan.part)
        kept = [entry for entry in state.entries if plan.part is None or entry.outcome.case in keys]
        name = "" if plan.part is None else plan.part.name
        with open_journal(paths.journal(name), record_plan(plan), kept) as journal:
            try:
                with closing(_Packing(paths, plan, state, journal, tick).run(chosen)) as outcomes:
                    yield from outcomes
                journal.complete()
            finally:
                if plan.part is None:
                    finished(finish_whole(paths, state, record_plan(plan)))


class _Packing:
    """The threads of one packing and what they share."""

    def __init__(self, paths: DatasetPaths, plan: PackPlan, state: PackState, journal: Journal, tick: Tick) -> None:
        self._paths, self._plan, self._state, self._journal, self._tick = paths, plan, state, journal, tick
        self._before = dict(state.records)
        self._seals = dict(state.seals)
        self._is_stopped = threading.Event()
        self._places = threading.Semaphore(plan.jobs)

    def run(self, cases: Sequence[KeyedCase]) -> Generator[Outcome, None, None]:
        """Pack cases on several threads and give the outcomes in their order; nothing runs on when this ends."""
        jobs = self._plan.jobs
        with ExitStack() as stack:
            # More threads than places at work: a case that waits for the disk leaves its place to the next one.
            packers = stack.enter_context(ThreadPoolExecutor(max(1, min(CASES_AHEAD * jobs, len(cases))), "pack"))
            # With a thread for each core at work on cases of their own, handing slices on to others would only cost time.
            workers = stack.enter_context(ThreadPoolExecutor(jobs, "encode")) if len(cases) < jobs else None
            waiting: deque[Future[Outcome]] = deque()
            stack.callback(self._stop, waiting)
            for case in cases:
                waiting.append(packers.submit(self._pack, case, workers))
                if len(waiting) >= CASES_AHEAD * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _stop(self, waiting: deque[Future[Outcome]]) -> None:
        self._is_stopped.set()
        for future in waiting:
            future.cancel()

    def _pack(self, keyed: KeyedCase, workers: Executor | None) -> Outcome:
        """Pack one case, unless that is done, and note what became of it."""
        try:
            stamps = stamp_source(keyed.source, keyed.case)
            seal = seal_source(stamps, self._plan)
            before = self._before.get(keyed.case)
            if before and self._seals.get(keyed.case) == seal and is_shard_there(self._paths, before):
                return Outcome(before, is_kept=True)
            entry = Entry(self._write(keyed, stamps, workers), seal)
        except REFUSING as error:
            entry = Entry(Refusal(keyed.case, type(error).__name__, str(error)), "")
        self._journal.add(entry)
        self._state.add(entry)
        return Outcome(entry.outcome)

    def _write(self, keyed: KeyedCase, stamps: SourceStamps, workers: Executor | None) -> CaseRecord:
        # Its name tells its content, which is known only when it is written.
        fresh = self._paths.shard(f".{keyed.case}.tmp")
        try:
            with _Place(self._places) as place:
                opened = open_case(keyed.source, keyed.case, self._plan.rois, untilt=self._plan.untilt, rules=self._plan.rules)
                written = write_shard(
                    fresh,
                    keyed.case,
                    keyed.patient,
                    opened.grid,
                    self._watch(opened.slices, place),
                    has_mask=opened.mask_kind is not None,
                    storage=self._plan.storage,
                    workers=workers,
                )
            self._check_unchanged(keyed, stamps)
            record = _describe(keyed, opened, written, self._plan)
            _rename(fresh, self._paths.shard(record.shard))
        finally:
            fresh.unlink(missing_ok=True)
        return record

    def _watch(self, slices: Iterator[SourceSlice], place: "_Place") -> Iterator[SourceSlice]:
        """Hand slices on; after the last one, only the disk is still at work on this case."""
        for one in slices:
            if self._is_stopped.is_set():
                raise _StoppedError
            yield one
            self._tick(one[0].nbytes)
        place.leave()

    def _check_unchanged(self, keyed: KeyedCase, stamps: SourceStamps) -> None:
        started_ns = self._plan.started_ns
        is_late = started_ns is not None and stamps.newest_ns > started_ns
        if is_late or stamp_again(stamps, keyed.case) != stamps:
            raise SeriesError(
                f"source of case {keyed.case} changed while it was read; pack it again when nothing writes to its files any more"
            )


class _Place:
    """One of the places at work, taken while the block runs or until it is left."""

    def __init__(self, places: threading.Semaphore) -> None:
        self._places = places

    def __enter__(self) -> Self:
        self._places.acquire()
        self._is_taken = True
        return self

    def leave(self) -> None:
        """Give the place to the next one; once is enough."""
        if self._is_taken:
            self._is_taken = False
            self._places.release()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.leave()


def _rename(fresh: Path, path: Path) -> None:
    try:
        fresh.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error


def _describe(keyed: KeyedCase, opened: OpenedCase, written: WrittenShard, plan: PackPlan) -> CaseRecord:
    return CaseRecord(
        case=keyed.case,
        patient=keyed.patient,
        shard=shard_name(keyed.case, written.shard_digest),
        grid=opened.grid,
        mask_kind=opened.mask_kind,
        label_voxels=written.label_voxels,
        image_digest=written.image_digest,
        mask_digest=written.mask_digest,
        shard_digest=written.shard_digest,
        window_hu=plan.storage.window_hu,
        warnings=(*opened.warnings, *opened.late_warnings()),
        subset=keyed.source.subset,
    )
