"""Write one case into a shard, slice by slice; the same case gives the same bytes, however many threads compress it.

Where other code of the process has registered the Blosc filter with HDF5, as hdf5plugin does, its name is in the file, too.
"""

import errno
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from h5py import h5f, h5g, h5p, h5pl
from numpy.typing import NDArray

from hipseg.axes import SliceI16, SliceU8
from hipseg.errors import ShardError
from hipseg.fsio import replacing, syncing
from hipseg.geometry import Grid
from hipseg.shards.codec import Codec, encode_slice, filter_options
from hipseg.shards.layout import (
    CASES_GROUP,
    HDF5_LOCK,
    IMAGE,
    LABELS,
    LABELS_DTYPE,
    SHARD_FORMAT,
    SHARD_VERSION,
    chunk_shape,
    write_grid,
    write_text_attribute,
    write_window,
)
from hipseg.shards.storage import LOSSLESS, Storage, image_dtype, shard_digest, slice_digest, to_stored, volume_digest

LABEL_NUMBERS = 256
FEW_LABELS = 8
"""Up to so many labels are counted one by one, which is faster than a histogram."""
SLICES_AHEAD = 8
"""Slices that wait for workers; each holds its pixels."""

SourceSlice = tuple[SliceI16, SliceU8 | None]
"""Image (y, x) in HU, and labels (y, x)."""


@dataclass(frozen=True)
class WrittenShard:
    """Digests and label counts of a case as it was written; see `CaseRecord`."""

    image_digest: str
    mask_digest: str | None
    shard_digest: str
    label_voxels: Mapping[int, int]


@dataclass(frozen=True)
class _Encoded:
    """One array of one slice, compressed."""

    chunk: bytes
    digest: bytes


@dataclass(frozen=True)
class _EncodedSlice:
    image: _Encoded
    labels: _Encoded | None
    voxels: NDArray[np.int64]


def write_shard(
    path: Path,
    case: str,
    patient: str,
    grid: Grid,
    slices: Iterable[SourceSlice],
    *,
    has_mask: bool,
    storage: Storage = LOSSLESS,
    workers: Executor | None = None,
) -> WrittenShard:
    """Write one case, whole or not at all, holding one slice at a time, or a few where workers compress them.

    Args:
        path: the shard; an older one of the same name is replaced.
        case: key of the case.
        patient: key of its patient.
        grid: the grid of the series.
        slices: image (y, x) int16 HU and labels (y, x) uint8 or None, by rising z of the grid. An array may be used again
            for the next slice.
        has_mask: whether the slices bring labels.
        storage: type and compressor of the image.
        workers: threads that compress and digest; the calling thread does it where None.
    Returns:
        What the manifest says about it.
    Raises:
        ShardError: number, shape or type of the slices does not fit the grid.
        ConfigError: the file cannot be written.
        HipsegError: whatever `slices` raises; nothing is left behind then.
    """
    with replacing(path) as temporary:
        with _CaseFile(temporary, case, patient, grid, storage, has_mask=has_mask) as file:
            for encoded in _encode_all(_checked(slices, case, grid, has_mask), storage, workers):
                file.add(encoded)
            image_digest, mask_digest = file.finish()
        # The disk writes while the processor computes.
        with syncing(temporary):
            return WrittenShard(image_digest, mask_digest, shard_digest(temporary), file.label_voxels)


def _checked(slices: Iterable[SourceSlice], case: str, grid: Grid, has_mask: bool) -> Iterator[SourceSlice]:
    """Refuse slices whose number, shape or type does not fit."""
    count, rows, columns = grid.shape_zyx
    wanted: dict[str, np.dtype[Any]] = {IMAGE: np.dtype(np.int16), LABELS: LABELS_DTYPE}
    z = 0
    for z, pair in enumerate(slices, 1):
        where = f"case {case}, slice {z - 1}"
        if z > count:
            raise ShardError(f"{where}: the grid ends after {count} slices")
        for (name, dtype), pixels in zip(wanted.items() if has_mask else [(IMAGE, wanted[IMAGE])], pair, strict=False):
            if pixels is None or pixels.shape != (rows, columns) or pixels.dtype != dtype:
                found = "nothing" if pixels is None else f"{pixels.dtype} {pixels.shape}"
                raise ShardError(f"{name} of {where}: found {found}, needed is {dtype} {(rows, columns)}")
        yield pair if has_mask else (pair[0], None)
    if z != count:
        raise ShardError(f"case {case}: {z} slices came, the grid has {count}")


def _encode_all(slices: Iterable[SourceSlice], storage: Storage, workers: Executor | None) -> Iterator[_EncodedSlice]:
    """Compress slices in their order, a few at once where there are workers."""
    if workers is None:
        yield from (_encode(*pair, storage) for pair in slices)
        return
    waiting: deque[Future[_EncodedSlice]] = deque()
    try:
        for image, labels in slices:
            # The next slice may come in the same arrays.
            own_labels = None if labels is None else labels.copy()
            waiting.append(workers.submit(_encode, image.copy(), own_labels, storage))
            if len(waiting) >= SLICES_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _encode(image: SliceI16, labels: SliceU8 | None, storage: Storage) -> _EncodedSlice:
    encoded_labels, voxels = None, np.zeros(LABEL_NUMBERS, dtype=np.int64)
    if labels is not None:
        voxels = count_labels(labels)
        rows, columns = labels.shape
        is_drawn = bool(voxels.any())
        encoded_labels = _encode_array(labels, storage.codec) if is_drawn else _encode_background(rows, columns, storage.codec)
    return _EncodedSlice(_encode_array(to_stored(image, storage.window_hu), storage.codec), encoded_labels, voxels)


