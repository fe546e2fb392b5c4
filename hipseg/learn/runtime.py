"""TensorFlow as this process needs it: threads, seeds, and the same numbers from the same seed."""

import keras
import tensorflow as tf

from hipseg.config import TrainSettings
from hipseg.errors import TrainError


def prepare_runtime(settings: TrainSettings) -> None:
    """Set threads, seeds and determinism; the first thing a run does.

    Args:
        settings: `threads` 0 leaves TensorFlow's choice, one for each core that the process may use.
    Raises:
        TrainError: TensorFlow already runs in this process with other threads.
    """
    if settings.threads:
        try:
            tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
            tf.config.threading.set_inter_op_parallelism_threads(settings.threads)
        except RuntimeError as error:
            found = tf.config.threading.get_intra_op_parallelism_threads() or "its own"
            raise TrainError(
                f"cannot set train.threads to {settings.threads}: TensorFlow already runs in this process with {found} threads; "
                "use one process a run"
            ) from error
    keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()
    # TensorFlow 2.21 fails to fuse LeakyReLU while its gradient is needed and says so on each run; fusing gained no speed.
    tf.config.optimizer.set_experimental_options({"remapping": False})
