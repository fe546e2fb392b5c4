"""`hipseg split`: the patients of a packed data set into folds."""

from pathlib import Path

import click

from hipseg.cli.unfinished import warn_of_unfinished
from hipseg.config import StudySettings
from hipseg.errors import ConfigError
from hipseg.fsio import locked
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import read_manifest, same_images
from hipseg.splits import load_splits, split_patients, splits_json, write_splits

DEFAULTS = StudySettings()
MAX_SEED = 2**32 - 1
"""The largest seed that numpy's generator takes."""
LOCK_WAIT_S = 60.0
"""Jobs of several studies, or all tasks of an array, may find at the same time that nobody has dealt the folds of a data set; one
deals them within a second or two."""


@click.command()
@click.argument("shards", type=click.Path(path_type=Path))
@click.option(
    "--folds", type=int, default=DEFAULTS.folds, show_default=True, help="Number of folds, at least 2; no settings file is read."
)
@click.option(
    "--seed",
    type=click.IntRange(0, MAX_SEED),
    default=DEFAULTS.split_seed,
    show_default=True,
    help="Of the shuffling, as `split_seed`.",
)
@click.option("--overwrite", is_flag=True, help="Replace folds that were dealt otherwise.")
def command(shards: Path, folds: int, seed: int, overwrite: bool) -> None:
    """Deal the patients of a packed data set into folds.

    SHARDS is its folder; splits_final.json is written there, in nnU-Net's form. Cases without a mask are left out, and those that
    their publisher keeps for testing.
    """
    paths = DatasetPaths(shards)
    manifest = read_manifest(paths)
    warn_of_unfinished(paths)
    splits = split_patients(manifest.cases, folds, seed)
    with locked(paths.lock, str(shards), wait_s=LOCK_WAIT_S):
        if paths.splits.exists() and not overwrite and load_splits(paths) != splits_json(splits):
            raise ConfigError(
                f"{paths.splits} deals the patients otherwise, and results may rest on it; "
                "give its --folds and --seed, or replace it with --overwrite"
            )
        write_splits(paths, splits)
    bare = sum(not one.has_mask for one in manifest.cases)
    if bare:
        click.echo(f"left out {bare} of {len(manifest.cases)} cases, which have no mask")
    kept = sum(one.has_mask and not one.is_for_folds for one in manifest.cases)
    if kept:
        click.echo(f"left out {kept} of {len(manifest.cases)} cases, which their publisher keeps for testing")
    for group in same_images([one for one in manifest.cases if one.is_for_folds]):
        click.echo(f"kept on one side: cases {' and '.join(one.case for one in group)}, which are the same image")
    for fold, split in enumerate(splits):
        click.echo(f"fold {fold}: {len(split.train)} cases to train on, {len(split.val)} to validate")
