"""`hipseg verify`: every checksum and rule of a packed data set."""

from pathlib import Path

import click

from hipseg.cli.unfinished import warn_of_unfinished
from hipseg.errors import ShardError
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import Manifest, read_manifest
from hipseg.shards.verify import verify_dataset
from hipseg.splits import check_splits_digest, read_splits


@click.command()
@click.argument("shards", type=click.Path(path_type=Path))
def command(shards: Path) -> None:
    """Check every checksum and rule of a packed data set.

    SHARDS is its folder. A line for each problem, and exit code 5 if there is any.
    """
    paths = DatasetPaths(shards)
    manifest = read_manifest(paths)
    warn_of_unfinished(paths)
    shard_problems = verify_dataset(paths, manifest)
    problems = (*shard_problems, *_split_problems(paths, manifest))
    for problem in problems:
        click.echo(problem)
    if problems:
        count = f"{len(problems)} {'problem' if len(problems) == 1 else 'problems'}"
        # A packing trusts a shard that has its size.
        cure = "; delete the shards of the cases named, and pack the same DATA again" if shard_problems else ""
        raise ShardError(f"{count} in {shards}, as listed{cure}")
    click.echo(f"{shards} is as it was packed: {len(manifest.cases)} cases, every checksum and rule holds")


def _split_problems(paths: DatasetPaths, manifest: Manifest) -> tuple[str, ...]:
    if not paths.splits.exists():
        return ()
    try:
        check_splits_digest(paths)
        read_splits(paths, manifest)
    except ShardError as error:
        return (str(error),)
    return ()
