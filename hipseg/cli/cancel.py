"""`hipseg cancel`: end a submitted study."""

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
        names = stop_here(state)
    else:
        with locked(paths.lock, f"the study in {paths.root}"):
            names = cancel_on_cluster(paths, read_state(paths))
    click.echo(f"cancelled {len(names)} jobs" + (f": {', '.join(names)}" if names else "; nothing was queued or running"))
