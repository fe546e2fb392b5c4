import os
import signal

import pytest

from hipseg.launch.stops import catching_stops


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_a_signal_is_kept_until_somebody_looks(number):
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with catching_stops() as stops:
            os.kill(os.getpid(), number)
        assert stops == [number]
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


def test_who_is_deaf_to_hang_ups_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with catching_stops() as stops:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert stops == []
    finally:
        signal.signal(signal.SIGHUP, before)
