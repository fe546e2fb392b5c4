"""Order and repetition among more items than should be in memory together."""

from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import islice
from typing import Any, TypeVar

import numpy as np

from hipseg.ingest.spill import Spill, SpillList

Item = TypeVar("Item", bound=tuple[Any, ...])
RUN_ITEMS = 4_000
"""Items that are sorted in memory; of more, runs of so many lie on disk."""
BLOCK_ITEMS = 64
"""Items of each run that are in memory while the runs are joined."""


def sort_apart(items: Iterable[Item]) -> Iterator[Item]:
    """Give items in rising order; many are sorted in runs that lie in a file without a name, and joined.

    Args:
        items: what compares whole, as tuples of text and numbers do.
    Raises:
        NoRoomError: there are many, and they cannot be written to disk.
    """
    source = iter(items)
    run = sorted(islice(source, RUN_ITEMS))
    if len(run) < RUN_ITEMS:
        return iter(run)
    spill = Spill()
    runs = []
    while run:
        runs.append(_put_away(run, spill))
        run = sorted(islice(source, RUN_ITEMS))
    return merge(*runs)


def _put_away(run: list[Item], spill: Spill) -> SpillList[Item]:
    kept = SpillList[Item](spill)
    for start in range(0, len(run), BLOCK_ITEMS):
        kept.extend(run[start : start + BLOCK_ITEMS])
        spill.flush()
    return kept


def find_repeated(hashes: Iterable[int]) -> frozenset[int]:
    """Give the hashes that come more than once."""
    found = np.fromiter(hashes, np.int64)
    found.sort()
    return frozenset(found[1:][found[1:] == found[:-1]].tolist())
