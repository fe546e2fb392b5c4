"""Packed cases -> NIfTI files in their original grid, checked against the digests of what went in."""

from collections.abc import Iterable
from pathlib import Path

from hipseg.errors import ConfigError
from hipseg.fsio import write_json
from hipseg.ingest.nifti import write_volume
from hipseg.pack.table import PRIVATE_MODE, KeyRow
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import CaseRecord
from hipseg.shards.reader import open_reader, read_image_volume, read_label_volume

SOURCE_PATHS = "source_paths.json"


def check_targets(target: Path, records: Iterable[CaseRecord]) -> None:
    """Refuse to write over what is there, before anything is written.

    Raises:
        ConfigError: there is a folder of one of the cases.
    """
    for record in records:
        if (target / record.case).exists():
            raise ConfigError(f"{target / record.case} is there already; delete it or name another folder with -o")


def unpack_case(paths: DatasetPaths, record: CaseRecord, target: Path) -> tuple[Path, ...]:
    """Write one case as `<target>/<case>/image.nii.gz` (int16, HU) and, if it has a mask, `mask.nii.gz` (uint8, labels).

    Returns:
        The files written.
    Raises:
        ShardError: the shard is damaged or not what was packed; no file of the volume concerned is written.
        ConfigError: a file cannot be written.
    """
    image_path, mask_path = target / record.case / "image.nii.gz", target / record.case / "mask.nii.gz"
    with open_reader(paths, record) as reader:
        volume_hu = read_image_volume(reader)
        labels = read_label_volume(reader) if record.has_mask else None
    write_volume(image_path, volume_hu, record.grid)
    if labels is None:
        return (image_path,)
    write_volume(mask_path, labels, record.grid)
    return image_path, mask_path


def check_source_paths(target: Path, paths: DatasetPaths) -> None:
    """Refuse to write names of source folders where they would travel with the shards.

    Raises:
        ConfigError: the folder lies in the data set's.
    """
    if target.resolve().is_relative_to(paths.root.resolve()):
        raise ConfigError(f"{target / SOURCE_PATHS} would lie in {paths.root}, which is passed on; name a private folder with -o")


def write_source_paths(target: Path, records: Iterable[CaseRecord], table: dict[str, KeyRow]) -> Path:
    """Write which source folder each case came from, readable by its owner alone.

    Returns:
        The file: a JSON object, case key -> folder relative to what was packed.
    Raises:
        ConfigError: the key table lacks a case, or the file cannot be written.
    """
    keys = sorted(record.case for record in records)
    if missing := [case for case in keys if case not in table]:
        raise ConfigError(
            f"the key table lacks case {missing[0]} ({len(missing)} of {len(keys)} are missing); "
            "pack the source again with --keep-key-table, and its cases are added"
        )
    path = target / SOURCE_PATHS
    write_json(path, {case: table[case].folder for case in keys}, PRIVATE_MODE)
    return path
