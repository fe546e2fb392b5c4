"""One compressed frame -> stored values, whatever compression DICOM names for CT."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from hipseg.errors import SeriesError

EXPORT_UNCOMPRESSED: Final = "export the series again uncompressed"
MAX_FRAME_PIXELS: Final = 1 << 24
"""4096 x 4096, more than any CT scanner reconstructs; a few bytes can announce a blank image of any size."""
END_OF_IMAGE: Final = b"\xff\xd9"

_JPEG_START, _JPEG_LS_FRAME = b"\xff\xd8", 0xF7
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0 to SOF15. Source: ISO/IEC 10918-1, table B.1."""
_LOSSLESS_FRAME = 0xC3
_MORE_CODES = b"\xaa" * 64
"""Bytes that are no marker, and more codes than the zeros with which decoders fill up what is missing."""
_JP2_SIGNATURE, _CODESTREAM_BOX = b"\0\0\0\x0cjP  ", b"jp2c"
_CODESTREAM_START = b"\xff\x4f\xff\x51"


@dataclass(frozen=True)
class PixelFormat:
    """What a header says of the pixels of a frame.

    Args:
        shape_yx: rows and columns.
        bits_allocated, bits_stored: of each pixel.
        is_signed: whether the stored bits are a two's complement.
    """

    shape_yx: tuple[int, int]
    bits_allocated: int
    bits_stored: int
    is_signed: bool


def decode_frame(frame: bytes, syntax: str, expected: PixelFormat) -> NDArray[np.integer]:
    """Decode one compressed frame of one sample a pixel. The lock of the interpreter is free meanwhile.

    Lossy compressions are taken like the others: what the values are is known, what they were before is not.

    Args:
        frame: the whole compressed frame.
        syntax: identifier of a transfer syntax in DECODERS.
        expected: what the header says of the pixels.
    Returns:
        Stored values, int (y, x).
    Raises:
        SeriesError: the frame is damaged, or not what the header says; nothing is decoded that would not fit.
    """
    decoder = DECODERS[syntax]
    try:
        found_yx = decoder.measure(frame, expected)
        if found_yx != expected.shape_yx or found_yx[0] * found_yx[1] > MAX_FRAME_PIXELS:
            raise SeriesError(
                f"compressed pixels of {found_yx[0]} x {found_yx[1]}, the header says {expected.shape_yx[0]} x "
                f"{expected.shape_yx[1]}; the same is expected, and at most {MAX_FRAME_PIXELS} pixels: {EXPORT_UNCOMPRESSED}"
            )
        stored = decoder.decode(frame, expected)
    except (ValueError, struct.error, RuntimeError, MemoryError) as error:
        from pydicom.uid import UID  # noqa: PLC0415 - see `dictionary`

        raise SeriesError(f"pixels cannot be decoded ({UID(syntax).name}); {EXPORT_UNCOMPRESSED}") from error
    if stored.shape != expected.shape_yx or not np.issubdtype(stored.dtype, np.integer):
        raise SeriesError(
            f"compressed pixels of shape {stored.shape}, type {stored.dtype}; whole numbers of shape {expected.shape_yx} are "
            f"expected: {EXPORT_UNCOMPRESSED}"
        )
    return _apply_sign(stored, expected)


def _apply_sign(stored: NDArray[np.integer], expected: PixelFormat) -> NDArray[np.integer]:
    """Give the stored bits their sign. Most compressions know no sign: there a signed pixel is a large number.

    It is one of the bits stored, or of all those allocated: what encoders do with the bits above those stored is their own.
    """
    bits = expected.bits_stored
    if expected.is_signed and stored.dtype.kind == "u" and int(stored.max()) >= 1 << bits:
        stored = stored.view(f"i{stored.dtype.itemsize}")
    low, high = int(stored.min()), int(stored.max())
    lowest = -(1 << bits - 1) if expected.is_signed else 0
    highest = (1 << bits) - 1 if low >= 0 else (1 << bits - 1) - 1
    if low < lowest or high > highest:
        raise SeriesError(
            f"compressed pixels from {low} to {high}, which {bits} {'signed' if expected.is_signed else 'unsigned'} bits stored "
            f"(0028,0101) do not hold; {EXPORT_UNCOMPRESSED}"
        )
    if not expected.is_signed or high < 1 << bits - 1:
        return stored
    if bits == stored.dtype.itemsize * 8:
        return stored.view(f"i{stored.dtype.itemsize}")
    signed = stored.astype(np.int32)
    signed[signed >= 1 << bits - 1] -= 1 << bits
    return signed


def _measure_jpeg(frame: bytes, _: PixelFormat) -> tuple[int, int]:
    """Read rows and columns of a JPEG or JPEG-LS frame. Source: ISO/IEC 10918-1 B.2.2, ISO/IEC 14495-1 C.2.2."""
    if not frame.rstrip(b"\0").endswith(END_OF_IMAGE):
        # Decoders of JPEG fill up what is missing with grey.
        raise ValueError
    return _find_jpeg_frame(frame)[1:]


