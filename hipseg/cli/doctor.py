"""`hipseg doctor`: what this machine offers, what is missing, how to mend it."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from hipseg.errors import LaunchError
from hipseg.launch.doctor import examine
from hipseg.launch.site import PROFILE, ask_site, describe, write_site


@click.command("doctor")
@click.argument("results", type=click.Path(path_type=Path), default=Path("results"))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option("--write-profile", is_flag=True, help=f"Only ask Slurm what its cluster offers, and write that to {PROFILE}.")
def command(results: Path, *, as_json: bool, write_profile: bool) -> None:
    """Show what this machine offers for a study, what is missing, and how to mend it.

    RESULTS is where results are going to lie. Reads only, but for --write-profile; exit code 7 where nothing can be trained here.
    """
    if write_profile:
        site = ask_site()
        write_site(PROFILE, site)
        for name, partition in site.partitions.items():
            click.echo(f"{name}{' (default)' if name == site.default_partition else ''}: {describe(partition)}")
        click.echo(f"written: {PROFILE}")
        return
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
