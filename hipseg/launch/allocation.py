"""What each stage of a study gets on a cluster: what was asked for, else the stage's own default."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from hipseg.errors import ConfigError
from hipseg.launch.request import Request
from hipseg.launch.resources import SIGNAL_LEAD_S, STAGES, Resources, Stage, parse_time
from hipseg.launch.site import MB_A_GB, NodeKind, Partition, SiteProfile, refuse_impossible

SBATCH_VARIABLES = tuple(
    f"SBATCH_{name}"
    for name in (
        *("PARTITION", "ACCOUNT", "CONSTRAINT", "TIMELIMIT"),
        *("ARRAY_INX", "JOB_NAME", "OUTPUT", "ERROR", "OPEN_MODE", "REQUEUE", "NO_REQUEUE", "SIGNAL", "WAIT"),
        *("CPUS_PER_GPU", "GPUS", "GPUS_PER_NODE", "GPUS_PER_SOCKET", "GPUS_PER_TASK"),
        *("MEM_PER_CPU", "MEM_PER_GPU", "MEM_PER_NODE"),
    )
)
"""Variables that sbatch puts above a script's own lines, or that contradict these; the first four are read here and stand in the
scripts. Source: sbatch's manual, input environment variables.
"""
LEAD_SHARE = 4
"""A short job is told to save when a quarter of its time is left."""
STAGE_WORDS: Mapping[Stage, str] = {
    "pack": "packing",
    "pretrain": "the pretraining",
    "finetune": "a run",
    "aggregate": "aggregation",
}


@dataclass(frozen=True)
class Allocation:
    """What the jobs of a study are given.

    Args:
        resources: of each stage.
        warnings: what may go wrong with it, in words.
    """

    resources: Mapping[Stage, Resources]
    warnings: tuple[str, ...] = ()

    @property
    def ranks(self) -> int:
        """Processes of a run."""
        return self.resources["finetune"].ranks


def allocate(
    request: Request,
    site: SiteProfile,
    environment: Mapping[str, str],
    estimate: Callable[[int], int],
    stages: Set[Stage] = frozenset(STAGES),
) -> Allocation:
    """Choose partition, nodes, ranks, memory and time, and refuse what the cluster does not have.

    What was asked for is taken as it is. A default of a stage gives way to what the partition's nodes have.

    Args:
        request: what was asked for.
        site: the cluster.
        environment: the process's variables, for sbatch's own.
        estimate: gives the bytes that a run of so many ranks needs on processors.
        stages: those that are to be submitted; what the others would ask for is not judged.
    Raises:
        ConfigError: the numbers contradict each other, or a name or time is none.
        LaunchError: no partition offers that.
    """
    partition = request.partition or environment.get("SBATCH_PARTITION") or site.partition or site.default_partition
    chosen = list(site.chosen(partition).values())
    named: dict[str, Any] = {
        "partition": partition,
        "account": request.account or environment.get("SBATCH_ACCOUNT") or site.account,
        "constraint": request.constraint or environment.get("SBATCH_CONSTRAINT") or site.constraint,
    }
    limit = environment.get("SBATCH_TIMELIMIT")
    asked = dataclasses.replace(request, time_min=parse_time(limit)) if limit and request.time_min is None else request
    resources: dict[Stage, Resources] = {}
    for stage, default in STAGES.items():
        named_default = dataclasses.replace(default, **named)
        trains = stage in ("pretrain", "finetune")
        wanted = _for_runs(asked, named_default, chosen, estimate) if trains else _within(chosen, named_default)
        lead_s = min(SIGNAL_LEAD_S, wanted.time_min * 60 // LEAD_SHARE)
        resources[stage] = dataclasses.replace(wanted, signal_lead_s=lead_s)
        if stage in stages:
            refuse_impossible(site, partition, resources[stage], STAGE_WORDS[stage])
    return Allocation(resources, _warn(resources["finetune"], estimate) if stages & {"pretrain", "finetune"} else ())


def _for_runs(asked: Request, default: Resources, chosen: list[Partition], estimate: Callable[[int], int]) -> Resources:
    nodes = asked.nodes or 1
    if asked.ranks and asked.ranks % nodes:
        raise ConfigError(f"--ranks {asked.ranks} cannot be spread evenly over --nodes {nodes}; take a multiple of {nodes}")
    most_gpus = max(kind.gpus for kind in _kinds(chosen))
    each = asked.ranks // nodes if asked.ranks else default.gpus_per_node
    gpus = asked.gpus if asked.gpus is not None else min(each, most_gpus)
    ranks_per_node = asked.ranks // nodes if asked.ranks else max(gpus, 1)
    if ranks_per_node > gpus > 0:
        enough = f"--gpus {ranks_per_node} or " if ranks_per_node <= most_gpus else ""
        cards = "1 graphics card" if gpus == 1 else f"{gpus} graphics cards"
        raise ConfigError(f"{ranks_per_node} ranks on a node with {cards}, and each needs its own; ask for {enough}more --nodes")
    wanted = dataclasses.replace(default, nodes=nodes, gpus_per_node=gpus, ranks_per_node=ranks_per_node)
    if not gpus:
        needed_gb = math.ceil(_needed_gb(wanted, estimate))
        wanted = dataclasses.replace(wanted, mem_gb=max(wanted.mem_gb, needed_gb))
    given: dict[str, Any] = {"cpus_per_rank": asked.cpus, "mem_gb": asked.mem_gb, "time_min": asked.time_min}
    return dataclasses.replace(_within(chosen, wanted), **{name: value for name, value in given.items() if value is not None})


def _within(chosen: list[Partition], wanted: Resources) -> Resources:
    """Bring a default down to what the nodes have that offer its graphics cards."""
    able = [kind for kind in _kinds(chosen) if kind.gpus >= wanted.gpus_per_node] or _kinds(chosen)
    limits = [partition.time_limit_min for partition in chosen]
    cpus = max(kind.cpus for kind in able) // wanted.ranks_per_node
    mem_gb = max(kind.memory_mb for kind in able) // MB_A_GB
    time_min = wanted.time_min if None in limits else min(wanted.time_min, max(limit for limit in limits if limit is not None))
    return dataclasses.replace(
        wanted,
        cpus_per_rank=max(1, min(wanted.cpus_per_rank, cpus)),
        mem_gb=max(1, min(wanted.mem_gb, mem_gb)),
        time_min=time_min,
    )


def _kinds(chosen: list[Partition]) -> list[NodeKind]:
    return [kind for partition in chosen for kind in partition.kinds]


def _needed_gb(run: Resources, estimate: Callable[[int], int]) -> float:
    """Give what a run's ranks need on each of its nodes; they share the batch."""
    return estimate(run.ranks) / run.nodes / 1024**3


def _warn(run: Resources, estimate: Callable[[int], int]) -> tuple[str, ...]:
    needed_gb = _needed_gb(run, estimate)
    if run.gpus_per_node or needed_gb <= run.mem_gb:
        return ()
    return (
        f"one run needs about {needed_gb:.0f} GB on each node and is given {run.mem_gb} GB; a smaller "
        "train.batch_size needs less, and --nodes spreads it",
    )
