"""`hipseg prepare`: what has to hold before the ranks of a run are started, looked at once and without TensorFlow."""

import os
from pathlib import Path
from typing import Any

import click

from hipseg.cli.foundation import look_at_foundation, show_warnings
from hipseg.cli.options import as_overrides, config_options, repeat_option, training_options
from hipseg.cli.split import LOCK_WAIT_S
from hipseg.config import StudySettings, load_settings
from hipseg.demands import check_organs
from hipseg.errors import LaunchError
from hipseg.fsio import locked, unwritable
from hipseg.launch.graph import Part
from hipseg.runs import DatasetPaths, FoldPaths, StudyPaths
from hipseg.sameness import compare_pretraining
from hipseg.shards.manifest import read_manifest
from hipseg.splits import choose_fold, read_splits, split_patients, write_splits


@click.command()
@click.option("--arm", help="The arm; without it, the run is the pretraining.")
@click.option("--fold", type=int, default=0, show_default=True, help="The fold, counted from 0.")
@click.option("--shards", help="Folder of the run's packed data set, in place of the settings' one.")
@click.option("--results", help="Folder of the study's results, in place of the settings' `results`.")
@repeat_option
@training_options("train")
@config_options
def command(
    *,
    arm: str | None,
    fold: int,
    repeat: int,
    shards: str | None,
    results: str | None,
    overwrite: bool,
    config: Path | None,
    overrides: tuple[str, ...],
    **_others: Any,
) -> None:
    """Check what a run needs before it is started, deal the folds if nobody has, and print its folder.

    For job scripts: takes the options of `hipseg train`, or without --arm those of `hipseg pretrain`, makes the run's folder and
    prints its name and nothing else. Prints no name where the run is complete and nothing is left to do.
    """
    named = {"shards" if arm else "pretrain.shards": shards, "results": results}
    settings = load_settings(config, (*overrides, *as_overrides(named)))
    study = StudyPaths(settings.results)
    run = _check_fold(settings, study, arm, fold, repeat) if arm else _check_pretraining(settings, study)
    # An --overwrite is done with once the job that was given it has been started again.
    if run.is_complete and (not overwrite or os.environ.get("SLURM_RESTART_COUNT", "0") != "0"):
        click.echo(f"{run.root} is complete; nothing is left to do", err=True)
        return
    try:
        run.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(run.root, error) from error
    click.echo(run.root)


def _check_pretraining(settings: StudySettings, study: StudyPaths) -> FoldPaths:
    dataset = DatasetPaths(settings.pretrain.shards)
    show_warnings(check_organs(read_manifest(dataset), settings, dataset))
    return study.pretraining


def _check_fold(settings: StudySettings, study: StudyPaths, arm: str, fold: int, repeat: int) -> FoldPaths:
    has_transfer = settings.arm(arm).transfer
    show_warnings(look_at_foundation(settings, Part((arm,), (fold,))).warnings)
    _deal_once(settings)
    dataset = DatasetPaths(settings.shards)
    choose_fold(read_splits(dataset, read_manifest(dataset)), fold)
    if has_transfer and not study.pretraining.is_complete:
        raise LaunchError(
            f"{arm} starts from a pretraining that is not complete: no {study.pretraining.summary}; submit it first, with the "
            "same --config and --set: JOB=$(sbatch --parsable slurm/pretrain.sbatch), and then "
            "sbatch --dependency=afterok:$JOB slurm/finetune.sbatch; or take an arm without transfer with --arm"
        )
    if has_transfer and (difference := compare_pretraining(study.pretraining.settings, settings)):
        raise LaunchError(
            f"{arm} starts from the pretraining in {study.pretraining.root}, which was made with other settings: {difference}; "
            "give it those with --config and --set, or choose another folder with --results"
        )
    return study.fold(arm, fold, repeat)


def _deal_once(settings: StudySettings) -> None:
    """Deal the patients into folds as `hipseg split` does, once however many tasks come at the same time."""
    dataset = DatasetPaths(settings.shards)
    if dataset.splits.exists():
        return
    with locked(dataset.lock, str(settings.shards), wait_s=LOCK_WAIT_S):
        if not dataset.splits.exists():
            write_splits(dataset, split_patients(read_manifest(dataset).cases, settings.folds, settings.split_seed))
            click.echo(f"dealt the patients of {settings.shards} into {settings.folds} folds", err=True)
