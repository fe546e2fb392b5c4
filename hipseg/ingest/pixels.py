"""One CT image -> Hounsfield units."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hipseg.axes import SliceI16, StoredI
from hipseg.errors import SeriesError
from hipseg.ingest.archive import open_descriptor
from hipseg.ingest.compressed import MAX_FRAME_PIXELS
from hipseg.ingest.dictionary import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from hipseg.ingest.elements import UNDEFINED_LENGTH
from hipseg.ingest.headers import GREY, ImageHeader
from hipseg.ingest.rounding import Rounding
from hipseg.ingest.stored import EXPORT_AGAIN, check_unchanged, compare_stamps, expected_bytes, out_of_reach, read_stored

INT16 = np.iinfo(np.int16)
OUTSIDE_HU = -1024
"""What stands for no measurement: the lowest value of 12-bit CT, as scanners write it outside their circle."""
HIGHEST_HU = 30710
"""Where the widest scale of CT scanners ends: extended CT, 12 bits with slope 10 from -10240. Source: DICOM PS3.3 C.11.1.1.2."""


def read_slice_hu(path: Path, header: ImageHeader, rounding: Rounding) -> SliceI16:
    """Read one image as Hounsfield units.

    Pixels that the header declares as padding keep their rescaled value, as other readers give them, and at least that of int16.
    Where it is above all that a scanner measures, they become OUTSIDE_HU: in any window they would be the brightest metal.

    Args:
        path: the file.
        header: its header.
        rounding: of its case, told of values that are no whole HU, of such padding and of bits above those stored.
    Returns:
        int16 (y, x), HU.
    Raises:
        SeriesError: the file is gone or has changed, is cut short or not decodable here, or its values lie beyond int16. The
            message says what was found; the caller adds where.
    Source: DICOM PS3.3 C.11.1.1.2.
    """
    try:
        image_hu = _read_plain(path, header) if _is_plain(header) else None
        if image_hu is None:
            # Asked before, so that what a change did to the file is not taken for damage, and after.
            check_unchanged(path, header.stamp)
            stored = read_stored(path, header, rounding)
            check_unchanged(path, header.stamp)
            image_hu = to_hu(stored, header, rounding)
    except OSError as error:
        raise out_of_reach(error) from error
    return image_hu


def to_hu(stored: StoredI, header: ImageHeader, rounding: Rounding) -> SliceI16:
    """Rescale stored values to Hounsfield units.

    Args:
        stored: integers (y, x).
        header: slope, intercept and padding.
        rounding: of its case; makes fractions whole, and counts padding that becomes air.
    Returns:
        int16 (y, x), HU.
    Raises:
        SeriesError: a value lies beyond int16.
    """
    image_hu = _rescale(stored, header, rounding)
    if header.padding is not None and _highest_padding_hu(header) > HIGHEST_HU:
        low, high = header.padding
        is_bright = (stored >= low) & (stored <= high) & (image_hu > HIGHEST_HU)
        image_hu[is_bright] = OUTSIDE_HU
        rounding.count_bright_padding(int(np.count_nonzero(is_bright)))
    return image_hu


def _highest_padding_hu(header: ImageHeader) -> float:
    return max((end * (header.slope or 0) + (header.intercept or 0) for end in header.padding or ()), default=OUTSIDE_HU)


def _rescale(stored: StoredI, header: ImageHeader, rounding: Rounding) -> SliceI16:
    slope, intercept = float(header.slope or 0), float(header.intercept or 0)
    if not (slope.is_integer() and intercept.is_integer() and max(abs(slope), abs(intercept)) < INT16.max):
        values = rounding.round(stored * slope + intercept).astype(np.int64)
        if values.min() >= INT16.min and values.max() <= INT16.max:
            return values.astype(np.int16)
        return _clamp_padding(values, stored, header)
    ends = [int(end) * int(slope) + int(intercept) for end in (stored.min(), stored.max())]
    if min(ends) < INT16.min or max(ends) > INT16.max:
        return _clamp_padding(stored.astype(np.int64) * int(slope) + int(intercept), stored, header)
    # What wraps around at one step wraps back at another, since the sums are known to fit.
    image_hu = stored.astype(np.int16)
    image_hu *= np.int16(slope)
    image_hu += np.int16(intercept)
    return image_hu


def _is_plain(header: ImageHeader) -> bool:
    """Say whether a header promises pixels that are 16-bit numbers as they lie in the file, to which one number is added."""
    pixels, stored = header.pixels, header.bits_stored or 0
    return (
        pixels is not None
        and header.transfer_syntax in (IMPLICIT_LITTLE_ENDIAN, EXPLICIT_LITTLE_ENDIAN)
        and pixels.length != UNDEFINED_LENGTH
        and 0 < (expected := expected_bytes(header)) <= 2 * MAX_FRAME_PIXELS
        and pixels.length == expected
        and (header.stamp is None or pixels.first + pixels.length <= header.stamp.size_bytes)
        and not header.is_multiframe
        and header.samples == 1
        and header.photometric in GREY
        and header.bits_allocated == 16
        and header.pixel_representation in (0, 1)
        and 1 < stored <= 16
        and header.high_bit == stored - 1
        and header.slope == 1
        and header.intercept is not None
        and header.intercept.is_integer()
        and abs(header.intercept) <= INT16.max
        and _highest_padding_hu(header) <= HIGHEST_HU
    )


def _read_plain(path: Path, header: ImageHeader) -> SliceI16 | None:
    """Read pixels straight into the answer; None where their values are not as plain as the header promises."""
    image_hu: SliceI16 = np.empty((header.rows or 0, header.columns or 0), dtype="<i2")
    descriptor = open_descriptor(path)
    try:
        found = os.preadv(descriptor, [image_hu.data], header.pixels.first if header.pixels else 0)
        if header.stamp is not None:
            compare_stamps(os.fstat(descriptor), header.stamp)
    finally:
        os.close(descriptor)
    if found != image_hu.nbytes:
        return None
    is_signed, bits, intercept = header.pixel_representation == 1, header.bits_stored or 0, int(header.intercept or 0)
    stored = image_hu if is_signed else image_hu.view("<u2")
    low, high = int(stored.min()) if is_signed else 0, int(stored.max())
    lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)
    if low < lowest or high > highest or low + intercept < INT16.min or high + intercept > INT16.max:
        # Bits beside those stored, or padding beyond int16.
        return None
    # Unsigned values above int16 wrap around here and back again below, since the sum is known to fit.
    image_hu += np.int16(intercept)
    return image_hu


def _clamp_padding(values: NDArray[np.int64], stored: StoredI, header: ImageHeader) -> SliceI16:
    """Hold padding to the range of int16; a measured value beyond it is refused."""
    low, high = header.padding or (1, 0)
    is_beyond = (values < INT16.min) | (values > INT16.max)
    measured = values[is_beyond & ~((stored >= low) & (stored <= high))]
    if measured.size:
        raise SeriesError(
            f"{measured.size} pixels beyond int16 ({int(measured.min())} to {int(measured.max())} HU); "
            f"{INT16.min} to {INT16.max} HU can be kept: {EXPORT_AGAIN}"
        )
    return np.clip(values, INT16.min, INT16.max).astype(np.int16)
