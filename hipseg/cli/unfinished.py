"""A packed data set whose last packing has not come to its end."""

import shlex

import click

from hipseg.pack.journal import is_broken_off
from hipseg.runs import DatasetPaths


def warn_of_unfinished(paths: DatasetPaths) -> None:
    """Say that cases may be missing which the last packing, or its parts, were to pack; each case that is there is whole."""
    if is_broken_off(paths.journal()):
        click.echo(
            f"warning: the last packing into {paths.root} has not come to its end, so that cases may be missing; the same "
            "`hipseg pack` goes on from what is packed",
            err=True,
        )
    elif paths.part_journals:
        click.echo(
            f"warning: parts that were packed into {paths.root} are not merged, and cases may be missing; when all are packed "
            f"join them with `hipseg pack --merge -o {shlex.quote(str(paths.root))}`",
            err=True,
        )
