"""`hipseg doctor`: what this machine offers, what is missing, how to mend it."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from hipseg.errors import LaunchError
from hipseg.launch.doctor import examine


@click.command("doctor")
@click.argument("results", type=click.Path(path_type=Path), default=Path("results"))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(results: Path, *, as_json: bool) -> None:
    """Show what this machine offers for a study, what is missing, and how to mend it.

    RESULTS is where results are going to lie. Reads only; exit code 7 where nothing can be trained here.
    """
    findings = examine(results)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in findings], indent=1))
    else:
        width = max(len(one.name) for one in findings)
        for one in findings:
            click.echo(f"{one.name:{width}}  {one.found}" + (f"; {one.cure}" if one.cure else ""))
    missing = [one.name for one in findings if one.is_needed and one.cure]
    if missing:
        raise LaunchError(f"nothing can be trained here without {' and '.join(missing)}; see above")
