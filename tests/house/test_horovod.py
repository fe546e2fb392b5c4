"""The compiled Horovod: it loads into the locked TensorFlow and two processes of it agree on a mean."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RANK = """
import horovod.tensorflow as hvd
import tensorflow as tf
hvd.init()
mean = hvd.allreduce(tf.constant([1.0 + 2.0 * hvd.rank()]), op=hvd.Average)
print("rank", hvd.rank(), "of", hvd.size(), "has", float(mean[0]))
"""

TIME_LIMIT_S = 120


@pytest.mark.horovod
def test_two_ranks_average_one_and_three_to_two() -> None:
    programs = Path(sys.executable).parent
    command = [programs / "horovodrun", "-np", "2", "--gloo", sys.executable, "-c", RANK]
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=TIME_LIMIT_S)
    assert done.returncode == 0, done.stderr
    lines = [line.partition(">:")[2] for line in done.stdout.splitlines() if ">:rank" in line]
    assert sorted(lines) == ["rank 0 of 2 has 2.0", "rank 1 of 2 has 2.0"]
