"""Packed data sets out of seeded arrays, written by the real writer."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hipseg.axes import VolumeI16, VolumeU8
from hipseg.fsio import digest_bytes
from hipseg.geometry import Grid
from hipseg.runs import DatasetPaths
from hipseg.shards.layout import SHARD_SUFFIX
from hipseg.shards.manifest import CaseRecord, Manifest, write_manifest
from hipseg.shards.storage import LOSSLESS, Storage
from hipseg.shards.writer import write_shard

OBLIQUE = ((1.0, 0.0, 0.0), (0.0, 0.8, 0.6), (0.0, -0.6, 0.8))


def make_grid_of(shape_zyx: tuple[int, int, int]) -> Grid:
    """An oblique grid whose numbers are not exact in binary."""
    return Grid(shape_zyx, (3.27, 0.976562, 0.7), (-120.1, 33.3, -500.7), OBLIQUE)


def noise_hu(seed: int, shape_zyx: tuple[int, int, int]) -> VolumeI16:
    """Noise over the whole range that CT uses."""
    return np.random.default_rng(seed).integers(-1024, 3072, shape_zyx).astype(np.int16)


def box_labels(shape_zyx: tuple[int, int, int], label: int = 1) -> VolumeU8:
    """One box of a label, clear of the edges."""
    labels = np.zeros(shape_zyx, dtype=np.uint8)
    labels[1:-1, 2:-2, 3:-3] = label
    return labels


def pack_arrays(
    paths: DatasetPaths,
    case: str,
    patient: str,
    image: VolumeI16,
    labels: VolumeU8 | None,
    grid: Grid | None = None,
    storage: Storage = LOSSLESS,
) -> CaseRecord:
    """Write one case into a shard that is named by the case alone, and describe it as the manifest does."""
    grid = grid or make_grid_of(image.shape)
    slices = zip(image, labels if labels is not None else [None] * len(image), strict=True)
    shard = case + SHARD_SUFFIX
    written = write_shard(paths.shard(shard), case, patient, grid, slices, has_mask=labels is not None, storage=storage)
    return CaseRecord(
        case=case,
        patient=patient,
        shard=shard,
        grid=grid,
        mask_kind=None if labels is None else "overlay",
        label_voxels=written.label_voxels,
        image_digest=written.image_digest,
        mask_digest=written.mask_digest,
        shard_digest=written.shard_digest,
        window_hu=storage.window_hu,
    )


def pack_noise(
    root: Path, patients: Mapping[str, str], shape_zyx: tuple[int, int, int] = (5, 12, 14)
) -> tuple[DatasetPaths, Manifest]:
    """Pack one noise volume with a box for each case.

    Args:
        root: the data set's folder.
        patients: case -> patient.
        shape_zyx: of every case.
    """
    paths = DatasetPaths(root)
    records = tuple(
        pack_arrays(paths, case, patients[case], noise_hu(seed, shape_zyx), box_labels(shape_zyx))
        for seed, case in enumerate(sorted(patients))
    )
    manifest = Manifest(cases=records, refusals=(), set_aside={}, rois={})
    write_manifest(paths, manifest)
    return paths, manifest


def make_record(case: str, patient: str, image: str | None = None, *, has_mask: bool = True, **fields: Any) -> CaseRecord:
    """A case as the manifest has it, without a shard.

    Args:
        case, patient: its keys.
        image: stands for the voxels, and so does the case without it.
        has_mask: of one voxel of label 1, unless `label_voxels` says otherwise.
        fields: others of the record.
    """
    digest = digest_bytes((image or case).encode())
    record = CaseRecord(
        case=case,
        patient=patient,
        shard=case + SHARD_SUFFIX,
        grid=make_grid_of((2, 2, 2)),
        mask_kind="overlay" if has_mask else None,
        label_voxels={1: 1} if has_mask else {},
        image_digest=digest,
        mask_digest=digest if has_mask else None,
        shard_digest=digest,
    )
    return dataclasses.replace(record, **fields)


def make_manifest(*records: CaseRecord, **fields: Any) -> Manifest:
    """The manifest of some cases."""
    cases = tuple(sorted(records, key=lambda one: one.case))
    return Manifest(**{"cases": cases, "refusals": (), "set_aside": {}, "rois": {}, **fields})


def describe_cases(root: Path, labels: Iterable[int] = (1,), patients: int = 40) -> DatasetPaths:
    """Write the manifest of a data set whose shards nobody opens.

    Args:
        root: its folder, made.
        labels: that each mask has.
        patients: one case each.
    """
    root.mkdir(parents=True, exist_ok=True)
    paths = DatasetPaths(root)
    voxels = dict.fromkeys(labels, 1)
    write_manifest(paths, make_manifest(*(make_record(f"c{one}", f"p{one}", label_voxels=voxels) for one in range(patients))))
    return paths
