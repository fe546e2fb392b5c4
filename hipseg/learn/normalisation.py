"""Batch normalisation among ranks: over the whole batch, or over each rank's part with averaged moving statistics."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from hipseg.config import Normalisation
from hipseg.errors import TrainError
from hipseg.learn.ranks import ALONE, Ranks

HOOK = "_moments"
"""The method in which Keras 3.15's BatchNormalization takes a batch's mean and variance. Its own `synchronized=True` does nothing
among Horovod's ranks, and a subclass would be written into the saved model."""


class Moments:
    """How the batch normalisation of a run behaves among its ranks; with one rank as Keras has it.

    Either way all ranks hold the same moving statistics after each step, so that any rank's state is the run's.

    Args:
        ranks: of the run.
        normalisation: `synchronised` takes mean and variance over the whole batch, as one process would; `local` over each rank's
            part of it.
    """

    def __init__(self, ranks: Ranks, normalisation: Normalisation) -> None:
        self.ranks = ranks
        self._is_synchronised = normalisation == "synchronised"
        self._share: tf.Tensor | None = None

    def prepare(self, model: keras.Model) -> None:
        """Make a model's layers take their moments over all ranks, where these are several and synchronised.

        Raises:
            TrainError: this Keras takes them elsewhere.
        """
        if self.ranks.size == 1 or not self._is_synchronised:
            return
        for layer in _normalisations(model):
            if not callable(getattr(layer, HOOK, None)):
                raise TrainError(
                    f"batch normalisation of Keras {keras.__version__} has no {HOOK}; take the locked version, or set "
                    "train.normalisation to local"
                )
            setattr(layer, HOOK, self._make_hook(layer))

    @contextlib.contextmanager
    def weighted(self, share: tf.Tensor) -> Iterator[None]:
        """Say this rank's share of the batch while a model is called."""
        self._share = share
        try:
            yield
        finally:
            self._share = None

    def settle(self, model: keras.Model, share: tf.Tensor) -> None:
        """Average moving statistics that each rank moved by its own part of the batch."""
        if self.ranks.size == 1 or self._is_synchronised:
            return
        moving = [one for layer in _normalisations(model) for one in (layer.moving_mean, layer.moving_variance)]
        totals = self.ranks.add([one.value * tf.cast(share, one.dtype) for one in moving])
        for one, total in zip(moving, totals, strict=True):
            one.assign(total)

    def _make_hook(self, layer: keras.layers.BatchNormalization) -> Any:
        axes = [axis for axis in range(4) if axis != layer.axis % 4]

        def moments(inputs: tf.Tensor, mask: Any) -> tuple[tf.Tensor, tf.Tensor]:  # noqa: ARG001 - Keras's signature
            return self._over_ranks(*tf.nn.moments(inputs, axes))

        return moments

    def _over_ranks(self, mean: tf.Tensor, variance: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Join the moments of each rank's part, weighted with its share.

        Source: Chan, Golub, LeVeque, COMPSTAT 1982, equation 2.1, for any number of parts. Sums of squares would lose digits.
        """
        channels, share = mean.shape[0], tf.cast(self._share, mean.dtype)
        own = tf.concat([mean, variance, share[tf.newaxis]], axis=0)
        # Each rank fills its row of zeros: unlike a gathering, the sum has a gradient that takes a single exchange.
        is_own = tf.one_hot(self.ranks.rank, self.ranks.size, dtype=mean.dtype)
        rows = self.ranks.add([is_own[:, tf.newaxis] * own[tf.newaxis]])[0]
        means, variances, shares = rows[:, :channels], rows[:, channels:-1], tf.stop_gradient(rows[:, -1:])
        joint = tf.reduce_sum(shares * means, axis=0)
        return joint, tf.reduce_sum(shares * (variances + tf.square(means - joint)), axis=0)


ONE_RANK = Moments(ALONE, "synchronised")
"""Batch normalisation as Keras has it."""


def _normalisations(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    # A frozen layer keeps its statistics.
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable]
