"""`hipseg train`: one arm on one fold, trained and scored."""

import importlib

import click

from hipseg.cli.options import repeat_option, run_options
from hipseg.config import StudySettings


@click.command()
@click.option("--arm", required=True, help="The arm: one row of the comparison table.")
@click.option("--fold", required=True, type=int, help="The fold, counted from 0.")
@repeat_option
@run_options(training="train", shards="shards")
def command(*, arm: str, fold: int, repeat: int, settings: StudySettings, resume: str, overwrite: bool) -> None:
    """Train one arm on one fold and score the fold's validation cases.

    One process, or one rank of many where srun, submitit, horovodrun or mpirun started several: they share each batch.

    The results lie in RESULTS/<arm>/fold_<k>, those of a repeat in RESULTS/<arm>/repeat_<r>/fold_<k>; summary.json is written
    last. SIGTERM, SIGUSR1 and SIGUSR2 stop the run at its next step with exit code 75; the same command then goes on.
    """
    settings.arm(arm)
    importlib.import_module("hipseg.conduct").conduct_fold(settings, arm, fold, repeat, resume=resume, overwrite=overwrite)
