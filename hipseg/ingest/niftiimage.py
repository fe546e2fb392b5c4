"""A CT as one NIfTI volume -> its grid, counted as axial DICOM slices are, and its slices in Hounsfield units."""

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hipseg.axes import SliceI16
from hipseg.errors import MaskError, SeriesError
from hipseg.geometry import Grid
from hipseg.ingest.hounsfield import LOWEST_HU
from hipseg.ingest.labels import MAX_TRAILING_BYTES, VoxelLayout, check_size
from hipseg.ingest.nifti import open_unpacked, read_layout
from hipseg.ingest.pixels import INT16
from hipseg.ingest.rounding import Rounding
from hipseg.ingest.scratch import Scratch, StoredShape, TurnedVolume
from hipseg.ingest.turning import AxisMatch, turn_grid, turn_volume

WHAT = "the NIfTI image"
COPY_AGAIN = "copy it again"


def open_nifti_image(path: Path, rounding: Rounding) -> tuple[Grid, Iterator[SliceI16]]:
    """Open a CT volume for reading.

    Its voxels are counted anew, none is moved: x runs along the file's axis that points most to the patient's left, y to the
    back, z to the head, as in axial DICOM slices, so that images of both kinds look alike. The grid is right-handed then.

    Args:
        path: a NIfTI volume in one file, compressed or not.
        rounding: of its case, told of values that are no whole HU.
    Returns:
        The grid, and slices by rising z, int16 (y, x) HU. A file whose slices are axial and rise is read slice by slice; another
        one is turned on disk, in a file without a name. Running it may raise SeriesError, and ConfigError if that disk is full.
    Raises:
        SeriesError: no readable header of one volume with its position, or more voxels announced than the file or any scan holds.
    """
    try:
        layout = read_layout(path, WHAT)
        check_size(layout, path, WHAT)
    except (MaskError, OSError) as error:
        raise SeriesError(_say(error)) from error
    axes = find_axial_axes(layout.grid)
    streams = axes.sources_xyz[2] == 2 and not axes.are_flipped_xyz[2]
    images = _read_slices(path, layout, rounding)
    return turn_grid(layout.grid, axes), _turn_each(images, axes) if streams else _turn_all(images, layout, axes)


def find_axial_axes(grid: Grid) -> AxisMatch:
    """Find which axes of a volume run most nearly to the patient's left, back and head, and which of them are to be reversed.

    Of all orders the one with the largest sum of cosines is taken; no reflection can have the largest, so that the grid turned
    so is right-handed whatever the file's was.
    """
    directions = np.array(grid.directions_xyz)
    cosines = np.round(np.abs(directions), 6)
    sources = max(
        permutations(range(3)), key=lambda order: float(sum(cosines[source, axis] for axis, source in enumerate(order)))
    )
    return AxisMatch(sources, tuple(bool(directions[source, axis] < 0) for axis, source in enumerate(sources)))


def _turn_each(images: Iterator[SliceI16], axes: AxisMatch) -> Iterator[SliceI16]:
    for image_hu in images:
        yield np.ascontiguousarray(turn_volume(image_hu[np.newaxis], axes)[0])


def _turn_all(images: Iterator[SliceI16], layout: VoxelLayout, axes: AxisMatch) -> Iterator[SliceI16]:
    turned = TurnedVolume(Scratch(), images, StoredShape(layout.grid.shape_zyx, np.dtype(np.int16)), axes)
    yield from map(turned.read, range(turned.slices))


def _read_slices(path: Path, layout: VoxelLayout, rounding: Rounding) -> Iterator[SliceI16]:
    """Read the slices as they lie in the file, to its very end, where the checksum of a compressed one stands."""
    try:
        with open_unpacked(path) as stream:
            stream.seek(layout.offset_bytes)
            for z in range(layout.grid.shape_zyx[0]):
                yield _read_slice(stream, layout, z, rounding)
            if len(stream.read(MAX_TRAILING_BYTES + 1)) > MAX_TRAILING_BYTES:
                raise SeriesError(f"{WHAT} goes on for more than {MAX_TRAILING_BYTES} bytes behind its last voxel; {COPY_AGAIN}")
    except MaskError as error:
        raise SeriesError(_say(error)) from error


def _say(error: MaskError | OSError) -> str:
    return str(error) if isinstance(error, MaskError) else f"{WHAT} can no longer be opened; pack the folder again"


def _read_slice(stream: IO[bytes], layout: VoxelLayout, z: int, rounding: Rounding) -> SliceI16:
    slices, rows, columns = layout.grid.shape_zyx
    data = stream.read(layout.slice_bytes)
    if len(data) < layout.slice_bytes:
        raise SeriesError(f"{WHAT} is cut short: it ends in slice {z + 1} of {slices} as stored; {COPY_AGAIN}")
    try:
        stored = np.frombuffer(data, layout.dtype).reshape(rows, columns)
        return to_whole_hu(stored, layout.slope, layout.intercept, rounding)
    except SeriesError as error:
        raise SeriesError(f"{WHAT}, slice {z + 1} of {slices} as stored: {error}") from error


def to_whole_hu(stored: NDArray[Any], slope: float, intercept: float, rounding: Rounding) -> SliceI16:
    """Scale stored values to Hounsfield units, and refuse what int16 cannot keep.

    Args:
        stored: whole or floating-point numbers, any shape.
        slope, intercept: HU = stored x slope + intercept.
        rounding: of its case; makes fractions whole.
    Returns:
        int16 of the same shape, HU.
    Raises:
        SeriesError: a value is no number, below what CT can be, or beyond int16.
    Source: NIfTI-1, nifti1.h, scl_slope and scl_inter.
    """
    if stored.dtype.kind in "iu" and (slope, intercept) == (1.0, 0.0):
        values = stored
    else:
        exact = stored.astype(np.float64) * slope + intercept
        if not np.isfinite(exact).all():
            raise SeriesError(f"{np.count_nonzero(~np.isfinite(exact))} voxels hold no number; fill them with air")
        values = rounding.round(exact)
    if values.min() < LOWEST_HU or values.max() > INT16.max:
        raise SeriesError(
            f"values from {values.min():g} to {values.max():g}; {LOWEST_HU} to {INT16.max} HU are possible in CT: "
            "fill what was not measured with air, or save the image in HU"
        )
    return values.astype(np.int16)
