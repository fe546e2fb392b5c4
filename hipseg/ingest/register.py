"""Dictionaries that may get too long for memory: beyond a bound their items lie on shelves, and 40 bytes of each in memory."""

from array import array
from collections.abc import ItemsView, Iterator, MutableMapping, Sequence, ValuesView
from typing import Any, Generic, TypeVar

from hipseg.ingest import shelf
from hipseg.ingest.shelf import BLOCK_ITEMS, Picked, Shelf
from hipseg.ingest.sorting import sort_apart

Key = TypeVar("Key", bound=str | tuple[str, str])
Value = TypeVar("Value")
GONE = -1
"""In the place of the value of a key that was taken out."""


class Register(MutableMapping[Key, Value], Generic[Key, Value]):
    """A dictionary, in the order in which its keys came. Threads may read it while one adds, and forked processes what was there.

    A value on disk is read anew each time: what is changed in it counts when it is set again.

    Args:
        room: number of items that are held in memory, where it is another one than of a shelf.
    Raises:
        NoRoomError: there are many items, and they cannot be written to disk.
    """

    def __init__(self, room: int | None = None) -> None:
        self._room = shelf.ITEMS_IN_MEMORY if room is None else room
        self._held: dict[Key, Value] | None = {}
        self._keys: Shelf[Key] = Shelf()
        self._values: Shelf[Value] = Shelf()
        self._numbers, self._places, self._count = array("q"), _Places(), 0

    def __setitem__(self, key: Key, value: Value) -> None:
        held = self._held
        if held is None:
            self._set(key, value)
            return
        held[key] = value
        if len(held) > self._room:
            for one in held.items():
                self._set(*one)
            self._held = None

    def __getitem__(self, key: Key) -> Value:
        held = self._held
        return self._values[self._numbers[self._place_of(key)]] if held is None else held[key]

    def __delitem__(self, key: Key) -> None:
        held = self._held
        if held is not None:
            del held[key]
            return
        self._numbers[self._place_of(key)] = GONE
        self._count -= 1

    def __contains__(self, key: object) -> bool:
        held = self._held
        return self._find(key) is not None if held is None else key in held

    def __len__(self) -> int:
        held = self._held
        return self._count if held is None else len(held)

    def __iter__(self) -> Iterator[Key]:
        held = self._held
        if held is not None:
            return iter(held)
        return (key for key, number in zip(self._keys, self._numbers, strict=False) if number != GONE)

    def items(self) -> ItemsView[Key, Value]:
        """Give keys and values, read in the order in which they lie on disk."""
        return _Items(self)

    def values(self) -> ValuesView[Value]:
        """Give the values, read in the order in which they lie on disk."""
        return _Values(self)

    def by_key(self) -> Sequence[Value]:
        """Give the values by rising key, as they are now."""
        held = self._held
        if held is not None:
            return tuple(held[key] for key in sorted(held))
        numbered = zip(self._keys, self._numbers, strict=False)
        return Picked(self._values, (number for _, number in sort_apart(numbered) if number != GONE))

    def pairs(self) -> Iterator[tuple[Key, Value]]:
        """Give keys and values, some at a time."""
        held = self._held
        if held is not None:
            yield from held.items()
            return
        for start in range(0, len(self._numbers), BLOCK_ITEMS):
            numbers = self._numbers[start : start + BLOCK_ITEMS]
            keys = self._keys[start : start + len(numbers)]
            there = [(key, number) for key, number in zip(keys, numbers, strict=True) if number != GONE]
            yield from zip((key for key, _ in there), self._read([number for _, number in there]), strict=True)

    def _read(self, numbers: Sequence[int]) -> Sequence[Value]:
        """Give the values of some numbers, in one go where they are in a row."""
        if numbers and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            return self._values[numbers[0] : numbers[0] + len(numbers)]
        return [self._values[number] for number in numbers]

    def _set(self, key: Key, value: Value) -> None:
        place = self._find(key)
        number = self._values.append(value)
        if place is not None:
            self._numbers[place] = number
            return
        self._keys.append(key)
        self._numbers.append(number)
        self._places.add(hash(key))
        self._count += 1

    def _place_of(self, key: Key) -> int:
        place = self._find(key)
        if place is None:
            raise KeyError(key)
        return place

    def _find(self, key: object) -> int | None:
        return next((one for one in self._places.find(hash(key)) if self._numbers[one] != GONE and self._keys[one] == key), None)


class _Items(ItemsView[Key, Value]):
    _mapping: Register[Key, Value]

    def __iter__(self) -> Iterator[tuple[Key, Value]]:
        return self._mapping.pairs()


class _Values(ValuesView[Value]):
    _mapping: Register[Any, Value]

    def __iter__(self) -> Iterator[Value]:
        return (value for _, value in self._mapping.pairs())


class _Places:
    """The places of hashes in the order in which they were added: a table of slots, and the hashes for it to be made anew."""

    def __init__(self) -> None:
        self._hashes = array("q")
        # One more than a place, 0 for none.
        self._slots = array("I", [0] * 8)

    def add(self, hashed: int) -> None:
        """Give the next place to a hash."""
        self._hashes.append(hashed)
        if 3 * len(self._hashes) < 2 * len(self._slots):
            _fill(self._slots, hashed, len(self._hashes))
            return
        slots = array("I", bytes(2 * len(self._slots) * self._slots.itemsize))
        for number, one in enumerate(self._hashes, 1):
            _fill(slots, one, number)
        self._slots = slots

    def find(self, hashed: int) -> Iterator[int]:
        """Give the places that have a hash."""
        slots = self._slots
        slot = hashed % len(slots)
        while number := slots[slot]:
            if self._hashes[number - 1] == hashed:
                yield number - 1
            slot = (slot + 1) % len(slots)


def _fill(slots: "array[int]", hashed: int, number: int) -> None:
    slot = hashed % len(slots)
    while slots[slot]:
        slot = (slot + 1) % len(slots)
    slots[slot] = number
