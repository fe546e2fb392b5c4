import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from hipseg.learn.rank_env import find_place
from hipseg.learn.ranks import ALONE, join_ranks


def test_one_process_alone_adds_gathers_and_waits_by_itself():
    assert [one.numpy().item() for one in ALONE.add([tf.constant(2.0)])] == [2.0]
    assert ALONE.gather(np.array([1.0, 2.0])).tolist() == [[1.0, 2.0]]
    assert (ALONE.highest(3), ALONE.leads, ALONE.size) == (3, True, 1)
    ALONE.wait()
    ALONE.note("nowhere")


def test_without_a_launcher_nobody_meets_and_nothing_is_written(tmp_path):
    with join_ranks(find_place({}), tmp_path / "run", 60, {}) as ranks:
        assert ranks is ALONE
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_without_a_launcher_horovod_is_not_loaded(tmp_path):
    code = (
        "import os, sys\nfrom pathlib import Path\nimport hipseg.conduct\n"
        "from hipseg.learn.ranks import join_ranks\n"
        f"with join_ranks(None, Path({str(tmp_path)!r}), 60, os.environ): pass\n"
        "print([name for name in sys.modules if name.startswith('horovod')])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
