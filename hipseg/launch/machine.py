"""What this machine carries: cores, memory and graphics cards that this process may use, and how many runs fit at once."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from hipseg.config import NetworkName, StudySettings
from hipseg.cores import CGROUP, count_cores, read_limit

THREADS_A_RANK = 2
"""Fewer leave a rank waiting for its batches: one thread decodes shards, one computes."""
BASE_MEMORY_BYTES = 2 * 1024**3
"""A rank's TensorFlow, weights with Adam's moments, a checkpoint and one case's masks. Measured: 1.3 GiB, modified U-Net."""
FLOAT_BYTES = 4
WORKING_SHARE = 1.3
"""Memory of a training step over that of the features kept for its gradients. Measured: 1.24 to 1.35 for the U-Net."""
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
    memory_bytes = int(psutil.virtual_memory().available)
    limit, used = read_limit(cgroup / "memory.max"), read_limit(cgroup / "memory.current")
    if limit and used and limit[0] != "max":
        memory_bytes = max(0, min(memory_bytes, int(limit[0]) - int(used[0])))
    return Machine(count_cores(cgroup), memory_bytes, _find_gpus(devices))


def estimate_memory_bytes(settings: StudySettings, networks: Iterable[NetworkName], ranks: int = 1) -> int:
    """Estimate what one run needs at most: the network's features grow with its filters, the input and the batch.

    Args:
        settings: the study.
        networks: those of the arms that are run.
        ranks: that share a batch; each holds the weights.
    """
    batch = max(settings.train.batch_size, settings.pretrain.train.batch_size)
    floats = max((_floats_a_pixel(settings, network) for network in networks), default=0.0)
    features_bytes = floats * FLOAT_BYTES * batch * settings.feed.input_side**2
    return BASE_MEMORY_BYTES * ranks + round(WORKING_SHARE * features_bytes)


def _floats_a_pixel(settings: StudySettings, network: NetworkName) -> float:
    """Count the features that a training step keeps for each pixel of the input."""
    if network == "unet":
        # Two convolutions down, one up, a join of both and two more: 7 times the filters; each level below has half of that.
        return 14.0 * settings.networks.unet.base_filters
    blocks = settings.networks.modified_unet
    # Convolution, activation and normalisation in each block, and on the way up the join with the skip of the same size.
    down = sum(3 * filters / 4.0**level for level, filters in enumerate(blocks.encoder_filters, start=1))
    up = sum(5 * filters / 4.0**level for level, filters in enumerate(reversed(blocks.decoder_filters), start=1))
    return down + up + 2


def count_runs(machine: Machine, memory_a_run_bytes: int, ranks: int = 1) -> int:
    """Give the number of runs that fit at once, at least 1: by cores and memory, and one rank to a graphics card."""
    # Beside a card a rank keeps its features in the card's own memory.
    memory_bytes = BASE_MEMORY_BYTES * ranks if machine.gpus else memory_a_run_bytes
    fitting = [machine.cores // (THREADS_A_RANK * ranks), machine.memory_bytes // memory_bytes]
    if machine.gpus:
        fitting.append(len(machine.gpus) // ranks)
    return max(1, min(fitting))


def count_threads(machine: Machine, processes: int) -> int:
    """Give each of the ranks that are at work at once its share of the cores, at least one thread."""
    return max(1, machine.cores // processes)


def _find_gpus(devices: Path) -> tuple[str, ...]:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(name.strip() for name in chosen.split(",") if name.strip())
    numbers = (path.name.removeprefix("nvidia") for path in devices.glob("nvidia[0-9]*"))
    return tuple(sorted((number for number in numbers if number.isdigit()), key=int))
