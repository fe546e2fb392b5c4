"""One image file -> stored values, by whichever decoder its transfer syntax needs."""

import errno
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from hipseg.axes import StoredI
from hipseg.errors import SeriesError
from hipseg.ingest.compressed import DECODERS, MAX_FRAME_PIXELS, PixelFormat, decode_frame
from hipseg.ingest.dicomfile import NATIVE_SYNTAXES, read_dataset
from hipseg.ingest.dictionary import tag_of
from hipseg.ingest.elements import UNDEFINED_LENGTH
from hipseg.ingest.headers import FileStamp, ImageHeader
from hipseg.ingest.rounding import Rounding
from hipseg.ingest.unusedbits import count_dropped

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

EXPORT_AGAIN: Final = "export the series again"
GONE: Final = "the file can no longer be opened; pack the folder again"
FAILING: Final = "the disk fails to read the file; check it, and copy the file again from where it came"
MAX_FILE_BYTES: Final = 1 << 27
"""More than one slice of any CT needs, whatever else its file holds; a larger file is refused unread."""
PIXEL_TAGS: Final = tuple(
    map(
        tag_of,
        (
            *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
            *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
        ),
    )
)
"""The elements that pixels are decoded with; what else a file holds is not read."""


def read_stored(path: Path, header: ImageHeader, rounding: Rounding) -> StoredI:
    """Read the stored values of any image that can be decoded here.

    Args:
        path: the file.
        header: its header.
        rounding: of its case, told of bits above those stored.
    Returns:
        Whole numbers (y, x).
    Raises:
        SeriesError: the file is too large, breaks off, or cannot be decoded; the caller adds where.
        OSError: it cannot be opened.
    """
    syntax, pixels = header.transfer_syntax, header.pixels
    if (header.rows or 0) * (header.columns or 0) > MAX_FRAME_PIXELS:
        raise SeriesError(
            f"an image of {header.rows} x {header.columns}, at most {MAX_FRAME_PIXELS} pixels are read; {EXPORT_AGAIN}"
        )
    size_bytes = path.stat().st_size
    if size_bytes > MAX_FILE_BYTES:
        raise SeriesError(f"{size_bytes} bytes in the file of one slice, at most {MAX_FILE_BYTES} are read; {EXPORT_AGAIN}")
    if syntax in DECODERS and pixels is not None and pixels.length == UNDEFINED_LENGTH:
        with path.open("rb") as handle:
            handle.seek(pixels.first)
            return decode_encapsulated(handle.read(), header)
    try:
        dataset = read_dataset(path, PIXEL_TAGS, has_pixels=True)
        items = dataset["PixelData"].value if "PixelData" in dataset else None
    except OSError:
        raise
    except Exception as error:  # a value is converted when it is asked for, and pydicom raises nearly anything on a damaged one
        raise SeriesError(f"the file breaks off inside an element; {EXPORT_AGAIN}") from error
    if items is None:
        raise SeriesError(f"no pixels (7FE0,0010): the file breaks off before them, or holds others; {EXPORT_AGAIN}")
    if not isinstance(items, bytes):
        raise SeriesError(f"pixels (7FE0,0010) that are written as values of another kind than bytes; {EXPORT_AGAIN}")
    if syntax in DECODERS:
        return decode_encapsulated(items, header)
    if syntax in NATIVE_SYNTAXES:
        check_length(len(items), expected_bytes(header))
    stored = _decode_native(dataset, header)
    rounding.count_dropped_bits(count_dropped(items, stored, header))
    return stored


@cache
def load_decoder(syntax: str) -> None:
    """Load the libraries that images of a transfer syntax are decoded with, where they need any.

    Whoever forks processes that read, as packing does, calls it before: what they share takes memory once.
    """
    if syntax in DECODERS:
        import pydicom.encaps  # noqa: F401, PLC0415 - see `dictionary`


def expected_bytes(header: ImageHeader) -> int:
    """Say how many bytes the pixels of one uncompressed image take; 0 where the header does not say."""
    return (header.rows or 0) * (header.columns or 0) * (header.bits_allocated or 0) // 8


