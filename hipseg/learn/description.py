"""A network in rows: one for each convolution with what follows it folded in, and one for each pooling and concatenation."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import keras
from keras import layers

CONVOLUTIONS = (layers.Conv2D, layers.Conv2DTranspose)
ACTIVATIONS = (layers.Activation, layers.LeakyReLU)


@dataclass(frozen=True)
class LayerRow:
    """One line of a network's description; fields that a kind of layer does not have are None.

    Args:
        name, kind: the layer's own, and its Keras class.
        kernel, strides: (rows, columns); a pooling's window counts as its kernel.
        filters: output channels of a convolution.
        activation: of a convolution, "linear" where none follows.
        normalised: whether batch normalisation belongs to the convolution.
        output_shape: (rows, columns, channels).
    """

    name: str
    kind: str
    kernel: tuple[int, int] | None
    strides: tuple[int, int] | None
    filters: int | None
    activation: str | None
    normalised: bool | None
    output_shape: tuple[int, ...]


def describe_network(model: keras.Model) -> tuple[LayerRow, ...]:
    """Describe a network in the order of its layers.

    Args:
        model: one that `build_network` gave.
    Returns:
        One row for each convolution, pooling and concatenation.
    """
    following = {id(layer.input): layer for layer in model.layers if isinstance(layer, (*ACTIVATIONS, layers.BatchNormalization))}
    rows = []
    for layer in model.layers:
        shape = tuple(layer.output.shape[1:])
        if isinstance(layer, CONVOLUTIONS):
            rows.append(_convolution_row(layer, shape, following))
        elif isinstance(layer, layers.MaxPooling2D):
            rows.append(LayerRow(layer.name, "MaxPooling2D", layer.pool_size, layer.strides, None, None, None, shape))
        elif isinstance(layer, layers.Concatenate):
            rows.append(LayerRow(layer.name, "Concatenate", None, None, None, None, None, shape))
    return tuple(rows)


def network_summary(model: keras.Model) -> dict[str, Any]:
    """Give a network's description as a JSON value."""
    return {
        "name": model.name.replace("_", "-"),
        "input_shape": list(model.input_shape[1:]),
        "parameters": model.count_params(),
        "trainable_parameters": sum(int(weight.value.shape.num_elements()) for weight in model.trainable_weights),
        "layers": [asdict(row) for row in describe_network(model)],
    }


def _convolution_row(layer: keras.Layer, shape: tuple[int, ...], following: Mapping[int, keras.Layer]) -> LayerRow:
    activation, normalised = "linear", False
    after = following.get(id(layer.output))
    while after is not None:
        if isinstance(after, layers.BatchNormalization):
            normalised = True
        else:
            activation = _activation_name(after)
        after = following.get(id(after.output))
    return LayerRow(
        layer.name, type(layer).__name__, layer.kernel_size, layer.strides, layer.filters, activation, normalised, shape
    )


def _activation_name(layer: keras.Layer) -> str:
    if isinstance(layer, layers.LeakyReLU):
        return f"leaky_relu({layer.negative_slope:g})"
    return str(layer.activation.__name__)
