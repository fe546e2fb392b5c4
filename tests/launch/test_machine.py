import os

import pytest

from hipseg.config import StudySettings
from hipseg.launch.machine import Machine, count_runs, count_threads, estimate_memory_bytes, look_at_machine

GIB = 1024**3


@pytest.mark.parametrize(
    ("machine", "runs"),
    [
        (Machine(cores=1, memory_bytes=1 * GIB), 1),
        (Machine(cores=8, memory_bytes=64 * GIB), 4),
        (Machine(cores=8, memory_bytes=7 * GIB), 2),
        (Machine(cores=64, memory_bytes=512 * GIB, gpus=("0", "1")), 2),
    ],
)
def test_runs_at_once_follow_the_scarcest_of_cores_memory_and_cards(machine, runs):
    assert count_runs(machine, 3 * GIB) == runs


def test_a_card_has_memory_of_its_own_for_the_features():
    machine = Machine(cores=64, memory_bytes=20 * GIB, gpus=("0", "1"))
    assert count_runs(machine, 15 * GIB) == 2


def test_memory_of_the_standard_unet_grows_with_filters_input_and_batch():
    # 64 filters, 512x512, 8 slices: 14 * 64 * 512 * 512 * 8 floats of 4 bytes are 7 GiB, and 1.3 times that on top of 2 GiB.
    default = StudySettings()
    assert estimate_memory_bytes(default, ["unet"]) == pytest.approx((2 + 1.3 * 7) * GIB)
    slim = StudySettings.model_validate({"feed": {"input_side": 256}, "networks": {"unet": {"base_filters": 4}}})
    assert estimate_memory_bytes(slim, ["unet"]) < 2.2 * GIB
    assert estimate_memory_bytes(default, ["unet"], ranks=2) == pytest.approx((2 * 2 + 1.3 * 7) * GIB)
    big = StudySettings.model_validate({"pretrain": {"train": {"batch_size": 16}}})
    assert estimate_memory_bytes(big, ["unet"]) == pytest.approx((2 + 1.3 * 14) * GIB)


def test_the_hungriest_network_of_a_study_counts():
    default = StudySettings()
    assert estimate_memory_bytes(default, ["modified-unet"]) < 3 * GIB
    assert estimate_memory_bytes(default, ["modified-unet", "unet"]) == estimate_memory_bytes(default, ["unet"])


def test_the_cores_are_shared_and_every_run_gets_one_at_least():
    machine = Machine(cores=8, memory_bytes=64 * GIB)
    assert [count_threads(machine, runs) for runs in (1, 3, 8, 20)] == [8, 2, 1, 1]


def test_a_process_held_to_one_core_sees_one(tmp_path):
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert look_at_machine(cgroup=tmp_path).cores == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_the_limits_of_a_container_count(tmp_path):
    free = look_at_machine(cgroup=tmp_path)
    assert free.memory_bytes > GIB // 4
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text(f"{GIB // 8}\n")
    (tmp_path / "memory.current").write_text(f"{GIB // 16}\n")
    limited = look_at_machine(cgroup=tmp_path)
    assert (limited.cores, limited.memory_bytes) == (1, GIB // 16)


def test_a_container_without_limits_has_none(tmp_path):
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5\n")
    limited = look_at_machine(cgroup=tmp_path)
    assert limited.cores == len(os.sched_getaffinity(0))
    assert limited.memory_bytes > GIB // 4


def test_cards_are_found_by_their_devices_unless_the_user_chose_some(tmp_path, monkeypatch):
    for name in ("nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert look_at_machine(devices=tmp_path).gpus == ("2", "10")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-4f1, 10")
    assert look_at_machine(devices=tmp_path).gpus == ("GPU-4f1", "10")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert look_at_machine(devices=tmp_path).gpus == ()


@pytest.mark.parametrize(("cores", "gpus", "ranks", "runs"), [(16, (), 2, 4), (16, ("0", "1", "2"), 2, 1), (2, (), 4, 1)])
def test_runs_of_several_ranks_are_fewer_at_once(cores, gpus, ranks, runs):
    assert count_runs(Machine(cores, 1 << 40, gpus), 3 * GIB, ranks) == runs
