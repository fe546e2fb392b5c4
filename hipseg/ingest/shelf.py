"""Long lists of which one item at a time is in memory: beyond a bound they lie in a file without a name."""

import io
import operator
import pickle
import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

import numpy as np

from hipseg.ingest.scratch import Scratch
from hipseg.ingest.spill import Spill

Item = TypeVar("Item")
ITEMS_IN_MEMORY = 1_000
"""Cases and what became of them take some 1 to 3 kB each, the former in every process that touches them once more."""
BLOCK_ITEMS = 64
"""Items on disk that are written together, and read together where a shelf is run over."""


class Shelf(Sequence[Item], Generic[Item]):
    """A list that grows at its end. Several threads may use it, and forked processes may read what was there before the fork.

    Items on disk are read anew each time. The spill that some of their lists lie in stays as it is, in memory. Of each item
    in the file 8 bytes are in memory, beside the last few, which wait to be written together.

    Args:
        items: the first ones.
    Raises:
        NoRoomError: there are many, and they cannot be written to disk.
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
            NoRoomError: there are many, and it cannot be written to disk.
        """
        with self._lock:
            self._held.append(item)
            if len(self._held) > (ITEMS_IN_MEMORY if self._scratch is None else BLOCK_ITEMS):
                self._put_away()
            return len(self) - 1

    def _put_away(self) -> None:
        if self._scratch is None:
            self._scratch = Scratch()
        block = io.BytesIO()
        first = self._starts[-1]
        ends = array("Q")
        for item in self._held:
            _Pickler(block, self._spills).dump(item)
            ends.append(first + block.tell())
        self._scratch.write(np.frombuffer(block.getbuffer(), np.uint8), self._scratch.reserve(block.tell()))
        self._starts.extend(ends)
        self._held.clear()

    def __len__(self) -> int:
        return len(self._starts) - 1 + len(self._held)

    def __iter__(self) -> Iterator[Item]:
        start = 0
        while block := self._read(start, start + BLOCK_ITEMS):
            yield from block
            start += len(block)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        if isinstance(index, slice):
            numbers = range(*index.indices(len(self)))
            return [self[one] for one in numbers] if numbers.step != 1 else self._read_row(numbers)
        number = range(len(self))[index]
        return self._read(number, number + 1)[0]

    def _read_row(self, numbers: range) -> list[Item]:
        found: list[Item] = []
        while len(found) < len(numbers):
            found += self._read(numbers.start + len(found), numbers.stop)
        return found

    def _read(self, start: int, end: int) -> list[Item]:
        """Give some items in a row: those that are asked for, or the first of them that lie in the file."""
        with self._lock:
            on_disk = len(self._starts) - 1
            if start >= on_disk or self._scratch is None:
                return self._held[start - on_disk : end - on_disk]
            places = self._starts[start : min(end, on_disk) + 1]
            block = np.empty(places[-1] - places[0], np.uint8)
            self._scratch.read(block, places[0])
        file = io.BytesIO(block.tobytes())
        return [_Unpickler(file, self._spills).load() for _ in places[1:]]


class Picked(Sequence[Item]):
    """Some of many items, in an order of their own; of each its number alone is in memory."""

    def __init__(self, items: Sequence[Item], numbers: Iterable[int]) -> None:
        self._items, self._numbers = items, array("Q", numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        found = self._numbers[index]
        return self._items[found] if isinstance(found, int) else tuple(self._items[one] for one in found)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    def __hash__(self) -> int:
        return hash(tuple(self))


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
