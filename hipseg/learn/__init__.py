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


# A Keras settings file in the home folder must not choose another backend, and Keras reads this once, while it loads.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
_load_tensorflow()
