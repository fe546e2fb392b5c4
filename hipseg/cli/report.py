"""`hipseg report`: one page of a study, whole or still running, and its figures as files."""

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from hipseg.cli.standing import put_blindness_in_words, put_in_words
from hipseg.config import load_settings
from hipseg.errors import ConfigError, HipsegError, ReportError
from hipseg.fsio import hide_folders, write_text
from hipseg.gallery import Look, view_case
from hipseg.launch.graph import REPORT
from hipseg.launch.progress import read_progress
from hipseg.launch.state import planned_runs, read_state
from hipseg.report.audit import RowAudit, audit_row
from hipseg.report.budget import describe_fit, fit_cases
from hipseg.report.collect import Collection, collect, find_folds
from hipseg.report.compose import (
    FIGURES,
    SHORT_DIGEST,
    Drawing,
    describe_checks,
    describe_provenance,
    draw_study,
    headline_scores,
)
from hipseg.report.curves import Curve, read_curves
from hipseg.report.fold import name_run
from hipseg.report.outlines import encode_case
from hipseg.report.page import Page, PatientRow, Plot, Standing, list_patients, render_page, show_case
from hipseg.report.plots import FORMS, save_figure
from hipseg.report.published import parse_published
from hipseg.report.table import DEFINITION, Comparison, blocks, compare, define
from hipseg.report.table_csv import to_csv
from hipseg.runs import DatasetPaths, FoldPaths, StudyPaths
from hipseg.shards.manifest import read_manifest
from hipseg.views import CaseView

Run = tuple[str, int, int]
"""Arm, repeat, fold."""
FEWEST_SLICES = 5
BYTES_A_MEGABYTE = 1_000_000
NOT_COMPLETE = "not complete"
NOTE_BYTES = 500
"""Most that the note of what was left out takes."""


@click.command("report")
@click.argument("results", type=click.Path(path_type=Path), default=Path("results"))
@click.option("--shards", type=click.Path(path_type=Path), help="The packed data, for pictures. [default: as in the settings]")
@click.option(
    "--pictures",
    type=click.IntRange(min=0),
    default=400,
    show_default=True,
    help=f"Slices shown, over all cases; 0 for none, otherwise at least {FEWEST_SLICES} a case where they fit.",
)
@click.option(
    "--megabytes",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Size that the page may have; slices that do not fit are left out, of every case alike, and the page says so.",
)
def command(results: Path, shards: Path | None, pictures: int, megabytes: int) -> None:
    """Write the page of a study and its figures.

    Reads RESULTS (results/ by default), whole or still running, and writes report.html there, which needs nothing beside it, and
    the figures as PNG and SVG into figures/. What cannot be read is named on the page, beside what can.
    """
    paths = StudyPaths(results)
    runs = find_folds(paths)
    say = partial(hide_folders, roots=[results, *([shards] if shards else [])])
    collection, why_no_table = _collect(paths, runs)
    scores = headline_scores(collection)
    patients = list_patients(scores)
    views, why_no_cases = _view_cases(paths, collection, patients, shards, pictures)
    curves, unread = _read_curves(paths, runs)
    standings, blind = _list_standings(paths, runs)
    plots = _save_plots(paths, draw_study(scores, curves, views))
    comparison = compare(collection) if collection.arms else None
    page = Page(
        title="hipseg study",
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        stamp=say(comparison.stamp or "" if comparison else why_no_table) or None,
        warnings=tuple(say(one) for one in (*collection.warnings, *unread, *blind)),
        standings=tuple(Standing(one.run, say(one.text), say(one.detail)) for one in standings),
        arms=tuple(scores),
        blocks=blocks(comparison) if comparison else (),
        definition=define(comparison) if comparison else DEFINITION,
        patients=patients,
        plots=plots,
        cases=tuple(show_case(encode_case(views[row.case]), row, tuple(scores)) for row in patients if row.case in views),
        why_no_cases=say(why_no_cases),
        checks=describe_checks(collection, _audit(comparison) if comparison else ()),
        provenance=describe_provenance(collection, paths),
    )
    write_text(paths.report, render_page(_fit_page(page, megabytes)))
    click.echo(f"wrote {paths.report} and {len(plots)} figures in {paths.figures}")
    if why_no_table:
        click.echo(why_no_table)


def _collect(paths: StudyPaths, runs: Sequence[Run]) -> tuple[Collection, str]:
    """Collect what is complete; say why where there is nothing to make a table of."""
    if all(_tell_state(paths.fold(arm, fold)) == NOT_COMPLETE for arm, _, fold in runs):
        return Collection(()), "No fold is complete yet."
    try:
        return collect(paths, planned_runs(paths), allow_partial=True), ""
    except HipsegError as error:
        return Collection(()), f"No table: {error}"


