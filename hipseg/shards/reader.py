"""Read slices of a packed case at random: HDF5 tells once where each chunk lies, then it is read and decoded directly."""

import errno
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from hipseg.axes import SliceI16, SliceU8, VolumeI16, VolumeU8
from hipseg.errors import ConfigError, HipsegError, ShardError
from hipseg.geometry import Grid
from hipseg.runs import DatasetPaths
from hipseg.shards.codec import BLOSC_FILTER, FLETCHER32_FILTER, check_slice, decode_slice
from hipseg.shards.layout import (
    CASES_GROUP,
    HDF5_LOCK,
    IMAGE,
    LABELS,
    LABELS_DTYPE,
    SHARD_FORMAT,
    SHARD_VERSION,
    check_version,
    chunk_shape,
    read_grid,
    read_text_attribute,
    read_window,
)
from hipseg.shards.manifest import CaseRecord
from hipseg.shards.storage import image_dtype, slice_digest, to_hu, volume_digest

CLOSED = (errno.EACCES, errno.EPERM)
"""What a file answers that this user may not read."""
GONE = (errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT)
"""What a file on a file system answers that is away, with its server."""
ChunkTable = tuple[tuple[int, int], ...]
"""Byte offset and size of the chunk of each slice."""


class OutOfReachError(ConfigError):
    """A shard may not be read by this user, or its file system is away: that says nothing of the shard."""


def open_reader(paths: DatasetPaths, record: CaseRecord) -> "CaseReader":
    """Open one case for reading.

    Args:
        paths: the data set.
        record: the case, as the manifest has it.
    Raises:
        ShardError: the shard is missing, damaged, of another version, or does not hold what the manifest says.
        ConfigError: this process may open no more files, or may not read this one.
    """
    return CaseReader(paths.shard(record.shard), record)