def _find_jpeg_frame(frame: bytes) -> tuple[int, int, int]:
    """Give the kind of a JPEG or JPEG-LS frame, its rows and its columns."""
    if frame[:2] != _JPEG_START:
        raise ValueError
    position = 2
    while True:
        marker, kind, length = struct.unpack_from(">BBH", frame, position)
        if marker != 0xFF:
            raise ValueError
        if kind in _JPEG_FRAMES or kind == _JPEG_LS_FRAME:
            rows, columns = struct.unpack_from(">HH", frame, position + 5)
            return kind, rows, columns
        position += 1 if kind == 0xFF else 2 + length


def _decode_jpeg(frame: bytes, _: PixelFormat) -> NDArray[Any]:
    """Decode a JPEG frame, and refuse one whose codes are too few or too many for its pixels.

    Decoders of JPEG say nothing of either: what is missing they fill up, what is left they drop. So the codes are changed at
    their end. More of them must change no pixel; where a pixel is coded by itself (lossless), other ones must. Both leave out
    damage after which the codes come out even again, and damage that changes only what they say.
    """
    decoded = imagecodecs.jpeg8_decode(frame)
    codes = frame[: frame.rindex(END_OF_IMAGE)].rstrip(b"\xff")
    if not np.array_equal(decoded, imagecodecs.jpeg8_decode(codes + _MORE_CODES + END_OF_IMAGE)):
        raise ValueError
    is_lossless = _find_jpeg_frame(frame)[0] == _LOSSLESS_FRAME
    # In an image of one value throughout, all that is coded can be one code, after which any other one is read as it.
    if is_lossless and decoded.min() != decoded.max():
        changed = imagecodecs.jpeg8_decode(_change_last_code(codes) + END_OF_IMAGE)
        if np.array_equal(decoded, changed):
            raise ValueError
    return decoded


def _change_last_code(codes: bytes) -> bytes:
    """Put another bit in the place of the last two bytes of codes; a last byte that is only padding does no harm so."""
    last = len(codes) - 2
    # A byte 255 is followed by a 0, from which it must not be parted. Source: ISO/IEC 10918-1 F.1.2.3.
    last -= codes[last - 1] == 0xFF
    return codes[:last] + bytes([~codes[last] & 0x80])


def _measure_jpeg_2000(frame: bytes, _: PixelFormat) -> tuple[int, int]:
    """Read rows and columns of a JPEG 2000 frame, as codestream or as file. Source: ISO/IEC 15444-1 A.5.1 and I.4."""
    start = 0
    if frame.startswith(_JP2_SIGNATURE):
        while frame[start + 4 : start + 8] != _CODESTREAM_BOX:
            (length,) = struct.unpack_from(">L", frame, start)
            if length < 8:
                raise ValueError
            start += length
        start += 8
    if frame[start : start + 4] != _CODESTREAM_START:
        raise ValueError
    right, bottom, left, top = struct.unpack_from(">LLLL", frame, start + 8)
    return bottom - top, right - left


def _measure_rle(frame: bytes, expected: PixelFormat) -> tuple[int, int]:
    """Give the expected shape: run lengths name none, and the decoder refuses more or fewer. Source: DICOM PS3.5 G."""
    (segments,) = struct.unpack_from("<L", frame)
    if segments * 8 != expected.bits_allocated:
        raise ValueError
    return expected.shape_yx


def _decode_rle(frame: bytes, expected: PixelFormat) -> NDArray[np.integer]:
    sample = np.dtype(f"<u{expected.bits_allocated // 8}")
    room = np.empty(expected.shape_yx[0] * expected.shape_yx[1] * sample.itemsize, np.uint8)
    decoded = imagecodecs.dicomrle_decode(frame, dtype=sample, out=room.data)
    return np.frombuffer(decoded, sample).reshape(expected.shape_yx)


@dataclass(frozen=True)
class Decoder:
    """How frames of one kind of compression are measured and decoded."""

    measure: Callable[[bytes, PixelFormat], tuple[int, int]]
    decode: Callable[[bytes, PixelFormat], NDArray[Any]]


_JPEG = Decoder(_measure_jpeg, _decode_jpeg)
_JPEG_LS = Decoder(_measure_jpeg, lambda frame, _: imagecodecs.jpegls_decode(frame))
_JPEG_2000 = Decoder(_measure_jpeg_2000, lambda frame, _: imagecodecs.jpeg2k_decode(frame))
DECODERS: Mapping[str, Decoder] = MappingProxyType(
    {f"1.2.840.10008.1.2.4.{number}": _JPEG for number in (50, 51, 53, 55, 57, 70)}
    | {f"1.2.840.10008.1.2.4.{number}": _JPEG_LS for number in (80, 81)}
    | {f"1.2.840.10008.1.2.4.{number}": _JPEG_2000 for number in (90, 91, 201, 202, 203)}
    | {"1.2.840.10008.1.2.5": Decoder(_measure_rle, _decode_rle)}
)
"""By transfer syntax. 53 and 55 are retired; 201 to 203 are high-throughput JPEG 2000. Source: DICOM PS3.5 A.4, PS3.6 A."""
