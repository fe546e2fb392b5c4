"""Stop signals: at once where nothing would be lost, at the next step where training can save what it has."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from hipseg.errors import Stopped

STOP_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
"""What Slurm sends ahead of a time limit (`--signal`), submitit before preemption, and everybody to end a process."""


def ignore_stops() -> None:
    """Hear no stop signal any more, to the end of this process; only a process's main thread may."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class StopRequests:
    """Hears the stop signals of a process; one object a command."""

    def __init__(self) -> None:
        self._is_deferring = False
        self._heard: signal.Signals | None = None

    @property
    def is_asked(self) -> bool:
        """Say whether a signal has come."""
        return self._heard is not None

    @property
    def cause(self) -> str:
        """Name the signal that came, or say that it came to another rank."""
        return self._heard.name if self._heard is not None else "a signal to another rank"

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hear the signals while the block runs; only a process's main thread may.

        Raises:
            Stopped: a signal came while nothing was deferring it.
        """
        before = {number: signal.signal(number, self._hear) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def deferring(self) -> Iterator[None]:
        """Only remember a signal while the block runs; who runs there looks at `is_asked` and ends in good order.

        Raises:
            Stopped: a signal came and the block came to its own end before it could heed it.
        """
        self._is_deferring = True
        try:
            yield
        finally:
            self._is_deferring = False
        if self._heard is not None:
            raise self._stopped(self._heard)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        is_first = self._heard is None
        self._heard = signal.Signals(number)
        if is_first and not self._is_deferring:
            raise self._stopped(self._heard)

    @staticmethod
    def _stopped(number: signal.Signals) -> Stopped:
        return Stopped(f"stopped by {number.name}; the same command goes on")
