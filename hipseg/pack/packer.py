"""What each process of a packing does: one case after another into shards, the next one begun while the disk takes the last."""

import secrets
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from hipseg.errors import HipsegError, MaskError, SeriesError
from hipseg.fsio import unwritable
from hipseg.ingest.cases import OpenedCase, open_case
from hipseg.ingest.source import load_case
from hipseg.pack.arrivals import check_arrivals, check_settled, find_wait_s
from hipseg.pack.crew import Send, Take, name_shortage
from hipseg.pack.journal import Entry
from hipseg.pack.keyed import KeyedCase
from hipseg.pack.plan import PackPlan
from hipseg.pack.seals import SourceStamps, check_unchanged, seal_source, stamp_source
from hipseg.pack.state import PackState, is_shard_there
from hipseg.runs import DatasetPaths
from hipseg.shards.layout import shard_name
from hipseg.shards.manifest import CaseRecord, Refusal
from hipseg.shards.writer import SourceSlice, WrittenShard, write_shard

REFUSING = (SeriesError, MaskError)
"""What refuses one case; any other error ends the packing."""
CASES_AT_ONCE = 2
"""In one process: one that is packed, and one that waits for the disk."""
LOOKS = 10
"""How often the folders of a series are looked into while its next slice may be on its way."""
TICK_S = 0.1
"""How often a process tells what it has written."""


class _StoppedError(Exception):
    """The packing ends before this case is done."""


@dataclass(frozen=True)
class Done:
    """A case that is finished, by its number."""

    number: int
    entry: Entry
    is_kept: bool = False


@dataclass(frozen=True)
class Written:
    """What was written since the last one of these."""

    slices: int
    bytes: int


class Packer:
    """What one process of a packing does; its threads share it."""

    def __init__(self, cases: Sequence[KeyedCase], paths: DatasetPaths, plan: PackPlan, state: PackState, threads: int) -> None:
        self._cases, self._paths, self._plan, self._threads = cases, paths, plan, threads
        self._before = state
        self._place = threading.Semaphore(1)

    def run(self, take: Take, send: Send, is_stopped: threading.Event) -> None:
        """Pack cases until none is left, one at a time; while the disk takes a case the next one is begun."""
        meter = _Meter(send)
        with ExitStack() as stack:
            # With a process for each core at work on cases of its own, handing slices on to others would only cost time.
            workers = stack.enter_context(ThreadPoolExecutor(self._threads, "encode")) if self._threads > 1 else None
            packers = stack.enter_context(ThreadPoolExecutor(CASES_AT_ONCE, "pack"))
            serving = [packers.submit(self._serve, take, send, is_stopped, meter, workers) for _ in range(CASES_AT_ONCE)]
            for one in serving:
                one.result()
        meter.tell()

    def _serve(self, take: Take, send: Send, is_stopped: threading.Event, meter: "_Meter", workers: Executor | None) -> None:
        try:
            while True:
                with _Place(self._place) as place:
                    number = take()
                    if number is None:
                        return
                    send(self._pack(number, _Watch(place, is_stopped, meter), workers))
        except _StoppedError:
            return
        except BaseException:
            # The other thread shall not go on.
            is_stopped.set()
            raise

    def _pack(self, number: int, watch: "_Watch", workers: Executor | None) -> Done:
        """Pack one case, unless that is done."""
        keyed = self._cases[number]
        try:
            keyed = replace(keyed, source=load_case(keyed.source))
            stamps = stamp_source(keyed.source, keyed.case)
            seal = seal_source(stamps, self._plan)
            before, seal_before = self._before.find_packed(keyed.case) or (None, "")
            if before and seal_before == seal and is_shard_there(self._paths, before):
                return Done(number, Entry(before, seal), is_kept=True)
            check_settled(stamps, keyed.case, self._plan.settle_s)
            return Done(number, Entry(self._write(keyed, stamps, watch, workers), seal))
        except REFUSING as error:
            return _refuse(number, keyed.case, error)
        except (HipsegError, _StoppedError, OSError, MemoryError):
            raise
        except Exception as error:
            if name_shortage(error):
                raise
            return _refuse(number, keyed.case, SeriesError(_describe_unforeseen(keyed.case, error)))

    def _write(self, keyed: KeyedCase, stamps: SourceStamps, watch: "_Watch", workers: Executor | None) -> CaseRecord:
        # Its name tells its content, which is known only when it is written. Where locks hold on one node alone, two packings
        # may write the same case.
        fresh = self._paths.unfinished_shard(keyed.case, secrets.token_hex(4))
        try:
            opened = open_case(keyed.source, keyed.case, self._plan.rois, untilt=self._plan.untilt, rules=self._plan.rules)
            written = write_shard(
                fresh,
                keyed.case,
                keyed.patient,
                opened.grid,
                watch.slices(opened.slices),
                has_mask=opened.mask_kind is not None,
                storage=self._plan.storage,
                workers=workers,
            )
            self._check_unchanged(keyed, stamps, watch)
            self._check_same_patient(keyed, written)
            record = _describe(keyed, opened, written, self._plan)
            _rename(fresh, self._paths.shard(record.shard))
        finally:
            fresh.unlink(missing_ok=True)
        return record

    def _check_unchanged(self, keyed: KeyedCase, stamps: SourceStamps, watch: "_Watch") -> None:
        """Refuse a case whose source is not now what was read, or is not yet all there."""
        started_ns = self._plan.started_ns
        if started_ns is not None:
            wait_s = find_wait_s(stamps)
            check_arrivals(keyed.source, keyed.case, started_ns)
            for _ in range(LOOKS if wait_s else 0):
                if watch.is_stopped.wait(wait_s / LOOKS):
                    raise _StoppedError
                check_arrivals(keyed.source, keyed.case, started_ns)
        check_unchanged(stamps, keyed.case, started_ns)

    def _check_same_patient(self, keyed: KeyedCase, written: WrittenShard) -> None:
        """Refuse to put other images in the place of a case that only the names of its files and folders tell from others.

        Two data sets of one name, or two centres that count their patients alike, would else replace each other's. A series
        identifier is unique, so that images under it which changed are the same patient's.
        """
        before = self._before.find_packed(keyed.case)
        if before and not keyed.source.has_identifier and before[0].image_digest != written.image_digest:
            raise SeriesError(
                f"case {keyed.case} was packed before from other images, and no identifier says that both are of one patient, "
                "only equal names of files and folders: rename the data set, or the folder inside DATA, if it is another "
                "patient's; pack into another folder if its images were changed on purpose"
            )


