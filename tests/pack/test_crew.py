import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hipseg.errors import ConfigError, ShardError
from hipseg.pack.crew import deal

ORPHANED = """
import os, sys, time
from pathlib import Path
from hipseg.pack.crew import deal

def work(take, send, is_stopped):
    take()
    (Path(sys.argv[1]) / str(os.getpid())).touch()
    is_stopped.wait(60)

for _ in deal(2, 2, work, print):
    pass
"""


def square(take, send, is_stopped):
    while (number := take()) is not None:
        send((number * number, os.getpid()))


def wait_for_two(folder):
    for _ in range(600):
        if len(names := sorted(path.name for path in folder.iterdir())) == 2:
            return [psutil.Process(int(name)) for name in names]
        time.sleep(0.05)
    raise TimeoutError


def is_running(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("processes", [1, 3])
def test_every_number_is_dealt_once(processes):
    found = list(deal(20, processes, square, print))
    assert sorted(square for square, _ in found) == [number * number for number in range(20)]
    assert all((pid == os.getpid()) == (processes == 1) for _, pid in found)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(
    ("error", "short"),
    [
        (MemoryError(), "memory is"),
        (RuntimeError("can't start new thread"), "threads are"),
        (OSError(errno.EMFILE, "Too many open files"), "open files are"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "processes are"),
    ],
)
def test_what_the_machine_is_short_of_is_named_with_its_cure(processes, error, short):
    def work(take, send, is_stopped):
        raise error

    with pytest.raises(ConfigError, match=f"no more {short} to be had for packing; give fewer --jobs"):
        list(deal(2, processes, work, print))


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), RuntimeError("something else")])
def test_no_other_failure_is_called_a_shortage(error):
    def work(take, send, is_stopped):
        raise error

    with pytest.raises(type(error), match=str(error.args[-1])):
        list(deal(2, 1, work, print))


def test_more_processes_than_files_may_be_open_are_refused():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 10, limits[1]))
        with pytest.raises(ConfigError, match="no more open files are to be had for packing"):
            list(deal(100, 100, square, print))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_raised_in_a_process_is_raised_here(processes):
    def work(take, send, is_stopped):
        if take() == 0:
            raise ShardError("case c1 is not there")
        is_stopped.wait(60)

    with pytest.raises(ShardError, match="case c1 is not there"):
        list(deal(2, processes, work, print))


def test_a_process_that_is_killed_is_said_and_ends_the_others(tmp_path):
    def work(take, send, is_stopped):
        number = take()
        (tmp_path / str(os.getpid())).touch()
        if number == 0:
            # Not before the other one is at work, too.
            wait_for_two(tmp_path)
            os.kill(os.getpid(), signal.SIGKILL)
        is_stopped.wait(60)

    with pytest.raises(ConfigError, match=r"ended without a word \(killed by SIGKILL\), .* give fewer --jobs or more memory"):
        list(deal(2, 2, work, print))
    assert not any(psutil.pid_exists(int(path.name)) for path in tmp_path.iterdir())


@pytest.mark.parametrize("processes", [1, 2])
def test_what_was_done_when_the_caller_closes_is_handed_over(processes):
    def work(take, send, is_stopped):
        number = take()
        send(("begun", number))
        is_stopped.wait(60)
        send(("done", number))

    late = []
    messages = deal(processes, processes, work, late.append)
    assert sorted(next(messages) for _ in range(processes)) == [("begun", number) for number in range(processes)]
    messages.close()
    assert sorted(late) == [("done", number) for number in range(processes)]


def test_a_process_that_does_not_stop_is_killed(tmp_path, monkeypatch):
    def work(take, send, is_stopped):
        send(take())
        time.sleep(5)
        (tmp_path / "done").touch()

    monkeypatch.setattr("hipseg.pack.crew.END_LIMIT_S", 0.05)
    messages = deal(2, 2, work, print)
    next(messages)
    messages.close()
    assert list(tmp_path.iterdir()) == []


def test_stop_signals_to_the_processes_are_left_to_the_one_that_started_them():
    def work(take, send, is_stopped):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(os.getpid(), number)
        send(take())

    assert sorted(deal(2, 2, work, print)) == [0, 1]


def test_no_process_outlives_the_one_that_started_it(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", ORPHANED, str(tmp_path)])
    children = wait_for_two(tmp_path)
    assert all(is_running(one) for one in children)
    parent.kill()
    parent.wait()
    for _ in range(200):
        if not any(is_running(one) for one in children):
            return
        time.sleep(0.05)
    pytest.fail("they live on")
