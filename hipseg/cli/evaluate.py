"""`hipseg evaluate`: a trained fold, scored anew."""

from pathlib import Path

import click
from rich.console import Console

from hipseg.cli.options import as_overrides, config_options
from hipseg.config import load_settings
from hipseg.evaluate import check_trained, evaluate_fold
from hipseg.learn.fold import title
from hipseg.learn.workspace import hold_run
from hipseg.runs import DatasetPaths, StudyPaths


@click.command()
@click.option("--arm", required=True, help="The arm: one row of the comparison table.")
@click.option("--fold", required=True, type=int, help="The fold, counted from 0.")
@click.option("--shards", help="Folder of the packed data set, in place of the settings' `shards`.")
@click.option("--results", help="Folder of the study's results, in place of the settings' `results`.")
@config_options
def command(
    *, arm: str, fold: int, shards: str | None, results: str | None, config: Path | None, overrides: tuple[str, ...]
) -> None:
    """Score a fold's validation cases anew, from its best weights and with the settings it was trained with."""
    settings = load_settings(config, (*overrides, *as_overrides({"shards": shards, "results": results})))
    dataset, study = DatasetPaths(settings.shards), StudyPaths(settings.results)
    check_trained(study.fold(arm, fold), title(arm, fold))
    with hold_run(study.fold(arm, fold), title(arm, fold)):
        evaluate_fold(dataset, study, arm, fold, Console())
