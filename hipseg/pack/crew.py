"""Forked processes that take numbers as they get free and send what became of them; none outlives the one that started them."""

import ctypes
import errno
import gc
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from hipseg.errors import ConfigError
from hipseg.signals import STOP_SIGNALS

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkProcess

END_LIMIT_S = 60
"""For a process that is asked to end: a file may be on its way to a slow disk."""
NO_THREAD = "can't start new thread"
"""Python's own words, by which alone this RuntimeError can be told."""
SHORTAGES = {
    errno.EMFILE: "open files are",
    errno.ENFILE: "open files are",
    errno.EAGAIN: "processes are",
    errno.ENOMEM: "memory is",
}
_M_ARENA_MAX = -8
"""Source: malloc.h of glibc."""
_SIGNALS = (signal.SIGINT, *STOP_SIGNALS)
_WANTED, _STOP = "wanted", "stop"
"""What a process sends to be given a number, and what is sent to all when they shall end."""

Take = Callable[[], int | None]
"""Gives the next number; None where none is left. Any thread may call it."""
Send = Callable[[Any], None]
"""Hands something on to whoever started the work. Any thread may call it."""
Work = Callable[[Take, Send, threading.Event], None]
"""Takes numbers until none is left, or until the event is set, and sends what became of each; it may use threads of its own."""


def deal(count: int, processes: int, work: Work, late: Send) -> Generator[Any, None, None]:
    """Let processes share the numbers below `count`; where one is enough, a thread of this one does all.

    Signals that ask to stop are for this process alone. When the caller closes the generator the others are told to end, and
    when this process dies in any way they see it and end, too.

    Args:
        count: how many numbers there are.
        processes: how many to start.
        work: what each runs.
        late: takes what they still send when the generator has been closed, or has raised.
    Returns:
        What `work` sends, as it comes.
    Raises:
        ConfigError: a process was killed, or could not be started for want of memory, files or processes.
        Exception: whatever `work` raised in one of them.
    """
    try:
        yield from _deal_to_thread(count, work, late) if processes == 1 else _deal_to_forks(count, processes, work, late)
    except (OSError, MemoryError, RuntimeError) as error:
        if short := name_shortage(error):
            raise ConfigError(
                f"no more {short} to be had for packing; give fewer --jobs, or raise the limit, which `ulimit -a` shows: "
                "the same command goes on from what is finished"
            ) from error
        raise


def name_shortage(error: BaseException) -> str:
    """Say what of the machine an error tells that there is too little of; nothing where it tells something else."""
    if isinstance(error, MemoryError):
        return "memory is"
    if isinstance(error, RuntimeError):
        return "threads are" if str(error) == NO_THREAD else ""
    return SHORTAGES.get(error.errno or 0, "") if isinstance(error, OSError) else ""


class _Failure:
    """What ended a work before its end."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _deal_to_thread(count: int, work: Work, late: Send) -> Generator[Any, None, None]:
    numbers, lock = iter(range(count)), threading.Lock()
    inbox: SimpleQueue[Any] = SimpleQueue()
    is_stopped, is_done = threading.Event(), object()

    def take() -> int | None:
        with lock:
            return None if is_stopped.is_set() else next(numbers, None)

    def run() -> None:
        try:
            work(take, inbox.put, is_stopped)
        except BaseException as error:
            inbox.put(_Failure(error))
        inbox.put(is_done)

    thread = threading.Thread(target=run, name="pack")
    thread.start()
    message: Any = None
    try:
        while (message := inbox.get()) is not is_done:
            yield _checked(message)
    finally:
        is_stopped.set()
        while message is not is_done:
            if (message := inbox.get()) is not is_done and not isinstance(message, _Failure):
                late(message)
        thread.join()


def _deal_to_forks(count: int, processes: int, work: Work, late: Send) -> Generator[Any, None, None]:
    # 8 ms to load, which one process does without.
    from multiprocessing.connection import wait  # noqa: PLC0415

    # What there is by now is no garbage; looking through it for some would give every process a copy of it.
    gc.freeze()
    numbers = iter(range(count))
    with _forked(processes, work, late) as crew:
        while crew:
            ready = wait(list(crew))
            for line in [one for one in crew if one in ready]:
                try:
                    message = line.recv()
                except (EOFError, OSError):
                    _check_end(crew.pop(line))
                    continue
                if message == _WANTED:
                    _tell(line, next(numbers, None))
                else:
                    yield _checked(message)


@contextmanager
def _forked(processes: int, work: Work, late: Send) -> Iterator[dict["Connection[Any, Any]", "ForkProcess"]]:
    """Start processes, and end with the block those that the caller has not taken out."""
    from multiprocessing import get_context  # noqa: PLC0415 - as above

    fork = get_context("fork")
    crew: dict[Connection[Any, Any], ForkProcess] = {}
    try:
        # A signal between a process's start and its first line would find handlers that are not meant for it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            for _ in range(processes):
                here, there = fork.Pipe()
                process = fork.Process(target=_serve, args=(there, [*crew, here], work), daemon=True)
                process.start()
                there.close()
                crew[here] = process
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield crew
    finally:
        for line in crew:
            _tell(line, _STOP)
        for line, process in crew.items():
            _end(line, process, late)


def _end(line: "Connection[Any, Any]", process: "ForkProcess", late: Send) -> None:
    """Take what a process that was told to end still sends, and see that it is gone."""
    deadline_s = time.monotonic() + END_LIMIT_S
    with suppress(EOFError, OSError):
        while line.poll(max(0.0, deadline_s - time.monotonic())):
            message = line.recv()
            if message == _WANTED:
                _tell(line, None)
            elif not isinstance(message, _Failure):
                late(message)
    line.close()
    process.kill()
    process.join()


def _serve(line: "Connection[Any, Any]", others: list["Connection[Any, Any]"], work: Work) -> None:
    """Work in a process of its own."""
    _share_memory()
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    for other in others:
        # A line ends when nobody holds its other end any more.
        other.close()
    is_stopped, numbers, asking, sending = threading.Event(), SimpleQueue[int | None](), threading.Lock(), threading.Lock()

    def listen() -> None:
        with suppress(EOFError, OSError):
            while (said := line.recv()) != _STOP:
                numbers.put(said)
        is_stopped.set()
        numbers.put(None)

    def send(message: Any) -> None:
        with sending, suppress(BrokenPipeError, ConnectionResetError):
            line.send(message)

    def take() -> int | None:
        with asking:
            if is_stopped.is_set():
                return None
            send(_WANTED)
            return numbers.get()

    try:
        threading.Thread(target=listen, name="listen", daemon=True).start()
        work(take, send, is_stopped)
    except BaseException as error:
        send(_Failure(error))


def _share_memory() -> None:
    """Let the threads of this process take their memory from one place: what one gave back the other would not use."""
    # Only glibc has several.
    if (set_option := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        set_option(_M_ARENA_MAX, 1)


def _tell(line: "Connection[Any, Any]", said: int | str | None) -> None:
    # One that is gone is seen at the other end of its line.
    with suppress(BrokenPipeError, ConnectionResetError):
        line.send(said)


def _checked(message: Any) -> Any:
    if isinstance(message, _Failure):
        raise message.error
    return message


def _check_end(process: "ForkProcess") -> None:
    process.join()
    if process.exitcode:
        raise ConfigError(
            f"a packing process ended without a word ({_describe(process.exitcode)}), perhaps for want of memory; give fewer "
            "--jobs or more memory: the same command goes on from what is finished"
        )


def _describe(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
