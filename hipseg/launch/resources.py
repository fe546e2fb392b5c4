"""What a stage of the study asks Slurm for; sbatch's lines and submitit's parameters come from the same place."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hipseg.errors import ConfigError

Stage = Literal["pack", "pretrain", "finetune", "aggregate"]
Option = str | Literal[True]
"""What stands behind an option of sbatch; True for an option without a value."""

MAX_REQUEUES = 10
"""How often a job that saved and stopped, or lost a rank, is started again before it counts as failed."""
SIGNAL_LEAD_S = 120
"""How long before its limit a job is told to save: a step, a checkpoint on a slow disk, the minute of Slurm's grid."""
HOUR_MIN = 60
DAY_MIN = 24 * HOUR_MIN
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d{1,2}))?(?::(?P<third>\d{1,2}))?", re.ASCII)
TIME_FORMS = "minutes, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS, as 90 or 1-12"


@dataclass(frozen=True)
class Resources:
    """What one job, or one task of an array, is given.

    Args:
        cpus_per_rank: processor cores of each rank.
        mem_gb: memory of each node.
        time_min: limit of one attempt; a job that is stopped by it goes on in the next.
        nodes, ranks_per_node: their product is the number of ranks.
        gpus_per_node: graphics cards, shared by the ranks of a node.
        partition, account, constraint: as sbatch names them; None leaves them to the cluster.
        signal_lead_s: how long before the limit all ranks hear SIGUSR2, which NCCL leaves alone.
        requeue: whether the cluster may start the job again after preemption or the loss of a node.
    Raises:
        ConfigError: a number is below 1, or a name holds a line break or another control character.
    """

    cpus_per_rank: int
    mem_gb: int
    time_min: int
    nodes: int = 1
    ranks_per_node: int = 1
    gpus_per_node: int = 0
    partition: str | None = None
    account: str | None = None
    constraint: str | None = None
    signal_lead_s: int = SIGNAL_LEAD_S
    requeue: bool = True

    def __post_init__(self) -> None:
        for name in ("cpus_per_rank", "mem_gb", "time_min", "nodes", "ranks_per_node"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; at least 1 is needed")
        if self.gpus_per_node < 0:
            raise ConfigError(f"gpus_per_node is {self.gpus_per_node}; 0 or more is needed")
        for name in ("partition", "account", "constraint"):
            value = getattr(self, name)
            if value is not None and not (value and value.isprintable()):
                raise ConfigError(f"{name} is {value!r}; a name without line breaks or other control characters is needed")

    @property
    def ranks(self) -> int:
        """Processes that do the job together."""
        return self.nodes * self.ranks_per_node


STAGES: Mapping[Stage, Resources] = {
    "pack": Resources(cpus_per_rank=2, mem_gb=8, time_min=4 * HOUR_MIN),
    "pretrain": Resources(cpus_per_rank=8, gpus_per_node=1, mem_gb=32, time_min=DAY_MIN),
    "finetune": Resources(cpus_per_rank=8, gpus_per_node=1, mem_gb=32, time_min=DAY_MIN),
    "aggregate": Resources(cpus_per_rank=1, mem_gb=4, time_min=30),
}
"""What each stage asks for unless it is told otherwise; the folds are dealt and the page is written with what `aggregate` has."""


def sbatch_options(resources: Resources) -> dict[str, Option]:
    """Give sbatch's long options without their dashes, in the order in which a reader looks for them."""
    options: dict[str, Option] = {
        "nodes": str(resources.nodes),
        "ntasks-per-node": str(resources.ranks_per_node),
        "cpus-per-task": str(resources.cpus_per_rank),
    }
    if resources.gpus_per_node:
        options["gpus-per-node"] = str(resources.gpus_per_node)
    options |= {
        "mem": f"{resources.mem_gb}G",
        "time": format_time(resources.time_min),
        "signal": f"USR2@{resources.signal_lead_s}",
        # With --no-requeue a cluster whose default is to start a job again leaves it, too.
        "requeue" if resources.requeue else "no-requeue": True,
        "open-mode": "append",
    }
    named = {"partition": resources.partition, "account": resources.account, "constraint": resources.constraint}
    return options | {name: value for name, value in named.items() if value is not None}


def sbatch_lines(resources: Resources) -> tuple[str, ...]:
    """Give the `#SBATCH` lines of a job script."""
    return tuple(
        f"#SBATCH --{name}" if value is True else f"#SBATCH --{name}={shlex.quote(value)}"
        for name, value in sbatch_options(resources).items()
    )


def submitit_parameters(resources: Resources) -> dict[str, Any]:
    """Give the same to submitit's Slurm executor.

    submitit counts its tasks by options of its own; the others are laid over what it would write, so that its script says
    exactly what `sbatch_lines` says.
    """
    options = {name: value for name, value in sbatch_options(resources).items() if name != "ntasks-per-node"}
    return {
        "nodes": resources.nodes,
        "ntasks_per_node": resources.ranks_per_node,
        "time": resources.time_min,
        "signal_delay_s": resources.signal_lead_s,
        "wckey": None,
        "stderr_to_stdout": True,
        # Since 22.05 srun no longer takes the cores of a task from sbatch; and it cuts a log that is there. Under
        # SBATCH_EXPORT=NONE it would keep from the ranks what the script has set.
        "srun_args": [
            "--kill-on-bad-exit=1",
            f"--cpus-per-task={resources.cpus_per_rank}",
            "--export=ALL",
            "--open-mode=append",
        ],
        "additional_parameters": options,
    }


def format_time(minutes: int) -> str:
    """Write minutes as Slurm's HH:MM:SS, from two days on as D-HH:MM:SS."""
    days, rest = divmod(minutes, DAY_MIN) if minutes >= 2 * DAY_MIN else (0, minutes)
    clock = f"{rest // HOUR_MIN:02}:{rest % HOUR_MIN:02}:00"
    return f"{days}-{clock}" if days else clock


def parse_time(text: str) -> int:
    """Read a time limit as sbatch takes it, in minutes; seconds count as a minute that has begun.

    Args:
        text: minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes or days-hours:minutes:seconds.
    Raises:
        ConfigError: it is none of these, or no time at all.
    Source: sbatch's manual, --time.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ConfigError(f"time {text!r} is not one that Slurm takes; it takes {TIME_FORMS}")
    first, second, third = (int(match[name] or 0) for name in ("first", "second", "third"))
    if match["days"] is not None:
        seconds = ((int(match["days"]) * 24 + first) * 60 + second) * 60 + third
    elif match["third"] is not None:
        seconds = (first * 60 + second) * 60 + third
    else:
        seconds = first * 60 + second
    if seconds == 0:
        raise ConfigError(f"time {text!r} is no time at all; a job needs at least a minute")
    return -(-seconds // 60)
