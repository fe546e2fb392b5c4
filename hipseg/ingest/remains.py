"""What a ZIP archive that is not read still tells: the series of which it holds members.

Where one series lies in several archives, of the others no slice shows that some are missing. So the members of a damaged one are
looked for by the signature that each begins with, and asked for their series.
"""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from hipseg.ingest.archive import BLOCK_BYTES, ZIP_STARTS, open_descriptor
from hipseg.ingest.dicomfile import UnreadableFileError, read_opened, text
from hipseg.ingest.dictionary import tag_of

MEMBER_HEADER: Final = struct.Struct("<4s4xH16xHH")
"""Signature, method of packing, lengths of name and extra field, behind which the bytes begin. Source: PKWARE APPNOTE 4.3.7."""
STORED: Final = 0
DEFLATED: Final = 8
PEEK_BYTES: Final = 1 << 16
"""Of a member: more than stands before its series identifier."""
MAX_MEMBERS: Final = 10_000
"""That are looked at; an archive that holds more is one of many patients, or made to take long."""


def find_series(archive: Path) -> frozenset[str]:
    """Find the series identifiers in an archive that is damaged or refused; none where it is encrypted or cannot be opened.

    Args:
        archive: the ZIP file.
    Returns:
        Those of all members that can still be recognised as DICOM, checked against nothing.
    """
    try:
        descriptor = open_descriptor(archive)
    except OSError:
        return frozenset()
    try:
        return frozenset(filter(None, map(_read_series, islice(_peek(descriptor), MAX_MEMBERS))))
    except OSError:
        return frozenset()
    finally:
        os.close(descriptor)


def _peek(descriptor: int) -> Iterator[bytes]:
    """Give the first bytes of each member, unpacked."""
    for start in _find_starts(descriptor):
        header = os.pread(descriptor, MEMBER_HEADER.size, start)
        if len(header) < MEMBER_HEADER.size:
            return
        _, method, name_bytes, extra_bytes = MEMBER_HEADER.unpack(header)
        packed = os.pread(descriptor, PEEK_BYTES, start + MEMBER_HEADER.size + name_bytes + extra_bytes)
        if method == STORED:
            yield packed
        elif method == DEFLATED:
            try:
                yield zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, PEEK_BYTES)
            except zlib.error:
                continue


def _find_starts(descriptor: int) -> Iterator[int]:
    """Give the places at which members seem to begin."""
    signature, offset = ZIP_STARTS[0], 0
    # Each block is read with the first bytes of the next one, in which a signature may end.
    while block := os.pread(descriptor, BLOCK_BYTES + len(signature) - 1, offset):
        at = block.find(signature)
        while at >= 0:
            yield offset + at
            at = block.find(signature, at + 1)
        offset += BLOCK_BYTES


def _read_series(head: bytes) -> str:
    try:
        # Behind its first bytes a member breaks off here, so that it is not read up to its pixels.
        dataset = read_opened(io.BytesIO(head), [tag_of("SeriesInstanceUID")], has_pixels=True)
    except UnreadableFileError:
        return ""
    return text(dataset, "SeriesInstanceUID")
