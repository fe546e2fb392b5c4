"""Real Horovod ranks, started as srun starts them: they compute what one process computes, and end together."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from hipseg.errors import RankLost, TrainError
from hipseg.learn.history import read_history
from hipseg.runs import FoldPaths
from tests.horovod.starting import end_ranks, run_ranks, start_ranks, wait_for
from tests.learn.builders import pack_discs

pytestmark = pytest.mark.horovod

STEPS = (4, 4, 3, 1, 4)
"""Slices of each step: of three the first rank takes two, of one the second takes none."""
DEATH_LIMIT_S = 60
STALL_LIMIT_S = 25
"""Longer than the first step takes to compile on a busy machine."""


def take_steps(folder, size, dtype="float32", normalisation="synchronised", compression="none", steps=STEPS, **options):
    """What each rank made of the steps."""
    folder.mkdir(exist_ok=True)
    arguments = ["-m", "tests.horovod.stepping", folder, dtype, normalisation, compression, *steps]
    if size == 1:
        subprocess.run([sys.executable, *map(str, arguments)], check=True, capture_output=True)
    else:
        run_ranks(arguments, size, **options)
    return [dict(np.load(folder / f"rank{rank}of{size}.npz")) for rank in range(size)]


def difference(one, other, kind):
    """Relative difference over all arrays of a kind."""
    names = [name for name in one if name.startswith(kind)]
    a, b = (np.concatenate([run[name].ravel().astype(np.float64) for name in names]) for run in (one, other))
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def same_bits(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("dtype", "limit", "nodes"), [("float32", 1e-3, 2), ("float64", 1e-12, 1)])
def test_two_ranks_compute_what_one_process_computes(tmp_path, dtype, limit, nodes):
    (alone,) = take_steps(tmp_path / "one", 1, dtype)
    first, second = take_steps(tmp_path / "two", 2, dtype, nodes=nodes)
    assert difference(first, alone, "gradient") < limit
    assert difference(first, alone, "weight") < limit
    assert np.allclose(first["losses"], alone["losses"], rtol=limit)
    assert len(alone["losses"]) == len(STEPS)
    assert same_bits(first, second)


def test_local_normalisation_and_compressed_gradients_keep_the_ranks_equal_and_repeat_bit_by_bit(tmp_path):
    steps = (4, 3)
    (first, second), (again, _) = (take_steps(tmp_path / name, 2, "float32", "local", "fp16", steps) for name in ("a", "b"))
    assert same_bits(first, second)
    assert same_bits(first, again)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Seven patients: six to learn from and one to validate with."""
    root = tmp_path_factory.mktemp("packed")
    pack_discs(root / "shards", 7)
    return root


@pytest.fixture
def folder(packed, tmp_path):
    (tmp_path / "shards").symlink_to(packed / "shards")
    return tmp_path


def program(folder, fault="none", epochs=1, stall_limit_s=60):
    return ["-m", "tests.horovod.training", folder, fault, epochs, stall_limit_s]


def timeless(folder):
    return [dataclasses.replace(row, seconds=0) for row in read_history(FoldPaths(folder / "run").history)]


def test_books_of_an_epoch_are_those_of_one_process_whatever_the_number_of_ranks(folder, packed, tmp_path_factory):
    # 30 slices in 8 batches of 4 or 3: the fourth rank has nothing left of some, and validation has 5 slices.
    alone = tmp_path_factory.mktemp("alone")
    (alone / "shards").symlink_to(packed / "shards")
    subprocess.run([sys.executable, *map(str, program(alone))], check=True, capture_output=True)
    run_ranks(program(folder), 4)
    for ours, theirs in zip(timeless(folder), timeless(alone), strict=True):
        assert dataclasses.astuple(ours) == pytest.approx(dataclasses.astuple(theirs), rel=1e-3)


def test_ranks_that_part_are_found(folder):
    ended = end_ranks(start_ranks(program(folder, "unreduced"), 2))
    assert [code for code, _, _ in ended] == [TrainError.exit_code] * 2
    assert "weights of rank 1 differ from those of rank 0, of 2 ranks" in ended[0][2]


def test_loss_that_is_no_number_ends_all_with_the_step_and_its_cases(folder):
    ended = end_ranks(start_ranks(program(folder, "nan"), 2))
    assert [code for code, _, _ in ended] == [TrainError.exit_code] * 2
    for _, _, said in ended:
        assert "loss is nan in epoch 1, step 2, with slices of c" in said


def test_a_killed_rank_ends_the_other_which_names_it(folder):
    processes = start_ranks(program(folder, "stuck", stall_limit_s=500), 2)
    wait_for(folder / f"halted{processes[1].pid}")
    time.sleep(2)
    os.kill(processes[1].pid, signal.SIGKILL)
    began_s = time.monotonic()
    (code, _, said), _ = end_ranks(processes, DEATH_LIMIT_S)
    assert time.monotonic() - began_s < DEATH_LIMIT_S
    assert code == RankLost.exit_code
    assert f"rank 1 (process {processes[1].pid} on " in said
    assert "is dead or frozen: no sign of life for 1" in said


def test_rank_0_is_named_too(folder):
    processes = start_ranks(program(folder, "stuck", stall_limit_s=500), 2)
    wait_for(folder / f"halted{processes[1].pid}")
    os.kill(processes[0].pid, signal.SIGKILL)
    _, (code, _, said) = end_ranks(processes, DEATH_LIMIT_S)
    assert code == RankLost.exit_code
    assert "rank 0 is dead or frozen: no answer from 127.0.0.1" in said


def test_a_rank_that_lives_and_does_not_come_is_named_and_all_end(folder):
    ended = end_ranks(start_ranks(program(folder, "stuck", stall_limit_s=STALL_LIMIT_S), 2))
    assert [code for code, _, _ in ended] == [RankLost.exit_code] * 2
    for _, _, said in ended:
        assert "rank 1 (process " in said
        assert "stalls: it has been at epoch 1, step 1 for" in said
