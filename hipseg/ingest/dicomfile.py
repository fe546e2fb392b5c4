"""Open one DICOM file without noise, and read single values out of it without trust."""

import logging
import os
import warnings
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Union, cast

import numpy as np

from hipseg.ingest.archive import open_descriptor
from hipseg.ingest.dictionary import (
    DEFLATED_LITTLE_ENDIAN,
    ELEMENTS,
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    MEDIA_DIRECTORY,
)
from hipseg.ingest.elements import UNDEFINED_LENGTH, OddLayoutError, find_data
from hipseg.ingest.plain import HeaderReader, PlainHeader

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

Header = Union["FileDataset", PlainHeader]
Source = Union["Dataset", PlainHeader]
"""What values are read out of: a file as pydicom reads it, or as we do where it is plainly written; the answers are the same."""
NATIVE_SYNTAXES = (IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN, DEFLATED_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN)
"""Transfer syntaxes that hold pixels as they are. Source: DICOM PS3.5 A.1, A.2, A.5 and the retired A.3."""
PREFIX_OFFSET = 128
SNIFF_BYTES = PREFIX_OFFSET + 4
"""Source: DICOM PS3.10 7.1, a preamble of 128 bytes and then `DICM`."""
BARE_STARTS = {b"\x08\x00": 3, b"\x02\x00": 3, b"\x00\x08": 2}
"""First group of a data set written without preamble, and where the high byte of its element stands, which is 0.

Identification (0008) or file meta information (0002), the former in either byte order.
"""
BIT_VRS = ("OB", "OW", "OB or OW", "UN")
"""How the bits of an overlay may be written. Source: DICOM PS3.5 8.1.2 and, for what a writer did not know, 6.2.2."""
MAX_NUMBER = 1e12
"""Larger ones are damaged; of these the millimetres still count, and no square or sum of them overflows."""
UNLISTED = (0, "")
"""Stands for an element that no plain header holds, as `dictionary` does not list it."""
DEFLATED = DEFLATED_LITTLE_ENDIAN.encode()
MAX_META_BYTES = 1 << 20
"""The file meta information, which names the transfer syntax, is a few hundred bytes long."""
MAX_INFLATED_BYTES = 1 << 26
"""64 MiB, twice the pixels of the largest image that is read; a deflated file can unpack to a thousand times its size."""
INFLATE_STEP_BYTES = 1 << 20
MAX_HEADER_BYTES = 1 << 27
"""128 MiB of elements that are no pixels, several times the largest structure sets; a ZIP of kilobytes can hold gigabytes."""


class UnreadableFileError(Exception):
    """The bytes of a file are no data set that can be walked; callers say what that means for the case."""


def has_dicom_prefix(head: bytes) -> bool:
    """Say whether a file's first bytes are those of a DICOM file."""
    return head[PREFIX_OFFSET:SNIFF_BYTES] == b"DICM"


def may_be_bare_dicom(head: bytes) -> bool:
    """Say whether a file's first bytes could be those of a data set without preamble, as some exports write it."""
    place = BARE_STARTS.get(head[:2])
    return place is not None and head[place : place + 1] == b"\x00"


def read_header(path: Path, headers: HeaderReader) -> Header:
    """Read elements of a DICOM file that lie before its pixels, without pydicom where it is plainly written.

    Args:
        path: the file.
        headers: has read those of the same series.
    Raises:
        UnreadableFileError: the bytes cannot be walked as a data set.
        OSError: the file cannot be opened.
    """
    descriptor = open_descriptor(path)
    try:
        return headers.read(descriptor, headers.read_head(descriptor))
    except OddLayoutError:
        return read_dataset(path, headers.tags, has_pixels=False)
    finally:
        os.close(descriptor)


def read_dataset(path: Path, tags: Collection[int] | None = None, *, has_pixels: bool) -> "FileDataset":
    """Read a DICOM file, with or without preamble.

    Args:
        path: the file.
        tags: the elements wanted; all where None.
        has_pixels: whether to read on into the pixel data.
    Returns:
        The data set; its transfer syntax is always set.
    Raises:
        UnreadableFileError: the bytes cannot be walked as a data set, unpack to more than any image has (deflated), or are more
            than MAX_HEADER_BYTES without the pixels.
        OSError: the file cannot be opened.
    """
    # The file is opened here, so that an OSError is one of the disk: pydicom raises them for damaged bytes, too.
    with path.open("rb") as handle:
        return read_opened(cast("BinaryIO", handle), tags, has_pixels=has_pixels)