def _fit_page(page: Page, megabytes: int) -> Page:
    """Leave out pictures that would make the page too large, and say so on it."""
    # One case without anything, so that what stands around pictures is counted.
    bare_bytes = len(render_page(dataclasses.replace(page, cases=({},))).encode())
    kept = fit_cases(page.cases, megabytes * BYTES_A_MEGABYTE - bare_bytes - NOTE_BYTES)
    words = (page.why_no_cases, describe_fit(page.cases, kept, megabytes))
    return dataclasses.replace(page, cases=kept, why_no_cases=" ".join(filter(None, words)))


def _save_plots(paths: StudyPaths, drawings: Iterable[Drawing]) -> tuple[Plot, ...]:
    """Write the figures, and take those away that an earlier page had and this one has not."""
    plots: list[Plot] = []
    files: set[Path] = set()
    for one in drawings:
        written = save_figure(one.figure, paths.figures, one.name)
        plots.append(Plot(one.title, one.description, written[-1].read_bytes()))
        files.update(written)
    for old in {paths.figures / f"{name}.{form}" for name in FIGURES for form in FORMS} - files:
        old.unlink(missing_ok=True)
    return tuple(plots)


def _audit(comparison: Comparison) -> list[RowAudit]:
    # Stamp and warnings can be longer than a field of CSV may be, and have no score in them.
    bare = dataclasses.replace(comparison, stamp=None, warnings=())
    return [audit_row(row) for row in parse_published(to_csv(bare), "the table")]


def _read_curves(paths: StudyPaths, runs: Iterable[Run]) -> tuple[list[Curve], list[str]]:
    """Read the curves of the folds, without those of other seeds; name the histories that are damaged."""
    curves: list[Curve] = []
    unread = []
    for run in runs:
        try:
            curves += read_curves(paths, [run] if run[1] == 0 else [])
        except ReportError as error:
            unread.append(str(error))
    return curves, unread


def _list_standings(paths: StudyPaths, runs: Iterable[Run]) -> tuple[list[Standing], list[str]]:
    """Say how far each job but the page's own is, and why the cluster could not be asked, if so.

    Where the runs were started by hand, or what they wrote is damaged, the folders show how far each is.
    """
    fault = ""
    if paths.state.is_file():
        try:
            progress = read_progress(paths, read_state(paths))
            blind = [put_blindness_in_words(progress.blind)] if progress.blind is not None else []
            # The job that writes the page would be running on it for ever.
            jobs = [one for one in progress.jobs if one.record.job.name != REPORT]
            return [Standing(one.record.job.name, put_in_words(one), one.reason or "") for one in jobs], blind
        except HipsegError as error:
            fault = str(error)
    return [
        Standing(name_run(arm, fold, repeat), _tell_state(paths.fold(arm, fold, repeat)), fault) for arm, repeat, fold in runs
    ], []


def _tell_state(run: FoldPaths) -> str:
    """Say how far a run is by its folder alone, which may be another user's."""
    try:
        return "done" if run.is_complete else NOT_COMPLETE
    except ConfigError as error:
        return str(error)


def _view_cases(
    paths: StudyPaths, collection: Collection, patients: Sequence[PatientRow], shards: Path | None, pictures: int
) -> tuple[dict[str, CaseView], str]:
    """Cut the pictures of every scored case; say which have none, and why."""
    if not patients or not pictures:
        return {}, "No case is scored yet." if pictures else "Pictures were not asked for."
    try:
        first = collection.arms[0].folds[0]
        settings = load_settings(paths.fold(first.arm, first.fold).settings)
    except HipsegError as error:
        return {}, f"No pictures: {error}"
    dataset = DatasetPaths(shards or settings.shards)
    try:
        manifest = read_manifest(dataset)
    except HipsegError as error:
        return {}, hide_folders(f"No pictures: {error}; name the packed data with --shards.", [dataset.root])
    if manifest.data_digest != first.data_digest:
        found, scored = manifest.data_digest[:SHORT_DIGEST], first.data_digest[:SHORT_DIGEST]
        return {}, f"No pictures: the packed data ({found}) is not what was scored ({scored}); name that with --shards."
    look = Look(settings.feed.window_hu, settings.target_labels, max(FEWEST_SLICES, pictures // len(patients)))
    views, lacking = {}, []
    for row in patients:
        try:
            views[row.case] = view_case(dataset, manifest.record(row.case), _find_predictions(paths, collection, row.case), look)
        except HipsegError as error:
            lacking.append(hide_folders(f"case {row.case} ({error})", [paths.root, dataset.root]))
    return views, f"No pictures of {'; '.join(lacking)}." if lacking else ""


def _find_predictions(paths: StudyPaths, collection: Collection, case: str) -> dict[str, Path]:
    """Give arm -> the file with what it predicted on a case."""
    return {
        arm.arm: paths.fold(arm.arm, fold.fold).prediction(case)
        for arm in collection.arms
        for fold in arm.folds
        if case in fold.sides.val.cases
    }
