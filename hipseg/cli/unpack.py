"""`hipseg unpack`: packed cases back as NIfTI."""

from pathlib import Path

import click

from hipseg.cli.paths import NamedPath
from hipseg.errors import ConfigError, HipsegError, ShardError
from hipseg.pack.dataset import check_writable
from hipseg.pack.table import read_key_table
from hipseg.pack.unpack import check_source_paths, unpack_case, write_source_paths
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import read_manifest
from hipseg.shards.reader import OutOfReachError


@click.command()
@click.argument("shards", type=NamedPath())
@click.option("-o", "--output", type=NamedPath(), required=True, help="Where the folders of the cases go.")
@click.option("--case", "keys", metavar="KEY", multiple=True, help="Only this case; repeatable. [default: all]")
@click.option("--source-paths", is_flag=True, help="Also write which folder each case came from; needs --key-table. Private.")
@click.option("--key-table", type=NamedPath(), help="The table that `hipseg-pack --keep-key-table` kept; for --source-paths.")
def command(shards: Path, output: Path, keys: tuple[str, ...], source_paths: bool, key_table: Path | None) -> None:
    """Give the packed cases back as NIfTI in their original grid.

    SHARDS is the packed data set. Written are OUTPUT/<case>/image.nii.gz (HU) and, for cases with a mask, mask.nii.gz (labels).
    Files that are there already are kept if they are the same: the same command goes on where it broke off. A case whose shard is
    damaged, or cannot be opened, does not stop the others; the exit code is then 5, or 2 where none is damaged.
    """
    if source_paths != (key_table is not None):
        raise ConfigError(
            "--source-paths and --key-table FILE go together; keep a table by packing with `hipseg-pack --keep-key-table FILE`"
        )
    paths = DatasetPaths(shards)
    if source_paths:
        check_source_paths(output, paths)
    manifest = read_manifest(paths)
    records = [manifest.record(key) for key in dict.fromkeys(keys)] or list(manifest.cases)
    table = read_key_table(key_table) if key_table is not None else None
    check_writable(output)
    if table is not None:
        click.echo(f"wrote {write_source_paths(output, records, table)}")
    failed: list[HipsegError] = []
    for record in records:
        try:
            unpacked = unpack_case(paths, record, output)
        except (ShardError, OutOfReachError) as error:
            failed.append(error)
            click.echo(f"not unpacked: {error}", err=True)
            continue
        what = "there already, the same" if unpacked.is_kept else " and ".join(file.name for file in unpacked.files)
        click.echo(f"{'kept' if unpacked.is_kept else 'unpacked'} case {record.case}: {what}")
    if failed:
        kind = ShardError if any(isinstance(error, ShardError) for error in failed) else ConfigError
        raise kind(f"{len(failed)} of {len(records)} cases could not be unpacked, each for the reason above")
