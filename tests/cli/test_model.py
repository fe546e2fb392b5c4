import json

import pytest
from click.testing import CliRunner

from hipseg.cli.model import command
from hipseg.errors import ConfigError


def test_table_names_every_convolution_and_the_parameters():
    result = CliRunner().invoke(command, ["modified-unet"])
    assert result.exit_code == 0
    assert "modified-unet, input 512x512x1" in result.output
    assert "25,175,857 parameters, 25,171,537 of them trainable" in result.output
    for block in range(1, 9):
        assert f"enc{block}_conv" in result.output
        assert f"dec{block}_conv" in result.output
    assert "leaky_relu(0.02)" in result.output


def test_json_follows_the_settings():
    result = CliRunner().invoke(
        command, ["unet", "--json", "--set", "networks.unet.base_filters=2", "--set", "feed.input_side=256"]
    )
    summary = json.loads(result.output)
    assert summary["name"] == "unet"
    assert summary["input_shape"] == [256, 256, 1]
    assert summary["layers"][0]["filters"] == 2


def test_unknown_network_is_refused_with_the_valid_names():
    result = CliRunner().invoke(command, ["resnet"])
    assert result.exit_code == 2
    assert "unet" in result.output
    assert "modified-unet" in result.output


def test_impossible_input_is_refused():
    with pytest.raises(ConfigError, match="input_side is 300"):
        CliRunner().invoke(command, ["unet", "--set", "feed.input_side=300"], catch_exceptions=False)
