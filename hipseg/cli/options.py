"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def config_options(command: Command) -> Command:
    """Give a command `--config FILE` and `--set KEY=VALUE`.

    The command is called with `config: Path | None` and `overrides: tuple[str, ...]`; `load_settings(config, overrides)`
    resolves both, so that a mistake in them is a ConfigError like any other.
    """
    with_overrides = click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        help="Lay one setting over the file, as in train.epochs=5; may be repeated.",
    )(command)
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        help="The experiment's YAML file. [default: configs/study.yaml where there is one]",
    )(with_overrides)
