"""A run that meets every fault of a cluster, against one left in peace, by the tool that developers use."""

import subprocess
import sys

import pytest

from tests.slurm.cluster import REPOSITORY

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def test_no_fault_loses_anything_trains_anything_twice_or_leaves_a_rank_behind(cluster):
    tool = [sys.executable, REPOSITORY / "tools" / "survive_slurm.py", "--together"]
    done = subprocess.run(tool, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 faults together" in done.stdout
