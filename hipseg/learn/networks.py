"""The two networks, built by name, with a stable name for each layer.

A layer's initial weights follow from the seed and its name alone, so that they do not depend on what was built before.
"""

import zlib
from typing import TypeAlias, assert_never

import keras
import tensorflow as tf
from keras import layers

from hipseg.config import (
    BLOCKS,
    INPUT_SIDES,
    ModifiedUnetSettings,
    NetworkName,
    NetworkSettings,
    UnetSettings,
    is_input_side,
)
from hipseg.errors import ConfigError

KERNEL = 4
STRIDE = 2
PLAIN_DECODER_BLOCKS = 3
"""The first so many decoder blocks have no batch normalisation. Source: thesis section 3.1."""
UNET_LEVELS = 4
"""Poolings of the standard U-Net. Source: Ronneberger, Fischer, Brox, MICCAI 2015, figure 1."""
HEADS = {"modified-unet": f"dec{BLOCKS}_", "unet": "head_"}
"""How the names of the layers begin that belong to a network's output, and so to its structures."""

Tensor: TypeAlias = keras.KerasTensor


def build_network(name: NetworkName, settings: NetworkSettings, input_side: int, outputs: int = 1, seed: int = 0) -> keras.Model:
    """Build a network with fresh weights.

    Args:
        name: which one.
        settings: of all networks.
        input_side: rows and columns of the input, pixels.
        outputs: number of structures; each gets a sigmoid of its own.
        seed: of the initial weights.
    Returns:
        A functional model from float32 (batch, side, side, 1) in 0..1 to float32 (batch, side, side, outputs) in 0..1.
    Raises:
        ConfigError: the side is no power of two of at least 256, no output is asked for, or memory does not hold the weights.
    """
    if not is_input_side(input_side):
        raise ConfigError(f"feed.input_side is {input_side}; {name} takes {INPUT_SIDES}")
    if outputs < 1:
        raise ConfigError(f"{name} was asked for {outputs} outputs; at least 1 is needed")
    image = keras.Input((input_side, input_side, 1), name="image")
    try:
        match name:
            case "modified-unet":
                masks = _modified_unet(image, settings.modified_unet, outputs, seed)
            case "unet":
                masks = _standard_unet(image, settings.unet, outputs, seed)
            case _:
                assert_never(name)
    except tf.errors.ResourceExhaustedError as error:
        filters = "unet.base_filters" if name == "unet" else "modified_unet.encoder_filters and decoder_filters"
        raise ConfigError(f"memory does not hold the weights of {name}; lower networks.{filters}") from error
    return keras.Model(image, masks, name=name.replace("-", "_"))


def is_head(name: NetworkName, layer: str) -> bool:
    """Say whether a layer belongs to the output block, which no transfer carries over."""
    return layer.startswith(HEADS[name])


def _modified_unet(image: Tensor, settings: ModifiedUnetSettings, outputs: int, seed: int) -> Tensor:
    """Chain eight encoder and eight decoder blocks, with seven skips. Source: thesis section 3.1."""
    x, encoded = image, []
    for block, filters in enumerate(settings.encoder_filters, start=1):
        x = _encoder_block(x, block, filters, settings, seed)
        encoded.append(x)
    skips = encoded[-2::-1]
    for block, (filters, skip) in enumerate(zip(settings.decoder_filters, skips, strict=True), start=1):
        x = _decoder_block(x, block, filters, settings, seed)
        x = layers.Concatenate(name=f"dec{block}_skip")([x, skip])
    return _decoder_block(x, BLOCKS, outputs, settings, seed)


def _encoder_block(x: Tensor, block: int, filters: int, settings: ModifiedUnetSettings, seed: int) -> Tensor:
    name = f"enc{block}"
    initial = _xavier(seed, f"{name}_conv")
    x = layers.Conv2D(filters, KERNEL, STRIDE, padding="same", kernel_initializer=initial, name=f"{name}_conv")(x)
    x = layers.LeakyReLU(negative_slope=settings.leaky_slope, name=f"{name}_act")(x)
    return layers.BatchNormalization(momentum=settings.momentum, name=f"{name}_norm")(x)


def _decoder_block(x: Tensor, block: int, filters: int, settings: ModifiedUnetSettings, seed: int) -> Tensor:
    name, is_output = f"dec{block}", block == BLOCKS
    initial = _xavier(seed, f"{name}_conv")
    x = layers.Conv2DTranspose(filters, KERNEL, STRIDE, padding="same", kernel_initializer=initial, name=f"{name}_conv")(x)
    if settings.normalise_output if is_output else block > PLAIN_DECODER_BLOCKS:
        x = layers.BatchNormalization(momentum=settings.momentum, name=f"{name}_norm")(x)
    return layers.Activation("sigmoid" if is_output else "relu", name=f"{name}_act")(x)


def _standard_unet(image: Tensor, settings: UnetSettings, outputs: int, seed: int) -> Tensor:
    """Chain four levels down and up. Source: Ronneberger, Fischer, Brox, MICCAI 2015, with same padding."""
    x, encoded = image, []
    for level in range(1, UNET_LEVELS + 1):
        x = _double_convolution(x, f"enc{level}", settings.base_filters * 2 ** (level - 1), seed)
        encoded.append(x)
        x = layers.MaxPooling2D(2, name=f"enc{level}_pool")(x)
    x = _double_convolution(x, "bottom", settings.base_filters * 2**UNET_LEVELS, seed)
    for level, skip in enumerate(reversed(encoded), start=1):
        filters = settings.base_filters * 2 ** (UNET_LEVELS - level)
        initial = _he(seed, f"dec{level}_up")
        x = layers.Conv2DTranspose(filters, 2, 2, padding="same", kernel_initializer=initial, name=f"dec{level}_up")(x)
        x = layers.Concatenate(name=f"dec{level}_skip")([skip, x])
        x = _double_convolution(x, f"dec{level}", filters, seed)
    x = layers.Conv2D(outputs, 1, padding="same", kernel_initializer=_xavier(seed, "head_conv"), name="head_conv")(x)
    return layers.Activation("sigmoid", name="head_act")(x)


def _double_convolution(x: Tensor, name: str, filters: int, seed: int) -> Tensor:
    for half in (1, 2):
        initial = _he(seed, f"{name}_conv{half}")
        x = layers.Conv2D(filters, 3, padding="same", kernel_initializer=initial, name=f"{name}_conv{half}")(x)
        x = layers.Activation("relu", name=f"{name}_act{half}")(x)
    return x


def _xavier(seed: int, layer: str) -> keras.Initializer:
    """Keras's default; the thesis names no initial weights. Source: Glorot, Bengio, AISTATS 2010, equation 16."""
    return keras.initializers.GlorotUniform(seed=_layer_seed(seed, layer))


def _he(seed: int, layer: str) -> keras.Initializer:
    """Give a variance of 2 / N for N inputs of a neuron. Source: Ronneberger et al. 2015, section 3."""
    return keras.initializers.HeNormal(seed=_layer_seed(seed, layer))


def _layer_seed(seed: int, layer: str) -> int:
    return zlib.crc32(f"{seed}/{layer}".encode()) & 0x7FFFFFFF
