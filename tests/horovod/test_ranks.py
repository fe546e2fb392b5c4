"""Real Horovod ranks, started as srun starts them: they compute what one process computes, and end together."""

import dataclasses
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hipseg.config import TrainSettings
from hipseg.errors import STOPPED_EXIT_CODE, RankLost
from hipseg.learn.checkpoints import load_checkpoint
from hipseg.learn.history import read_history
from hipseg.learn.ranks import ALONE
from hipseg.learn.runtime import prepare_runtime
from hipseg.runs import FoldPaths
from hipseg.signals import StopRequests
from tests.horovod.starting import LIMIT_S, end_ranks, plain_environment, run_ranks, start_ranks
from tests.horovod.stepping import KINDS
from tests.horovod.training import BATCH, SIDE, train
from tests.learn.builders import SLICES, disc_case, pack_discs

pytestmark = pytest.mark.horovod

CASES = 7
"""To learn from; one more validates."""
DEATH_LIMIT_S = 60
STALL_LIMIT_S = 60
"""Longer than the first step takes to compile on a busy machine."""
FAULTS = ("killed1", "killed0", "unborn", "stuck")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    root = tmp_path_factory.mktemp("packed")
    pack_discs(root / "shards", CASES + 1)
    return root


def copy_of(packed, folder):
    (folder / "shards").symlink_to(packed / "shards")
    return folder


@pytest.fixture(scope="module", autouse=True)
def endings(packed, tmp_path_factory):
    """How groups of two ranks end of which one fails, by the fault. They wait most of the time, and so run beside the tests."""
    folders = {fault: copy_of(packed, tmp_path_factory.mktemp(fault)) for fault in FAULTS}
    with ThreadPoolExecutor(len(FAULTS)) as pool:
        program = ["-m", "tests.horovod.training"]
        started = {fault: start_ranks([*program, folder, STALL_LIMIT_S, fault], 2) for fault, folder in folders.items()}
        futures = {fault: pool.submit(end_ranks, processes) for fault, processes in started.items()}
        yield lambda fault: (folders[fault], *futures[fault].result())


