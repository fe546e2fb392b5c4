"""One CT image -> Hounsfield units."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.uid import UID, RLELossless

from hipseg.errors import SeriesError
from hipseg.ingest.dicomfile import NATIVE_SYNTAXES, UnreadableFileError, read_dataset
from hipseg.ingest.headers import ImageHeader

SliceI16 = NDArray[np.int16]
"""int16 (y, x), Hounsfield units."""

DECODERS = {"RLE": "pydicom", "JPEG-LS": "pyjpegls", "JPEG": "pillow"}
"""Which of pydicom's plugins decodes what; named, since pydicom otherwise takes whichever the machine has."""
EXPORT_AGAIN = "export the series again"
FRACTION_TOLERANCE_HU = 1e-6
"""What floating point leaves of a whole number when a decimal slope is multiplied by a 16-bit value."""
INT16 = np.iinfo(np.int16)


def read_slice_hu(path: Path, header: ImageHeader) -> SliceI16:
    """Read one image as Hounsfield units.

    Pixels that the header declares as padding keep their rescaled value, as other readers give them, held to the range of
    int16; every window maps them to air.

    Args:
        path: the file.
        header: its header.
    Returns:
        int16 (y, x), HU.
    Raises:
        SeriesError: the file is gone, cut short, not decodable here, or its values are no whole HU within int16. The message
            says what was found; the caller adds where.
    Source: DICOM PS3.3 C.11.1.1.2.
    """
    try:
        dataset = read_dataset(path, has_pixels=True)
    except OSError as error:
        raise SeriesError("the file can no longer be opened; pack the folder again") from error
    except UnreadableFileError as error:
        raise SeriesError(f"the file breaks off inside an element; {EXPORT_AGAIN}") from error
    return to_hu(_decode(dataset, header), header)


def to_hu(stored: NDArray[np.integer], header: ImageHeader) -> SliceI16:
    """Rescale stored values to Hounsfield units.

    Args:
        stored: integers (y, x).
        header: slope, intercept and padding.
    Returns:
        int16 (y, x), HU.
    Raises:
        SeriesError: a value is no whole number of HU, or beyond int16.
    """
    slope, intercept = float(header.slope or 0), float(header.intercept or 0)
    if slope.is_integer() and intercept.is_integer() and max(abs(slope), abs(intercept)) < INT16.max:
        values = stored.astype(np.int64) * int(slope) + int(intercept)
    else:
        exact = stored * slope + intercept
        values = np.rint(exact).astype(np.int64)
        fractions = np.count_nonzero(np.abs(exact - values) > FRACTION_TOLERANCE_HU)
        if fractions:
            raise SeriesError(
                f"{fractions} pixels with fractions of a Hounsfield unit (slope {slope:g}, intercept {intercept:g}); "
                "whole numbers are needed: export the series with slope 1"
            )
    if values.min() >= INT16.min and values.max() <= INT16.max:
        return values.astype(np.int16)
    return _clamp_padding(values, stored, header)


def _clamp_padding(values: NDArray[np.int64], stored: NDArray[np.integer], header: ImageHeader) -> SliceI16:
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


def _decode(dataset: FileDataset, header: ImageHeader) -> NDArray[np.integer]:
    """Give the stored values, int (y, x)."""
    if "PixelData" not in dataset or dataset["PixelData"].value is None:
        raise SeriesError(f"no pixels: the file breaks off before them; {EXPORT_AGAIN}")
    syntax = UID(header.transfer_syntax)
    if syntax in NATIVE_SYNTAXES:
        found, expected = len(dataset["PixelData"].value), _expected_bytes(header)
        if found < expected:
            raise SeriesError(f"{found} bytes of pixels, expected {expected}; {EXPORT_AGAIN}")
    else:
        dataset.pixel_array_options(decoding_plugin=choose_decoder(syntax))
    try:
        stored: NDArray[np.integer] = dataset.pixel_array
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise SeriesError(f"pixels cannot be decoded ({_name(syntax)}); {EXPORT_AGAIN} uncompressed") from error
    if stored.shape != (header.rows, header.columns) or not np.issubdtype(stored.dtype, np.integer):
        raise SeriesError(
            f"pixels of shape {stored.shape}, type {stored.dtype}; whole numbers of shape "
            f"{(header.rows, header.columns)} are expected: {EXPORT_AGAIN}"
        )
    return stored


def _expected_bytes(header: ImageHeader) -> int:
    return (header.rows or 0) * (header.columns or 0) * (header.bits_allocated or 0) // 8


def choose_decoder(syntax: UID) -> str:
    """Name the plugin of pydicom that decodes a compressed transfer syntax."""
    if syntax == RLELossless:
        return DECODERS["RLE"]
    return DECODERS["JPEG-LS"] if "JPEG-LS" in syntax.name else DECODERS["JPEG"]


def _name(syntax: UID) -> str:
    # An identifier that the standard does not list is text of the source, which is not repeated.
    return "unknown transfer syntax" if syntax.name == str(syntax) else syntax.name
