"""What a study was asked to be run with; kept in study.json, so that what failed is submitted again in the same way."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hipseg.errors import ConfigError
from hipseg.launch.resources import MAX_REQUEUES

CLUSTER_ONLY = ("nodes", "gpus", "cpus", "mem_gb", "time_min", "partition", "account", "constraint", "pack")


@dataclass(frozen=True)
class Request:
    """The options of `hipseg submit` that are no settings of the experiment; None where one was not given.

    Args:
        arms, folds: the part of the study; empty means all.
        repeats: how often each run is done, each time with another seed.
        ranks: processes that share each run.
        max_running: jobs at once on one machine, folds of an arm at once on a cluster.
        nodes: that each run spans.
        gpus: graphics cards of each node.
        cpus: cores of each rank.
        mem_gb: memory of each node.
        time_min: limit of one attempt at a run.
        partition, account, constraint: as sbatch names them.
        max_requeues: how often a job is started again.
        pack: folder of scans that are packed first.
        pack_parts: jobs that pack side by side.
    """

    arms: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()
    repeats: int = 1
    ranks: int | None = None
    max_running: int | None = None
    nodes: int | None = None
    gpus: int | None = None
    cpus: int | None = None
    mem_gb: int | None = None
    time_min: int | None = None
    partition: str | None = None
    account: str | None = None
    constraint: str | None = None
    max_requeues: int = MAX_REQUEUES
    pack: str | None = None
    pack_parts: int = 8

    def refuse_here(self) -> None:
        """Refuse what only a cluster can do.

        Raises:
            ConfigError: such an option was given for a study on this machine.
        """
        given = [name for name in CLUSTER_ONLY if getattr(self, name) is not None]
        if given:
            options = " and ".join("--" + {"mem_gb": "mem", "time_min": "time"}.get(name, name) for name in given)
            verb, them = ("are", "them") if len(given) > 1 else ("is", "it")
            raise ConfigError(f"{options} {verb} for a Slurm cluster, and this study runs on this machine; leave {them} out")


def read_request(value: Mapping[str, Any]) -> Request:
    """Read what `dump_request` gave."""
    lists = {name: tuple(value[name]) for name in ("arms", "folds") if name in value}
    return Request(**{**value, **lists})


def dump_request(request: Request) -> dict[str, Any]:
    """Give only what was asked for, as JSON has it."""
    default = asdict(Request())
    return {name: value for name, value in asdict(request).items() if value != default[name]}
