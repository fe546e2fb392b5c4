"""What proves that the source of a case is the one that was packed: a keyed digest of what the file system says of its files."""

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hipseg import __version__
from hipseg.errors import SeriesError
from hipseg.ingest.archive import ZipMember
from hipseg.ingest.headers import ImageHeader
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
    """

    files: tuple[Path, ...]
    stamps: tuple[Stamp, ...]
    facts: tuple[Fact, ...] = ()

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
    found: set[Path] = set()
    _find_files(source, found)
    facts: list[Fact] = []
    _find_facts(source, facts)
    return _stamp_files(tuple(sorted(found, key=str)), case, tuple(facts))


def stamp_again(stamps: SourceStamps, case: str) -> SourceStamps:
    """Ask for the state of the same files once more.

    Raises:
        SeriesError: a file is gone.
    """
    return _stamp_files(stamps.files, case, stamps.facts)


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


def _find_files(value: Any, found: set[Path]) -> None:
    """Find every file in a case, whatever kind of source it names: one that is overlooked would be trusted unseen."""
    kind: Any = type(value)
    if kind in PATHLESS:
        return
    if isinstance(value, ZipMember):
        found.add(value.entry.archive)
    elif isinstance(value, Path):
        found.add(value)
    elif names := _field_names(kind):
        for name in names:
            _find_files(getattr(value, name), found)
    elif isinstance(value, (*LISTS, frozenset)):
        for item in value:
            _find_files(item, found)
    elif isinstance(value, Mapping):
        for item in value.values():
            _find_files(item, found)


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


def _stamp_files(files: tuple[Path, ...], case: str, facts: tuple[Fact, ...]) -> SourceStamps:
    try:
        return SourceStamps(files, tuple(_stamp(path.stat()) for path in files), facts)
    except OSError as error:
        raise SeriesError(f"a file of case {case} can no longer be opened; pack the folder again") from error


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns
