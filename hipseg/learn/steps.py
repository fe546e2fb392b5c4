"""One step of training and of validation: loss, gradients, counts of pixels."""

from collections.abc import Callable

import keras
import tensorflow as tf

from hipseg.learn.normalisation import ONE_RANK, Moments
from hipseg.learn.ranks import ALONE, Ranks

PROBABILITY_MARGIN = 1e-7
"""Probabilities are kept so far from 0 and 1, or a single wrong and certain pixel would make the loss infinite."""

Gradients = list[tf.Tensor]
AverageGradients = Callable[[Gradients], Gradients]
Step = Callable[..., tuple[tf.Tensor, tf.Tensor]]
"""Images, truth, and this rank's share of the batch (1 where it is left out) -> the batch's loss (scalar, of all ranks) and the
counts of `count_pixels` (of this rank)."""


def keep_gradients(gradients: Gradients) -> Gradients:
    """Leave gradients as they are: what one process alone does where several add theirs."""
    return gradients


def compile_training(
    model: keras.Model,
    optimizer: keras.Optimizer,
    threshold: float,
    average: AverageGradients = keep_gradients,
    moments: Moments = ONE_RANK,
) -> Step:
    """Compile the step that changes a model's weights and its moving statistics.

    The loss of a rank is weighted with its share of the batch: sums over the ranks are the batch's loss and gradients.

    Args:
        model: ends in sigmoids.
        optimizer: built for the model's trainable variables.
        threshold: probabilities from here on count as foreground.
        average: what happens to the gradients before they are applied.
        moments: how batch normalisation behaves among ranks.
    Returns:
        The step, for batches of any size.
    """

    def train(images: tf.Tensor, truth: tf.Tensor, share: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape, moments.weighted(share):
            probabilities = model(images, training=True)
            loss = binary_cross_entropy(truth, probabilities) * share
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        optimizer.apply(average(gradients), model.trainable_variables)
        moments.settle(model, share)
        return moments.ranks.add([loss])[0], _counted(truth, probabilities, threshold, share)

    return _compile(train, model)


def compile_validation(model: keras.Model, threshold: float, ranks: Ranks = ALONE) -> Step:
    """Compile the step that measures a model in inference mode, with its moving statistics, and changes nothing."""

    def validate(images: tf.Tensor, truth: tf.Tensor, share: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        probabilities = model(images, training=False)
        loss = binary_cross_entropy(truth, probabilities) * share
        return ranks.add([loss])[0], _counted(truth, probabilities, threshold, share)

    return _compile(validate, model)


def binary_cross_entropy(truth: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
    """Give the mean over all pixels of -t log p - (1 - t) log(1 - p).

    Args:
        truth: float32, 0 or 1.
        probabilities: float32, 0..1, the same shape.
    Returns:
        float32 scalar, at most about 16.
    Source: Goodfellow, Bengio, Courville, Deep Learning (2016), section 6.2.2.2.
    """
    p = tf.clip_by_value(probabilities, PROBABILITY_MARGIN, 1 - PROBABILITY_MARGIN)
    return -tf.reduce_mean(truth * tf.math.log(p) + (1 - truth) * tf.math.log1p(-p))


def count_pixels(truth: tf.Tensor, probabilities: tf.Tensor, threshold: float) -> tf.Tensor:
    """Count true and false positives and negatives.

    Args:
        truth: float32 (batch, y, x, outputs), 0 or 1.
        probabilities: float32, the same shape.
        threshold: probabilities from here on count as foreground.
    Returns:
        int64 (outputs, 4): true positives, false positives, false negatives, true negatives of each output.
    """
    in_truth, in_answer = truth > 0.5, probabilities >= threshold
    kinds = (in_truth & in_answer, ~in_truth & in_answer, in_truth & ~in_answer, ~in_truth & ~in_answer)
    return tf.stack([tf.math.count_nonzero(kind, axis=(0, 1, 2)) for kind in kinds], axis=-1)


def _counted(truth: tf.Tensor, probabilities: tf.Tensor, threshold: float, share: tf.Tensor) -> tf.Tensor:
    """Count pixels; those of a stand-in, whose share is 0, are another rank's to count."""
    return count_pixels(truth, probabilities, threshold) * tf.cast(share > 0, tf.int64)


def _compile(step: Step, model: keras.Model) -> Step:
    # XLA was slower than the plain graph in every trial on processors, and operations between ranks do not compile.
    dtype = model.inputs[0].dtype
    signature = tuple(tf.TensorSpec(shape, dtype) for shape in (model.input_shape, model.output_shape, ()))
    compiled = tf.function(step, input_signature=signature, jit_compile=False)

    def take(images: tf.Tensor, truth: tf.Tensor, share: float = 1.0) -> tuple[tf.Tensor, tf.Tensor]:
        return compiled(images, truth, tf.constant(share, dtype))

    return take
