"""`hipseg status`: how far a submitted study is."""

import json
import shlex
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from hipseg.cli.standing import put_blindness_in_words, put_in_words
from hipseg.config import load_settings
from hipseg.fsio import without_nan
from hipseg.launch.graph import Job
from hipseg.launch.progress import Progress, StudyProgress, is_driven, read_progress
from hipseg.launch.state import StudyState, read_state
from hipseg.runs import StudyPaths

WATCH_S = 5.0
"""Between two looks; each asks a cluster's controller once."""
WIDE_FOLDS = 6
"""Up to so many folds stand side by side; more stand below each other."""
OPEN_STAGES = ("queued", "running")
EXPLAINED_STAGES = ("failed", "stopped", "cancelled", "lost", "not run")


@click.command("status")
@click.argument("results", type=click.Path(path_type=Path), required=False)
@click.option("--watch", is_flag=True, help=f"Show it anew every {WATCH_S:.0f} s until every job has ended.")
@click.option("--json", "as_json", is_flag=True, help="Print the state of every job as JSON.")
def command(results: Path | None, watch: bool, as_json: bool) -> None:
    """Show how far a submitted study is.

    RESULTS is the results folder; without it, the one that the settings name. Reads the study's files and asks a cluster's queue,
    so that it works from any terminal, while the study runs and after.
    """
    if watch and as_json:
        raise click.UsageError("--watch shows a table, --json one answer; give one of them")
    paths = StudyPaths(results if results is not None else load_settings(None).results)
    console = Console(highlight=False, soft_wrap=True)
    if watch:
        _watch(paths, console)
        return
    state = read_state(paths)
    progress = read_progress(paths, state)
    if as_json:
        click.echo(json.dumps(_as_json(state, progress), indent=1, allow_nan=False))
        return
    for part in _show(paths, state, progress):
        console.print(part, end="" if isinstance(part, Text) else "\n")


def _watch(paths: StudyPaths, console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            state = read_state(paths)
            progress = read_progress(paths, state)
            live.update(Group(*_show(paths, state, progress)), refresh=True)
            if not any(one.stage in OPEN_STAGES for one in progress.jobs):
                return
            time.sleep(WATCH_S)


def _show(paths: StudyPaths, state: StudyState, progress: StudyProgress) -> Iterator[RenderableType]:
    """Give the table, the jobs around the runs, and what went wrong."""
    if any(one.record.job.arm for one in progress.jobs):
        yield _make_table(progress.jobs)
    lines = [f"{one.record.job.name}: {put_in_words(one)}\n" for one in progress.jobs if one.record.job.arm is None]
    lines += [_explain(paths, one) for one in progress.jobs]
    if len(progress.jobs) > 2 * WIDE_FOLDS:
        counts = Counter(one.stage for one in progress.jobs)
        lines.append(f"{len(progress.jobs)} jobs: {', '.join(f'{count} {stage}' for stage, count in counts.most_common())}\n")
    if progress.blind is not None:
        lines.append(put_blindness_in_words(progress.blind) + "\n")
    elif state.cluster is not None and any(one.stage in EXPLAINED_STAGES for one in progress.jobs):
        lines.append(f"`hipseg resubmit {shlex.quote(str(paths.root))}` submits again what did not end well\n")
    elif not is_driven(state) and any(map(_was_left, progress.jobs)):
        lines.append("the command that ran this study is gone; the same `hipseg submit` goes on where it ended\n")
    yield Text("".join(lines))


def _was_left(one: Progress) -> bool:
    """Say whether the command that ran the study ended before this job did."""
    return one.record.stage in OPEN_STAGES or one.stage in ("stopped", "cancelled", "lost")


def _make_table(progress: tuple[Progress, ...]) -> Table:
    """Put arms against folds; whichever are fewer, side by side."""
    runs = {(_name_row(one.record.job), one.record.job.fold): one for one in progress if one.record.job.arm}
    arms = list(dict.fromkeys(arm for arm, _ in runs))
    folds = sorted({fold for _, fold in runs if fold is not None})
    cells = {place: escape(put_in_words(one)) for place, one in runs.items()}
    if len(folds) <= WIDE_FOLDS:
        # On a narrow terminal the others give way: of two names that are cut short one may look like the other.
        table = Table(Column("arm", no_wrap=True), *(f"fold {fold}" for fold in folds))
        for arm in arms:
            table.add_row(escape(arm), *(cells.get((arm, fold), "") for fold in folds))
    else:
        table = Table("fold", *map(escape, arms))
        for fold in folds:
            table.add_row(str(fold), *(cells.get((arm, fold), "") for arm in arms))
    return table


def _name_row(job: Job) -> str:
    return f"{job.arm} repeat {job.repeat}" if job.repeat else str(job.arm)


def _explain(paths: StudyPaths, one: Progress) -> str:
    """Why a job did not end well, what it said last, and where its log lies; nothing for the others."""
    if one.stage not in EXPLAINED_STAGES or one.reason is None:
        return ""
    record = one.record
    lines = [f"{record.job.name} {one.stage}: {one.reason}"]
    if one.last_line is not None and one.reason not in one.last_line and one.last_line not in one.reason:
        lines.append(f"  last line: {one.last_line}")
    if record.log and one.stage != "not run":
        lines.append(f"  log: {paths.root / record.log}")
    return "".join(line + "\n" for line in lines)


def _as_json(state: StudyState, progress: StudyProgress) -> Any:
    jobs = [
        {
            "name": one.record.job.name,
            "arm": one.record.job.arm,
            "fold": one.record.job.fold,
            "repeat": one.record.job.repeat,
            "stage": one.stage,
            "waiting": one.reason if one.stage == "queued" else None,
            "requeued": one.requeued,
            "slurm_id": one.record.submitit_id if state.cluster else None,
            "epoch": one.epoch,
            "epochs": one.epochs,
            "remaining_s": one.remaining_s,
            "dice": one.dice,
            "exit_code": one.exit_code,
            "error": one.reason if one.stage in EXPLAINED_STAGES else None,
            "last_line": one.last_line,
            "log": one.record.log,
        }
        for one in progress.jobs
    ]
    found = {"host": state.host, "cluster": state.cluster, "driven": is_driven(state), "blind": progress.blind, "jobs": jobs}
    return without_nan(found)
