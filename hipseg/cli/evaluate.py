"""`hipseg evaluate`: a trained fold, scored anew."""

from pathlib import Path

import click
from rich.console import Console

from hipseg.cli.options import as_overrides, config_options, repeat_option
from hipseg.config import load_settings
from hipseg.evaluate import check_trained, evaluate_fold
from hipseg.learn.fold import title
from hipseg.learn.workspace import hold_run
from hipseg.runs import DatasetPaths, StudyPaths


@click.command()
@click.option("--arm", required=True, help="The arm: one row of the comparison table.")
@click.option("--fold", required=True, type=int, help="The fold, counted from 0.")
@repeat_option
@click.option("--shards", help="Folder of the packed data set, in place of the settings' `shards`.")
@click.option("--results", help="Folder of the study's results, in place of the settings' `results`.")
@config_options
def command(
    *, arm: str, fold: int, repeat: int, shards: str | None, results: str | None, config: Path | None, overrides: tuple[str, ...]
) -> None:
    """Score a fold's validation cases anew, from its best weights and with the settings it was trained with.

    How they are scored is said by `evaluate` in the settings given now. Each prediction is scored as the network gave it, and
    again after small pieces, cavities and steps are removed, as `evaluate.clean` says.
    """
    settings = load_settings(config, (*overrides, *as_overrides({"shards": shards, "results": results})))
    dataset, study = DatasetPaths(settings.shards), StudyPaths(settings.results)
    paths, what = study.fold(arm, fold, repeat), title(arm, fold, repeat)
    check_trained(paths, what)
    with hold_run(paths, what):
        evaluate_fold(dataset, study, arm, fold, Console(), scoring=settings.evaluate, repeat=repeat)
