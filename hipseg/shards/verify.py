"""Check every checksum and rule of a packed data set, and go on after the first problem."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hipseg.errors import ShardError
from hipseg.runs import DatasetPaths
from hipseg.shards.layout import SHARD_SUFFIX
from hipseg.shards.manifest import CaseRecord, Manifest
from hipseg.shards.reader import CaseReader, OutOfReachError, open_reader, unreadable
from hipseg.shards.storage import shard_digest, slice_digest, volume_digest
from hipseg.shards.writer import LABEL_NUMBERS, count_labels


def verify_dataset(
    paths: DatasetPaths,
    manifest: Manifest,
    tell: Callable[[str], None] = lambda _: None,
    skip: Callable[[OutOfReachError], None] | None = None,
) -> tuple[str, ...]:
    """Compare every shard with the manifest.

    Args:
        paths: the data set.
        manifest: its manifest, as `read_manifest` gives it.
        tell: called with each problem as soon as it is found: of a large data set it takes hours.
        skip: called with the reason why a shard cannot be checked, and the others are; where there is none, it is raised.
    Returns:
        One line for each problem; none when the data set is as it was packed.
    Raises:
        OutOfReachError: a shard may not be read by this user, or its file system is away.
    """
    problems: list[str] = []
    for record in manifest.cases:
        try:
            found = _verify_case(paths, record)
        except OutOfReachError as error:
            if skip is None:
                raise
            skip(error)
            continue
        for line in found:
            tell(line)
        problems += found
    return tuple(problems)


def find_strays(paths: DatasetPaths, manifest: Manifest) -> tuple[str, ...]:
    """Give the names of the shards that the manifest does not know, sorted."""
    known = {one.shard for one in manifest.cases}
    return tuple(sorted(path.name for path in paths.root.glob(f"*{SHARD_SUFFIX}") if path.name not in known))


def _verify_case(paths: DatasetPaths, record: CaseRecord) -> list[str]:
    path = paths.shard(record.shard)
    if path.exists() and not path.is_file():
        # Opening a pipe would wait for somebody to write into it.
        return [f"shard {record.shard} of case {record.case} is no file; delete it, and pack the case again"]
    try:
        with open_reader(paths, record) as reader:
            problems = _verify_content(reader)
        found = _digest(path, record)
    except ShardError as error:
        return [str(error)]
    if found != record.shard_digest:
        problems.append(f"shard {record.shard} of case {record.case} is not the file that was packed: its digest differs")
    return problems


def _digest(path: Path, record: CaseRecord) -> str:
    try:
        return shard_digest(path)
    except OSError as error:
        raise unreadable(path, record, error) from error


def _verify_content(reader: CaseReader) -> list[str]:
    """Compare both arrays with their digests, slice by slice, so that memory does not grow with the volume."""
    record, problems, slices = reader.record, [], range(reader.grid.shape_zyx[0])
    if volume_digest(slice_digest(reader.read_stored_image(z)) for z in slices) != record.image_digest:
        problems.append(f"image of case {record.case} is not what was packed: its digest differs")
    if not record.has_mask:
        return problems
    digests, voxels = [], np.zeros(LABEL_NUMBERS, dtype=np.int64)
    for z in slices:
        labels = reader.read_labels(z)
        digests.append(slice_digest(labels))
        voxels += count_labels(labels)
    if volume_digest(digests) != record.mask_digest:
        problems.append(f"mask of case {record.case} is not what was packed: its digest differs")
    found = {int(label): int(voxels[label]) for label in np.flatnonzero(voxels)}
    if found != dict(record.label_voxels):
        expected = dict(record.label_voxels)
        problems.append(f"mask of case {record.case} holds the label counts {found}, the manifest says {expected}")
    return problems