class CaseReader:
    """The slices of one case. Several threads may read at once; none may read while another closes."""

    def __init__(self, path: Path, record: CaseRecord) -> None:
        self.record = record
        self._path = path
        self._dtypes = {IMAGE: image_dtype(record.window_hu), LABELS: LABELS_DTYPE}
        self._chunks = _locate_chunks(path, record, self._dtypes)
        self._unchecked = {name: bytearray(b"\1") * len(chunks) for name, chunks in self._chunks.items()}
        self._local = threading.local()
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise unreadable(path, record, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def grid(self) -> Grid:
        """The original grid of the case."""
        return self.record.grid

    def read_image(self, z: int) -> SliceI16:
        """Read one slice of the image.

        Args:
            z: slice, 0 <= z < slices.
        Returns:
            int16 (y, x), Hounsfield units.
        Raises:
            ShardError: the slice is damaged.
        """
        return to_hu(self.read_stored_image(z), self.record.window_hu)

    def read_stored_image(self, z: int) -> NDArray[Any]:
        """Read one slice of the image as it is stored.

        Args:
            z: slice, 0 <= z < slices.
        Returns:
            int16 (y, x), Hounsfield units; or, where the record has a window, uint8 (y, x) over that window.
        Raises:
            ShardError: the slice is damaged.
        """
        return self._read(IMAGE, z)

    def read_labels(self, z: int) -> SliceU8:
        """Read one slice of the mask.

        Args:
            z: slice, 0 <= z < slices.
        Returns:
            uint8 (y, x), label numbers.
        Raises:
            ShardError: the case has no mask, or the slice is damaged.
        """
        return self._read(LABELS, z)

    def _read(self, name: str, z: int) -> NDArray[Any]:
        if name not in self._chunks:
            raise ShardError(f"case {self.record.case} was packed without a mask; add its mask to the source and pack again")
        if self._descriptor < 0:
            raise ValueError(f"reader of case {self.record.case} is closed")
        slices, rows, columns = self.grid.shape_zyx
        if not 0 <= z < slices:
            raise IndexError(f"slice {z} of case {self.record.case}: it has slices 0 to {slices - 1}")
        offset, size = self._chunks[name][z]
        pixels = np.empty((rows, columns), dtype=self._dtypes[name])
        try:
            stored = self._read_bytes(size, offset)
            if self._unchecked[name][z]:
                # Once for each reader: training reads a slice hundreds of times, and the sum costs as much as decompression.
                check_slice(stored)
                self._unchecked[name][z] = 0
            decode_slice(stored, pixels)
        except OSError as error:
            raise unreadable(self._path, self.record, error) from error
        except ValueError as error:
            raise ShardError(_damaged(self._path, self.record, f"{name}, slice {z}: {error}")) from error
        return pixels

    def _read_bytes(self, size: int, offset: int) -> memoryview:
        """Read into a buffer that this thread uses again for its next slice: fresh memory costs more than reading into it."""
        buffer = getattr(self._local, "buffer", None)
        if buffer is None or len(buffer) < size:
            buffer = self._local.buffer = bytearray(size + size // 4)
        view = memoryview(buffer)[:size]
        return view[: os.preadv(self._descriptor, [view], offset)]


def read_image_volume(reader: CaseReader) -> VolumeI16:
    """Read the whole image of a case and check it against the manifest.

    Returns:
        int16 (z, y, x), Hounsfield units.
    Raises:
        ShardError: a slice is damaged, or the image is not what was packed.
    """
    volume_hu = np.empty(reader.grid.shape_zyx, dtype=np.int16)
    digests = []
    for z in range(len(volume_hu)):
        stored = reader.read_stored_image(z)
        digests.append(slice_digest(stored))
        volume_hu[z] = to_hu(stored, reader.record.window_hu)
    _check_digest(reader, IMAGE, digests, reader.record.image_digest)
    return volume_hu


def read_label_volume(reader: CaseReader) -> VolumeU8:
    """Read the whole mask of a case and check it against the manifest.

    Returns:
        uint8 (z, y, x), label numbers.
    Raises:
        ShardError: the case has no mask, a slice is damaged, or the mask is not what was packed.
    """
    labels = np.empty(reader.grid.shape_zyx, dtype=np.uint8)
    digests = []
    for z in range(len(labels)):
        labels[z] = reader.read_labels(z)
        digests.append(slice_digest(labels[z]))
    _check_digest(reader, LABELS, digests, reader.record.mask_digest)
    return labels


def _check_digest(reader: CaseReader, name: str, slice_digests: Sequence[bytes], expected: str | None) -> None:
    if volume_digest(slice_digests) != expected:
        what = {IMAGE: "image", LABELS: "mask"}[name]
        raise ShardError(
            f"shard {reader.record.shard} of case {reader.record.case} is not what was packed: "
            f"the digest of its {what} differs; restore it, or delete it and pack again"
        )


def _locate_chunks(path: Path, record: CaseRecord, dtypes: Mapping[str, np.dtype[Any]]) -> dict[str, ChunkTable]:
    """Check a shard against the manifest and find where its slices lie."""
    try:
        # Shards are written whole and never changed, so no lock is needed; some shared file systems refuse one.
        with HDF5_LOCK, h5py.File(path, "r", locking=False) as file:
            if read_text_attribute(file.attrs, "format") != SHARD_FORMAT:
                raise ValueError(f"its format is not {SHARD_FORMAT!r}")
            check_version(file.attrs["version"], SHARD_VERSION, f"shard {path.name} of case {record.case}")
            group = file[CASES_GROUP][record.case]
            _check_objects(group)
            _check_case(group, path, record)
            return {name: _chunk_table(group[name], record.grid, dtype) for name, dtype in dtypes.items() if name in group}
    except FileNotFoundError as error:
        raise ShardError(f"shard {path} of case {record.case} is missing; restore it, or pack the case again") from error
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, ConfigError) as error:
        raise unreadable(path, record, error) from error


def _check_objects(group: Any) -> None:
    """Refuse, by ValueError, other objects of HDF5 where FORMAT.md has a group and data sets: they lack what is asked next."""
    if not isinstance(group, h5py.Group):
        raise ValueError(f"{group.name} is no group of HDF5")
    for name in (IMAGE, LABELS):
        if name in group and not isinstance(group[name], h5py.Dataset):
            raise ValueError(f"{group[name].name} is no dataset of HDF5")


def _check_case(group: h5py.Group, path: Path, record: CaseRecord) -> None:
    found = {
        "grid": (read_grid(group.attrs, group[IMAGE].shape), record.grid),
        "patient": (read_text_attribute(group.attrs, "patient"), record.patient),
        "window": (read_window(group[IMAGE].attrs), record.window_hu),
        "mask": (LABELS in group, record.has_mask),
        "image digest": (read_text_attribute(group[IMAGE].attrs, "blake3"), record.image_digest),
    }
    if record.has_mask and LABELS in group:
        found["mask digest"] = (read_text_attribute(group[LABELS].attrs, "blake3"), record.mask_digest)
    for what, (in_shard, in_manifest) in found.items():
        if in_shard != in_manifest:
            raise ShardError(
                f"shard {path.name} and manifest do not belong together: {what} of case {record.case} is {in_shard} in the shard "
                f"and {in_manifest} in the manifest; restore them, or delete the shard and pack again"
            )


def _chunk_table(dataset: h5py.Dataset, grid: Grid, dtype: np.dtype[Any]) -> ChunkTable:
    """Look up where the chunk of each slice lies; raises ValueError where the data is not laid out as FORMAT.md says."""
    if dataset.shape != grid.shape_zyx or dataset.dtype != dtype or dataset.chunks != chunk_shape(grid):
        raise ValueError(f"{dataset.name} is {dataset.dtype} {dataset.shape} in chunks {dataset.chunks}")
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(number)[0] for number in range(properties.get_nfilters())]
    if filters != [BLOSC_FILTER, FLETCHER32_FILTER]:
        raise ValueError(f"{dataset.name} has the filters {filters}, needed are {[BLOSC_FILTER, FLETCHER32_FILTER]}")
    places: dict[int, tuple[int, int]] = {}

    def note(chunk: Any) -> None:
        if chunk.filter_mask == 0:
            places[chunk.chunk_offset[0]] = (chunk.byte_offset, chunk.size)

    dataset.id.chunk_iter(note)
    if len(places) != grid.shape_zyx[0]:
        raise ValueError(f"{dataset.name} has {len(places)} filtered chunks for {grid.shape_zyx[0]} slices")
    return tuple(places[z] for z in range(grid.shape_zyx[0]))


