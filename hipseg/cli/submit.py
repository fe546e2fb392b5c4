"""`hipseg submit`: a whole study as dependent jobs, on a Slurm cluster where there is one, else on this machine."""

import os
from pathlib import Path
from typing import Any

import click

from hipseg.cli.options import as_overrides, config_options
from hipseg.cli.starting import start_here, start_on_cluster
from hipseg.config import load_settings
from hipseg.launch.cluster import has_cluster
from hipseg.launch.ready import refuse_odd_paths
from hipseg.launch.request import Request
from hipseg.launch.resources import MAX_REQUEUES, parse_time

COUNT = click.IntRange(min=1)


@click.command("submit")
@config_options
@click.option("--shards", help="Folder of the packed scans, in place of the settings' `shards`.")
@click.option("--results", help="Folder of the study's results, in place of the settings' `results`.")
@click.option("--folds", type=click.IntRange(min=2), help="Number of folds, at least 2. [default: the settings', or 5]")
@click.option("--epochs", type=COUNT, help="Epochs of every run, the pretraining run included.")
@click.option("--arm", "arms", multiple=True, metavar="ARM", help="Run this arm only; may be repeated.")
@click.option("--fold", "chosen_folds", multiple=True, type=int, metavar="K", help="Run this fold only, from 0; may be repeated.")
@click.option(
    "--repeats",
    type=COUNT,
    default=1,
    show_default=True,
    help="Runs of each arm and fold, each with another seed, to tell the spread of seeds from that of cases.",
)
@click.option(
    "--ranks", type=COUNT, help="Processes that share each run. [default: one for each graphics card and node, at least 1]"
)
@click.option(
    "--max-running",
    type=COUNT,
    help="Jobs at once; on a cluster, folds of an arm at once. [default: what cores, memory and cards carry; on a cluster all]",
)
@click.option("--nodes", type=COUNT, help="Slurm: nodes that each run spans. [default: 1]")
@click.option(
    "--gpus",
    type=click.IntRange(min=0),
    help="Slurm: graphics cards of each node. [default: one for each rank where there are any]",
)
@click.option("--cpus", type=COUNT, help="Slurm: processor cores of each rank. [default: 8, or what a node has]")
@click.option("--mem", "mem_gb", type=COUNT, metavar="GB", help="Slurm: memory of each node. [default: 32, or what a run needs]")
@click.option(
    "--time",
    "time_limit",
    metavar="TIME",
    help="Slurm: limit of one attempt at a run, which the next goes on: minutes, HH:MM:SS or D-HH. [default: a day]",
)
@click.option("--partition", help="Slurm: where the jobs go. [default: the cluster's own]")
@click.option("--account", help="Slurm: whom the jobs are charged to.")
@click.option("--constraint", help="Slurm: what the nodes have to have.")
@click.option(
    "--max-requeues",
    type=click.IntRange(min=0),
    default=MAX_REQUEUES,
    show_default=True,
    help="Slurm: how often a job that was stopped or lost a node is started again.",
)
@click.option(
    "--pack", metavar="DATA", help="Slurm: pack the scans in this folder first; more options by hand, with hipseg-pack."
)
@click.option("--pack-parts", type=COUNT, default=8, show_default=True, help="Slurm: jobs that pack side by side.")
@click.option("--local", is_flag=True, help="Run here even though this machine belongs to a Slurm cluster.")
@click.option("--dry-run", is_flag=True, help="Show the jobs, with every script for Slurm; start and write nothing.")
def command(
    *,
    config: Path | None,
    overrides: tuple[str, ...],
    shards: str | None,
    results: str | None,
    folds: int | None,
    epochs: int | None,
    arms: tuple[str, ...],
    chosen_folds: tuple[int, ...],
    time_limit: str | None,
    local: bool,
    dry_run: bool,
    **asked: Any,
) -> None:
    """Run the whole study: pretraining, every fold of every arm, the table, the page.

    On a Slurm cluster: submits everything and comes back. The variables SBATCH_PARTITION, SBATCH_ACCOUNT and so on hold, options
    of this command come before them. A job that reaches its time limit or gives way to others saves and goes on in the queue.

    Elsewhere: stays until the last job has ended. Ctrl-C, or closing the terminal, lets what runs save its state,
    and a second Ctrl-C ends it at once.

    `hipseg status` shows how far it is, from any terminal. The same command goes on where a study stopped: complete runs and
    jobs in the queue are kept, others go on from their checkpoints.
    """
    given = {
        "shards": _shorten(shards),
        "results": _shorten(results),
        "folds": folds,
        "train.epochs": epochs,
        "pretrain.train.epochs": epochs,
    }
    settings = load_settings(config, (*overrides, *as_overrides(given)))
    named = {"scans": settings.shards, "results": settings.results, "pretraining scans": settings.pretrain.shards}
    refuse_odd_paths({**named, "scans to pack": Path(asked["pack"] or ".")})
    time_min = parse_time(time_limit) if time_limit is not None else None
    request = Request(arms=arms, folds=chosen_folds, time_min=time_min, **{**asked, "pack": _shorten(asked["pack"])})
    if local or not has_cluster():
        start_here(settings, request, dry_run=dry_run)
    else:
        start_on_cluster(settings, request, dry_run=dry_run)


def _shorten(path: str | None) -> str | None:
    """Write a path from the working folder on where both have a folder in common: a home folder's name is nobody's business."""
    if path is None or not Path(path).is_absolute():
        return path
    here = Path.cwd()
    return os.path.relpath(path, here) if Path(os.path.commonpath([path, here])) != Path("/") else path
