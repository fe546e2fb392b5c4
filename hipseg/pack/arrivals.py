"""Series that are still arriving: a slice that came after its folder was looked through would be missing in silence."""

import os
import time
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from statistics import median_low

from hipseg.errors import SeriesError
from hipseg.ingest.archive import ZipMember
from hipseg.ingest.scan import scan_file
from hipseg.ingest.source import SourceCase
from hipseg.pack.seals import SourceStamps

SECOND_NS = 1_000_000_000
PACE = 10
"""How many times the usual while from one file to the next may pass before no more are waited for."""
LONGEST_WAIT_S = 10.0
"""A while of more than a second is not told from a pause for long."""
LEAST_FILES = 3
"""Two show no pace."""
FOLDERS_HELD = 8
"""Of a tree in which each series has a folder of its own, none is asked for twice."""


def check_settled(stamps: SourceStamps, case: str, settle_s: float) -> None:
    """Refuse a case whose newest file is younger than somebody asked for.

    Raises:
        SeriesError: it is.
    """
    age_s = (time.time_ns() - stamps.newest_ns) / SECOND_NS
    if settle_s and stamps.files and age_s < settle_s:
        found = (
            f"was changed {age_s:.0f} s ago"
            if age_s >= 0
            else f"has a time of change {-age_s:.0f} s ahead of this machine's clock"
        )
        raise SeriesError(
            f"case {case} may still be arriving: its newest file {found}, --settle asks for {settle_s:g} s; pack it again later"
        )


def find_wait_s(stamps: SourceStamps) -> float:
    """Say for how long yet the next slice of a series may be on its way, by the pace at which those that are there came.

    The change times of files that were copied before lie milliseconds apart, and no time is left.

    Returns:
        0 where nothing needs to be waited for, or this machine's clock and that of the files do not agree.
    """
    changed_ns = sorted(stamp[-1] for stamp, scanned in zip(stamps.stamps, stamps.scanned, strict=True) if scanned)
    age_s = (time.time_ns() - changed_ns[-1]) / SECOND_NS if len(changed_ns) >= LEAST_FILES else LONGEST_WAIT_S
    if not 0 <= age_s < LONGEST_WAIT_S:
        return 0.0
    usual_s = median_low(after - before for before, after in pairwise(changed_ns)) / SECOND_NS
    return max(0.0, min(PACE * usual_s, LONGEST_WAIT_S) - age_s)


def check_arrivals(source: SourceCase, case: str, started_ns: int) -> None:
    """Refuse a series of which a slice came into its folder after reading began.

    Args:
        source: the case, its headers in memory.
        case: its key.
        started_ns: when reading began, in ns since 1970.
    Raises:
        SeriesError: one did, or a folder is gone.
    """
    uids: set[str | None] = {None, *(one.series_uid for one in source.images)}
    paths = {one.path for one in source.images if not isinstance(one.path, ZipMember)}
    try:
        late = [
            found for folder, time_ns in _find_changed(paths, started_ns) for found in _list_late(folder, time_ns, started_ns)
        ]
    except OSError as error:
        raise SeriesError(f"a folder of case {case} can no longer be opened; pack it again") from error
    if any(uid in uids and path not in paths for path, uid in late):
        raise SeriesError(
            f"series of case {case} is still arriving: a slice came into its folder while it was read; pack it again when all "
            "are there"
        )


def _find_changed(paths: Iterable[Path], started_ns: int) -> list[tuple[Path, int]]:
    """Give the folders into which something came, or out of which it went, and when; a time to come is of another clock."""
    times_ns = {folder: folder.stat().st_mtime_ns for folder in {path.parent for path in paths}}
    return [(folder, time_ns) for folder, time_ns in sorted(times_ns.items()) if started_ns < time_ns <= time.time_ns()]


@lru_cache(maxsize=FOLDERS_HELD)
def _list_late(folder: Path, _changed_ns: int, started_ns: int) -> tuple[tuple[Path, str | None], ...]:
    """List what may be slices among the files of a folder that changed since reading began, with the series of each.

    Returns:
        Files and series UIDs; None in the place of one that cannot be read yet.
    """
    late: list[tuple[Path, str | None]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_ctime_ns > started_ns:
                scan, path = scan_file(Path(entry.path)), Path(entry.path)
                late.extend((path, one.series_uid) for one in scan.images)
                late.extend((path, one.series_uid or None) for one in scan.damaged)
    return tuple(late)
