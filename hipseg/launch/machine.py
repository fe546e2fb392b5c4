"""What this machine carries: cores, memory and graphics cards that this process may use, and how many runs fit at once."""

import os
from dataclasses import dataclass
from pathlib import Path

import psutil

THREADS_A_RANK = 2
"""Fewer leave a rank waiting for its batches: one thread decodes shards, one computes."""
MEMORY_A_RANK_BYTES = 3 * 1024**3
"""TensorFlow, one batch of 512x512 slices and one case in memory; a rank of the default networks stays below it."""
CGROUP = Path("/sys/fs/cgroup")
"""Where a container's limits stand. Source: Linux documentation, Control Group v2, cpu.max and memory.max."""
DEVICES = Path("/dev")


@dataclass(frozen=True)
class Machine:
    """What this process may use.

    Args:
        cores: processor cores.
        memory_bytes: memory that is free for new processes.
        gpus: graphics cards, each as CUDA_VISIBLE_DEVICES names it.
    """

    cores: int
    memory_bytes: int
    gpus: tuple[str, ...] = ()


def look_at_machine(cgroup: Path = CGROUP, devices: Path = DEVICES) -> Machine:
    """Ask the operating system what this process may use.

    Args:
        cgroup: folder of the control group's limits; nothing there means no limit.
        devices: folder of the device files.
    """
    cores = len(os.sched_getaffinity(0))
    quota = _read_words(cgroup / "cpu.max")
    if len(quota) == 2 and quota[0] != "max":
        cores = max(1, min(cores, int(quota[0]) // int(quota[1])))
    memory_bytes = int(psutil.virtual_memory().available)
    limit, used = _read_words(cgroup / "memory.max"), _read_words(cgroup / "memory.current")
    if limit and used and limit[0] != "max":
        memory_bytes = max(0, min(memory_bytes, int(limit[0]) - int(used[0])))
    return Machine(cores, memory_bytes, _find_gpus(devices))


def count_runs(machine: Machine, ranks: int = 1) -> int:
    """Give the number of runs that fit at once, at least 1: by cores and memory, and one rank to a graphics card."""
    fitting = [machine.cores // THREADS_A_RANK, machine.memory_bytes // MEMORY_A_RANK_BYTES]
    if machine.gpus:
        fitting.append(len(machine.gpus))
    return max(1, min(fitting) // ranks)


def count_threads(machine: Machine, processes: int) -> int:
    """Give each of the ranks that are at work at once its share of the cores, at least one thread."""
    return max(1, machine.cores // processes)


def _find_gpus(devices: Path) -> tuple[str, ...]:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(name.strip() for name in chosen.split(",") if name.strip())
    numbers = (path.name.removeprefix("nvidia") for path in devices.glob("nvidia[0-9]*"))
    return tuple(sorted((number for number in numbers if number.isdigit()), key=int))


def _read_words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:
        return []
