"""Uncompressed pixels with bits set above those stored: dropped, as the standard has it, and counted, since they may count.

A program that writes larger numbers under the header of a scanner of 12 bits leaves metal there whose highest bits are lost.
"""

import numpy as np
from numpy.typing import NDArray

from hipseg.axes import StoredI
from hipseg.errors import SeriesError
from hipseg.ingest.dicomfile import integer, read_dataset
from hipseg.ingest.dictionary import EXPLICIT_BIG_ENDIAN
from hipseg.ingest.headers import ImageHeader

OVERLAY_BIT_POSITION = 0x0102
MIN_ALLOCATED = 16
"""Pixels of 8 bits are all stored; CT has more."""


def count_dropped(words: bytes, stored: StoredI, header: ImageHeader) -> int:
    """Count the pixels of an uncompressed image whose value is another one without the bits above those stored.

    Signed values may be written with their sign in all bits or in those stored alone; either way throughout an image is no
    finding. Nor is one that keeps overlay planes in those bits, as was allowed until 2004.

    Args:
        words: the image as it lies in the file.
        stored: what was decoded of it, the bits above left out.
        header: of the image.
    Raises:
        SeriesError: pixels hold the padding that the header declares, and lose it with these bits; the caller adds where.
    Source: DICOM PS3.5 8.1.1: nothing may be assumed of the bits that are not stored.
    """
    allocated, bits = header.bits_allocated or 0, header.bits_stored or 0
    if allocated < MIN_ALLOCATED or bits >= allocated:
        return 0
    kind = "i" if header.pixel_representation == 1 else "u"
    order = ">" if header.transfer_syntax == EXPLICIT_BIG_ENDIAN else "<"
    whole = np.frombuffer(words, f"{order}{kind}{allocated // 8}", stored.size).reshape(stored.shape)
    is_changed: NDArray[np.bool_] = whole != stored
    if not is_changed.any() or not (whole >> bits).any() or _has_planes_above(header, bits):
        return 0
    if header.padding is not None:
        low, high = header.padding
        is_padding = (whole[is_changed].astype(np.int64) - low) % (1 << allocated) <= high - low
        if is_padding.any():
            raise SeriesError(
                f"{int(np.count_nonzero(is_padding))} pixels hold the padding declared, {low} to {high} (0028,0120), which "
                f"{bits} bits stored (0028,0101) do not hold; export the series again"
            )
    return int(np.count_nonzero(is_changed))


def _has_planes_above(header: ImageHeader, bits: int) -> bool:
    """Say whether an overlay plane of an image lies in the bits of its pixels above those stored."""
    tags = [plane.group << 16 | OVERLAY_BIT_POSITION for plane in header.overlays]
    if not tags:
        return False
    dataset = read_dataset(header.path, tags, has_pixels=False)
    return any((integer(dataset, tag) or 0) >= bits for tag in tags)
