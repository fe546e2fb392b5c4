"""`hipseg evaluate`: a trained fold, scored anew."""

import importlib

import click

from hipseg.cli.options import study_options
from hipseg.config import StudySettings


@click.command()
@click.option("--arm", required=True, help="The arm: one row of the comparison table.")
@click.option("--fold", required=True, type=int, help="The fold, counted from 0.")
@study_options(shards="shards")
def command(*, arm: str, fold: int, settings: StudySettings) -> None:
    """Score a fold's validation cases anew, from its best weights and with the settings it was trained with."""
    settings.arm(arm)
    importlib.import_module("hipseg.conduct").conduct_evaluation(settings, arm, fold)
