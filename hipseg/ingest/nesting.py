"""Sequences whose items follow each other without a gap, as nothing but their own lengths says.

pydicom takes an item whose tag or length is damaged for what it then seems to be, and the one behind it can vanish in it. Where
nothing else counts the items, as those of contours, that is seen here alone.
Source: DICOM PS3.5 7.5.
"""

import struct
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hipseg.ingest.dictionary import DEFLATED_LITTLE_ENDIAN
from hipseg.ingest.elements import UNDEFINED_LENGTH, OddLayoutError, find_element

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

DELIMITERS: Final = 0xFFFE
"""Group of what begins and ends items and sequences."""
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
START_BYTES: Final = 8
LONG_START_BYTES: Final = 12
"""Tag, value representation and length of a sequence that says how its values are represented, or that it is unknown."""
UNKNOWN: Final = b"UN"
"""What systems that do not know an element make of its representation; items in it have none. Source: DICOM PS3.5 6.2.2."""
_start, _length = struct.Struct("<HHL").unpack_from, struct.Struct("<L").unpack_from


def has_whole_items(dataset: "FileDataset", path: Path, tags: Collection[int]) -> bool:
    """Say whether the items of sequences lie one behind the other, and the elements in them.

    Ask before any value is: pydicom then still has the bytes of a sequence whose length is known.

    Args:
        dataset: read from the file; where that is big endian or deflated, its sequences are believed.
        path: the file.
        tags: of the sequences, at the top of the data set or inside others of these.
    Raises:
        OSError: the file cannot be opened.
    """
    from pydicom.dataelem import RawDataElement  # noqa: PLC0415 - see `dictionary`

    is_implicit, is_little = dataset.original_encoding
    if not is_little or dataset.file_meta.TransferSyntaxUID == DEFLATED_LITTLE_ENDIAN:
        return True
    items = _Items(tags)
    try:
        for element in [dataset.get_item(tag) for tag in tags if tag in dataset]:
            if isinstance(element, RawDataElement):
                value = element.value or b""
                items.check(value, 0, len(value), is_explicit=not is_implicit and UNKNOWN.decode() != element.VR)
            else:
                with path.open("rb") as handle:
                    handle.seek(int(element.file_tell or 0) - LONG_START_BYTES)
                    is_unknown = _is_unknown(handle.read(LONG_START_BYTES), 0)
                    items.check(handle.read(), 0, None, is_explicit=not is_implicit and not is_unknown)
    except OddLayoutError:
        return False
    return True


class _Items:
    """Walks over sequences; an end that is None is said by a delimiter."""

    def __init__(self, tags: Collection[int]) -> None:
        self._tags = frozenset(tags)

    def check(self, data: bytes, position: int, end: int | None, *, is_explicit: bool) -> int:
        """Walk over a sequence from its first item on, and give the position after it.

        Raises:
            OddLayoutError: another thing than an item lies there, or one goes on beyond the end.
        """
        while position != end:
            tag, length = _read_start(data, position, end)
            position += START_BYTES
            if tag == SEQUENCE_END and end is None:
                return position
            if tag != ITEM:
                raise OddLayoutError
            inside = None if length == UNDEFINED_LENGTH else position + length
            position = self._check_item(data, position, inside, is_explicit=is_explicit)
        return position

    def _check_item(self, data: bytes, position: int, end: int | None, *, is_explicit: bool) -> int:
        while position != end:
            tag, length = _read_start(data, position, end)
            if tag == ITEM_END and end is None:
                return position + START_BYTES
            if tag >> 16 == DELIMITERS:
                raise OddLayoutError
            first, after = position + START_BYTES, position + START_BYTES + length
            has_explicit_items = is_explicit and not _is_unknown(data, position)
            if has_explicit_items:
                _, (_, first, length), after = find_element(data, position, is_explicit=True)
            elif is_explicit:
                first = position + LONG_START_BYTES
                (length,) = _length(data, first - 4) if first <= len(data) else (0,)
                after = first + length
            is_undefined = length == UNDEFINED_LENGTH
            # Without value representation, an element of undefined length is a sequence.
            if tag in self._tags or (is_undefined and not has_explicit_items):
                after = self.check(data, first, None if is_undefined else after, is_explicit=has_explicit_items)
            position = after
        return position


def _is_unknown(data: bytes, position: int) -> bool:
    """Say whether an element with a value representation is of an unknown one, whose items are written without any."""
    return data[position + 4 : position + 6] == UNKNOWN


def _read_start(data: bytes, position: int, end: int | None) -> tuple[int, int]:
    """Give the tag and the length of an item, a delimiter, or an element without value representation; else the tag alone."""
    # Where an item or a sequence ends beyond what holds it, that is noticed here: something would have to begin there.
    if position + START_BYTES > (len(data) if end is None else min(end, len(data))):
        raise OddLayoutError
    group, element, length = _start(data, position)
    return group << 16 | element, length
