"""`hipseg evaluate`: a trained fold, scored anew."""

import importlib

import click

from hipseg.cli.options import repeat_option, study_options
from hipseg.config import StudySettings


@click.command()
@click.option("--arm", required=True, help="The arm: one row of the comparison table.")
@click.option("--fold", required=True, type=int, help="The fold, counted from 0.")
@repeat_option
@study_options(shards="shards")
def command(*, arm: str, fold: int, repeat: int, settings: StudySettings) -> None:
    """Score a fold's validation cases anew, from its best weights and with the settings it was trained with.

    How they are scored is said by `evaluate` in the settings given now. Each prediction is scored as the network gave it, and
    again after small pieces, cavities and steps are removed, as `evaluate.clean` says.
    """
    settings.arm(arm)
    importlib.import_module("hipseg.conduct").conduct_evaluation(settings, arm, fold, repeat)
