"""Files that are opened and asked for before their turn, several at once, where a disk or a network has to be waited for."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

Item = TypeVar("Item")
Span = tuple[Path, int]
"""A file, and how many of its first bytes will be read."""

FILES_AHEAD = 16
"""Eight did as well as 32 on a local disk."""
SLOW_OPEN_S = 1e-4
"""A local file system opens a file within a tenth of that, one behind a network takes several times as long."""

Where = Literal["memory", "disk", "network"]
"""What has to be waited for: nothing, the bytes of a file, its opening as well."""

_held: dict[Path, Callable[[], int | None]] = {}
"""Files whose turn is near, and how to come by the descriptor of each; None where it could not be opened."""
_lock = threading.Lock()


def fetch_ahead(items: Iterable[Item], locate: Callable[[Item], Span | None]) -> Iterator[Item]:
    """Hand items on in their order; open the files of those that follow, and ask the system for their bytes.

    Files that the system opens at once, and holds in its memory, are left alone. Whether it does is tried at one file of so many,
    since asking for each would cost a fiftieth of a packing. Files whose opening takes time are opened in threads, which would
    only cost time on a disk. Until the next item is wanted, `open_held` gives the file of this one without another opening.

    Args:
        items: what is worked on one by one; up to FILES_AHEAD are taken before they are wanted.
        locate: gives the file of an item; None where there is none to ask for. A file that cannot be opened is passed over:
            whoever reads it will say so.
    """
    waiting: deque[tuple[Item, Path | None]] = deque()
    with _Openers() as openers:
        for number, item in enumerate(items):
            span = locate(item)
            if span is not None and number % FILES_AHEAD == 0:
                openers.try_one(*span)
            waiting.append((item, openers.hold(*span) if span else None))
            if len(waiting) > FILES_AHEAD:
                yield from _pass(*waiting.popleft(), openers)
        while waiting:
            yield from _pass(*waiting.popleft(), openers)


def _pass(item: Item, held: Path | None, openers: "_Openers") -> Iterator[Item]:
    yield item
    if held is not None:
        openers.let_go(held)


def open_held(path: Path) -> int | None:
    """Give a file that `fetch_ahead` has opened for its turn; None where it has not. The caller closes the descriptor."""
    wait = _held.get(path) if _held else None
    descriptor = wait() if wait else None
    if descriptor is None:
        return None
    with _lock:
        # Another thread's turn may have ended meanwhile, and the number belong to another file.
        return os.dup(descriptor) if _held.get(path) is wait else None


class _Openers:
    """Opens files that have to be waited for, in threads where that is for their opening."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._where: Where = "memory"
        self._own: set[Path] = set()

    def try_one(self, path: Path, size: int) -> None:
        """Find out what files like this one have to be waited for."""
        self._where = _find_out(path, size)

    def hold(self, path: Path, size: int) -> Path | None:
        """Have a file opened, and say so, where it has to be waited for."""
        if self._where == "memory":
            return None
        with _lock:
            if path in _held:
                return None
            _held[path] = self._begin(path, size)
        self._own.add(path)
        return path

    def _begin(self, path: Path, size: int) -> Callable[[], int | None]:
        if self._where == "disk":
            descriptor = _open(path, size)
            return lambda: descriptor
        self._threads = self._threads or ThreadPoolExecutor(FILES_AHEAD, "ahead")
        return self._threads.submit(_open, path, size).result

    def let_go(self, path: Path) -> None:
        """Close a file that was opened."""
        with _lock:
            wait = _held.pop(path)
        self._own.discard(path)
        if (descriptor := wait()) is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for path in list(self._own):
            self.let_go(path)
        if self._threads is not None:
            self._threads.shutdown()


def _find_out(path: Path, size: int) -> Where:
    """Say what a file has to be waited for; its last byte tells, since the first ones may be held from an earlier look."""
    started_s = time.perf_counter()
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return "memory"
    try:
        if time.perf_counter() - started_s > SLOW_OPEN_S:
            return "network"
        os.preadv(descriptor, [bytearray(1)], max(0, size - 1), os.RWF_NOWAIT)
    except OSError:
        # It would have to wait, or its file system cannot tell.
        return "disk"
    else:
        return "memory"
    finally:
        os.close(descriptor)


def _open(path: Path, size: int) -> int | None:
    """Open a file, and let the system begin to read it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    # Some file systems take no advice.
    with suppress(OSError):
        os.posix_fadvise(descriptor, 0, size, os.POSIX_FADV_WILLNEED)
    return descriptor
