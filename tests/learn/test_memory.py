import keras
import numpy as np
import pytest
import tensorflow as tf

from hipseg.errors import TrainError
from hipseg.learn.memory import naming_batch_that_fits
from hipseg.learn.steps import compile_training

IMAGES, TRUTH = np.ones((8, 4, 4, 1), np.float32), np.ones((8, 4, 4, 1), np.float32)


class FullCardError(MemoryError, tf.errors.ResourceExhaustedError):
    """TensorFlow makes its own error of a MemoryError in a graph, and hands it on as it is outside of one."""

    def __init__(self, *_told_by_keras):
        tf.errors.ResourceExhaustedError.__init__(self, None, None, "OOM when allocating tensor")


@keras.saving.register_keras_serializable(package="tests")
class Hungry(keras.layers.Layer):
    """Stands in for a graphics card with room for so many slices: TensorFlow's own error comes above that."""

    def __init__(self, room, **options):
        super().__init__(**options)
        self.room = room

    def get_config(self):
        return {**super().get_config(), "room": self.room}

    def call(self, inputs):
        def check(slices):
            if slices > self.room:
                raise FullCardError
            return np.float32(1)

        one = tf.numpy_function(check, [tf.shape(inputs)[0]], tf.float32)
        one.set_shape(())
        return inputs * tf.stop_gradient(one)


def step_with_room_for(slices):
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid")(Hungry(slices)(image)))
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    return compile_training(model, optimizer, 0.5), model


def take(room, ranks):
    step, model = step_with_room_for(room)
    with naming_batch_that_fits(model, IMAGES, TRUTH, ranks):
        return step(IMAGES, TRUTH)


@pytest.mark.parametrize(("room", "fits"), [(7, 4), (2, 2), (1, 1)])
def test_a_batch_size_that_fits_is_found_and_named_for_all_ranks(room, fits):
    with pytest.raises(TrainError, match=rf"8 slices of 4x4 on a rank, of 3; {fits} were tried.*batch_size to {fits * 3}$"):
        take(room, ranks=3)


def test_a_network_too_large_for_one_slice_is_told_so():
    with pytest.raises(TrainError, match="not even one fits: narrow the network"):
        take(0, ranks=1)


def test_a_batch_that_fits_is_stepped_through():
    loss, counts = take(8, ranks=1)
    assert float(loss) > 0
    assert counts.numpy().sum() == TRUTH.size
