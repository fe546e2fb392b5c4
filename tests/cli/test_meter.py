import re
import sys

from hipseg.cli.meter import Meter


def test_off_a_terminal_only_the_sum_is_said(capsys):
    with Meter(3) as meter:
        assert not meter.has_packed
        meter.tick(1, 512 * 512 * 2)
        meter.tick(1, 512 * 512 * 2)
        meter.skip(5)
    assert capsys.readouterr() == ("", "")
    assert meter.has_packed
    assert re.fullmatch(r"packed 2 slices in \d+\.\d s: \d+ slices/s, \d+ MB/s", meter.summary())


def test_on_a_terminal_a_bar_shows_slices_rate_and_remaining_time(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with Meter(4) as meter:
        meter.tick(1, 2_000_000)
        meter.skip(1)
        meter.refresh()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert re.search(r"packing .*2/4 slices, \d+ slices/s, \d+ MB/s, left [-0-9]", shown)
