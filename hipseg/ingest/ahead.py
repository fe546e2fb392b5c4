"""Files that are asked for before their turn: the system reads them from the disk while those before them are worked on."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Span = tuple[Path, int]
"""A file, and how many of its first bytes will be read."""

FILES_AHEAD = 16
"""Eight did as well as 32 on a local disk; a network that answers within milliseconds may need more than eight."""


def fetch_ahead(items: Iterable[Item], locate: Callable[[Item], Span | None]) -> Iterator[Item]:
    """Hand items on in their order, and ask the system for the files of those that follow.

    What the system has in its memory already is not asked for: whether it does is tried at one file of so many, since asking for
    each would cost a fiftieth of a packing.

    Args:
        items: what is worked on one by one; up to FILES_AHEAD are taken before they are wanted.
        locate: gives the file of an item; None where there is none to ask for. A file that cannot be opened is passed over:
            whoever reads it will say so.
    """
    waiting: deque[Item] = deque()
    has_to_ask = False
    for number, item in enumerate(items):
        if (span := locate(item)) is not None:
            if number % FILES_AHEAD == 0:
                has_to_ask = not _is_held(*span)
            if has_to_ask:
                _ask(*span)
        waiting.append(item)
        if len(waiting) > FILES_AHEAD:
            yield waiting.popleft()
    yield from waiting


def _is_held(path: Path, size: int) -> bool:
    """Say whether the last of the bytes can be read without waiting; the first ones may be held from an earlier look alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return True
    try:
        os.preadv(descriptor, [bytearray(1)], max(0, size - 1), os.RWF_NOWAIT)
    except OSError:
        # It would have to wait, or its file system cannot tell.
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def _ask(path: Path, size: int) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.posix_fadvise(descriptor, 0, size, os.POSIX_FADV_WILLNEED)
    except OSError:
        # A file system that takes no advice.
        return
    finally:
        os.close(descriptor)
