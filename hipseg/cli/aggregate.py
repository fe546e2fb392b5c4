"""`hipseg aggregate`: the methods-comparison table from the complete folds of every arm."""

from pathlib import Path

import click
from rich.console import Console

from hipseg.errors import ReportError
from hipseg.fsio import unwritable, write_text
from hipseg.launch.state import planned_runs
from hipseg.report.collect import collect
from hipseg.report.table import compare
from hipseg.report.table_csv import to_csv
from hipseg.report.table_json import to_json
from hipseg.report.table_latex import to_latex
from hipseg.report.table_markdown import to_markdown
from hipseg.report.table_text import print_comparison
from hipseg.runs import StudyPaths

FORMS = {"csv": to_csv, "json": to_json, "md": to_markdown, "tex": to_latex}


@click.command("aggregate")
@click.argument("results", type=click.Path(path_type=Path), default=Path("results"))
@click.option("--allow-partial", is_flag=True, help="Leave out folds that are partial, missing or damaged; every output says so.")
def command(results: Path, allow_partial: bool) -> None:
    """Write the methods-comparison table.

    Reads every fold of every arm in RESULTS (results/ by default) and writes comparison.csv, .json, .md and .tex there. A fold
    that is partial, missing or damaged is an error that names it; so is one that was submitted and never begun. A table of before
    is then set aside as comparison.csv.stale and so on, since it does not hold any more.
    """
    paths = StudyPaths(results)
    try:
        comparison = compare(collect(paths, planned_runs(paths), allow_partial=allow_partial))
    except ReportError as error:
        if _set_aside(paths):
            raise ReportError(f"{error}; the table of before is set aside as {paths.stale_comparison('*')}") from error
        raise
    texts = {suffix: form(comparison) for suffix, form in FORMS.items()}
    for suffix, text in texts.items():
        write_text(paths.comparison(suffix), text)
        paths.stale_comparison(suffix).unlink(missing_ok=True)
    console = Console(highlight=False)
    print_comparison(comparison, console)
    console.print(f"written: {', '.join(str(paths.comparison(suffix)) for suffix in FORMS)}", markup=False, soft_wrap=True)


def _set_aside(paths: StudyPaths) -> bool:
    """Rename a table of before, which would stand there as if it held; say whether there was one."""
    there = [suffix for suffix in FORMS if paths.comparison(suffix).is_file()]
    for suffix in there:
        try:
            paths.comparison(suffix).replace(paths.stale_comparison(suffix))
        except OSError as error:
            raise unwritable(paths.comparison(suffix), error) from error
    return bool(there)
