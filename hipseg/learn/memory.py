"""What to do when a batch does not fit into memory: find one that does, and name it."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from hipseg.errors import TrainError
from hipseg.learn.steps import binary_cross_entropy


@contextlib.contextmanager
def naming_batch_that_fits(model: keras.Model, images: tf.Tensor, truth: tf.Tensor, ranks: int) -> Iterator[None]:
    """Turn the end of memory in a step into an error that names a batch size which was tried and fits.

    Args:
        model: that is trained.
        images, truth: this rank's part of the batch.
        ranks: how many share a batch.
    Raises:
        TrainError: memory ran out.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise TrainError(_explain(images, ranks, _find_fitting(model, images, truth))) from error


def _explain(images: tf.Tensor, ranks: int, fits: int) -> str:
    side = f"{images.shape[1]}x{images.shape[2]}"
    found = f"out of memory with {len(images)} slices of {side} on a rank, of {ranks}"
    if not fits:
        return f"{found}; not even one fits: narrow the network, lower feed.input_side, or take a machine with more memory"
    return f"{found}; {fits} were tried and fit: set train.batch_size to {fits * ranks}"


def _find_fitting(model: keras.Model, images: tf.Tensor, truth: tf.Tensor) -> int:
    """Halve the batch until loss and gradients of a copy of the network can be computed; 0 where one slice is too many.

    The copy has ordinary batch normalisation, since the other ranks are not there to exchange moments with.
    """
    slices = len(images)
    while slices > 1:
        slices //= 2
        try:
            trial = keras.models.clone_model(model)
            with tf.GradientTape() as tape:
                loss = binary_cross_entropy(truth[:slices], trial(images[:slices], training=True))
            tape.gradient(loss, [variable.value for variable in trial.trainable_variables])
        except tf.errors.ResourceExhaustedError:
            continue
        return slices
    return 0
