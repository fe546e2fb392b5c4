"""A run that meets every fault of a cluster, against one left in peace, by the tool that developers use."""

import subprocess
import sys

import pytest

from tests.slurm.cluster import REPOSITORY

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.long]

FAULTS = [
    "USR2",  # the time limit sends it, too, after a minute that the tool alone waits for
    "preemption",
    "kill -9 rank 0",
    "kill -9 rank 1",
    "node1 dies (batch script, rank 0)",
    "node2 dies (rank 1)",
    "full disk",
    "truncated checkpoint",  # between two attempts, by `scontrol requeue`
]


def test_no_fault_loses_anything_trains_anything_twice_or_leaves_a_rank_behind(cluster):
    tool = [sys.executable, REPOSITORY / "tools" / "survive_slurm.py", "--together", *FAULTS]
    done = subprocess.run(tool, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " + ".join(FAULTS) in done.stdout
