"""`hipseg pretrain`: the organ network that fine-tuning starts from."""

import os
from pathlib import Path

import click
from rich.console import Console

from hipseg.cli.options import as_overrides, config_options, run_options
from hipseg.config import load_settings
from hipseg.learn.pretraining import pretrain
from hipseg.learn.rank_env import find_place
from hipseg.learn.ranks import join_ranks
from hipseg.learn.resume import Resume
from hipseg.learn.runtime import prepare_runtime, take_card
from hipseg.runs import StudyPaths
from hipseg.signals import StopRequests


@click.command()
@click.option("--shards", help="Folder of the packed organ data set, in place of the settings' `pretrain.shards`.")
@click.option("--results", help="Folder of the study's results, in place of the settings' `results`.")
@run_options("pretrain.train")
@config_options
def command(
    *,
    shards: str | None,
    results: str | None,
    epochs: int | None,
    batch_size: int | None,
    resume: Resume,
    overwrite: bool,
    config: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Train the network of the arms with transfer on organs, one output an organ.

    One process, or one rank of many where srun, submitit, horovodrun or mpirun started several: they share each batch.

    The results lie in RESULTS/pretraining; summary.json is written last. SIGTERM, SIGUSR1 and SIGUSR2 stop the run at its
    next step with exit code 75; the same command then goes on.
    """
    named = {
        "pretrain.shards": shards,
        "results": results,
        "pretrain.train.epochs": epochs,
        "pretrain.train.batch_size": batch_size,
    }
    settings = load_settings(config, (*overrides, *as_overrides(named)))
    stops, place = StopRequests(), find_place(os.environ)
    console = Console(quiet=place is not None and place.rank > 0)
    folder, limit_s = StudyPaths(settings.results).pretraining.root, settings.pretrain.train.stall_limit_s
    with stops.listening():
        take_card(place)
        # Horovod starts TensorFlow, whose threads cannot be set any more then.
        prepare_runtime(settings.pretrain.train)
        with join_ranks(place, folder, limit_s, os.environ) as ranks:
            pretrain(
                settings, resume=resume, overwrite=overwrite, environment=os.environ, console=console, stops=stops, ranks=ranks
            )