def _encode_array(pixels: NDArray[Any], codec: Codec) -> _Encoded:
    plain = np.ascontiguousarray(pixels)
    return _Encoded(encode_slice(plain, codec), slice_digest(plain))


@lru_cache(maxsize=8)
def _encode_background(rows: int, columns: int, codec: Codec) -> _Encoded:
    """Encode a slice on which nothing is drawn; many slices of a scan are such, and all of them alike."""
    return _encode_array(np.zeros((rows, columns), dtype=LABELS_DTYPE), codec)


def count_labels(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the pixels of each label.

    Args:
        labels: uint8, any shape.
    Returns:
        int64 (256,); that of background, 0, is not counted and stays 0.
    """
    voxels = np.zeros(LABEL_NUMBERS, dtype=np.int64)
    highest = int(labels.max(initial=0))
    if highest <= FEW_LABELS:
        voxels[1:highest] = [np.count_nonzero(labels == label) for label in range(1, highest)]
        # What is left needs no comparison.
        voxels[highest] = np.count_nonzero(labels) - voxels.sum()
    else:
        voxels[1:] = np.bincount(labels.ravel(), minlength=LABEL_NUMBERS)[1:]
    return voxels


def _create(path: Path) -> h5py.File:
    """Create an HDF5 file without times, in the layout of HDF5 1.10, which every later release reads."""
    creation = h5p.create(h5p.FILE_CREATE)
    creation.set_obj_track_times(False)
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_libver_bounds(h5f.LIBVER_V110, h5f.LIBVER_V110)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    return h5py.File(h5f.create(bytes(path), h5f.ACC_TRUNC, creation, access))


@contextmanager
def _without_plugins() -> Iterator[None]:
    """Keep HDF5 from loading a filter of its own, be it for HDF5_PLUGIN_PATH: it would fail, or write itself into the file."""
    folders = [h5pl.get(number) for number in range(h5pl.size())]
    for _ in folders:
        h5pl.remove(0)
    try:
        yield
    finally:
        for folder in folders:
            h5pl.append(folder)


def _create_case(file: h5py.File, case: str, patient: str, grid: Grid) -> h5py.Group:
    write_text_attribute(file.attrs, "format", SHARD_FORMAT)
    file.attrs["version"] = np.int64(SHARD_VERSION)
    creation = h5p.create(h5p.GROUP_CREATE)
    creation.set_obj_track_times(False)
    cases = h5g.create(file.id, CASES_GROUP.encode(), gcpl=creation)
    group = h5py.Group(h5g.create(cases, case.encode(), gcpl=creation))
    write_text_attribute(group.attrs, "patient", patient)
    write_grid(group.attrs, grid)
    return group


class _CaseFile:
    """A shard that is filled slice by slice. Other threads may fill others: each use of HDF5 is locked."""

    def __init__(self, path: Path, case: str, patient: str, grid: Grid, storage: Storage, *, has_mask: bool) -> None:
        self._voxels = np.zeros(LABEL_NUMBERS, dtype=np.int64)
        with HDF5_LOCK:
            self._file = _create(path)
            group = _create_case(self._file, case, patient, grid)
            self._image = _SliceSink(group, IMAGE, grid, image_dtype(storage.window_hu), storage.codec)
            write_window(self._image.dataset.attrs, storage.window_hu)
            self._labels = _SliceSink(group, LABELS, grid, LABELS_DTYPE, storage.codec) if has_mask else None
            del group

    @property
    def label_voxels(self) -> dict[int, int]:
        """Voxels of every label that occurs."""
        return {label: int(self._voxels[label]) for label in range(1, LABEL_NUMBERS) if self._voxels[label]}

    def add(self, encoded: _EncodedSlice) -> None:
        """Write the next slice."""
        with HDF5_LOCK:
            self._image.add(encoded.image)
            if self._labels is not None and encoded.labels is not None:
                self._labels.add(encoded.labels)
        self._voxels += encoded.voxels

    def finish(self) -> tuple[str, str | None]:
        """Write the digests of image and mask beside them and give them."""
        with HDF5_LOCK:
            return self._image.finish(), self._labels.finish() if self._labels else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the file and let go of all that HDF5 has of it, here and not when Python likes."""
        with HDF5_LOCK:
            try:
                del self._image, self._labels
                self._file.close()
            except (OSError, RuntimeError) as failure:
                # What HDF5 still had to write cannot be written; after another error that one says why.
                if kind is None:
                    raise OSError(getattr(failure, "errno", None) or errno.EIO, "HDF5 cannot close it") from failure
            finally:
                del self._file


class _SliceSink:
    """One dataset that is filled slice by slice, with the digests of what went in."""

    def __init__(self, group: h5py.Group, name: str, grid: Grid, dtype: np.dtype[Any], codec: Codec) -> None:
        self._digests: list[bytes] = []
        with _without_plugins():
            self.dataset = group.create_dataset(
                name, shape=grid.shape_zyx, dtype=dtype, chunks=chunk_shape(grid), track_times=False, **filter_options(codec)
            )

    def add(self, encoded: _Encoded) -> None:
        """Write the next slice."""
        self.dataset.id.write_direct_chunk((len(self._digests), 0, 0), encoded.chunk)
        self._digests.append(encoded.digest)

    def finish(self) -> str:
        """Write the digest of all slices beside them and return it."""
        digest = volume_digest(self._digests)
        write_text_attribute(self.dataset.attrs, "blake3", digest)
        return digest
