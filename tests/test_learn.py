import importlib

import keras
import pytest

import hipseg.learn


@pytest.fixture
def keras_of_another_user():
    """What a keras.json in the home folder may choose; the settings of hipseg come back afterwards."""
    keras.config.set_floatx("float16")
    keras.config.set_epsilon(1e-3)
    keras.config.set_image_data_format("channels_first")
    keras.config.set_dtype_policy("mixed_float16")
    yield
    importlib.reload(hipseg.learn)


@pytest.mark.usefixtures("keras_of_another_user")
def test_settings_file_of_keras_decides_nothing():
    importlib.reload(hipseg.learn)
    assert (keras.config.floatx(), keras.config.epsilon()) == ("float32", 1e-7)
    assert keras.config.image_data_format() == "channels_last"
    assert keras.config.dtype_policy().name == "float32"
    assert keras.backend.backend() == "tensorflow"
