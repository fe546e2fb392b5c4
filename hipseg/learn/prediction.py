"""Trained weights + a packed case -> probabilities on the case's own grid."""

from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hipseg.axes import SliceF32
from hipseg.config import FeedSettings
from hipseg.errors import ConfigError, TrainError
from hipseg.fit import fit_image, plan_fit, unfit_probabilities
from hipseg.learn.batches import normalise
from hipseg.shards.reader import CaseReader

Infer = Callable[[NDArray[np.int16]], NDArray[np.float32]]
"""int16 (batch, side, side) HU -> float32 (batch, side, side, outputs), 0..1."""


def load_model(path: Path, remedy: str) -> keras.Model:
    """Read a trained network.

    Args:
        path: a `.keras` file.
        remedy: what the user can do where it cannot be read.
    Raises:
        TrainError: the file is missing or damaged.
    """
    if not path.is_file():
        raise TrainError(f"no trained model at {path}; {remedy}")
    try:
        return keras.saving.load_model(path, compile=False)
    # Keras raises whatever zip, JSON, HDF5 and its own layers raise.
    except Exception as error:
        raise TrainError(f"cannot read the trained model at {path} ({type(error).__name__}); {remedy}") from error


def compile_inference(model: keras.Model, feed: FeedSettings) -> Infer:
    """Compile a network with its window in front.

    Args:
        model: the trained network.
        feed: as it was trained.
    Returns:
        The function from HU to probabilities, for batches of any size.
    Raises:
        ConfigError: the network takes another input than `feed` gives.
    """
    side = feed.input_side
    if model.input_shape[1:3] != (side, side):
        raise ConfigError(f"the trained model takes {model.input_shape[1:3]} pixels, feed.input_side is {side}; they must agree")

    def infer(images_hu: tf.Tensor) -> tf.Tensor:
        return model(normalise(images_hu, feed.window_hu), training=False)

    compiled = tf.function(infer, input_signature=(tf.TensorSpec((None, side, side), tf.int16),), jit_compile=False)
    return lambda images_hu: compiled(tf.constant(images_hu)).numpy()


def predict_slices(infer: Infer, reader: CaseReader, feed: FeedSettings, batch_size: int) -> Iterator[tuple[int, list[SliceF32]]]:
    """Predict one case, slice by slice in rising z.

    Args:
        infer: from `compile_inference`.
        reader: the open case.
        feed: as the network was trained.
        batch_size: slices that are predicted at once.
    Returns:
        Each z with float32 (y, x) for each output, 0..1, on the case's own matrix.
    Raises:
        ConfigError: the case is larger than the network's input.
        ShardError: a slice is damaged.
    """
    fit = plan_fit(reader.record.case, reader.grid, feed)
    slices = reader.grid.shape_zyx[0]
    for first in range(0, slices, batch_size):
        positions = range(first, min(first + batch_size, slices))
        probabilities = infer(np.stack([fit_image(reader.read_image(z), fit) for z in positions]))
        for z, of_slice in zip(positions, probabilities, strict=True):
            yield z, [unfit_probabilities(of_slice[..., output], fit) for output in range(of_slice.shape[-1])]
