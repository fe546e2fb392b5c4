"""Write one case into a shard, slice by slice; the same case gives the same bytes."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5f, h5g, h5p
from numpy.typing import NDArray

from hipseg.errors import ShardError
from hipseg.fsio import digest_file, replacing
from hipseg.geometry import Grid
from hipseg.shards.codec import encode_slice, filter_options
from hipseg.shards.layout import (
    CASES_GROUP,
    DTYPES,
    IMAGE,
    LABELS,
    SHARD_FORMAT,
    SHARD_VERSION,
    chunk_shape,
    write_grid,
    write_text_attribute,
)

LABEL_NUMBERS = 256


@dataclass(frozen=True)
class WrittenShard:
    """Digests and label counts of a case as it was written; see `CaseRecord`."""

    image_digest: str
    mask_digest: str | None
    shard_digest: str
    label_voxels: Mapping[int, int]


def write_shard(
    path: Path,
    case: str,
    patient: str,
    grid: Grid,
    slices: Iterable[tuple[NDArray[np.int16], NDArray[np.uint8] | None]],
    *,
    has_mask: bool,
) -> WrittenShard:
    """Write one case, whole or not at all, holding one slice at a time.

    Args:
        path: the shard; an older one of the same name is replaced.
        case: key of the case.
        patient: key of its patient.
        grid: the grid of the series.
        slices: image (y, x) int16 HU and labels (y, x) uint8 or None, by rising z of the grid.
        has_mask: whether the slices bring labels.
    Returns:
        What the manifest says about it.
    Raises:
        ShardError: number, shape or type of the slices does not fit the grid.
        ConfigError: the file cannot be written.
        HipsegError: whatever `slices` raises; nothing is left behind then.
    """
    with replacing(path) as temporary:
        with _create(temporary) as file:
            group = _create_case(file, case, patient, grid)
            image = _SliceSink(group, IMAGE, case, grid)
            labels = _SliceSink(group, LABELS, case, grid) if has_mask else None
            label_voxels = _stream(slices, image, labels)
            written = (image.finish(), labels.finish() if labels else None)
        return WrittenShard(*written, digest_file(temporary), label_voxels)


def _stream(
    slices: Iterable[tuple[NDArray[np.int16], NDArray[np.uint8] | None]], image: "_SliceSink", labels: "_SliceSink | None"
) -> dict[int, int]:
    """Write every slice and count the voxels of every label that occurs."""
    voxels = np.zeros(LABEL_NUMBERS, dtype=np.int64)
    for image_slice, label_slice in slices:
        image.add(image_slice)
        if labels:
            labels.add(label_slice)
            voxels += np.bincount(np.ravel(label_slice), minlength=LABEL_NUMBERS)  # type: ignore[arg-type]
    return {label: int(voxels[label]) for label in range(1, LABEL_NUMBERS) if voxels[label]}


def _create(path: Path) -> h5py.File:
    """Create an HDF5 file without times, in the layout of HDF5 1.10, which every later release reads."""
    creation = h5p.create(h5p.FILE_CREATE)
    creation.set_obj_track_times(False)
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_libver_bounds(h5f.LIBVER_V110, h5f.LIBVER_V110)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    return h5py.File(h5f.create(bytes(path), h5f.ACC_TRUNC, creation, access))


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


class _SliceSink:
    """One dataset that is filled slice by slice, with the digest of what went in."""

    def __init__(self, group: h5py.Group, name: str, case: str, grid: Grid) -> None:
        self._name, self._case = name, case
        self._dtype = DTYPES[name]
        self._shape_zyx = grid.shape_zyx
        self._digest = hashlib.sha256()
        self._written = 0
        self._dataset = group.create_dataset(
            name, shape=grid.shape_zyx, dtype=self._dtype, chunks=chunk_shape(grid), track_times=False, **filter_options()
        )

    def add(self, pixels: NDArray[Any] | None) -> None:
        """Compress and write the next slice."""
        z, (slices, rows, columns) = self._written, self._shape_zyx
        where = f"{self._name} of case {self._case}, slice {z}"
        if z >= slices:
            raise ShardError(f"{where}: the grid ends after {slices} slices")
        if pixels is None or pixels.shape != (rows, columns) or pixels.dtype != self._dtype:
            found = "nothing" if pixels is None else f"{pixels.dtype} {pixels.shape}"
            raise ShardError(f"{where}: found {found}, needed is {self._dtype} {(rows, columns)}")
        plain = np.ascontiguousarray(pixels)
        self._digest.update(plain.data)
        self._dataset.id.write_direct_chunk((z, 0, 0), encode_slice(plain))
        self._written += 1

    def finish(self) -> str:
        """Check that every slice came, write the digest beside them and return it."""
        if self._written != self._shape_zyx[0]:
            raise ShardError(f"{self._name} of case {self._case}: {self._written} slices came, the grid has {self._shape_zyx[0]}")
        digest = self._digest.hexdigest()
        write_text_attribute(self._dataset.attrs, "sha256", digest)
        return digest
