"""`hipseg inspect`: what is in a packed data set."""

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import CaseRecord, Manifest, manifest_json, read_manifest

PIPE_WIDTH = 10_000
"""Most columns of the table where it goes into a file or a pipe: no line is folded there, and none is padded to it."""


@click.command()
@click.argument("shards", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print everything that the manifest says, as JSON.")
def command(shards: Path, as_json: bool) -> None:
    """Show what is in a packed data set.

    SHARDS is its folder. A line for each case and each refusal, then the sums.
    """
    manifest = read_manifest(DatasetPaths(shards))
    if as_json:
        click.echo(json.dumps({**manifest_json(manifest), "summary": summarise(manifest)}, indent=1, sort_keys=True))
        return
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    console.print(_table(manifest))
    for refusal in manifest.refusals:
        click.echo(f"refused case {refusal.case}: {refusal.error}: {refusal.reason}")
    click.echo(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in summarise(manifest).items()))


def summarise(manifest: Manifest) -> dict[str, Any]:
    """Count what a data set holds."""
    return {
        "cases": len(manifest.cases),
        "patients": len({one.patient for one in manifest.cases}),
        "slices": sum(one.grid.shape_zyx[0] for one in manifest.cases),
        "cases_with_mask": sum(one.has_mask for one in manifest.cases),
        "cases_refused": len(manifest.refusals),
        "data_digest": manifest.data_digest,
    }


def _table(manifest: Manifest) -> Table:
    table = Table("case", "patient", "slices x rows x columns", "spacing z, y, x mm", "mask", "voxels by label", box=box.SIMPLE)
    for record in manifest.cases:
        table.add_row(*_row(record))
    return table


def _row(record: CaseRecord) -> tuple[str, ...]:
    shape = " x ".join(str(number) for number in record.grid.shape_zyx)
    spacing = ", ".join(f"{number:g}" for number in record.grid.spacing_mm_zyx)
    voxels = ", ".join(f"{label}: {count}" for label, count in sorted(record.label_voxels.items()))
    return record.case, record.patient, shape, spacing, record.mask_kind or "none", voxels