def unreadable(path: Path, record: CaseRecord, error: Exception) -> HipsegError:
    """Turn a failed reading into the error that says why: a shard that may not or cannot be opened now is not called damaged."""
    number = error.errno if isinstance(error, OSError) else None
    shard = f"shard {path.name} of case {record.case}"
    if number in (errno.EMFILE, errno.ENFILE):
        return ConfigError(
            f"cannot open {shard}: too many files are open; each case of a run stays open, so raise the limit, as with "
            "`ulimit -n 65536`"
        )
    if number in CLOSED:
        return OutOfReachError(
            f"cannot open {shard}: {os.strerror(number)}; ask its owner for leave to read it, as by `chmod a+r`"
        )
    if number in GONE:
        return OutOfReachError(f"cannot read {shard}: {os.strerror(number)}; its file system was lost: repeat when it is back")
    if number == errno.EIO:
        return ShardError(
            f"{shard} cannot be read: {os.strerror(number)}; check its disk, then restore the shard, or delete it and pack again"
        )
    return ShardError(_damaged(path, record, str(error)))


def _damaged(path: Path, record: CaseRecord, detail: str) -> str:
    reason = " ".join(detail.split())
    return f"shard {path.name} of case {record.case} is damaged: {reason}; restore it, or delete it and pack again"
