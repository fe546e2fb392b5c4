"""What proves that the source of a case is the one that was packed: a keyed digest of what the file system says of its files."""

import hashlib
import hmac
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hipseg import __version__
from hipseg.errors import SeriesError
from hipseg.ingest.archive import ZipMember
from hipseg.ingest.headers import FileStamp, ImageHeader
from hipseg.ingest.planes import Plane
from hipseg.ingest.source import SourceCase
from hipseg.ingest.spill import SpillList
from hipseg.pack.plan import PackPlan, record_plan
from hipseg.shards.layout import SHARD_VERSION

Stamp = tuple[int, int, int, int]
"""Size, inode, time of the last change of content, time of the last change of anything (ns)."""
PATHLESS = frozenset((str, int, float, bool, bytes, type(None)))
"""Types of nearly all values of a case, none of which can hold a path."""
Fact = str | int | float | bool | None
OF_FILES = (ImageHeader, Plane)
"""Classes whose values follow from the files that they name, which are sealed."""
LISTS = (tuple, list, SpillList)
"""Of which every item is looked at; one that is on disk counts like one in memory."""
IDENTITY = frozenset(("patient_id", "series_uid", "folder"))
"""Fields that make the key of a case, and where it lies: a folder may be renamed."""


@dataclass(frozen=True, repr=False)
class SourceStamps:
    """The state of all files of a case at one moment, and what else was found of it.

    Private: times of a source are dates, and names may be names.

    Args:
        files, stamps: its files, and the state of each.
        facts: values that follow from other files beside it, such as the number of damaged ones.
        scanned: of each file what the scan saw of it before reading its header; None where that is not known.
    """

    files: tuple[Path, ...]
    stamps: tuple[Stamp, ...]
    facts: tuple[Fact, ...] = ()
    scanned: tuple[FileStamp | None, ...] = ()

    @property
    def newest_ns(self) -> int:
        """When the last of the files was changed, in ns since 1970; 0 without files."""
        return max((stamp[-1] for stamp in self.stamps), default=0)


def stamp_source(source: SourceCase, case: str) -> SourceStamps:
    """Ask the file system for the state of every file of a case.

    A file cannot be written, replaced or given an older time without a new change time (ctime), so that equal stamps are equal
    files. That costs a look at each file, where a digest of the content would cost reading it.

    Raises:
        SeriesError: a file is gone.
    """
    found: dict[Path, FileStamp | None] = {}
    _find_files(source, found)
    facts: list[Fact] = []
    _find_facts(source, facts)
    files = tuple(sorted(found, key=str))
    return SourceStamps(files, _stamp_files(files, case), tuple(facts), tuple(found[path] for path in files))


def check_unchanged(stamps: SourceStamps, case: str, started_ns: int | None) -> None:
    """Refuse a case of which a file has changed since the scan, or since its files were looked at.

    A new change time alone (ctime) is no change of what was read: links, owner and rights give one, too. The seal keeps the one
    of before, so that the next packing reads the case again.

    Args:
        stamps: from before the case was read.
        case: its key.
        started_ns: when the scan began, in ns since 1970, for files of which no more is known; None asks not.
    Raises:
        SeriesError: one has changed, or is gone.
    """
    again = _stamp_files(stamps.files, case)
    if any(before[:-1] != after[:-1] for before, after in zip(stamps.stamps, again, strict=True)) or any(
        _is_late(stamp, scanned, started_ns) for stamp, scanned in zip(stamps.stamps, stamps.scanned, strict=True)
    ):
        raise SeriesError(
            f"source of case {case} changed while it was read; pack it again when nothing writes to its files any more"
        )


def _is_late(stamp: Stamp, scanned: FileStamp | None, started_ns: int | None) -> bool:
    """Say whether a file changed between the scan and the first look at it."""
    size_bytes, _, written_ns, changed_ns = stamp
    if scanned is not None:
        return (size_bytes, written_ns) != (scanned.size_bytes, scanned.changed_ns)
    # A time to come is of another clock, and tells nothing.
    return started_ns is not None and started_ns < changed_ns <= time.time_ns()


def seal_source(stamps: SourceStamps, plan: PackPlan) -> str:
    """Give the keyed digest of a case's files and of all that decides what becomes of them.

    Args:
        stamps: state of its files.
        plan: structures and form that were asked for; its salt keeps times from being tried out.
    Returns:
        64 hexadecimal digits.
    """
    record = record_plan(plan)
    form = [plan.storage.codec, plan.storage.window_hu, plan.untilt, record.precedence, record.fraction]
    text = json.dumps([__version__, SHARD_VERSION, sorted(plan.rois.items()), form, stamps.stamps, stamps.facts])
    return hmac.new(plan.salt, b"source\0" + text.encode(), hashlib.sha256).hexdigest()


def _find_files(value: Any, found: dict[Path, FileStamp | None]) -> None:
    """Find every file in a case, whatever kind of source it names: one that is overlooked would be trusted unseen."""
    kind: Any = type(value)
    if kind in PATHLESS:
        return
    if isinstance(value, ImageHeader):
        _take_file(value.path, value.stamp, found)
    elif isinstance(value, Path):
        _take_file(value, None, found)
    elif names := _field_names(kind):
        for name in names:
            _find_files(getattr(value, name), found)
    elif isinstance(value, (*LISTS, frozenset)):
        for item in value:
            _find_files(item, found)
    elif isinstance(value, Mapping):
        for item in value.values():
            _find_files(item, found)


def _take_file(path: Path, scanned: FileStamp | None, found: dict[Path, FileStamp | None]) -> None:
    if isinstance(path, ZipMember):
        # The archive's own size and time are not those that its members were found with.
        found[path.entry.archive] = None
    elif scanned or path not in found:
        found[path] = scanned


def _find_facts(value: Any, facts: list[Fact]) -> None:
    """Find what a case says beside its files, in order: how many are damaged, how many other series a mask fits."""
    kind: Any = type(value)
    if kind in PATHLESS:
        facts.append(value)
    elif kind in OF_FILES:
        return
    elif names := _field_names(kind):
        for name in names:
            if name not in IDENTITY:
                _find_facts(getattr(value, name), facts)
    elif isinstance(value, LISTS):
        # Where one list ends and the next begins.
        facts.append(len(value))
        for item in value:
            _find_facts(item, facts)


@cache
def _field_names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(one.name for one in fields(kind)) if is_dataclass(kind) else ()


def _stamp_files(files: tuple[Path, ...], case: str) -> tuple[Stamp, ...]:
    try:
        return tuple(_stamp(path.stat()) for path in files)
    except OSError as error:
        raise SeriesError(f"a file of case {case} can no longer be opened; pack the folder again") from error


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns
