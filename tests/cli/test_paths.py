from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hipseg.cli.paths import NamedPath


@click.command()
@click.option("-o", "--output", type=NamedPath(), default=Path("shards"))
def show(output):
    click.echo(repr(output))


@pytest.mark.parametrize(("options", "path"), [(["-o", "x"], Path("x")), (["-o", "."], Path()), ([], Path("shards"))])
def test_a_path_that_names_something_is_taken(options, path):
    assert CliRunner().invoke(show, options).output == f"{path!r}\n"


def test_an_empty_path_is_refused_with_its_option():
    refused = CliRunner().invoke(show, ["-o", ""])
    assert refused.exit_code == 2
    assert "Invalid value for '-o' / '--output': it is empty" in refused.output
