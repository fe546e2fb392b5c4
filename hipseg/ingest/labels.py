"""The voxels of a label file -> label numbers, slice by slice out of its unpacked bytes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hipseg.errors import MaskError
from hipseg.geometry import Grid
from hipseg.ingest.scratch import Scratch, StoredShape, TurnedVolume
from hipseg.ingest.turning import place_volume
from hipseg.labels import BACKGROUND_LABEL

LABEL_MAX = 255
MAX_GZIP_RATIO = 1100
"""Deflate makes nothing smaller than 1032:1, so that a header which announces more than this cannot be true. Source: RFC 1951."""
MAX_BZIP2_RATIO = 1 << 22
"""Runs of one value come out of bzip2 at more than a million to one: 46 MB fill a block, which is packed into some 40 bytes."""
MAX_TRAILING_BYTES = 1 << 20
"""Behind the last voxel of a file."""
SCALED_TOLERANCE = 1e-3
"""Of a label number, where a slope gives it: slopes are stored in single precision, in which 255 times 1/255 is not quite 1."""
MAX_SLICE_BYTES = 1 << 27
"""4096 x 4096 values of 8 bytes, more than any CT scanner reconstructs; a slice is held in memory."""
MAX_VOXELS = 1 << 31
"""Four times a whole body in slices of half a millimetre; a turned volume is written to disk."""


@dataclass(frozen=True)
class VoxelLayout:
    """Where the voxels of a label file lie, in the file and in the patient.

    Args:
        grid: the file's fastest axis is x.
        dtype: type of a stored value, with its byte order.
        offset_bytes: where the first value stands in the unpacked file.
        slope, intercept: label = stored x slope + intercept.
        layers: values a voxel, one beside the other.
    """

    grid: Grid
    dtype: np.dtype[Any]
    offset_bytes: int
    slope: float = 1.0
    intercept: float = 0.0
    layers: int = 1

    @property
    def slice_bytes(self) -> int:
        """Size of one unpacked slice of all layers."""
        _, rows, columns = self.grid.shape_zyx
        return rows * columns * self.layers * self.dtype.itemsize


def check_size(layout: VoxelLayout, path: Path, what: str, max_ratio: int = MAX_GZIP_RATIO) -> None:
    """Refuse a file that cannot hold what its header announces, or no scan has, before memory or disk is taken for it.

    Args:
        layout: what the header announces.
        path: the file that holds the voxels.
        what: what it is, for messages.
        max_ratio: unpacked over packed bytes, at most.
    Raises:
        MaskError: its size contradicts its header, or a slice or the volume is too large.
        OSError: it cannot be opened.
    """
    slices, rows, columns = layout.grid.shape_zyx
    announced = f"its header announces {slices} x {rows} x {columns} voxels"
    if layout.offset_bytes + slices * layout.slice_bytes > path.stat().st_size * max_ratio:
        raise MaskError(f"{what} is cut short: {announced}; copy it again")
    if layout.slice_bytes > MAX_SLICE_BYTES or slices * rows * columns > MAX_VOXELS:
        raise MaskError(
            f"{what} is too large: {announced}; at most {MAX_VOXELS} are read, and at most {MAX_SLICE_BYTES} bytes for "
            "each slice: cut it to the part of the body that is needed"
        )


def read_layer(stream: IO[bytes], layout: VoxelLayout, what: str, layer: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Read the voxels of one layer, slice by slice.

    Args:
        stream: stands at the first value.
        layout: how they lie.
        what: what the file is, for messages.
        layer: which of the values of a voxel, counted from 0.
    Returns:
        uint8 (y, x), label numbers, in the order of the file. Running it raises MaskError where the stream ends too early, or its
        values are no labels; only when all slices are taken is the checksum of a compressed stream compared, and more of it
        than MAX_TRAILING_BYTES refused.
    """
    slices, rows, columns = layout.grid.shape_zyx
    for z in range(slices):
        data = stream.read(layout.slice_bytes)
        if len(data) < layout.slice_bytes:
            raise MaskError(f"{what} is cut short: it ends in slice {z + 1} of {slices}; copy it again")
        stored = np.frombuffer(data, layout.dtype).reshape(rows, columns, layout.layers)[..., layer]
        yield _to_labels(stored, layout, what)
    # A compressed stream checks its digest where it ends, and not before; damage can also have made it longer.
    if len(stream.read(MAX_TRAILING_BYTES + 1)) > MAX_TRAILING_BYTES:
        raise MaskError(f"{what} goes on for more than {MAX_TRAILING_BYTES} bytes behind its last voxel; copy it again")


