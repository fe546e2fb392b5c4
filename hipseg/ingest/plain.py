"""The header of a plainly written DICOM file, read without pydicom and with the same answers, or not at all."""

import io
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

from hipseg.ingest.dictionary import representation_of
from hipseg.ingest.elements import NO_VR, Elements, OddLayoutError, Place, find_elements

Value = str | int | float | bytes | tuple[str, ...] | tuple[float, ...] | None
"""What an element says; None where it is there and empty."""

FIRST_READ_BYTES: Final = 1 << 16
"""Enough for the header of a CT slice with an overlay plane of 512 x 512 bits (32 KiB)."""
MAX_HEADER_BYTES: Final = 1 << 22
"""Headers longer than this are left to pydicom, which passes over what is not asked for."""
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
    """Values of a file's elements, and where its pixel data lie; private, so it is not shown when printed."""

    values: Mapping[int, Value]
    syntax: str
    pixels: Place

    def __contains__(self, tag: int) -> bool:
        return tag in self.values


def read_head(handle: io.FileIO) -> bytes:
    """Read the first bytes of a file, as many as most headers have."""
    return os.pread(handle.fileno(), FIRST_READ_BYTES, 0)


def read_plain_header(handle: io.FileIO, head: bytes, tags: Sequence[int]) -> PlainHeader:
    """Read the values wanted of a plainly written file out of its first bytes; where those do not do, the next are read.

    Args:
        handle: the file, opened without a buffer.
        head: what `read_head` gave of it.
        tags: the elements wanted.
    Returns:
        Their values, equal to those that pydicom gives.
    Raises:
        OddLayoutError: something in the file is not written in the plain way, so that pydicom has to read it.
        OSError: the file cannot be read.
    """
    wanted = frozenset(tags)
    elements = find_elements(head, wanted)
    while elements.pixels is None and len(head) < MAX_HEADER_BYTES:
        more = os.pread(handle.fileno(), 7 * len(head), len(head))
        if not more:
            break
        head += more
        elements = find_elements(head, wanted)
    if elements.pixels is None:
        # Another object than an image, or a file that breaks off.
        raise OddLayoutError
    return PlainHeader(_decode(head, elements), elements.syntax, elements.pixels)


def _decode(head: bytes, elements: Elements) -> dict[int, Value]:
    # Pixel Representation comes before the elements whose value representation depends on it.
    values: dict[int, Value] = {}
    for tag, (written, first, length) in elements.places.items():
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
