"""Volumes that are turned on disk, not in memory: written in the order of their file, read by slices of another order."""

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from hipseg.errors import ConfigError
from hipseg.fsio import unwritable
from hipseg.ingest.turning import AxisMatch, Voxel, turn_volume

BLOCK_BYTES = 4 << 20
"""Stored slices that are turned at once: enough that each write takes several kilobytes, whatever way the volume is turned."""


SLICES, COLUMNS = 0, 2
"""Axes of a volume counted (z, y, x)."""


@dataclass(frozen=True)
class StoredShape:
    """Shape (z, y, x) of a volume as its file has it, and the type of its values once they are read."""

    shape_zyx: tuple[int, int, int]
    dtype: np.dtype[Any]


class NoRoomError(ConfigError):
    """The folder for temporary files cannot be written, or its disk is full."""


class Scratch:
    """A file without a name in the folder for temporary files; it is gone when nothing holds it any more, or with a kill."""

    def __init__(self) -> None:
        """Begin with an empty file.

        Raises:
            NoRoomError: the folder for temporary files cannot be written.
        """
        try:
            file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with this object
        except OSError as error:
            raise _no_room(error) from error
        self._descriptor = file.fileno()
        self._size = 0
        weakref.finalize(self, file.close)

    def reserve(self, size: int) -> int:
        """Set bytes aside, all zero, and give their offset; they take no room on disk before they are written."""
        offset = self._size
        self._size += size
        try:
            os.truncate(self._descriptor, self._size)
        except OSError as error:
            raise _no_room(error) from error
        return offset

    def write(self, values: NDArray[Any], offset: int) -> None:
        """Write an array.

        Raises:
            NoRoomError: the disk is full.
        """
        data = np.ascontiguousarray(values).data.cast("B")
        try:
            while data:
                written = os.pwrite(self._descriptor, data, offset)
                data, offset = data[written:], offset + written
        except OSError as error:
            raise _no_room(error) from error

    def read(self, values: NDArray[Any], offset: int) -> None:
        """Fill a contiguous array."""
        data = values.data.cast("B")
        while data:
            found = os.preadv(self._descriptor, [data], offset)
            data, offset = data[found:], offset + found


class TurnedVolume(Generic[Voxel]):
    """A volume on disk, counted along other axes than those of its file.

    Each of its slices lies in one piece on disk, and in it each stored slice's part, which is a row of it or a column; where a
    stored slice is a whole slice of the result, it is just that. So turning takes few writes, and reading one read a slice.
    """

    def __init__(self, scratch: Scratch, images: Iterable[NDArray[Voxel]], layout: StoredShape, axes: AxisMatch) -> None:
        """Write a volume to disk; at most BLOCK_BYTES and one slice of it are held.

        Args:
            scratch: where to.
            images: its slices (y, x) in the order of the file; what they raise goes through.
            layout: its shape and type as it is stored.
            axes: how its axes are to be counted.
        Raises:
            ConfigError: the disk is full.
        """
        self._scratch, self._dtype = scratch, layout.dtype
        # Which axis of a result counted (z, y, x) the stored slices lie along: 0 where they are slices of it.
        self._slow = 2 - axes.sources_xyz.index(2)
        self._shape_zyx = tuple(layout.shape_zyx[2 - source] for source in reversed(axes.sources_xyz))
        self._offset = scratch.reserve(int(np.prod(self._shape_zyx, dtype=np.int64)) * layout.dtype.itemsize)
        is_reversed, slices, done = axes.are_flipped_xyz[2 - self._slow], layout.shape_zyx[0], 0
        for block in _blocks(images, layout):
            first = slices - done - len(block) if is_reversed else done
            self._put(turn_volume(block, axes), first)
            done += len(block)

    @property
    def slices(self) -> int:
        """Number of slices of the result."""
        return self._shape_zyx[0]

    def read(self, z: int) -> NDArray[Voxel]:
        """Read one slice of the result, (y, x) in one piece."""
        shape_yx = self._shape_zyx[1:]
        image: NDArray[Voxel] = np.empty(shape_yx[::-1] if self._slow == COLUMNS else shape_yx, dtype=self._dtype)
        self._scratch.read(image, self._offset + z * image.nbytes)
        return np.ascontiguousarray(image.T) if self._slow == COLUMNS else image

    def _put(self, block: NDArray[Voxel], first: int) -> None:
        """Write a part of the result (z, y, x), which begins at a number of its slow axis."""
        slice_bytes = self._shape_zyx[1] * self._shape_zyx[2] * self._dtype.itemsize
        parts = np.ascontiguousarray(block.swapaxes(1, 2) if self._slow == COLUMNS else block)
        start, begin = (first, 0) if self._slow == SLICES else (0, first * parts[0, 0].nbytes)
        for z, part in enumerate(parts, start):
            # What is zero already is not written, so that most masks take little room.
            if part.any():
                self._scratch.write(part, self._offset + z * slice_bytes + begin)


def _blocks(images: Iterable[NDArray[Voxel]], layout: StoredShape) -> Iterator[NDArray[Voxel]]:
    """Gather slices (y, x) to blocks (z, y, x)."""
    slices, rows, columns = layout.shape_zyx
    length = max(1, min(slices, BLOCK_BYTES // (rows * columns * layout.dtype.itemsize)))
    block: NDArray[Voxel] = np.empty((length, rows, columns), dtype=layout.dtype)
    filled = 0
    for image in images:
        block[filled] = image
        filled += 1
        if filled == length:
            yield block
            filled = 0
    if filled:
        yield block[:filled]


def _no_room(error: OSError) -> NoRoomError:
    return NoRoomError(str(unwritable(Path(tempfile.gettempdir()), error)))
