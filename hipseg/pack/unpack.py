"""Packed cases -> NIfTI files in their original grid, checked against the digests of what went in."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hipseg.axes import VolumeI16, VolumeU8
from hipseg.errors import ConfigError
from hipseg.fsio import write_json
from hipseg.ingest.nifti import holds_volume, write_volume
from hipseg.pack.table import PRIVATE_MODE, KeyRow
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import CaseRecord
from hipseg.shards.reader import open_reader, read_image_volume, read_label_volume

SOURCE_PATHS = "source_paths.json"


@dataclass(frozen=True)
class Unpacked:
    """What became of a case.

    Args:
        files: those that hold it now.
        is_kept: whether all of them were there already, as they would have been written.
    """

    files: tuple[Path, ...]
    is_kept: bool


def unpack_case(paths: DatasetPaths, record: CaseRecord, target: Path) -> Unpacked:
    """Write one case as `<target>/<case>/image.nii.gz` (int16, HU) and, if it has a mask, `mask.nii.gz` (uint8, labels).

    A file that is there already, as an unpacking that broke off leaves it, is kept if it is the same.

    Raises:
        ShardError: the shard is damaged or not what was packed; nothing is written of this case.
        ConfigError: a file cannot be written, or another one is in its place.
    """
    folder = target / record.case
    with open_reader(paths, record) as reader:
        volumes: dict[Path, VolumeI16 | VolumeU8] = {folder / "image.nii.gz": read_image_volume(reader)}
        if record.has_mask:
            volumes[folder / "mask.nii.gz"] = read_label_volume(reader)
    there = [path for path in volumes if path.exists()]
    for path in there:
        if not holds_volume(path, volumes[path], record.grid):
            raise ConfigError(f"{path} is there already and is another file; delete it or name another folder with -o")
    for path, volume in volumes.items():
        if path not in there:
            write_volume(path, volume, record.grid)
    return Unpacked(tuple(volumes), is_kept=len(there) == len(volumes))


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