def check_length(found: int, expected: int) -> None:
    """Refuse uncompressed pixels of another size than the header's: more of them mean that its rows or columns are wrong.

    Args:
        found, expected: bytes; one byte more is the padding of an odd number. Source: DICOM PS3.5 8.1.1.
    Raises:
        SeriesError: there are fewer or more; the caller adds where.
    """
    if not expected <= found <= expected + expected % 2:
        raise SeriesError(f"{found} bytes of pixels, expected {expected}; {EXPORT_AGAIN}")


def out_of_reach(error: OSError) -> SeriesError:
    """Say why a file of a series cannot be read now; the caller adds where."""
    return SeriesError(FAILING if error.errno == errno.EIO else GONE)


def check_unchanged(path: Path, stamp: FileStamp | None) -> None:
    """Refuse a file that has changed since it was scanned; without a stamp nothing is compared.

    Raises:
        SeriesError: it is gone, or its size or its time of change is another; the caller adds where.
    """
    if stamp is None:
        return
    try:
        status = path.stat()
    except OSError as error:
        raise out_of_reach(error) from error
    compare_stamps(status, stamp)


def compare_stamps(status: os.stat_result, stamp: FileStamp) -> None:
    """Refuse a file whose status now is not that of its scan.

    Raises:
        SeriesError: its size or its time of change is another; the caller adds where.
    """
    if FileStamp(status.st_size, status.st_mtime_ns) == stamp:
        return
    finding = f"{status.st_size} bytes, {stamp.size_bytes} when the folder was looked through"
    if status.st_size == stamp.size_bytes:
        finding = "written to after the folder was looked through"
    raise SeriesError(f"the file has changed ({finding}); let the copy or export end, then pack the folder again")


def decode_encapsulated(items: bytes, header: ImageHeader) -> StoredI:
    """Decode the only frame of compressed pixel data.

    Args:
        items: the pixel data from its first item on; what follows its last one does no harm.
        header: of the image, whose transfer syntax is in DECODERS.
    Returns:
        Whole numbers (y, x).
    Raises:
        SeriesError: it is damaged, or not what the header says; the caller adds where.
    Source: DICOM PS3.5 A.4.
    """
    from pydicom.encaps import get_frame  # noqa: PLC0415 - see `dictionary`

    try:
        frame = get_frame(items, 0, number_of_frames=1)
    except Exception as error:  # pydicom raises nearly anything on damaged bytes
        raise SeriesError(f"compressed pixels that break off; {EXPORT_AGAIN}") from error
    return decode_frame(frame, header.transfer_syntax, pixel_format(header))


def pixel_format(header: ImageHeader) -> PixelFormat:
    """Take from a header what it says of the stored pixels.

    Raises:
        SeriesError: it does not say it, or says what cannot be; the caller adds where.
    """
    allocated, stored, sign = header.bits_allocated, header.bits_stored, header.pixel_representation
    if allocated not in (8, 16, 32) or stored is None or not 1 <= stored <= allocated or sign not in (0, 1):
        raise SeriesError(
            f"pixels of {allocated} bits allocated, {stored} stored, representation {sign} (0028,0100, 0101 and 0103); 8, 16 or "
            f"32, as many or fewer, and 0 or 1 are expected: {EXPORT_AGAIN}"
        )
    return PixelFormat((header.rows or 0, header.columns or 0), allocated, stored, sign == 1)


def _decode_native(dataset: "FileDataset", header: ImageHeader) -> StoredI:
    syntax = header.transfer_syntax
    try:
        if syntax not in NATIVE_SYNTAXES:
            raise NotImplementedError
        stored: StoredI = dataset.pixel_array
    except Exception as error:  # pydicom raises nearly anything on damaged bytes
        raise SeriesError(f"pixels cannot be decoded ({_name(syntax)}); {EXPORT_AGAIN} uncompressed") from error
    if stored.shape != (header.rows, header.columns) or not np.issubdtype(stored.dtype, np.integer):
        raise SeriesError(
            f"pixels of shape {stored.shape}, type {stored.dtype}; whole numbers of shape "
            f"{(header.rows, header.columns)} are expected: {EXPORT_AGAIN}"
        )
    return stored


def _name(syntax: str) -> str:
    from pydicom.uid import UID  # noqa: PLC0415 - see `dictionary`

    # An identifier that the standard does not list is text of the source, which is not repeated.
    return "unknown transfer syntax" if UID(syntax).name == syntax else UID(syntax).name
