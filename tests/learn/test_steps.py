import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from hipseg.learn.steps import binary_cross_entropy, compile_training, compile_validation, count_pixels


def tiny_network():
    """One 1x1 convolution with a sigmoid: two weights, so that steps can be derived by hand."""
    image = keras.Input((2, 2, 1))
    masks = layers.Conv2D(1, 1, activation="sigmoid", kernel_initializer="zeros", name="only")(image)
    return keras.Model(image, masks)


def training_of(model, **options):
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    return compile_training(model, optimizer, 0.5, **options)


IMAGES = np.ones((1, 2, 2, 1), np.float32)
TRUTH = np.array([1, 1, 1, 0], np.float32).reshape(1, 2, 2, 1)


def test_cross_entropy_is_the_mean_of_the_hand_derived_logarithms():
    loss = binary_cross_entropy(tf.constant([1.0, 0.0]), tf.constant([0.5, 0.25]))
    assert float(loss) == pytest.approx(-(math.log(0.5) + math.log(0.75)) / 2)


@pytest.mark.parametrize(("truth", "probability"), [(1.0, 0.0), (0.0, 1.0)])
def test_a_wrong_and_certain_pixel_costs_much_but_not_infinitely(truth, probability):
    loss = float(binary_cross_entropy(tf.constant([truth]), tf.constant([probability])))
    assert 15 < loss < 17


def test_a_right_and_certain_pixel_costs_next_to_nothing():
    assert 0 <= float(binary_cross_entropy(tf.constant([1.0, 0.0]), tf.constant([1.0, 0.0]))) < 1e-6


def test_pixels_are_counted_for_each_output_by_itself():
    truth = np.zeros((1, 1, 4, 2), np.float32)
    truth[0, 0, :, 0] = [1, 1, 0, 0]
    answer = np.zeros((1, 1, 4, 2), np.float32)
    answer[0, 0, :, 0] = [0.9, 0.5, 0.5, 0.49]
    assert count_pixels(tf.constant(truth), tf.constant(answer), 0.5).numpy().tolist() == [[2, 1, 0, 1], [0, 0, 0, 4]]


def test_training_step_follows_the_hand_derived_gradient():
    # Weights 0 give p = 0.5 everywhere; the gradient of the bias is mean(p - t) = 0.5 - 0.75, and that of the kernel the same.
    model = tiny_network()
    loss, counts = training_of(model)(IMAGES, TRUTH)
    assert float(loss) == pytest.approx(math.log(2))
    assert counts.numpy().tolist() == [[3, 1, 0, 0]]
    kernel, bias = model.get_weights()
    assert kernel.item() == pytest.approx(0.025)
    assert bias.item() == pytest.approx(0.025)


def test_validation_step_changes_nothing():
    model = tiny_network()
    before = model.get_weights()
    loss, _ = compile_validation(model, 0.5)(IMAGES, TRUTH)
    assert float(loss) == pytest.approx(math.log(2))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_gradients_pass_through_the_hook_before_they_are_applied():
    model = tiny_network()
    training_of(model, average=lambda gradients: [2 * gradient for gradient in gradients])(IMAGES, TRUTH)
    assert model.get_weights()[1].item() == pytest.approx(0.05)


def test_batches_may_be_of_any_size():
    validate = compile_validation(tiny_network(), 0.5)
    for size in (1, 3):
        _, counts = validate(np.repeat(IMAGES, size, 0), np.repeat(TRUTH, size, 0))
        assert counts.numpy().sum() == 4 * size


def test_a_share_weighs_loss_and_gradient():
    model = tiny_network()
    loss, counts = training_of(model)(IMAGES, TRUTH, 0.5)
    assert float(loss) == pytest.approx(math.log(2) / 2)
    assert model.get_weights()[1].item() == pytest.approx(0.0125)
    assert counts.numpy().sum() == 4


def test_a_stand_in_changes_and_counts_nothing():
    model = tiny_network()
    for step in (training_of(model), compile_validation(model, 0.5)):
        loss, counts = step(IMAGES, TRUTH, 0.0)
        assert float(loss) == 0
        assert counts.numpy().tolist() == [[0, 0, 0, 0]]
    assert [float(np.sum(weight)) for weight in model.get_weights()] == [0, 0]
