"""One step of training and of validation: loss, gradients, counts of pixels."""

from collections.abc import Callable

import keras
import tensorflow as tf

PROBABILITY_MARGIN = 1e-7
"""Probabilities are kept so far from 0 and 1, or a single wrong and certain pixel would make the loss infinite."""

Gradients = list[tf.Tensor]
AverageGradients = Callable[[Gradients], Gradients]
Step = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""Images and truth -> the loss (scalar) and the counts of `count_pixels`."""


def keep_gradients(gradients: Gradients) -> Gradients:
    """Leave gradients as they are: what one process alone does where several would average theirs."""
    return gradients


def compile_training(
    model: keras.Model, optimizer: keras.Optimizer, threshold: float, average: AverageGradients = keep_gradients
) -> Step:
    """Compile the step that changes a model's weights and its moving statistics.

    Args:
        model: ends in sigmoids.
        optimizer: built for the model's trainable variables.
        threshold: probabilities from here on count as foreground.
        average: what happens to the gradients before they are applied.
    Returns:
        The step, for batches of any size.
    """

    def train(images: tf.Tensor, truth: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            probabilities = model(images, training=True)
            loss = binary_cross_entropy(truth, probabilities)
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        optimizer.apply(average(gradients), model.trainable_variables)
        return loss, count_pixels(truth, probabilities, threshold)

    return _compile(train, model)


def compile_validation(model: keras.Model, threshold: float) -> Step:
    """Compile the step that measures a model in inference mode, with its moving statistics, and changes nothing."""

    def validate(images: tf.Tensor, truth: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        probabilities = model(images, training=False)
        return binary_cross_entropy(truth, probabilities), count_pixels(truth, probabilities, threshold)

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


def _compile(step: Step, model: keras.Model) -> Step:
    # XLA was slower than the plain graph in every trial on processors, and operations between ranks do not compile.
    signature = (tf.TensorSpec(model.input_shape), tf.TensorSpec(model.output_shape))
    return tf.function(step, input_signature=signature, jit_compile=False)
