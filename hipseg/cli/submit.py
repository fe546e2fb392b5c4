"""`hipseg submit`: run a whole study as dependent jobs on this machine."""

import time
from dataclasses import dataclass
from pathlib import Path

import click

from hipseg.cli.options import as_overrides, config_options
from hipseg.config import StudySettings, dump_settings, load_settings
from hipseg.errors import LaunchError
from hipseg.fsio import locked, write_text
from hipseg.launch.graph import AGGREGATE, Job, Part, choose_part, give_ranks, plan_study, share_threads
from hipseg.launch.local import refuse_cluster, run_study
from hipseg.launch.machine import Machine, count_runs, count_threads, estimate_memory_bytes, look_at_machine
from hipseg.launch.ready import check_earlier, check_shards, find_done, has_splits
from hipseg.launch.state import Record, StudyState
from hipseg.runs import DatasetPaths, StudyPaths
from hipseg.splits import say_whose_folds


@dataclass(frozen=True)
class Plan:
    """A study that is ready to start."""

    paths: StudyPaths
    settings: StudySettings
    jobs: tuple[Job, ...]
    done: frozenset[str]
    manifests: dict[str, str]
    machine: Machine
    runs_at_once: int


@click.command("submit")
@config_options
@click.option("--shards", help="Folder of the packed scans, in place of the settings' `shards`.")
@click.option("--results", help="Folder of the study's results, in place of the settings' `results`.")
@click.option("--folds", type=click.IntRange(min=2), help="Number of folds.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of every run, the pretraining run included.")
@click.option("--arm", "arms", multiple=True, metavar="ARM", help="Run this arm only; may be repeated.")
@click.option("--fold", "chosen_folds", multiple=True, type=int, metavar="K", help="Run this fold only, from 0; may be repeated.")
@click.option("--ranks", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that share each run.")
@click.option("--max-running", type=click.IntRange(min=1), help="Jobs at once. [default: what cores, memory and cards carry]")
@click.option("--local", is_flag=True, help="Run here even though this machine belongs to a Slurm cluster.")
@click.option("--dry-run", is_flag=True, help="Show the jobs and their commands; start and write nothing.")
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
    ranks: int,
    max_running: int | None,
    local: bool,
    dry_run: bool,
) -> None:
    """Run the whole study: pretraining, every fold of every arm, aggregation.

    Stays until the last job has ended; `hipseg status` shows how far it is, from any other terminal. Ctrl-C lets what
    runs save its state, and a second one cancels it. The same command goes on where it was stopped: complete runs are kept,
    others go on from their checkpoints.
    """
    given = {"shards": shards, "results": results, "folds": folds, "train.epochs": epochs, "pretrain.train.epochs": epochs}
    settings = load_settings(config, (*overrides, *as_overrides(given)))
    part = choose_part(settings, arms, chosen_folds)
    if dry_run:
        _show(_make_plan(settings, part, ranks, max_running))
        return
    if not local:
        refuse_cluster()
    paths = StudyPaths(settings.results)
    _make_plan(settings, part, ranks, max_running)  # what cannot start leaves no results folder behind
    _warn_of_folds(settings)
    with locked(paths.lock, f"the study in {paths.root}"):
        _run(_make_plan(settings, part, ranks, max_running))


def _make_plan(settings: StudySettings, part: Part, ranks: int, max_running: int | None) -> Plan:
    paths = StudyPaths(settings.results)
    manifests = check_shards(settings, part)
    jobs = plan_study(settings, paths.settings, part, has_splits=has_splits(settings))
    done = find_done(paths, settings, jobs)
    check_earlier(paths, manifests, done)
    machine = look_at_machine()
    memory_bytes = estimate_memory_bytes(settings, {settings.arm(arm).network for arm in part.arms}, ranks)
    runs_at_once = max_running or count_runs(machine, memory_bytes, ranks)
    if runs_at_once * ranks > 1 and settings.train.threads == 0:
        jobs = share_threads(jobs, count_threads(machine, runs_at_once * ranks))
    jobs = give_ranks(jobs, ranks)
    return Plan(paths, settings, jobs, done, manifests, machine, runs_at_once)


def _warn_of_folds(settings: StudySettings) -> None:
    if whose := say_whose_folds(DatasetPaths(settings.shards), settings.folds, settings.split_seed):
        click.echo(f"warning: {whose}", err=True)


def _show(plan: Plan) -> None:
    for job in plan.jobs:
        note = " (complete, not run again)" if job.name in plan.done else f" ({job.ranks} ranks)" if job.ranks > 1 else ""
        after = f"  after {', '.join(job.after)}" if job.after else ""
        click.echo(f"{job.name}{note}\n  {job.command}")
        if after:
            click.echo(after)
    click.echo(f"{len(plan.jobs)} jobs, {plan.runs_at_once} at once; nothing was started")


def _run(plan: Plan) -> None:
    write_text(plan.paths.settings, dump_settings(plan.settings))
    waiting = len(plan.jobs) - len(plan.done)
    click.echo(f"jobs: {waiting}, complete before: {len(plan.done)}, at once: {plan.runs_at_once}; results: {plan.paths.root}")
    state = run_study(
        plan.paths,
        plan.jobs,
        plan.done,
        runs_at_once=plan.runs_at_once,
        report=lambda record: _tell(plan.paths, record),
        gpus=plan.machine.gpus,
        manifests=plan.manifests,
    )
    for record in state.records:
        click.echo(_describe(record))
    _finish(plan, state)


def _finish(plan: Plan, state: StudyState) -> None:
    stages = [record.stage for record in state.records]
    if {"stopped", "cancelled"} & set(stages) or any(record.error == "the study was stopped" for record in state.records):
        click.echo("stopped; the same command goes on from here", err=True)
        raise SystemExit(130)
    failed = [record.job.name for record in state.records if record.stage == "failed"]
    if failed:
        raise LaunchError(
            f"{len(failed)} of {len(stages)} jobs failed ({', '.join(failed)}), {stages.count('not run')} were not run; "
            f"`hipseg status {plan.paths.root}` says why, and the same command runs what is left"
        )
    if any(job.name == AGGREGATE for job in plan.jobs):
        click.echo(f"table: {plan.paths.comparison('md')}")
    else:
        click.echo(f"only some folds were run; once all are complete, `hipseg aggregate {plan.paths.root}` makes the table")


def _tell(paths: StudyPaths, record: Record) -> None:
    more = f": {record.error}" if record.error else ""
    if record.stage == "running" and record.log:
        more = f", log {paths.root / record.log}"
    click.echo(f"{time.strftime('%H:%M:%S')} {record.stage} {record.job.name}{more}")


def _describe(record: Record) -> str:
    if record.stage == "skipped":
        return f"{record.job.name}: complete before"
    took = ""
    if record.started_s is not None and record.finished_s is not None:
        took = f" after {record.finished_s - record.started_s:.0f} s"
    return f"{record.job.name}: {record.stage}{took}" + (f": {record.error}" if record.error else "")