def results(folder, kind, ranks):
    return [dict(np.load(folder / f"{kind}{rank}.npz")) for rank in range(ranks)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process makes of the steps."""
    folder = tmp_path_factory.mktemp("alone")
    command = [sys.executable, "-m", "tests.horovod.stepping", str(folder), "single", "double"]
    subprocess.run(command, env=plain_environment(), check=True, capture_output=True, timeout=LIMIT_S)
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """What two ranks make of them: on two nodes by their variables, and on one."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in ("single", "double")}
    for nodes, (kind, folder) in zip((2, 1), folders.items(), strict=True):
        run_ranks(["-m", "tests.horovod.stepping", folder, kind, "lossy"], 2, nodes=nodes)
    return folders


def difference(one, other, kind):
    """Relative difference over all arrays of a kind."""
    names = [name for name in one if name.startswith(kind)]
    a, b = (np.concatenate([run[name].ravel().astype(np.float64) for name in names]) for run in (one, other))
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def same_bits(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("kind", "limit"), [("single", 1e-3), ("double", 1e-12)])
def test_two_ranks_compute_what_one_process_computes(alone, pairs, kind, limit):
    (one,), (first, second) = results(alone, kind, 1), results(pairs[kind], kind, 2)
    for what in ("gradient", "weight"):
        assert difference(first, one, what) < limit
    assert np.allclose(first["losses"], one["losses"], rtol=limit)
    assert len(one["losses"]) == len(KINDS[kind].steps)
    assert same_bits(first, second)


def test_local_normalisation_and_compressed_gradients_keep_the_ranks_equal_and_repeat_bit_by_bit(pairs):
    (first, second), (again, _) = (results(pairs[kind], "lossy", 2) for kind in ("single", "double"))
    assert same_bits(first, second)
    assert same_bits(first, again)
    assert is_half(first)


def test_without_compression_gradients_keep_their_digits(pairs):
    assert not is_half(results(pairs["single"], "single", 2)[0])


def is_half(run):
    """Whether every digit of the gradients fits into 16 bits."""
    gradients = [array for name, array in run.items() if name.startswith("gradient")]
    return all(np.array_equal(one, one.astype(np.float16)) for one in gradients)


@pytest.mark.parametrize("launcher", [("mpirun", "--allow-run-as-root", "--oversubscribe"), ("mpiexec.hydra",)], ids=" ".join)
def test_ranks_that_mpirun_started_compute_the_same_bits_without_an_mpi_build(pairs, tmp_path, launcher):
    if shutil.which(launcher[0]) is None:
        pytest.skip(f"no {launcher[0]} on this machine")
    version = subprocess.run([launcher[0], "--version"], capture_output=True, text=True, check=False).stdout
    if launcher[0] == "mpirun" and "Open MPI" not in version:
        pytest.skip("the mpirun of this machine is not Open MPI's")
    command = [*launcher, "-np", "2", sys.executable, "-m", "tests.horovod.stepping", str(tmp_path), "lossy"]
    done = subprocess.run(command, env=plain_environment(), capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    for ours, theirs in zip(results(tmp_path, "lossy", 2), results(pairs["single"], "lossy", 2), strict=True):
        assert same_bits(ours, theirs)


def test_seven_cases_over_four_ranks_lose_no_slice_and_double_none(packed, tmp_path, tmp_path_factory):
    folder, single = copy_of(packed, tmp_path), copy_of(packed, tmp_path_factory.mktemp("one"))
    run_ranks(["-m", "tests.horovod.training", folder, 60, "none"], 4)
    prepare_runtime(TrainSettings())
    train(single, "none", ALONE, StopRequests())
    books = [json.loads((folder / f"books{rank}.json").read_text()) for rank in range(4)]
    slices, dealt = CASES * SLICES, [one["dealt"] for one in books]
    # 35 slices are eight batches of four and one of three, of which the fourth rank takes a stand-in that counts nothing.
    assert [len(steps) for steps in dealt] == [9] * 4
    assert dealt[3][8] == dealt[0][8]
    assert sorted(index for steps in (*dealt[:3], dealt[3][:8]) for step in steps for index in step) == list(range(slices))
    foreground = sum(int((disc_case(case)[1] == 1).sum()) for case in range(CASES))
    for one in books:
        assert (one["slices"], one["pixels"], one["foreground"]) == (slices, slices * SIDE * SIDE, foreground)
    # Nor does the epoch differ from that of one process, but for a pixel whose probability is at the threshold.
    ours, theirs = (dataclasses.replace(*read_history(FoldPaths(root / "none").history), seconds=0) for root in (folder, single))
    assert dataclasses.astuple(ours) == pytest.approx(dataclasses.astuple(theirs), rel=1e-3, abs=1e-3)
    assert BATCH == 4


def test_parted_weights_a_loss_that_is_no_number_and_a_stop_signal_to_one_are_found_by_all_ranks_at_one_step(packed, tmp_path):
    folder = copy_of(packed, tmp_path)
    ended = end_ranks(start_ranks(["-m", "tests.horovod.training", folder, 60, "unreduced", "nan", "stopped"], 2))
    for rank, cause in zip(ended, ("a signal to another rank", "SIGUSR1"), strict=True):
        assert rank.code == STOPPED_EXIT_CODE, rank.said
        assert f"stopped by {cause} in epoch 1 after 2 steps and saved" in rank.said
        parted, nan = rank.out.splitlines()
        assert parted.startswith("weights of rank 1 differ from those of rank 0, of 2 ranks")
        assert nan.startswith("loss is nan in epoch 1, step 2, with slices of c")
    point = load_checkpoint(FoldPaths(folder / "stopped").checkpoint("last")).point
    assert (point.epoch, point.steps, point.trained.slices) == (1, 2, 2 * BATCH)


def end_of(folder, rank):
    """When a faulty rank halted."""
    return (folder / f"halted{rank.pid}").stat().st_mtime


@pytest.mark.parametrize("fault", ["killed1", "unborn"])
def test_a_killed_rank_ends_the_other_within_a_minute_and_is_named(endings, fault):
    folder, left, dead = endings(fault)
    assert (left.code, dead.code) == (RankLost.exit_code, -9)
    assert left.at_s - end_of(folder, dead) < DEATH_LIMIT_S
    assert f"rank 1 (process {dead.pid} on " in left.said
    assert "is dead or frozen: no sign of life for 3" in left.said


def test_rank_0_is_named_too(endings):
    folder, dead, left = endings("killed0")
    assert (left.code, dead.code) == (RankLost.exit_code, -9)
    assert left.at_s - end_of(folder, dead) < DEATH_LIMIT_S
    assert "rank 0 is dead or frozen: no answer from 127.0.0.1" in left.said


def test_a_rank_that_lives_and_does_not_come_is_named_and_all_end(endings):
    _, *ended = endings("stuck")
    for rank in ended:
        assert rank.code == RankLost.exit_code, rank.said
        assert "rank 1 (process " in rank.said
        assert "stalls: it has been at epoch 1, step 1 for" in rank.said
