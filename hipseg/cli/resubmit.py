"""`hipseg resubmit`: take up what is left of a submitted study."""

from pathlib import Path

import click

from hipseg.cli.starting import start_here, start_on_cluster
from hipseg.config import StudySettings, load_settings
from hipseg.errors import ConfigError
from hipseg.launch.state import read_state
from hipseg.runs import StudyPaths


@click.command("resubmit")
@click.argument("results", type=click.Path(path_type=Path), required=False)
@click.option("--dry-run", is_flag=True, help="Show what would be submitted; start and write nothing.")
def command(results: Path | None, dry_run: bool) -> None:
    """Submit again what failed, was cancelled or never ran.

    Settings and options are those of before. RESULTS is the results folder; without it, the one that the settings name. Complete
    runs, packed scans, dealt folds and jobs in the queue are left alone; other runs go on from their last checkpoints.
    """
    paths = StudyPaths(results if results is not None else load_settings(None).results)
    state = read_state(paths)
    settings = load_settings(paths.settings)
    _refuse_other_results(paths, settings)
    if state.cluster is None:
        start_here(settings, state.request, state.records, dry_run=dry_run)
    else:
        start_on_cluster(settings, state.request, state.records, dry_run=dry_run)


def _refuse_other_results(paths: StudyPaths, settings: StudySettings) -> None:
    """Refuse another study than the one that was named: settings name their folders from where it was submitted."""
    if settings.results.resolve() != paths.root.resolve():
        raise ConfigError(
            f"the settings of the study in {paths.root} call its results {settings.results}, which from here is another folder; "
            f"give the command where the study was submitted, and if the results were moved since, move them back"
        )