def read_opened(handle: BinaryIO, tags: Collection[int] | None = None, *, has_pixels: bool) -> "FileDataset":
    """Read a DICOM file that is open, as `read_dataset` does; without pixels it then stands where their element begins.

    That of a deflated file lies nowhere in it, and it stands anywhere.

    Raises:
        UnreadableFileError: as there.
    """
    import pydicom  # noqa: PLC0415 - see `dictionary`

    _silence()
    _check_inflated(handle)
    try:
        dataset = pydicom.dcmread(
            handle if has_pixels else _BoundedFile(handle),
            force=True,
            stop_before_pixels=not has_pixels,
            specific_tags=list(tags) if tags else None,
        )
        _settle_syntax(dataset)
    except Exception as error:  # pydicom raises nearly anything on damaged bytes
        raise UnreadableFileError from error
    return dataset


def is_cut(dataset: "Dataset") -> bool:
    """Say whether an element has fewer bytes than it announces, which pydicom passes over.

    Ask before any value is: a sequence that breaks off is otherwise read as one with fewer items.
    """
    from pydicom.dataelem import RawDataElement  # noqa: PLC0415 - see `dictionary`

    return any(
        isinstance(element, RawDataElement) and element.length != UNDEFINED_LENGTH and len(element.value or b"") < element.length
        for element in dataset.values()
    )


def is_directory(dataset: Header) -> bool:
    """Say whether a file lists others (DICOMDIR), which is never read as a plain header."""
    return not isinstance(dataset, PlainHeader) and text(dataset.file_meta, "MediaStorageSOPClassUID") == MEDIA_DIRECTORY


def text(dataset: Source, keyword: str | int) -> str:
    """Give an element as stripped text; empty where it is missing, unreadable or a sequence."""
    value = _single_value(dataset, keyword)
    return "" if value is None else str(value).strip(" \0")


def texts(dataset: Source, keyword: str | int) -> tuple[str, ...]:
    """Give a multi-valued element as stripped texts; empty where it is missing, unreadable or a sequence."""
    value = _single_value(dataset, keyword)
    if value is None:
        return ()
    is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return tuple(str(part).strip() for part in (value if is_list else [value]))


def numbers(dataset: Source, keyword: str | int, count: int) -> tuple[float, ...] | None:
    """Give an element as that many numbers; None where it is missing, unreadable, beyond MAX_NUMBER or has another length."""
    value = _value(dataset, keyword)
    try:
        found = tuple(map(float, [value] if count == 1 else value))
    except (TypeError, ValueError, OverflowError):
        return None
    return found if len(found) == count and all(abs(one) <= MAX_NUMBER for one in found) else None


def number(dataset: Source, keyword: str | int) -> float | None:
    """Give an element as one number; None where it is missing, unreadable or beyond MAX_NUMBER."""
    try:
        found = float(_value(dataset, keyword))
    except (TypeError, ValueError, OverflowError):
        return None
    return found if abs(found) <= MAX_NUMBER else None


def integer(dataset: Source, keyword: str | int) -> int | None:
    """Give an element as one whole number; None where it is missing or unreadable."""
    found = number(dataset, keyword)
    return int(found) if found is not None and found == int(found) else None


def bit_data(dataset: Header, tag: int) -> bytes | None:
    """Give the bits of an overlay, the first pixel in the lowest bit of the first byte; empty where there are none.

    None stands for a value that is written as something else than bits.
    """
    if isinstance(dataset, PlainHeader) or tag not in dataset:
        return _value(dataset, tag) or b""
    try:
        representation, value = dataset[tag].VR, dataset[tag].value
    except Exception:  # see `_value`
        return None
    if representation not in BIT_VRS or not isinstance(value, bytes | None):
        return None
    if not value or representation != "OW" or dataset.original_encoding[1]:
        return value or b""
    # Big-endian words of 16 bits are written high byte first; the first pixel is the lowest bit of the word.
    return np.frombuffer(value, ">u2").astype("<u2").tobytes() if len(value) % 2 == 0 else None


