"""Stop signals to a command that starts jobs: they wait until what it is at is written down."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

FROM_TERMINALS = frozenset({signal.SIGINT, signal.SIGHUP})
"""Signals that a terminal sends to each process of a command, and not only to the one that decides: Ctrl-C, and its own end."""


@contextmanager
def catching_stops() -> Iterator[list[int]]:
    """Collect interrupts, hang-ups and SIGTERM in the list given while the block runs, so that none tears a file or a start.

    A hang-up that is ignored, as nohup has it, stays so.
    """
    stops: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        stops.append(number)

    caught = [number for number in (*FROM_TERMINALS, signal.SIGTERM) if number != signal.SIGHUP or not _is_ignored(number)]
    before = {number: signal.signal(number, note) for number in caught}
    try:
        yield stops
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_ignored(number: int) -> bool:
    return signal.getsignal(number) == signal.SIG_IGN


@contextmanager
def shielding() -> Iterator[None]:
    """Keep what a terminal sends from the processes that are started while the block runs; this one hears it afterwards.

    A program that is started takes over which signals are blocked, whereas a handler ends with this one.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, FROM_TERMINALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
