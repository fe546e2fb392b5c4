"""The header of a plainly written DICOM file, read without pydicom and with the same answers, or not at all."""

import os
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Final

from hipseg.ingest.alike import Image, Kind, Pattern
from hipseg.ingest.dictionary import representation_of
from hipseg.ingest.elements import ALL_TAGS, NO_VR, OddLayoutError, Place, find_elements

Value = str | int | float | bytes | tuple[str, ...] | tuple[float, ...] | None
"""What an element says; None where it is there and empty."""

FIRST_READ_BYTES: Final = 1 << 16
"""Enough for the header of a CT slice with an overlay plane of 512 x 512 bits (32 KiB)."""
MAX_PLAIN_BYTES: Final = 1 << 22
"""Headers longer than this are left to pydicom, which passes over what is not asked for."""
PAGE_BYTES: Final = 1 << 12
MAX_PAGES: Final = 1 << 8
"""Of the first bytes of a file that are read at once."""
MAX_KNOWN: Final = 8
"""Kinds of headers that are remembered: as many series in one folder may take turns."""
ASCII_CHARACTER_SETS: Final = frozenset(
    (
        *("", "GB18030", "GBK", "ISO 2022 IR 6", "ISO 2022 IR 100"),
        *(f"ISO_IR {number}" for number in (6, 100, 101, 109, 110, 126, 127, 138, 144, 148, 192, 203)),
    )
)
"""Character sets in which bytes below 128 are ASCII. Source: DICOM PS3.3 C.12.1.1.2."""
MAX_REMEMBERED_BYTES: Final = 64
CHARACTER_SET, IMAGE_TYPE, PIXEL_REPRESENTATION = 0x00080005, 0x00080008, 0x00280103
SIGN_DEPENDENT: Final = frozenset((0x00280120, 0x00280121))
"""Pixel Padding Value and Range Limit, which are signed where the pixels are."""

_TEXT_VRS = frozenset(("CS", "LO", "SH", "UI"))
_DECIMAL_BYTES, _INTEGER_BYTES = b"0123456789+-.eE ", b"0123456789+- "
_FORMATS = {"US": "H", "SS": "h"}
_LENGTHS = (2, 4)
"""Of values as 16-bit numbers, bytes: one of them, or the two of an overlay's origin."""


@dataclass(frozen=True, repr=False)
class PlainHeader:
    """What a file's header says; private, so it is not shown when printed.

    Args:
        values: of its elements.
        syntax: transfer syntax identifier.
        pixels: where its pixel data lie.
        tags: of all elements before its pixel data, asked for or not.
        own: tags of which other images of its pattern may have other values; all others they have in common.
        memory: one for all images of the pattern, where a user may keep what follows from the common values alone.
    """

    values: Mapping[int, Value]
    syntax: str
    pixels: Place
    tags: tuple[int, ...]
    own: frozenset[int]
    memory: dict[str, Any]

    def __contains__(self, tag: int) -> bool:
        return tag in self.values


@dataclass(frozen=True, repr=False)
class _Known:
    """A header read before, and what others of its kind have in common with it."""

    image: Image
    tags: tuple[int, ...]
    own: frozenset[int]
    pattern: Pattern
    values: Mapping[int, Value]
    """Of the elements that are wanted and common."""
    memory: dict[str, Any] = field(default_factory=dict)


