"""`hipseg status`: how far a submitted study is."""

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hipseg.cli.standing import put_in_words
from hipseg.config import load_settings
from hipseg.fsio import without_nan
from hipseg.launch.progress import Progress, is_driven, read_progress
from hipseg.launch.state import StudyState, read_state
from hipseg.runs import StudyPaths

LOST_TEXT = "its process is gone and nobody recorded how it ended"


@click.command("status")
@click.argument("results", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the state of every job as JSON.")
def command(results: Path | None, as_json: bool) -> None:
    """Show how far a submitted study is.

    RESULTS is the results folder; without it, the one that the settings name. Reads files only, so that it works from any
    terminal, while the study runs and after.
    """
    paths = StudyPaths(results if results is not None else load_settings(None).results)
    state = read_state(paths)
    progress = read_progress(paths, state)
    if as_json:
        click.echo(json.dumps(_as_json(state, progress), indent=1, allow_nan=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    if any(one.record.job.arm for one in progress):
        console.print(_make_table(progress))
    for one in progress:
        if one.record.job.arm is None:
            console.print(escape(f"{one.record.job.name}: {put_in_words(one)}"))
    for one in progress:
        console.print(escape(_explain(paths, one)), end="")
    if not is_driven(state) and any(one.stage in ("queued", "running", "stopped", "cancelled", "lost") for one in progress):
        console.print("the command that ran this study is gone; the same `hipseg submit` goes on where it ended")


def _make_table(progress: tuple[Progress, ...]) -> Table:
    runs = {(one.record.job.arm, one.record.job.fold): one for one in progress if one.record.job.arm}
    arms = list(dict.fromkeys(arm for arm, _ in runs))
    folds = sorted({fold for _, fold in runs if fold is not None})
    table = Table("arm", *(f"fold {fold}" for fold in folds))
    for arm in arms:
        cells = (put_in_words(runs[arm, fold]) if (arm, fold) in runs else "" for fold in folds)
        table.add_row(escape(str(arm)), *(escape(cell) for cell in cells))
    return table


def _explain(paths: StudyPaths, one: Progress) -> str:
    """Why a job did not end well, what it said last, and where its log lies; nothing for the others."""
    record = one.record
    reason = LOST_TEXT if one.stage == "lost" else record.error
    if one.stage not in ("failed", "stopped", "cancelled", "lost", "not run") or reason is None:
        return ""
    lines = [f"{record.job.name} {one.stage}: {reason}"]
    if one.last_line is not None and reason not in one.last_line:
        lines.append(f"  last line: {one.last_line}")
    if record.log:
        lines.append(f"  log: {paths.root / record.log}")
    return "".join(line + "\n" for line in lines)


def _as_json(state: StudyState, progress: tuple[Progress, ...]) -> Any:
    jobs = [
        {
            "name": one.record.job.name,
            "arm": one.record.job.arm,
            "fold": one.record.job.fold,
            "stage": one.stage,
            "epoch": one.epoch,
            "epochs": one.epochs,
            "remaining_s": one.remaining_s,
            "dice": one.dice,
            "exit_code": one.record.exit_code,
            "error": one.record.error,
            "last_line": one.last_line,
            "log": one.record.log,
        }
        for one in progress
    ]
    return without_nan({"host": state.host, "driven": is_driven(state), "jobs": jobs})
