"""`hipseg cancel`: end a submitted study."""

import shlex
from pathlib import Path

import click

from hipseg.config import load_settings
from hipseg.fsio import locked
from hipseg.launch.state import read_state
from hipseg.launch.stopping import cancel_on_cluster, stop_here
from hipseg.runs import StudyPaths


@click.command("cancel")
@click.argument("results", type=click.Path(path_type=Path), required=False)
def command(results: Path | None) -> None:
    """End what is queued or runs of a submitted study.

    RESULTS is the results folder; without it, the one that the settings name. Runs save their state first, and `hipseg resubmit`
    goes on with them.
    """
    paths = StudyPaths(results if results is not None else load_settings(None).results)
    state = read_state(paths)
    if state.cluster is None:
        # The command that runs the study holds its lock.
        click.echo(_put_in_words(paths, stop_here(state), sum(record.stage == "queued" for record in state.records)))
    else:
        with locked(paths.lock, f"the study in {paths.root}"):
            names = cancel_on_cluster(paths, read_state(paths))
        click.echo(f"cancelled {len(names)} jobs" + (f": {', '.join(names)}" if names else "; nothing was queued or running"))


def _put_in_words(paths: StudyPaths, asked: tuple[str, ...], waiting: int) -> str:
    """Say what comes of it on this machine, where jobs are asked and may take a minute to save."""
    rest = f"; {waiting} more had not begun and will not" if waiting else ""
    if not asked:
        return "nothing was running" + rest
    return (
        f"asked {', '.join(asked)} to save and stop{rest}; `hipseg status {shlex.quote(str(paths.root))}` shows when that is done"
    )
