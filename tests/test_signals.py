import os
import signal
import subprocess
import sys
import time

import pytest

from hipseg.errors import Stopped
from hipseg.signals import STOP_SIGNALS, StopRequests


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_signal_ends_at_once_what_has_nothing_to_save(number):
    stops = StopRequests()
    with pytest.raises(Stopped, match=f"stopped by {number.name}"), stops.listening():
        os.kill(os.getpid(), number)
        time.sleep(10)
    assert stops.is_asked


def test_deferred_signal_is_only_remembered_until_the_block_heeds_it():
    stops, reached = StopRequests(), []
    with pytest.raises(Stopped, match="SIGUSR1"), stops.listening(), stops.deferring():
        assert not stops.is_asked
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
        reached.append(stops.is_asked)
        raise Stopped(f"by {stops.cause}")
    assert reached == [True]


def test_signal_that_the_block_had_no_time_to_heed_ends_what_follows():
    stops = StopRequests()
    with pytest.raises(Stopped, match="stopped by SIGTERM"), stops.listening():
        with stops.deferring():
            os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("went on")


def test_handlers_are_given_back():
    before = [signal.getsignal(one) for one in STOP_SIGNALS]
    with StopRequests().listening():
        pass
    assert [signal.getsignal(one) for one in STOP_SIGNALS] == before


def test_command_ends_with_the_exit_code_of_its_own_and_one_line(tmp_path):
    """A command that waits for ever: its settings file is a pipe into which nobody writes."""
    pipe = tmp_path / "study.yaml"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "hipseg", "submit", "--dry-run", "--config", str(pipe)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with process, pipe.open("w"):  # opens once the command reads it
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (75, "stopped by SIGTERM; the same command goes on\n")


def test_what_comes_after_the_end_of_a_command_changes_nothing():
    late = "from hipseg.signals import *; ignore_stops(); signal.raise_signal(signal.SIGTERM); print('well')"
    done = subprocess.run([sys.executable, "-c", late], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "well\n")
