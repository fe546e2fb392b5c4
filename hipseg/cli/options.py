"""Options that several commands share."""

import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import click
import yaml

from hipseg.config import load_settings

Command = TypeVar("Command", bound=Callable[..., Any])


def as_overrides(values: Mapping[str, str | int | None]) -> tuple[str, ...]:
    """Turn options of their own into overrides as `--set` takes them; an option that was not given is None and left out."""
    return tuple(f"{key}={_as_yaml(value)}" for key, value in values.items() if value is not None)


def _as_yaml(value: str | int) -> str:
    # JSON would write a character beyond 16 bits as two surrogates, which YAML reads as two characters.
    return yaml.safe_dump(value, width=math.inf).removesuffix("\n...\n")


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


def repeat_option(command: Command) -> Command:
    """Give a command `--repeat R`, called with `repeat: int`."""
    return click.option(
        "--repeat",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Of the study with another seed, `train.seed` + R; folds and pretraining are the same for all.",
    )(command)


def study_options(**keys: str) -> Callable[[Command], Command]:
    """Give a command `--shards`, `--results`, `--config` and `--set`, and call it with the `settings` that come of them.

    Args:
        keys: where in the settings the value of an option stands, by the option's name; `results` is known.
    """
    keys = {"results": "results", **keys}

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def resolve(*, config: Path | None, overrides: tuple[str, ...], **given: Any) -> None:
            named = as_overrides({key: given.pop(name) for name, key in keys.items()})
            command(settings=load_settings(config, (*overrides, *named)), **given)

        with_results = click.option("--results", help="Folder of the study's results, in place of the settings' `results`.")
        in_place = f"in place of the settings' `{keys['shards']}`."
        with_shards = click.option("--shards", help=f"Folder of the packed data set, {in_place}")
        return cast(Command, with_shards(with_results(config_options(resolve))))

    return add


def training_options(training: str) -> Callable[[Command], Command]:
    """Give a command `--epochs`, `--batch-size`, `--resume` and `--overwrite`.

    Args:
        training: where in the settings the run's training stands, as `train`.
    """
    options = (
        click.option("--epochs", type=int, help=f"In place of `{training}.epochs`."),
        click.option("--batch-size", type=int, help=f"In place of `{training}.batch_size`."),
        click.option(
            "--resume",
            type=click.Choice(["auto", "must", "never"]),
            default="auto",
            show_default=True,
            help="Go on where an unfinished run stopped: if there is one, or fail, or never.",
        ),
        click.option("--overwrite", is_flag=True, help="Train anew where a complete run lies; with --resume never any run."),
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def run_options(*, training: str, shards: str) -> Callable[[Command], Command]:
    """Give a command the options of a run that trains: those of a study and of its training.

    Args:
        training: where in the settings the run's training stands, as `train`.
        shards: where its data set stands.
    """

    def add(command: Command) -> Command:
        of_study = study_options(shards=shards, epochs=f"{training}.epochs", batch_size=f"{training}.batch_size")
        return training_options(training)(of_study(command))

    return add
