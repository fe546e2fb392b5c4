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
        own = len(images)
        fits = _find_fitting(model, images, truth)
        cure = (
            f"{fits} was tried and fits: set train.batch_size to {fits * ranks}"
            if fits
            else "not even one slice fits: narrow the network, lower feed.input_side, or take a machine with more memory"
        )
        raise TrainError(
            f"out of memory with {own} slices a rank at {images.shape[1]}x{images.shape[2]} ({ranks} ranks); {cure}"
        ) from error


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
