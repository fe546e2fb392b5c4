from pathlib import Path

import click
from click.testing import CliRunner

from hipseg.cli.options import config_options


@click.command()
@config_options
def show(config, overrides):
    click.echo(repr((config, overrides)))


def test_a_command_gets_the_file_and_the_overrides_in_order():
    shown = CliRunner().invoke(show, ["--set", "train.epochs=5", "--config", "a.yaml", "--set", "folds=3"])
    assert shown.output == f"({Path('a.yaml')!r}, ('train.epochs=5', 'folds=3'))\n"


def test_both_may_be_left_out():
    assert CliRunner().invoke(show, []).output == "(None, ())\n"
