"""Lists that may get too long for memory: beyond a bound their items go into a file without a name, and are read back."""

import pickle
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, Self, TypeVar, overload

import numpy as np

from hipseg.ingest.scratch import Scratch

Item = TypeVar("Item")
ITEMS_IN_MEMORY = 4_000
"""Headers of images take 1.2 to 1.4 kB each, so that these take about 5 MB, in each process that a packing forks once more."""
LINK = struct.Struct("<QQ")
"""What a block begins with: one more than the offset of the list's block before it, 0 where there is none; its own length."""


class Spill:
    """Bounds what several lists hold in memory together.

    As long as all of it fits, nothing is written. The file has no name, so that nothing is left behind whatever happens, and is
    read by offset, so that forked processes may read it at the same time.

    Attributes:
        growing: the lists that hold items in memory.
        flushes: how often they were written out.
    """

    def __init__(self) -> None:
        """Begin without a file."""
        self.growing: list[SpillList[Any]] = []
        self.flushes = 0
        self._held = 0
        self._scratch: Scratch | None = None

    @property
    def is_used(self) -> bool:
        """Say whether anything was written."""
        return self._scratch is not None

    def relieve(self, added: int) -> None:
        """Write all lists out if they hold too many items.

        Args:
            added: number of items that they got since the last call.
        Raises:
            NoRoomError: that failed.
        """
        self._held += added
        if self._held > ITEMS_IN_MEMORY:
            self.flush()

    def flush(self) -> None:
        """Write out what the lists still hold in memory.

        Raises:
            NoRoomError: that failed.
        """
        for one in self.growing:
            one.write_out()
        self.growing.clear()
        self._held = 0
        self.flushes += 1

    def keep(self, items: Sequence[Item]) -> Sequence[Item]:
        """Give items as they are, or as a list on disk where there are such lists already.

        Raises:
            NoRoomError: they cannot be written.
        """
        if not self.is_used:
            return items
        kept = SpillList[Item](self)
        kept.extend(items)
        self.flush()
        return kept

    def write(self, block: bytes) -> int:
        """Write bytes, and give their offset.

        Raises:
            NoRoomError: that failed.
        """
        if self._scratch is None:
            self._scratch = Scratch()
        offset = self._scratch.reserve(len(block))
        self._scratch.write(np.frombuffer(block, np.uint8), offset)
        return offset

    def read(self, offset: int, size: int) -> bytes:
        """Read bytes that were written."""
        if self._scratch is None:
            return b""
        block = np.empty(size, np.uint8)
        self._scratch.read(block, offset)
        return block.tobytes()


class SpillList(Sequence[Item], Generic[Item]):
    """A growing list. Of what is on disk only the place of the last block is remembered; each block tells the one before it.

    Items that are added in one go and written together have what they share in common again when they are read. For
    each item that is asked for by its number the whole list is read: run over it, or make a tuple of it.
    """

    __slots__ = ("_count", "_last", "_spill", "_tail")

    def __init__(self, spill: Spill) -> None:
        """Begin an empty list."""
        self._spill = spill
        self._tail: list[Item] | None = None
        # One more than the offset of its last block; a single number, as there may be a list for each of 100,000 series.
        self._last = 0
        self._count = 0

    @property
    def is_spilled(self) -> bool:
        """Say whether some of it is on disk."""
        return self._last > 0

    def append(self, item: Item) -> None:
        """Add an item; the caller tells the spill."""
        if self._tail is None:
            self._tail = []
            self._spill.growing.append(self)
        self._tail.append(item)
        self._count += 1

    def extend(self, items: Iterable[Item]) -> None:
        """Add items; the caller tells the spill."""
        for item in items:
            self.append(item)

    def write_out(self) -> None:
        """Put on disk what is in memory."""
        if self._tail is not None:
            items = pickle.dumps(self._tail, pickle.HIGHEST_PROTOCOL)
            self._last = self._spill.write(LINK.pack(self._last, len(items)) + items) + 1
            self._tail = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Be put on a shelf as the place of what it holds, which is written out for it."""
        return restore_list, (self._spill, *self.put_away())

    def put_away(self) -> tuple[int, int]:
        """Write out what is in memory, and give what `restore_list` needs."""
        self.write_out()
        return self._last, self._count

    def settled(self) -> Self | tuple[Item, ...]:
        """Give what needs the least memory from now on, when nothing more is added."""
        return self if self.is_spilled else tuple(self)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        for offset, size in self._find_blocks():
            # Its file has no name.
            yield from pickle.loads(self._spill.read(offset, size))  # noqa: S301 - this process or its parent wrote it
        yield from self._tail or ()

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | Sequence[Item]:
        return tuple(self)[index]

    def _find_blocks(self) -> list[tuple[int, int]]:
        """Give offset and length of what each block holds, the first one first."""
        found = []
        last = self._last
        while last:
            items = last - 1 + LINK.size
            last, size = LINK.unpack(self._spill.read(last - 1, LINK.size))
            found.append((items, size))
        return found[::-1]


def restore_list(spill: Spill, last: int, count: int) -> SpillList[Any]:
    """Make a list again of what `put_away` gave."""
    found: SpillList[Any] = SpillList(spill)
    found._last, found._count = last, count
    return found
