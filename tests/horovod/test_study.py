"""A study of the phantom with two real ranks a run: submitit's local executor and horovodrun give the same table."""

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.horovod, pytest.mark.slow]

LIMIT_S = 600


def test_submitit_and_horovodrun_give_the_same_table():
    """The smallest study of one arm; all arms by hand with the tool."""
    size = ["--patients", "2", "--slices", "6", "--epochs", "1", "--arm", "modified-unet"]
    command = [sys.executable, "tools/compare_launchers.py", *size]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tables, scores, volumes and weights identical, byte for byte" in done.stdout
    assert "Modified U-Net" in done.stdout
