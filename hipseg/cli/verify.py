"""`hipseg verify`: every checksum and rule of a packed data set."""

from pathlib import Path

import click

from hipseg.cli.unfinished import warn_of_unfinished
from hipseg.errors import ConfigError, ShardError
from hipseg.pack.journal import list_shards
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import Manifest, read_manifest
from hipseg.shards.reader import OutOfReachError
from hipseg.shards.verify import find_strays, verify_dataset
from hipseg.splits import check_splits_digest, read_splits


@click.command()
@click.argument("shards", type=click.Path(path_type=Path))
def command(shards: Path) -> None:
    """Check every checksum and rule of a packed data set.

    SHARDS is its folder. A line for each problem, and exit code 5 if there is any. A shard that cannot be opened does not stop
    the check of the others.
    """
    paths = DatasetPaths(shards)
    manifest = read_manifest(paths)
    warn_of_unfinished(paths)
    skipped: list[str] = []

    def skip(error: OutOfReachError) -> None:
        skipped.append(str(error))
        click.echo(f"not checked: {error}", err=True)

    damaged = verify_dataset(paths, manifest, click.echo, skip)
    others = (*_stray_problems(paths, manifest), *_split_problems(paths, manifest))
    for problem in others:
        click.echo(problem)
    left = f"{len(skipped)} of {len(manifest.cases)} shards in {shards} could not be checked, each for the reason above"
    if problems := len(damaged) + len(others):
        # A packing trusts a shard that has its size.
        cure = "; delete the shards of the cases named, and pack the same DATA again" if damaged else ""
        more = f"; {left}" if skipped else ""
        raise ShardError(f"{problems} {'problem' if problems == 1 else 'problems'} in {shards}, as listed{cure}{more}")
    if skipped:
        raise ConfigError(left)
    click.echo(f"{shards} is as it was packed: {len(manifest.cases)} cases, every checksum and rule holds")


def _stray_problems(paths: DatasetPaths, manifest: Manifest) -> tuple[str, ...]:
    """Name shards of which neither the manifest nor a packing knows; those of a packing that goes on are only counted."""
    strays = find_strays(paths, manifest)
    # Read after the folder was, since a packing may be at work there.
    finished = list_shards(paths) if strays else frozenset[str]()
    unknown = tuple(name for name in strays if name not in finished)
    if pending := len(strays) - len(unknown):
        click.echo(
            f"warning: {pending} {'shard is' if pending == 1 else 'shards are'} not in the manifest yet, of a packing that has "
            "not come to its end or of parts that are not merged; leave them there",
            err=True,
        )
    return tuple(f"shard {name} is not in the manifest; pack again, merge the parts, or delete it" for name in unknown)


def _split_problems(paths: DatasetPaths, manifest: Manifest) -> tuple[str, ...]:
    if not paths.splits.exists():
        return ()
    try:
        check_splits_digest(paths)
        read_splits(paths, manifest)
    except ShardError as error:
        return (str(error),)
    return ()
