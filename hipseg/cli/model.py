"""`hipseg model`: a network's layers and parameters."""

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console
from rich.table import Table

from hipseg.cli.options import config_options
from hipseg.config import NetworkName, load_settings


@click.command()
@click.argument("name", type=click.Choice(get_args(NetworkName)))
@click.option("--json", "as_json", is_flag=True, help="Print the description as JSON.")
@config_options
def command(name: NetworkName, as_json: bool, config: Path | None, overrides: tuple[str, ...]) -> None:
    """Show the layers and parameters of the network NAME, as the settings make it."""
    settings = load_settings(config, overrides)
    network = importlib.import_module("hipseg.learn.networks").build_network(name, settings.networks, settings.feed.input_side)
    summary = importlib.import_module("hipseg.learn.description").network_summary(network)
    if as_json:
        click.echo(json.dumps(summary, indent=1))
    else:
        _print_table(summary)


def _print_table(summary: Mapping[str, Any]) -> None:
    table = Table(title=f"{summary['name']}, input {_times(summary['input_shape'])}", title_justify="left")
    for heading in ("layer", "kind", "kernel", "stride", "filters", "activation", "normalised", "output"):
        table.add_column(heading, justify="right" if heading == "filters" else "left")
    for row in summary["layers"]:
        table.add_row(
            row["name"],
            row["kind"],
            _times(row["kernel"]),
            _times(row["strides"]),
            "" if row["filters"] is None else str(row["filters"]),
            row["activation"] or "",
            {None: "", True: "yes", False: "no"}[row["normalised"]],
            _times(row["output_shape"]),
        )
    console = Console()
    # Where the output is no terminal, rich would cut the table to 80 columns.
    if not console.is_terminal:
        console.width = 120
    console.print(table)
    console.print(f"{summary['parameters']:,} parameters, {summary['trainable_parameters']:,} of them trainable", highlight=False)


def _times(sizes: tuple[int, ...] | list[int] | None) -> str:
    return "x".join(str(size) for size in sizes or ())