def items(dataset: "Dataset", keyword: str) -> Sequence["Dataset"]:
    """Give the items of a sequence; none where it is missing or unreadable."""
    from pydicom.sequence import Sequence as Items  # noqa: PLC0415 - see `dictionary`

    value = _value(dataset, keyword)
    return value if isinstance(value, Items) else ()


def transfer_syntax(dataset: Header) -> str:
    """Give the identifier of a file's transfer syntax."""
    return dataset.syntax if isinstance(dataset, PlainHeader) else str(dataset.file_meta.TransferSyntaxUID)


class _BoundedFile:
    """A file of which no more than MAX_HEADER_BYTES are read in all; what is passed over does not count."""

    def __init__(self, handle: BinaryIO) -> None:
        self._handle, self._left = handle, MAX_HEADER_BYTES
        self._size = os.fstat(handle.fileno()).st_size
        self.seek, self.tell = handle.seek, handle.tell

    def read(self, size: int = -1) -> bytes:
        """Read as any file does.

        Raises:
            UnreadableFileError: it would be too much.
        """
        rest = self._size - self.tell()
        self._left -= rest if size < 0 else min(size, rest)
        if self._left < 0:
            raise UnreadableFileError
        return self._handle.read(size)


def _silence() -> None:
    """Keep pydicom's warnings from the terminal and every log: they quote values of the file, which may name a patient.

    Done with each file, since what runs in between may have set other filters, and values are converted after the reading.
    """
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")


def _check_inflated(handle: BinaryIO) -> None:
    """Refuse a deflated file that unpacks to more than MAX_INFLATED_BYTES, before pydicom unpacks it whole.

    Unpacked bytes are counted and dropped. Source: DICOM PS3.5 A.5.
    """
    head = handle.read(MAX_META_BYTES)
    handle.seek(0)
    if DEFLATED not in head:
        return
    try:
        start, syntax = find_data(head)
        handle.seek(start)
        if syntax == DEFLATED_LITTLE_ENDIAN and _count_inflated(handle) > MAX_INFLATED_BYTES:
            raise UnreadableFileError
    except (OddLayoutError, zlib.error) as error:
        raise UnreadableFileError from error
    handle.seek(0)


def _count_inflated(handle: BinaryIO) -> int:
    """Count the bytes that a deflated stream unpacks to; beyond MAX_INFLATED_BYTES it stops counting."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    count = 0
    while count <= MAX_INFLATED_BYTES and not stream.eof:
        packed = stream.unconsumed_tail or handle.read(INFLATE_STEP_BYTES)
        if not packed:
            break
        count += len(stream.decompress(packed, INFLATE_STEP_BYTES))
    return count


def _single_value(dataset: Source, keyword: str | int) -> Any:
    """Give a value; None also for a sequence, as where a representation is damaged: its text would be that of all its items."""
    value = _value(dataset, keyword)
    if isinstance(dataset, PlainHeader):
        return value
    from pydicom.sequence import Sequence as Items  # noqa: PLC0415 - see `dictionary`

    return None if isinstance(value, Items) else value


def _value(dataset: Source, keyword: str | int) -> Any:
    if isinstance(dataset, PlainHeader):
        return dataset.values.get(keyword if isinstance(keyword, int) else ELEMENTS.get(keyword, UNLISTED)[0])
    try:
        return dataset[keyword].value if keyword in dataset else None
    except Exception:  # a value is converted when it is asked for, and pydicom raises nearly anything on a damaged one
        return None


def _settle_syntax(dataset: "FileDataset") -> None:
    """Fill in the transfer syntax that a file without file meta information was found to have."""
    from pydicom.uid import UID  # noqa: PLC0415 - see `dictionary`

    meta = dataset.file_meta
    if "TransferSyntaxUID" not in meta or not meta.TransferSyntaxUID:
        is_implicit, is_little = dataset.original_encoding
        explicit = EXPLICIT_LITTLE_ENDIAN if is_little else EXPLICIT_BIG_ENDIAN
        meta.TransferSyntaxUID = UID(IMPLICIT_LITTLE_ENDIAN if is_implicit else explicit)
