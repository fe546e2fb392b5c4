"""The top-level elements of a plainly written DICOM file: where each value lies, nothing decoded.

Only what is laid out exactly as the standard says is taken; anything else is left to pydicom, which forgives more and takes ten
times as long.
Source: DICOM PS3.5 7 (elements and sequences), PS3.10 7.1 (preamble and file meta information).
"""

import re
import struct
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from hipseg.ingest.dictionary import IMPLICIT_LITTLE_ENDIAN, MEDIA_DIRECTORY

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
PIXEL_DATA: Final = 0x7FE00010
MAX_NESTING: Final = 16
"""Sequences within sequences beyond this are not walked over; those of CT images nest two or three deep."""
NO_VR: Final = b""
"""Stands for the value representation of an element written without one (implicit VR)."""
ALL_TAGS: Final = range(1 << 32)
"""Stands for every tag where some are wanted."""
META_START: Final = 132
PREFIX: Final = b"DICM"
MEDIA_CLASS: Final = 0x00020002
TRANSFER_SYNTAX: Final = 0x00020010

_META_END, _DATA_START, _PIXEL_GROUP = 0x00030000, 0x00080000, 0x7FE00001
_is_walked_like_these = re.compile(r"1\.2\.840\.10008\.1\.2(\.1|\.4\.[0-9]+|\.5)?").fullmatch
"""Transfer syntaxes that are neither deflated nor big endian: the two plain ones, and all compressions of the pixels alone."""
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SHORT_VRS = frozenset(
    (
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO"),
        *(b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    )
)
_PIXEL_VRS = (NO_VR, b"OB", b"OW")
_PIXEL_START_BYTES = 12
_NO_LENGTH, _NO_ELEMENT = -1, 0
_MAX_STARTS: Final = 1 << 14
_explicit_start = struct.Struct("<HH2sH").unpack_from
_implicit_start = struct.Struct("<HHL").unpack_from
_long_length = struct.Struct("<L").unpack_from


class _Start(NamedTuple):
    """What the first 8 bytes of an element say.

    Args:
        tag: group << 16 | element.
        size: bytes before the value; _NO_ELEMENT where the bytes are no start of an element.
        length: of the value; _NO_LENGTH where it stands in the 4 bytes that follow.
        vr: value representation, or NO_VR.
    """

    tag: int
    size: int
    length: int
    vr: bytes


_explicit_starts: dict[bytes, _Start] = {}
_implicit_starts: dict[bytes, _Start] = {}
"""Starts met before, which the next file mostly has again: looking one up takes a third of the time of taking it apart."""


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
        meta: all of the file meta information, by (group << 16 | element).
        places: those of the data set that were wanted.
        syntax: transfer syntax identifier.
        pixels: where the pixel data lie; None where the bytes given end before them.
    """

    meta: Mapping[int, Place]
    places: Mapping[int, Place]
    syntax: str
    pixels: Place | None


def find_elements(head: bytes, wanted: Collection[int]) -> Elements:
    """Walk over the elements of a file with preamble, up to its pixel data.

    Args:
        head: the first bytes of the file, any number of them.
        wanted: the tags of which places are kept; best a set, or ALL_TAGS.
    Returns:
        The elements before the pixel data. Where the bytes end before those, the last of them may lie beyond the end.
    Raises:
        OddLayoutError: there is no preamble or transfer syntax, or something is not laid out in the plain way.
    """
    meta, start, syntax = _walk_meta(head)
    if not _is_walked_like_these(syntax):
        raise OddLayoutError
    is_explicit = syntax != IMPLICIT_LITTLE_ENDIAN
    if not is_explicit and head[start + 4 : start + 6] in _SHORT_VRS:
        # The elements have value representations after all; the length would otherwise be read out of those letters.
        raise OddLayoutError
    places, position = _walk(head, start, (_DATA_START, _PIXEL_GROUP), wanted, is_explicit=is_explicit)
    pixels = None if position is None else find_pixels(head, position, is_explicit=is_explicit)
    return Elements(meta, places, syntax, pixels)


def find_pixels(head: bytes, position: int, *, is_explicit: bool) -> Place | None:
    """Give the place of the pixel data, whose element begins at a position; None where the bytes end before its value.

    Raises:
        OddLayoutError: another element begins there.
    """
    if len(head) < position + _PIXEL_START_BYTES:
        return None
    tag, size, length, vr = _read_start(head[position : position + 8], is_explicit=is_explicit)
    if tag != PIXEL_DATA or vr not in _PIXEL_VRS:
        raise OddLayoutError
    if length == _NO_LENGTH:
        (length,) = _long_length(head, position + 8)
    return Place(vr, position + size, length)


def find_data(head: bytes) -> tuple[int, str]:
    """Find the end of the file meta information of a file with preamble.

    Args:
        head: the first bytes of the file.
    Returns:
        The position of the first element after it, and the transfer syntax identifier.
    Raises:
        OddLayoutError: there is no preamble or transfer syntax, or something is not laid out in the plain way.
    """
    return _walk_meta(head)[1:]


def find_element(head: bytes, position: int, *, is_explicit: bool) -> tuple[int, Place, int]:
    """Give the tag of the element that begins at a position, the place of its value, and the position after it.

    Raises:
        OddLayoutError: it is not laid out in the plain way, or the bytes end before its value.
    """
    starts, start = _explicit_starts if is_explicit else _implicit_starts, head[position : position + 8]
    try:
        found = starts.get(start) or _learn(start, starts, is_explicit=is_explicit)
        first, length, end = _pass_over(head, position, found, 1)
    except struct.error as error:
        raise OddLayoutError from error
    if not is_explicit and start[4:6] in _SHORT_VRS:
        # Perhaps written explicitly after all; see find_elements.
        raise OddLayoutError
    return found.tag, Place(found.vr, first, length), end


def begin_of(place: Place) -> int:
    """Give the position of the first byte of the element that a place belongs to."""
    return place.first - (12 if place.vr in _LONG_VRS else 8)


def _walk_meta(head: bytes) -> tuple[dict[int, Place], int, str]:
    """Walk over the file meta information; give its elements, the position after it and the transfer syntax identifier."""
    if head[META_START - len(PREFIX) : META_START] != PREFIX:
        raise OddLayoutError
    meta, start = _walk(head, META_START, (0, _META_END), ALL_TAGS, is_explicit=True)
    media_class, syntax = (_read_uid(head, meta.get(tag)) for tag in (MEDIA_CLASS, TRANSFER_SYNTAX))
    if start is None or not syntax or media_class == MEDIA_DIRECTORY:
        raise OddLayoutError
    return meta, start, syntax


def _read_uid(head: bytes, place: Place | None) -> str:
    return head[place.first : place.first + place.length].rstrip(b"\0 ").decode("ascii", "replace") if place else ""


def _walk(
    head: bytes, position: int, tags: tuple[int, int], wanted: Collection[int], *, is_explicit: bool
) -> tuple[dict[int, Place], int | None]:
    """Walk over the elements from the first tag given to before the second.

    Returns:
        The places wanted, and the position of the first element from the second tag on; None where the bytes end before it.
    """
    places: dict[int, Place] = {}
    starts = _explicit_starts if is_explicit else _implicit_starts
    previous, stop = tags[0] - 1, tags[1]
    try:
        while True:
            start = head[position : position + 8]
            found = starts.get(start) or _learn(start, starts, is_explicit=is_explicit)
            tag = found[0]
            if tag >= stop:
                return places, position
            if tag <= previous:
                raise OddLayoutError
            first, length, end = _pass_over(head, position, found, 1)
            if tag in wanted:
                places[tag] = Place(found[3], first, length)
            previous, position = tag, end
    except struct.error:
        # The bytes end here.
        return places, None


def _learn(start: bytes, starts: dict[bytes, _Start], *, is_explicit: bool) -> _Start:
    """Take the start of an element apart and remember it."""
    if len(starts) >= _MAX_STARTS:
        starts.clear()
    starts[start] = found = _read_start(start, is_explicit=is_explicit)
    return found


def _read_start(start: bytes, *, is_explicit: bool) -> _Start:
    if not is_explicit:
        group, element, length = _implicit_start(start)
        return _Start(group << 16 | element, 8, length, NO_VR)
    group, element, vr, length = _explicit_start(start)
    if vr in _SHORT_VRS:
        return _Start(group << 16 | element, 8, length, vr)
    return _Start(group << 16 | element, 12 if vr in _LONG_VRS else _NO_ELEMENT, _NO_LENGTH, vr)


def _pass_over(head: bytes, position: int, start: _Start, depth: int) -> tuple[int, int, int]:
    """Give the position of an element's value, the length that is written for it, and the position after it."""
    _, size, length, vr = start
    if size == _NO_ELEMENT:
        raise OddLayoutError
    if length == _NO_LENGTH:
        (length,) = _long_length(head, position + 8)
    first = position + size
    return first, length, first + length if length != UNDEFINED_LENGTH else _skip_sequence(head, first, vr, depth)


def _skip_sequence(head: bytes, position: int, vr: bytes, depth: int) -> int:
    """Give the position after a sequence of undefined length."""
    if depth > MAX_NESTING or vr not in (NO_VR, b"SQ"):
        raise OddLayoutError
    while True:
        tag, _, length, _ = _read_start(head[position : position + 8], is_explicit=False)
        position += 8
        if tag == _SEQUENCE_END:
            return position
        if tag != _ITEM:
            raise OddLayoutError
        position = position + length if length != UNDEFINED_LENGTH else _skip_item(head, position, depth, is_explicit=vr != NO_VR)


def _skip_item(head: bytes, position: int, depth: int, *, is_explicit: bool) -> int:
    """Give the position after an item of undefined length."""
    while True:
        start = _read_start(head[position : position + 8], is_explicit=is_explicit)
        if start.tag == _ITEM_END:
            return position + 8
        _, _, position = _pass_over(head, position, start, depth + 1)
