"""What proves that the source of a case is the one that was packed: a keyed digest of what the file system says of its files."""

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from hipseg import __version__
from hipseg.errors import SeriesError
from hipseg.ingest.cases import SourceCase
from hipseg.pack.plan import PackPlan, record_plan
from hipseg.shards.layout import SHARD_VERSION

Stamp = tuple[int, int, int, int]
"""Size, inode, time of the last change of content, time of the last change of anything (ns)."""


@dataclass(frozen=True, repr=False)
class SourceStamps:
    """The state of all files of a case at one moment. Private: times of a source are dates."""

    stamps: tuple[Stamp, ...]

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
    try:
        return SourceStamps(tuple(_stamp(path) for path in sorted(set(_find_paths(source)))))
    except OSError as error:
        raise SeriesError(f"a file of case {case} can no longer be opened; pack the folder again") from error


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
    text = json.dumps([__version__, SHARD_VERSION, sorted(plan.rois.items()), form, stamps.stamps])
    return hmac.new(plan.salt, b"source\0" + text.encode(), hashlib.sha256).hexdigest()


def _find_paths(value: Any) -> Iterator[Path]:
    """Find every path in a case, whatever kind of source it names: one that is overlooked would be trusted unseen."""
    if isinstance(value, Path):
        yield value
    elif is_dataclass(value):
        for one in fields(value):
            yield from _find_paths(getattr(value, one.name))
    elif isinstance(value, (tuple, list, frozenset)):
        for item in value:
            yield from _find_paths(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _find_paths(item)


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except NotADirectoryError:
        # A member of an archive: the archive is the file.
        return _stamp(path.parent)
    return found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns
