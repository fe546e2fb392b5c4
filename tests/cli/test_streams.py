import subprocess
import sys

import pytest

from hipseg.cli.streams import naming_lost_output

HIPSEG = f"{sys.executable} -m hipseg"


def shell(command):
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_a_closed_stream_takes_nothing_and_stops_nothing(tmp_path, closed):
    ended = shell(f"{HIPSEG} audit {closed} --help; echo $? > {tmp_path}/code")
    assert (tmp_path / "code").read_text() == "0\n"
    assert ended.stderr == ""


def test_output_on_a_full_disk_is_said_in_one_line():
    ended = shell(f"{HIPSEG} audit --help > /dev/full")
    assert (ended.returncode, ended.stderr) == (2, "error: cannot write to standard output: No space left on device\n")


def test_a_failure_that_is_none_of_the_output_stays_what_it_is(capsys):
    with pytest.raises(OSError, match="Input/output error"), naming_lost_output():
        raise OSError(5, "Input/output error")
    with pytest.raises(FileNotFoundError), naming_lost_output():
        raise FileNotFoundError(2, "No such file", "here")
