"""`hipseg train`: one arm on one fold, trained and scored."""

import contextlib
import os
from pathlib import Path

import click
from rich.console import Console

from hipseg.cli.options import as_overrides, config_options, repeat_option, run_options
from hipseg.config import load_settings
from hipseg.evaluate import evaluate_fold
from hipseg.learn.fold import prepare_fold, train_fold
from hipseg.learn.rank_env import find_place
from hipseg.learn.ranks import join_ranks
from hipseg.learn.resume import Resume
from hipseg.learn.runtime import take_card
from hipseg.learn.workspace import hold_run
from hipseg.runs import DatasetPaths, StudyPaths
from hipseg.signals import StopRequests


@click.command()
@click.option("--arm", required=True, help="The arm: one row of the comparison table.")
@click.option("--fold", required=True, type=int, help="The fold, counted from 0.")
@repeat_option
@click.option("--shards", help="Folder of the packed data set, in place of the settings' `shards`.")
@click.option("--results", help="Folder of the study's results, in place of the settings' `results`.")
@run_options("train")
@config_options
def command(
    *,
    arm: str,
    fold: int,
    repeat: int,
    shards: str | None,
    results: str | None,
    epochs: int | None,
    batch_size: int | None,
    resume: Resume,
    overwrite: bool,
    config: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Train one arm on one fold and score the fold's validation cases.

    One process, or one rank of many where srun, submitit, horovodrun or mpirun started several: they share each batch.

    The results lie in RESULTS/<arm>/fold_<k>, those of a repeat in RESULTS/<arm>/repeat_<r>/fold_<k>; summary.json is written
    last. SIGTERM, SIGUSR1 and SIGUSR2 stop the run at its next step with exit code 75; the same command then goes on.
    """
    named = {"shards": shards, "results": results, "train.epochs": epochs, "train.batch_size": batch_size}
    settings = load_settings(config, (*overrides, *as_overrides(named)))
    stops, place = StopRequests(), find_place(os.environ)
    console = Console(quiet=place is not None and place.rank > 0)
    with stops.listening(), contextlib.ExitStack() as stack:
        take_card(place)
        run = prepare_fold(settings, arm, fold, repeat)
        with join_ranks(place, run.paths.root, settings.train.stall_limit_s, os.environ) as ranks:
            if ranks.leads:
                stack.enter_context(hold_run(run.paths, run.title))
            train_fold(run, resume=resume, overwrite=overwrite, environment=os.environ, console=console, stops=stops, ranks=ranks)
        if ranks.leads:
            dataset, study = DatasetPaths(settings.shards), StudyPaths(settings.results)
            evaluate_fold(dataset, study, arm, fold, console, scoring=settings.evaluate, repeat=repeat)
