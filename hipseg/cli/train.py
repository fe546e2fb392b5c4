"""`hipseg train`: one arm on one fold, trained and scored."""

import os
from pathlib import Path

import click
from rich.console import Console

from hipseg.cli.options import as_overrides, config_options
from hipseg.config import load_settings
from hipseg.evaluate import evaluate_fold
from hipseg.learn.fold import prepare_fold, train_fold
from hipseg.learn.workspace import hold_run
from hipseg.runs import DatasetPaths, StudyPaths


@click.command()
@click.option("--arm", required=True, help="The arm: one row of the comparison table.")
@click.option("--fold", required=True, type=int, help="The fold, counted from 0.")
@click.option("--shards", help="Folder of the packed data set, in place of the settings' `shards`.")
@click.option("--results", help="Folder of the study's results, in place of the settings' `results`.")
@click.option("--epochs", type=int, help="In place of `train.epochs`.")
@click.option("--batch-size", type=int, help="In place of `train.batch_size`.")
@click.option("--overwrite", is_flag=True, help="Train anew where a complete run lies.")
@config_options
def command(
    *,
    arm: str,
    fold: int,
    shards: str | None,
    results: str | None,
    epochs: int | None,
    batch_size: int | None,
    overwrite: bool,
    config: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Train one arm on one fold and score the fold's validation cases.

    The results lie in RESULTS/<arm>/fold_<k>; summary.json is written last.
    """
    named = {"shards": shards, "results": results, "train.epochs": epochs, "train.batch_size": batch_size}
    settings = load_settings(config, (*overrides, *as_overrides(named)))
    run, console = prepare_fold(settings, arm, fold), Console()
    with hold_run(run.paths, run.title):
        train_fold(run, overwrite=overwrite, environment=os.environ, console=console)
        evaluate_fold(DatasetPaths(settings.shards), StudyPaths(settings.results), arm, fold, console)
