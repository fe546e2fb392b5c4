"""TensorFlow as this process needs it: threads, seeds, and the same numbers from the same seed."""

import keras
import tensorflow as tf

from hipseg.config import TrainSettings
from hipseg.errors import TrainError
from hipseg.learn.rank_env import Place


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
    for card in tf.config.get_visible_devices("GPU"):
        tf.config.experimental.set_memory_growth(card, True)
    keras.utils.set_random_seed(settings.seed)
    tf.config.experimental.enable_op_determinism()
    # TensorFlow 2.21 fails to fuse LeakyReLU while its gradient is needed and says so on each run; fusing gained no speed.
    tf.config.optimizer.set_experimental_options({"remapping": False})


def take_card(place: Place | None) -> None:
    """Leave this rank the graphics card of its local number; called before anything computes.

    Args:
        place: of the rank; None leaves all cards to the one process.
    Raises:
        TrainError: there are cards, and fewer than ranks on this node.
    """
    cards = tf.config.get_visible_devices("GPU")
    # A launcher that gives each rank a card of its own shows it that one alone.
    if place is None or len(cards) <= 1:
        return
    if len(cards) < place.local_size:
        raise TrainError(f"{place.local_size} ranks on this node share {len(cards)} graphics cards; start one rank a card")
    tf.config.set_visible_devices(cards[place.local_rank], "GPU")
