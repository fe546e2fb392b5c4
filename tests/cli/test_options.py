from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hipseg.cli.options import as_overrides, config_options, run_options
from hipseg.config import load_settings


@click.command()
@config_options
def show(config, overrides):
    click.echo(repr((config, overrides)))


def test_a_command_gets_the_file_and_the_overrides_in_order():
    shown = CliRunner().invoke(show, ["--set", "train.epochs=5", "--config", "a.yaml", "--set", "folds=3"])
    assert shown.output == f"({Path('a.yaml')!r}, ('train.epochs=5', 'folds=3'))\n"


def test_both_may_be_left_out():
    assert CliRunner().invoke(show, []).output == "(None, ())\n"


def test_options_of_their_own_become_overrides_and_those_not_given_are_left_out():
    values = {"shards": "12", "results": "a: b", "train.epochs": 3, "train.batch_size": None}
    settings = load_settings(None, as_overrides(values))
    # A folder of digits stays text, and one that looks like YAML too.
    assert (str(settings.shards), str(settings.results), settings.train.epochs) == ("12", "a: b", 3)
    assert settings.train.batch_size == 8


@pytest.mark.parametrize(
    "name", ["r😀", "ergebnis-ü", "a\u2028b", "a\x7fb", "a\ufeffb", "caf\udce9", "null", "1e3", "- a", "x" * 300 + " y"]
)
def test_a_path_reaches_the_settings_as_it_was_given(name):
    assert str(load_settings(None, as_overrides({"results": name})).results) == name


def test_options_of_a_run_name_the_settings_they_stand_for():
    @click.command()
    @run_options(training="pretrain.train", shards="pretrain.shards")
    def train(settings, **given):
        click.echo(f"{settings.pretrain.shards} {settings.results} {settings.pretrain.train.epochs} {given}")

    arguments = ["--shards", "a", "--results", "b", "--epochs", "3", "--resume", "must", "--set", "pretrain.train.epochs=9"]
    assert CliRunner().invoke(train, arguments).output == "a b 3 {'resume': 'must', 'overwrite': False}\n"
    assert "In place of `pretrain.train.batch_size`." in " ".join(CliRunner().invoke(train, ["--help"]).output.split())
    assert CliRunner().invoke(train, ["--resume", "perhaps"]).exit_code == 2
