"""`hipseg aggregate`: the methods-comparison table from the complete folds of every arm."""

from pathlib import Path

import click
from rich.console import Console

from hipseg.fsio import write_text
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
    that is partial, missing or damaged is an error that names it; so is one that was submitted and never begun.
    """
    paths = StudyPaths(results)
    comparison = compare(collect(paths, planned_runs(paths), allow_partial=allow_partial))
    texts = {suffix: form(comparison) for suffix, form in FORMS.items()}
    for suffix, text in texts.items():
        write_text(paths.comparison(suffix), text)
    console = Console(highlight=False)
    print_comparison(comparison, console)
    console.print(f"written: {', '.join(str(paths.comparison(suffix)) for suffix in FORMS)}", markup=False, soft_wrap=True)
