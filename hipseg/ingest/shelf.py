"""Long lists of which one item at a time is in memory: beyond a bound they lie in a file without a name."""

import io
import pickle
import threading
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar, overload

import numpy as np

from hipseg.ingest.scratch import Scratch
from hipseg.ingest.spill import Spill

Item = TypeVar("Item")
ITEMS_IN_MEMORY = 1_000
"""Cases and what became of them take some 1 to 3 kB each, the former in every process that touches them once more."""


class Shelf(Sequence[Item], Generic[Item]):
    """A list that grows at its end. Several threads may use it, and forked processes may read what was there before the fork.

    Items on disk are read anew each time. The spill that some of their lists lie in stays as it is, in memory.

    Args:
        items: the first ones.
    Raises:
        ConfigError: there are many, and they cannot be written to disk.
    """

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._held: list[Item] = []
        self._scratch: Scratch | None = None
        self._starts = array("Q", [0])
        self._spills: list[Spill] = []
        self._lock = threading.Lock()
        for item in items:
            self.append(item)

    def append(self, item: Item) -> int:
        """Add an item.

        Returns:
            Its number.
        Raises:
            ConfigError: there are many, and it cannot be written to disk.
        """
        with self._lock:
            self._held.append(item)
            if self._scratch is not None or len(self._held) > ITEMS_IN_MEMORY:
                self._put_away()
            return len(self) - 1

    def _put_away(self) -> None:
        if self._scratch is None:
            self._scratch = Scratch()
        for item in self._held:
            block = io.BytesIO()
            _Pickler(block, self._spills).dump(item)
            size = block.tell()
            self._scratch.write(np.frombuffer(block.getbuffer(), np.uint8), self._scratch.reserve(size))
            self._starts.append(self._starts[-1] + size)
        self._held.clear()

    def __len__(self) -> int:
        return len(self._starts) - 1 + len(self._held)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        with self._lock:
            number = range(len(self))[index]
            if self._scratch is None:
                return self._held[number]
            block = np.empty(self._starts[number + 1] - self._starts[number], np.uint8)
            self._scratch.read(block, self._starts[number])
        item: Item = _Unpickler(io.BytesIO(block.tobytes()), self._spills).load()
        return item


class _Pickler(pickle.Pickler):
    """Writes a spill as its number among those met."""

    def __init__(self, block: io.BytesIO, spills: list[Spill]) -> None:
        super().__init__(block, pickle.HIGHEST_PROTOCOL)
        self._spills = spills

    def persistent_id(self, value: Any) -> int | None:
        if not isinstance(value, Spill):
            return None
        if value not in self._spills:
            self._spills.append(value)
        return self._spills.index(value)


class _Unpickler(pickle.Unpickler):
    """Reads what this process wrote, or the one that it was forked from, out of a file that has no name."""

    def __init__(self, block: io.BytesIO, spills: list[Spill]) -> None:
        super().__init__(block)
        self._spills = spills

    def persistent_load(self, number: int) -> Spill:
        return self._spills[number]
