"""The last words of a job: its command's own, not those of Slurm or of what started it."""

import pytest

from hipseg.launch.log import LOG_TAIL_BYTES, read_last_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epoch 1\n  epoch 2  \n\n", "epoch 2"),
        ("error: no room\nsrun: error: node1: exited\nslurmstepd: error: cancelled\n", "error: no room"),
        ("epoch 1\nsubmitit WARNING: signal\nhipseg: stopped\n", "epoch 1"),
        ("srun: job 1 queued\n", None),
        ("", None),
    ],
)
def test_the_last_line_of_the_command_itself_is_given(tmp_path, text, expected):
    (tmp_path / "log").write_text(text)
    assert read_last_line(tmp_path / "log") == expected


def test_no_log_has_no_last_line(tmp_path):
    assert read_last_line(tmp_path / "log") is None


def test_of_a_long_log_only_the_end_is_read_whatever_bytes_it_is_cut_in(tmp_path):
    (tmp_path / "log").write_text("early\n" + "ü" * LOG_TAIL_BYTES + "\nlast\n")
    assert read_last_line(tmp_path / "log") == "last"
    (tmp_path / "log").write_text("early\n" + "srun: x\n" * LOG_TAIL_BYTES)
    assert read_last_line(tmp_path / "log") is None
