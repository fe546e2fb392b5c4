"""When a run saves its state, and when it stops: agreed on by all ranks at one step."""

import time
from collections.abc import Callable, Sequence

import keras

from hipseg.errors import Stopped
from hipseg.learn.checkpoints import Identity, Point, capture, save_best, save_last
from hipseg.learn.history import EpochRow, best_row
from hipseg.learn.ranks import Ranks
from hipseg.runs import FoldPaths
from hipseg.signals import StopRequests

GO_ON, SAVE, STOP = range(3)
"""What a rank wishes after a step; the highest wish of all ranks holds."""


class Keeper:
    """Saves the state of one run.

    Args:
        model: the network.
        optimizer: built for it.
        paths: of the run.
        identity: what is trained.
        every_min: minutes between checkpoints within an epoch.
        ranks: of the run; rank 0 alone writes.
        stops: signals that this process hears.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.Optimizer,
        paths: FoldPaths,
        identity: Identity,
        *,
        every_min: float,
        ranks: Ranks,
        stops: StopRequests,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._paths = paths
        self._identity = identity
        self._every_s = 60 * every_min
        self._ranks = ranks
        self._stops = stops
        self._saved_s = time.monotonic()

    def save_epoch(self, history: Sequence[EpochRow]) -> None:
        """Save the state after an epoch, as the best one too where it is.

        The best goes first: `last` never speaks of a best epoch that `best` does not hold yet.

        Raises:
            ConfigError: a file cannot be written.
        """
        if not self._ranks.leads:
            return
        state = capture(self._model, self._optimizer, history, Point(len(history) + 1), self._identity)
        if best_row(history) is history[-1]:
            save_best(self._paths, state)
        save_last(self._paths, state)
        self._saved_s = time.monotonic()

    def heed(self, history: Sequence[EpochRow], find_point: Callable[[], Point]) -> None:
        """After a step: save within the epoch where it is time to, and stop where a signal asked for it.

        Args:
            history: epochs that ended.
            find_point: gives how far the run is; called on all ranks or on none.
        Raises:
            Stopped: a rank was asked to stop, and the state is saved.
            ConfigError: the file cannot be written.
        """
        wish = self._ranks.highest(self._wish())
        if wish == GO_ON:
            return
        point = find_point()
        if self._ranks.leads:
            save_last(self._paths, capture(self._model, self._optimizer, history, point, self._identity))
        self._saved_s = time.monotonic()
        if wish == STOP:
            # A rank that ended now would take the others with it, in the midst of saving.
            self._ranks.wait()
            raise Stopped(
                f"stopped by {self._stops.cause} in epoch {point.epoch} after {point.steps} steps and saved; "
                "the same command goes on from there"
            )

    def _wish(self) -> int:
        if self._stops.is_asked:
            return STOP
        return SAVE if self._ranks.leads and time.monotonic() - self._saved_s >= self._every_s else GO_ON
