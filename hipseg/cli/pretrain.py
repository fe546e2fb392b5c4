"""`hipseg pretrain`: the organ network that fine-tuning starts from."""

import importlib

import click

from hipseg.cli.options import run_options
from hipseg.config import StudySettings


@click.command()
@run_options(training="pretrain.train", shards="pretrain.shards")
def command(*, settings: StudySettings, resume: str, overwrite: bool) -> None:
    """Train the network of the arms with transfer on organs, one output an organ.

    One process, or one rank of many where srun, submitit, horovodrun or mpirun started several: they share each batch.

    The results lie in RESULTS/pretraining; summary.json is written last. SIGTERM, SIGUSR1 and SIGUSR2 stop the run at its
    next step with exit code 75; the same command then goes on.
    """
    importlib.import_module("hipseg.conduct").conduct_pretraining(settings, resume=resume, overwrite=overwrite)
