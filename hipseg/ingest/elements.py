"""The top-level elements of a plainly written DICOM file: where each value lies, nothing decoded.

Only what is laid out exactly as the standard says is taken; anything else is left to pydicom, which forgives more and takes ten
times as long.
Source: DICOM PS3.5 7 (elements and sequences), PS3.10 7.1 (preamble and file meta information).
"""

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

IMPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
UNDEFINED_LENGTH: Final = 0xFFFFFFFF
PIXEL_DATA: Final = 0x7FE00010
MAX_NESTING: Final = 16
"""Sequences within sequences beyond this are not walked over; those of CT images nest two or three deep."""
NO_VR: Final = b""
"""Stands for the value representation of an element written without one (implicit VR)."""

_META_START, _META_END, _DATA_START = 132, 0x00030000, 0x00080000
_TRANSFER_SYNTAX, _FLOAT_PIXEL_DATA = 0x00020010, 0x7FE00008
_OTHER_WALKS = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
"""Transfer syntaxes whose elements lie in another way: deflated, and big endian."""
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SHORT_VRS = frozenset(
    (
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO"),
        *(b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    )
)
_explicit_start = struct.Struct("<HH2sH").unpack_from
_implicit_start = struct.Struct("<HHL").unpack_from
_long_length = struct.Struct("<L").unpack_from


class OddLayoutError(Exception):
    """The bytes are not laid out as a plain file's; the caller hands the file to pydicom."""


class Place(NamedTuple):
    """Where a value lies in the file, bytes; `vr` is NO_VR where the file writes none."""

    vr: bytes
    first: int
    length: int


class Elements(NamedTuple):
    """The elements of a file up to its pixel data.

    Args:
        places: by (group << 16 | element), those of the file meta information left out.
        syntax: transfer syntax identifier.
        pixels: where the pixel data lie; None where the bytes given end before them.
    """

    places: Mapping[int, Place]
    syntax: str
    pixels: Place | None


def find_elements(head: bytes) -> Elements:
    """Walk over the elements of a file with preamble, up to its pixel data.

    Args:
        head: the first bytes of the file, any number of them.
    Returns:
        The elements before the pixel data. Where the bytes end before those, the last of them may lie beyond the end.
    Raises:
        OddLayoutError: there is no preamble or transfer syntax, or something is not laid out in the plain way.
    """
    start, syntax = find_data(head)
    if syntax in _OTHER_WALKS:
        raise OddLayoutError
    is_explicit = syntax != IMPLICIT_LITTLE_ENDIAN
    if not is_explicit and head[start + 4 : start + 6] in _SHORT_VRS:
        # The elements have value representations after all; the length would otherwise be read out of those letters.
        raise OddLayoutError
    places, _, pixels = _walk(head, start, _DATA_START, PIXEL_DATA + 1, is_explicit=is_explicit)
    if _FLOAT_PIXEL_DATA in places:
        raise OddLayoutError
    return Elements(places, syntax, pixels)


def find_data(head: bytes) -> tuple[int, str]:
    """Find the end of the file meta information of a file with preamble.

    Args:
        head: the first bytes of the file.
    Returns:
        The position of the first element after it, and the transfer syntax identifier.
    Raises:
        OddLayoutError: there is no preamble or transfer syntax, or something is not laid out in the plain way.
    """
    if head[_META_START - 4 : _META_START] != b"DICM":
        raise OddLayoutError
    meta, start, _ = _walk(head, _META_START, 0, _META_END, is_explicit=True)
    if _TRANSFER_SYNTAX not in meta:
        raise OddLayoutError
    _, first, length = meta[_TRANSFER_SYNTAX]
    return start, head[first : first + length].rstrip(b"\0 ").decode("ascii", "replace")


def _walk(head: bytes, position: int, lowest: int, stop: int, *, is_explicit: bool) -> tuple[dict[int, Place], int, Place | None]:
    """Walk from one element to the next until a tag of `stop` or more, the pixel data, or the end of the bytes."""
    places: dict[int, Place] = {}
    previous = lowest - 1
    stop_group = stop >> 16
    while True:
        try:
            group, element, vr, length = _explicit_start(head, position)
            if group > stop_group or (group == stop_group and group << 16 | element >= stop):
                return places, position, None
            if not is_explicit:
                vr, first, (length,) = NO_VR, position + 8, _long_length(head, position + 4)
            elif vr in _SHORT_VRS:
                first = position + 8
            elif vr in _LONG_VRS:
                first, (length,) = position + 12, _long_length(head, position + 8)
            else:
                raise OddLayoutError
            tag = group << 16 | element
            if tag <= previous:
                raise OddLayoutError
            place = Place(vr, first, length)
            if tag == PIXEL_DATA:
                return places, position, place
            previous, places[tag] = tag, place
            position = first + length if length != UNDEFINED_LENGTH else _skip_sequence(head, place, 1)
        except struct.error:
            # The bytes end here.
            return places, position, None


def _skip_sequence(head: bytes, place: Place, depth: int) -> int:
    """Give the position after a sequence of undefined length."""
    if depth > MAX_NESTING or place.vr not in (NO_VR, b"SQ"):
        raise OddLayoutError
    position = place.first
    while True:
        group, element, length = _implicit_start(head, position)
        tag = group << 16 | element
        position += 8
        if tag == _SEQUENCE_END:
            return position
        if tag != _ITEM:
            raise OddLayoutError
        is_closed = length != UNDEFINED_LENGTH
        position = position + length if is_closed else _skip_item(head, position, depth, is_explicit=place.vr != NO_VR)


def _skip_item(head: bytes, position: int, depth: int, *, is_explicit: bool) -> int:
    """Give the position after an item of undefined length."""
    while True:
        group, element, length = _implicit_start(head, position)
        if group << 16 | element == _ITEM_END:
            return position + 8
        vr, first = NO_VR, position + 8
        if is_explicit:
            vr = head[position + 4 : position + 6]
            if vr in _SHORT_VRS:
                length >>= 16
            elif vr in _LONG_VRS:
                first, (length,) = position + 12, _long_length(head, position + 8)
            else:
                raise OddLayoutError
        position = first + length if length != UNDEFINED_LENGTH else _skip_sequence(head, Place(vr, first, length), depth + 1)