class _Meter:
    """Adds up what the threads of one process write, and tells it now and then."""

    def __init__(self, send: Send) -> None:
        self._send, self._lock = send, threading.Lock()
        self._slices, self._bytes, self._told_s = 0, 0, time.monotonic()

    def add(self, slice_bytes: int) -> None:
        """Count a slice."""
        with self._lock:
            self._slices += 1
            self._bytes += slice_bytes
            is_time = time.monotonic() - self._told_s >= TICK_S
        if is_time:
            self.tell()

    def tell(self) -> None:
        """Send what was not sent yet."""
        with self._lock:
            written = Written(self._slices, self._bytes)
            self._slices, self._bytes, self._told_s = 0, 0, time.monotonic()
        if written.slices:
            self._send(written)


@dataclass(frozen=True)
class _Watch:
    """Looks at the slices of a case as they pass."""

    place: "_Place"
    is_stopped: threading.Event
    meter: _Meter

    def slices(self, slices: Iterator[SourceSlice]) -> Iterator[SourceSlice]:
        """Hand slices on; after the last one, only the disk is still at work on this case."""
        for one in slices:
            if self.is_stopped.is_set():
                raise _StoppedError
            yield one
            self.meter.add(one[0].nbytes)
        self.place.leave()


class _Place:
    """The place at work, taken while the block runs or until it is left."""

    def __init__(self, place: threading.Semaphore) -> None:
        self._place = place

    def __enter__(self) -> Self:
        self._place.acquire()
        self._is_taken = True
        return self

    def leave(self) -> None:
        """Give it to the next one; once is enough."""
        if self._is_taken:
            self._is_taken = False
            self._place.release()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.leave()


def _refuse(number: int, case: str, error: Exception) -> Done:
    return Done(number, Entry(Refusal(case, type(error).__name__, str(error)), ""))


def _describe_unforeseen(case: str, error: Exception) -> str:
    """Say what happened without the error's own words, which may quote the source."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"case {case} cannot be read: {type(error).__name__} in {Path(place.filename).name}, line {place.lineno}, which nobody "
        "foresaw; please report this line, and export the series again"
    )


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
