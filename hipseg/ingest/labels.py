"""The voxels of a label file -> label numbers, slice by slice out of its unpacked bytes."""

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from hipseg.axes import VolumeU8
from hipseg.errors import MaskError
from hipseg.geometry import Grid

LABEL_MAX = 255
MAX_GZIP_RATIO = 1100
"""Deflate makes nothing smaller than 1032:1, so that a header which announces more than this cannot be true. Source: RFC 1951."""


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


def check_size(layout: VoxelLayout, path: Path, what: str) -> None:
    """Refuse a file that cannot hold what its header announces, before memory is taken for it."""
    slices, rows, columns = layout.grid.shape_zyx
    if slices * layout.slice_bytes > path.stat().st_size * MAX_GZIP_RATIO:
        raise MaskError(f"{what} is cut short: its header announces {slices} x {rows} x {columns} voxels; copy it again")


def read_layer(stream: IO[bytes], layout: VoxelLayout, what: str, layer: int = 0) -> VolumeU8:
    """Read the voxels of one layer.

    Args:
        stream: stands at the first value.
        layout: how they lie.
        what: what the file is, for messages.
        layer: which of the values of a voxel, counted from 0.
    Returns:
        uint8 (z, y, x), label numbers.
    Raises:
        MaskError: the stream ends too early, or its values are no labels.
    """
    slices, rows, columns = layout.grid.shape_zyx
    labels: VolumeU8 = np.zeros(layout.grid.shape_zyx, dtype=np.uint8)
    for z in range(slices):
        data = stream.read(layout.slice_bytes)
        if len(data) < layout.slice_bytes:
            raise MaskError(f"{what} is cut short: it ends in slice {z + 1} of {slices}; copy it again")
        stored = np.frombuffer(data, layout.dtype).reshape(rows, columns, layout.layers)[..., layer]
        labels[z] = _to_labels(stored, layout, what)
    # A compressed stream checks its digest where it ends, and not before.
    stream.read(1)
    return labels


def _to_labels(stored: np.ndarray[Any, Any], layout: VoxelLayout, what: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Scale stored values, and refuse an image in place of labels."""
    is_scaled = layout.slope != 1.0 or layout.intercept != 0.0
    values = stored * layout.slope + layout.intercept if is_scaled else stored
    low, high = values.min(), values.max()
    # The comparison is written so that not-a-number fails it.
    if not (low >= 0 and high <= LABEL_MAX) or (values.dtype.kind == "f" and np.any(values != np.rint(values))):
        raise MaskError(
            f"{what} is an image, not labels: values from {low:g} to {high:g} in one slice; "
            f"whole numbers 0 to {LABEL_MAX} are expected"
        )
    return values.astype(np.uint8)