class HeaderReader:
    """Reads the headers of plainly written files one after another, those of a series in a fraction of the first one's time.

    Attributes:
        tags: the elements wanted of each.
        head_bytes: how many bytes of the next file are read at first.
    """

    def __init__(self, tags: Collection[int]) -> None:
        """Begin without any file.

        Args:
            tags: the elements wanted of each.
        """
        self.tags = frozenset(tags)
        self._known: dict[Kind, _Known] = {}
        self.head_bytes = FIRST_READ_BYTES

    def read_head(self, descriptor: int) -> bytes:
        """Read the first bytes of a file, as many as the header before had.

        Raises:
            OSError: the file cannot be read.
        """
        return os.pread(descriptor, self.head_bytes, 0)

    def read(self, descriptor: int, head: bytes) -> PlainHeader:
        """Read the values wanted of a plainly written file out of its first bytes; where those do not do, the next are read.

        Args:
            descriptor: the file, opened for reading.
            head: what `read_head` gave of it.
        Returns:
            Their values, equal to those that pydicom gives.
        Raises:
            OddLayoutError: something in the file is not written in the plain way, so that pydicom has to read it.
            OSError: the file cannot be read.
        """
        # The last kind met comes first.
        for kind, known in reversed(self._known.items()):
            found = known.pattern.find(head)
            if found is not None:
                places, pixels = found
                values = _decode(head, places, dict(known.values))
                self._known[kind] = self._known.pop(kind)
                return PlainHeader(values, known.image.elements.syntax, pixels, known.tags, known.own, known.memory)
        return self._read_anew(descriptor, head)

    def _read_anew(self, descriptor: int, head: bytes) -> PlainHeader:
        """Walk over all elements of a header, and remember them for the next ones."""
        elements = find_elements(head, ALL_TAGS)
        while elements.pixels is None and len(head) < MAX_PLAIN_BYTES:
            more = os.pread(descriptor, 7 * len(head), len(head))
            if not more:
                break
            head += more
            elements = find_elements(head, ALL_TAGS)
        if elements.pixels is None:
            # Another object than an image, or a file that breaks off.
            raise OddLayoutError
        places = {tag: place for tag, place in elements.places.items() if tag in self.tags}
        values = _decode(head, places, {})
        known = self._remember(Image(head[: elements.pixels.first], elements, elements.pixels), values)
        self.head_bytes = min(-(-elements.pixels.first // PAGE_BYTES) + 1, MAX_PAGES) * PAGE_BYTES
        return PlainHeader(values, elements.syntax, elements.pixels, known.tags, known.own, known.memory)

    def _remember(self, image: Image, values: Mapping[int, Value]) -> _Known:
        """Learn from a header that was of no known pattern."""
        kind = image.kind
        before = self._known.pop(kind, None)
        if before is not None:
            own = before.own | image.differences(before.image)
        else:
            # What each image of the last series had for its own, each of this one will, too.
            last = next(reversed(self._known.values()), None)
            own = last.own.intersection(image.tags) if last else frozenset()
        common = {tag: value for tag, value in values.items() if tag not in own}
        known = self._known[kind] = _Known(image, image.tags, own, Pattern(image, own, self.tags), common)
        if len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]
        return known


def _decode(head: bytes, places: Mapping[int, Place], values: dict[int, Value]) -> dict[int, Value]:
    """Add the values of elements to those that are known already."""
    # Pixel Representation comes before the elements whose value representation depends on it.
    for tag, (written, first, length) in places.items():
        vr = _standard_vr(tag, written) if written or tag not in SIGN_DEPENDENT else _sign_vr(values)
        raw = head[first : first + length]
        values[tag] = (_decode_short if length <= MAX_REMEMBERED_BYTES else _decode_value)(tag, vr, raw) if length else None
    if (values.get(CHARACTER_SET) or "") not in ASCII_CHARACTER_SETS:
        raise OddLayoutError
    return values


@cache
def _standard_vr(tag: int, written: bytes) -> str:
    """Say how a value is written; a file that says another thing than the standard is odd."""
    expected = representation_of(tag)
    if expected is None:
        raise OddLayoutError
    if written == NO_VR:
        return expected
    if written.decode("ascii") not in expected.split(" or "):
        raise OddLayoutError
    return written.decode("ascii")


def _sign_vr(values: Mapping[int, Value]) -> str:
    """Say how a pixel value is written where no VR is. Source: DICOM PS3.5 A.1."""
    sign = values.get(PIXEL_REPRESENTATION)
    if sign not in (0, 1):
        raise OddLayoutError
    return "SS" if sign == 1 else "US"


@lru_cache(maxsize=4096)
def _decode_short(tag: int, vr: str, raw: bytes) -> Value:
    """Decode one value. The images of a series have most of them in common, so that they are remembered."""
    return _decode_value(tag, vr, raw)


def _decode_value(tag: int, vr: str, raw: bytes) -> Value:
    if vr in _TEXT_VRS:
        text = _decode_text(raw)
        if "\\" not in text:
            return text
        if tag == IMAGE_TYPE:
            return tuple(text.split("\\"))
    if vr == "DS":
        return _decode_decimals(raw)
    if vr in ("OB", "OW", "OB or OW"):
        return raw
    if vr == "IS" and not raw.translate(None, _INTEGER_BYTES):
        return _to_int(raw)
    if vr in _FORMATS and len(raw) in _LENGTHS:
        numbers = struct.unpack(f"<{len(raw) // 2}{_FORMATS[vr]}", raw)
        return numbers[0] if len(numbers) == 1 else tuple(map(float, numbers))
    raise OddLayoutError


def _decode_text(raw: bytes) -> str:
    """Give printable ASCII; anything else depends on character sets and on what a reader makes of control characters."""
    if not raw.isascii():
        raise OddLayoutError
    text = raw.rstrip(b"\0 ").decode("ascii")
    if not text.isprintable():
        raise OddLayoutError
    return text


def _decode_decimals(raw: bytes) -> float | tuple[float, ...]:
    parts = raw.split(b"\\")
    # Python also takes nan, inf and 1_000 for numbers.
    if any(part.translate(None, _DECIMAL_BYTES) for part in parts):
        raise OddLayoutError
    try:
        values = tuple(float(part) for part in parts)
    except ValueError as error:
        raise OddLayoutError from error
    return values if len(values) > 1 else values[0]


def _to_int(raw: bytes) -> int:
    try:
        return int(raw)
    except ValueError as error:
        raise OddLayoutError from error