def find_values(images: Iterable[NDArray[np.uint8]]) -> frozenset[int]:
    """Give the label numbers above 0 that occur in slices."""
    occurs = np.zeros(LABEL_MAX + 1, dtype=np.bool_)
    for image in images:
        occurs |= np.bincount(image.ravel(), minlength=LABEL_MAX + 1) > 0
    return frozenset(np.flatnonzero(occurs).tolist()) - {BACKGROUND_LABEL}


class LabelVolume:
    """A label file, turned onto a grid: read from disk slice by slice.

    `values` are the label numbers above 0 that occur in it, `shape_zyx` is how many voxels of the grid it has; the others are
    background.
    """

    def __init__(self, scratch: Scratch, images: Iterable[NDArray[np.uint8]], layout: VoxelLayout, grid: Grid, what: str) -> None:
        """Read a label file to its end.

        Args:
            scratch: where the turned volume is kept.
            images: its slices (y, x) in the order of the file; none is asked for where its grid does not fit.
            layout: how its voxels lie.
            grid: the grid that they must lie on, all of it or a part.
            what: what it is, for messages.
        Raises:
            MaskError: it lies elsewhere.
            ConfigError: the disk of the temporary files is full.
        """
        self.values: frozenset[int] = frozenset()
        placement = place_volume(layout.grid, grid, what)
        stored = StoredShape(layout.grid.shape_zyx, np.dtype(np.uint8))
        self._turned = TurnedVolume(scratch, self._watch(images), stored, placement.axes)
        self._first_zyx, self._grid_shape_zyx = placement.first_zyx, grid.shape_zyx
        self.shape_zyx = tuple(layout.grid.shape_zyx[2 - source] for source in reversed(placement.axes.sources_xyz))

    @property
    def is_part(self) -> bool:
        """Say whether the grid has voxels that the file has not."""
        return self.shape_zyx != self._grid_shape_zyx

    def read(self, z: int) -> NDArray[np.uint8]:
        """Read one slice of the grid, uint8 (y, x)."""
        first, row, column = self._first_zyx
        if not self.is_part:
            return self._turned.read(z)
        image = np.zeros(self._grid_shape_zyx[1:], dtype=np.uint8)
        if first <= z < first + self.shape_zyx[0]:
            image[row : row + self.shape_zyx[1], column : column + self.shape_zyx[2]] = self._turned.read(z - first)
        return image

    def _watch(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        for image in images:
            self.values |= find_values([image])
            yield image


def _to_labels(stored: np.ndarray[Any, Any], layout: VoxelLayout, what: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Scale stored values, and refuse an image in place of labels."""
    values = stored if (layout.slope, layout.intercept) == (1.0, 0.0) else _scale(stored, layout)
    low, high = values.min(), values.max()
    # The comparison is written so that not-a-number fails it.
    if not (low >= 0 and high <= LABEL_MAX) or (values.dtype.kind == "f" and np.any(values != np.rint(values))):
        raise MaskError(
            f"{what} is an image, not labels: values from {low:g} to {high:g} in one slice; "
            f"whole numbers 0 to {LABEL_MAX} are expected: choose the mask with --roi, or move the image elsewhere"
        )
    return values.astype(np.uint8)


def _scale(stored: np.ndarray[Any, Any], layout: VoxelLayout) -> np.ndarray[Any, Any]:
    """Scale stored values; those that are whole but for rounding become whole, and no two stored numbers one."""
    values = stored.astype(np.float64) * layout.slope + layout.intercept
    whole = np.rint(values)
    return np.where(np.abs(values - whole) <= min(SCALED_TOLERANCE, abs(layout.slope) / 2), whole, values)
