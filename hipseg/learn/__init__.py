"""Networks, batches, training and prediction; nothing outside this package loads TensorFlow."""

import os
import sys
import tempfile


def _load_tensorflow() -> None:
    """Load TensorFlow and Keras without the lines they print about their own build; a failure shows everything.

    TensorFlow 2.21 writes these lines to the process's standard error before its logging can be set, whatever
    TF_CPP_MIN_LOG_LEVEL says. An error of ours that should be one line would stand below four of theirs.
    """
    sys.stderr.flush()
    standard_error = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            import keras  # noqa: F401, PLC0415 - what is imported later finds it loaded
            import tensorflow  # noqa: F401, PLC0415
        except BaseException:
            aside.seek(0)
            os.write(standard_error, aside.read())
            raise
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)


def _set_keras() -> None:
    """Take back what a Keras settings file in the home folder has chosen: networks are the same for every user."""
    from keras import config  # noqa: PLC0415 - loaded above, behind the lines that TensorFlow prints

    config.set_floatx("float32")
    config.set_epsilon(1e-7)
    config.set_image_data_format("channels_last")
    config.set_dtype_policy("float32")


# The backend can be chosen while Keras loads, and no later.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
_load_tensorflow()
_set_keras()
