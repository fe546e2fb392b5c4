import keras
import numpy as np
import pytest
import tensorflow as tf

from hipseg.config import TrainSettings
from hipseg.errors import TrainError
from hipseg.learn.runtime import prepare_runtime


def test_the_seed_fixes_what_is_drawn_afterwards():
    prepare_runtime(TrainSettings(seed=7))
    first = keras.random.normal((3,)).numpy()
    prepare_runtime(TrainSettings(seed=7))
    assert np.array_equal(first, keras.random.normal((3,)).numpy())


def test_other_threads_than_those_of_a_running_tensorflow_are_refused():
    tf.constant(1) + 1
    with pytest.raises(TrainError, match=r"train.threads to 97.*already runs"):
        prepare_runtime(TrainSettings(threads=97))
