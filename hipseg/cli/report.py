"""`hipseg report`: one page of a study, whole or still running, and its figures as files."""

from datetime import UTC, datetime
from pathlib import Path

import click

from hipseg.cli.standing import put_in_words
from hipseg.config import load_settings
from hipseg.errors import HipsegError
from hipseg.fsio import write_text
from hipseg.gallery import Look, view_case
from hipseg.launch.progress import read_progress
from hipseg.launch.state import planned_runs, read_state
from hipseg.report.audit import audit_row
from hipseg.report.collect import Collection, collect, find_folds
from hipseg.report.compose import describe_checks, describe_provenance, draw_study, headline_scores
from hipseg.report.curves import read_curves
from hipseg.report.fold import name_run
from hipseg.report.outlines import encode_case
from hipseg.report.page import Page, PatientRow, Plot, Standing, list_patients, render_page
from hipseg.report.plots import save_figure
from hipseg.report.published import parse_published
from hipseg.report.table import DEFINITION, blocks, compare
from hipseg.report.table_csv import to_csv
from hipseg.runs import DatasetPaths, StudyPaths
from hipseg.shards.manifest import read_manifest
from hipseg.views import CaseView

Run = tuple[str, int, int]
"""Arm, repeat, fold."""
FEWEST_SLICES = 5


@click.command("report")
@click.argument("results", type=click.Path(path_type=Path), default=Path("results"))
@click.option("--shards", type=click.Path(path_type=Path), help="The packed data, for pictures. [default: as in the settings]")
@click.option("--pictures", type=click.IntRange(min=0), default=500, show_default=True, help="Slices shown, over all cases.")
def command(results: Path, shards: Path | None, pictures: int) -> None:
    """Write the page of a study and its figures.

    Reads RESULTS (results/ by default), whole or still running, and writes report.html there, which needs nothing beside it, and
    the figures as PNG and SVG into figures/.
    """
    paths = StudyPaths(results)
    runs = find_folds(paths)
    collection = _collect(paths, runs)
    scores = headline_scores(collection)
    patients = list_patients(scores)
    views, why_no_cases = _view_cases(paths, collection, patients, shards, pictures)
    drawings = list(draw_study(scores, read_curves(paths, runs), views))
    files = {drawing.name: save_figure(drawing.figure, paths.figures, drawing.name) for drawing in drawings}
    comparison = compare(collection) if collection.arms else None
    page = Page(
        title="hipseg study",
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        stamp=comparison.stamp if comparison else "No fold is complete yet.",
        warnings=collection.warnings,
        standings=_list_standings(paths, runs),
        arms=tuple(scores),
        blocks=blocks(comparison) if comparison else (),
        definition=DEFINITION,
        patients=patients,
        plots=tuple(Plot(one.title, one.description, files[one.name][-1].read_bytes()) for one in drawings),
        cases=tuple(encode_case(views[row.case]) for row in patients if row.case in views),
        why_no_cases=why_no_cases,
        checks=describe_checks(
            collection, [audit_row(row) for row in parse_published(to_csv(comparison), "the table")] if comparison else ()
        ),
        provenance=describe_provenance(collection, paths),
    )
    write_text(paths.report, render_page(page))
    click.echo(f"wrote {paths.report} and {len(files)} figures in {paths.figures}")


def _collect(paths: StudyPaths, runs: list[Run]) -> Collection:
    """Collect what is complete; a study whose first fold is still running has nothing to collect."""
    if not any(paths.fold(arm, fold).is_complete for arm, _, fold in runs):
        return Collection(())
    return collect(paths, planned_runs(paths), allow_partial=True)


def _list_standings(paths: StudyPaths, runs: list[Run]) -> tuple[Standing, ...]:
    """Say how far each job is; where the runs were started by hand, how far each folder shows them to be."""
    if paths.state.is_file():
        progress = read_progress(paths, read_state(paths)).jobs
        return tuple(Standing(one.record.job.name, put_in_words(one), one.reason or "") for one in progress)
    return tuple(
        Standing(name_run(arm, fold, repeat), "done" if paths.fold(arm, fold, repeat).is_complete else "not complete")
        for arm, repeat, fold in runs
    )


def _view_cases(
    paths: StudyPaths, collection: Collection, patients: tuple[PatientRow, ...], shards: Path | None, pictures: int
) -> tuple[dict[str, CaseView], str]:
    """Cut the pictures of every scored case; say why where there are none."""
    if not patients or not pictures:
        return {}, "No case is scored yet." if pictures else "Pictures were not asked for."
    folds = [(arm.arm, fold) for arm in collection.arms for fold in arm.folds]
    settings = load_settings(paths.fold(folds[0][0], folds[0][1].fold).settings)
    dataset = DatasetPaths(shards or settings.shards)
    look = Look(settings.feed.window_hu, settings.target_labels, max(FEWEST_SLICES, pictures // len(patients)))
    try:
        manifest = read_manifest(dataset)
        views = {}
        for row in patients:
            files = {
                arm: paths.fold(arm, fold.fold).prediction(row.case) for arm, fold in folds if row.case in fold.sides.val.cases
            }
            views[row.case] = view_case(dataset, manifest.record(row.case), files, look)
    except HipsegError as error:
        return {}, f"No pictures: {error}; name the packed data with --shards."
    return views, ""
