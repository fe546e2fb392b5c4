"""`hipseg pretrain`: the organ network that fine-tuning starts from."""

import os
from pathlib import Path

import click
from rich.console import Console

from hipseg.cli.options import as_overrides, config_options
from hipseg.config import load_settings
from hipseg.learn.pretraining import pretrain


@click.command()
@click.option("--shards", help="Folder of the packed organ data set, in place of the settings' `pretrain.shards`.")
@click.option("--results", help="Folder of the study's results, in place of the settings' `results`.")
@click.option("--epochs", type=int, help="In place of `pretrain.train.epochs`.")
@click.option("--batch-size", type=int, help="In place of `pretrain.train.batch_size`.")
@click.option("--overwrite", is_flag=True, help="Train anew where a complete pretraining lies.")
@config_options
def command(
    *,
    shards: str | None,
    results: str | None,
    epochs: int | None,
    batch_size: int | None,
    overwrite: bool,
    config: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Train the network of the arms with transfer on organs, one output an organ.

    The results lie in RESULTS/pretraining; summary.json is written last.
    """
    named = {
        "pretrain.shards": shards,
        "results": results,
        "pretrain.train.epochs": epochs,
        "pretrain.train.batch_size": batch_size,
    }
    settings = load_settings(config, (*overrides, *as_overrides(named)))
    pretrain(settings, overwrite=overwrite, environment=os.environ, console=Console())
