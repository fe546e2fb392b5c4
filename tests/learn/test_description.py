import json

from hipseg.config import NetworkSettings
from hipseg.learn.description import LayerRow, describe_network, network_summary
from hipseg.learn.networks import build_network
from tests.learn.test_networks import SLIM


def test_modified_unet_has_one_row_a_convolution_and_one_a_skip():
    rows = {row.name: row for row in describe_network(build_network("modified-unet", NetworkSettings(), 512))}
    assert len(rows) == 16 + 7
    assert rows["enc3_conv"] == LayerRow("enc3_conv", "Conv2D", (4, 4), (2, 2), 32, "leaky_relu(0.02)", True, (64, 64, 32))
    assert rows["dec3_conv"] == LayerRow("dec3_conv", "Conv2DTranspose", (4, 4), (2, 2), 128, "relu", False, (16, 16, 128))
    assert rows["dec4_conv"] == LayerRow("dec4_conv", "Conv2DTranspose", (4, 4), (2, 2), 64, "relu", True, (32, 32, 64))
    assert rows["dec8_conv"] == LayerRow("dec8_conv", "Conv2DTranspose", (4, 4), (2, 2), 1, "sigmoid", False, (512, 512, 1))
    assert rows["dec7_skip"] == LayerRow("dec7_skip", "Concatenate", None, None, None, None, None, (256, 256, 16))


def test_standard_unet_shows_its_poolings_and_its_plain_up_convolutions():
    rows = {row.name: row for row in describe_network(build_network("unet", SLIM, 256))}
    assert len(rows) == 23 + 4 + 4
    assert rows["enc1_pool"] == LayerRow("enc1_pool", "MaxPooling2D", (2, 2), (2, 2), None, None, None, (128, 128, 2))
    assert rows["dec1_up"] == LayerRow("dec1_up", "Conv2DTranspose", (2, 2), (2, 2), 16, "linear", False, (32, 32, 16))
    assert rows["head_conv"] == LayerRow("head_conv", "Conv2D", (1, 1), (1, 1), 1, "sigmoid", False, (256, 256, 1))


def test_summary_is_json_with_the_parameters():
    summary = json.loads(json.dumps(network_summary(build_network("modified-unet", NetworkSettings(), 512))))
    assert summary["name"] == "modified-unet"
    assert summary["input_shape"] == [512, 512, 1]
    assert summary["parameters"] == 25175857
    assert summary["trainable_parameters"] == 25171537
    assert set(summary["layers"][0]) == {
        "name",
        "kind",
        "kernel",
        "strides",
        "filters",
        "activation",
        "normalised",
        "output_shape",
    }
