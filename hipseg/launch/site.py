"""What a cluster offers: its partitions and nodes, as Slurm tells them; what cannot be had is refused before it queues."""

import re
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError

from hipseg.config import Settings
from hipseg.errors import ConfigError, LaunchError
from hipseg.fsio import write_text
from hipseg.launch.cluster import ask, name_cluster
from hipseg.launch.resources import Resources, format_time, parse_time

PROFILE = Path("configs/cluster.yaml")
"""Where `hipseg doctor --write-profile` writes it and `hipseg submit` looks for it."""
SINFO_FORMAT = "%P|%a|%l|%s|%D|%c|%m|%G|%f"
MB_A_GB = 1024
_UNBOUNDED = {"infinite", "UNLIMITED", "n/a", ""}
_GPU = re.compile(r"gpu(?::[^:(,]+)?:(\d+)")
_PLAIN_FEATURE = re.compile(r"[\w.-]+")
HEAD = """\
# What this Slurm cluster offers, as sinfo and scontrol told it. `hipseg doctor --write-profile` writes it, anew when the cluster
# changes, and `hipseg submit` reads it. `partition`, `account` and `constraint` are yours to set: they hold for every study
# submitted from this folder unless an option or SBATCH_PARTITION, SBATCH_ACCOUNT or SBATCH_CONSTRAINT says otherwise.
"""

Count = Annotated[int, Field(ge=0)]


class NodeKind(Settings):
    """Nodes of a partition that are alike."""

    nodes: Count
    cpus: Count
    memory_mb: Count
    gpus: Count = 0
    features: tuple[str, ...] = ()

    def __str__(self) -> str:
        cards = f", {_count(self.gpus, 'GPU')}" if self.gpus else ""
        return f"{_count(self.nodes, 'node')} of {_count(self.cpus, 'core')}, {self.memory_mb // MB_A_GB} GB{cards}"


class Partition(Settings):
    """A queue: which nodes it has, and what one job may take."""

    kinds: tuple[NodeKind, ...]
    time_limit_min: int | None = None
    max_nodes: int | None = None


class SiteProfile(Settings):
    """A cluster."""

    cluster: str
    default_partition: str | None = None
    """Where the cluster itself sends jobs that name no partition."""
    partition: str | None = None
    """Where the user's jobs go unless they are told otherwise; several, joined by commas, let Slurm choose."""
    account: str | None = None
    constraint: str | None = None
    partitions: dict[str, Partition]

    def chosen(self, names: str | None) -> dict[str, Partition]:
        """Look up partitions by sbatch's `--partition`.

        Raises:
            LaunchError: there is no such partition, or none was named and the cluster has no default.
        """
        if names is None:
            raise LaunchError(f"the cluster has no default partition; name one with --partition: {self._names()}")
        missing = [name for name in names.split(",") if name not in self.partitions]
        if missing:
            raise LaunchError(f"no partition {missing[0]!r} on this cluster; there are {self._names()}")
        return {name: self.partitions[name] for name in names.split(",")}

    def _names(self) -> str:
        return ", ".join(self.partitions)


def ask_site() -> SiteProfile:
    """Ask Slurm what it offers.

    Raises:
        LaunchError: it does not answer, or in a form that is not known.
    """
    text = ask("sinfo", "--noheader", "--exact", "--noconvert", f"--format={SINFO_FORMAT}")
    return parse_site(text, name_cluster())


def parse_site(text: str, cluster: str) -> SiteProfile:
    """Read what sinfo printed in `SINFO_FORMAT`; partitions that take no jobs are left out.

    Raises:
        LaunchError: a line is of another form.
    """
    kinds: dict[str, list[NodeKind]] = {}
    limits: dict[str, tuple[int | None, int | None]] = {}
    default = None
    for line in text.splitlines():
        try:
            name, available, limit, size, nodes, cpus, memory_mb, gres, features = line.split("|")
            if available != "up":
                continue
            if name.endswith("*"):
                default = name = name.removesuffix("*")
            limits[name] = (None if limit in _UNBOUNDED else parse_time(limit), _read_size(size))
            gpus = sum(int(count) for count in _GPU.findall(gres))
            named = () if features == "(null)" else tuple(features.split(","))
            kind = NodeKind(nodes=int(nodes), cpus=int(cpus), memory_mb=int(memory_mb), gpus=gpus, features=named)
        except (ValueError, ConfigError) as error:
            raise LaunchError(f"sinfo printed {line!r}; {SINFO_FORMAT} was asked for") from error
        kinds.setdefault(name, []).append(kind)
    partitions = {
        name: Partition(kinds=tuple(alike), time_limit_min=limits[name][0], max_nodes=limits[name][1])
        for name, alike in kinds.items()
    }
    return SiteProfile(cluster=cluster, default_partition=default, partitions=partitions)


def write_site(path: Path, site: SiteProfile) -> None:
    """Write a profile; what the user has set in one that is there stays, but for a partition that is gone.

    Raises:
        ConfigError: the profile that is there cannot be read, or the file cannot be written.
    """
    if path.is_file():
        before = read_site(path)
        is_there = before.partition is None or set(before.partition.split(",")) <= site.partitions.keys()
        partition = before.partition if is_there else None
        site = site.model_copy(update={"partition": partition, "account": before.account, "constraint": before.constraint})
    write_text(path, HEAD + yaml.safe_dump(site.model_dump(mode="json", exclude_none=True), sort_keys=False))


def read_site(path: Path) -> SiteProfile:
    """Read a profile.

    Raises:
        ConfigError: it is missing, no YAML, or has a wrong value.
    """
    cure = "mend it, or delete it and write it anew with `hipseg doctor --write-profile`"
    try:
        return SiteProfile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the cluster's profile {path}: {' '.join(str(error).split())}; {cure}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"wrong value in the cluster's profile {path}: {where}: {first['msg']}; {cure}") from error


def refuse_impossible(site: SiteProfile, names: str | None, wanted: Resources, what: str) -> None:
    """Refuse a request that would wait for ever or be turned down.

    Args:
        site: the cluster.
        names: partitions, as sbatch's --partition.
        wanted: what one job asks for.
        what: the job in words.
    Raises:
        LaunchError: no partition of those has enough nodes that offer all of it at once; says what would fit.
    """
    chosen = site.chosen(names)
    if any(fits(partition, wanted) for partition in chosen.values()):
        return
    asked = (
        f"{_count(wanted.nodes, 'node')} with {_count(wanted.ranks_per_node * wanted.cpus_per_rank, 'core')}, "
        f"{wanted.mem_gb} GB and {_count(wanted.gpus_per_node, 'GPU')} each for {format_time(wanted.time_min)}"
    )
    if wanted.constraint:
        asked += f", constraint {wanted.constraint}"
    has = "; ".join(f"{name} has {describe(partition)}" for name, partition in chosen.items())
    cures = [cure for partition in chosen.values() for cure in find_cures(partition, wanted)]
    others = [name for name, partition in site.partitions.items() if name not in chosen and fits(partition, wanted)]
    cures += [f"--partition {name}" for name in others]
    raise LaunchError(
        f"{what} cannot run on this cluster: asked {asked}; {has}; what would fit: {' or '.join(dict.fromkeys(cures))}"
    )


def fits(partition: Partition, wanted: Resources) -> bool:
    """Say whether a partition has enough nodes that each offer all that is wanted."""
    if partition.time_limit_min is not None and wanted.time_min > partition.time_limit_min:
        return False
    if partition.max_nodes is not None and wanted.nodes > partition.max_nodes:
        return False
    return sum(kind.nodes for kind in partition.kinds if _offers(kind, wanted)) >= wanted.nodes


def find_cures(partition: Partition, wanted: Resources) -> list[str]:
    """Name the options that would make a request fit onto one kind of a partition's nodes, where the fewest have to change."""
    cures = [_bring_down(partition, kind, wanted) for kind in partition.kinds if _has_features(kind, wanted)]
    if not cures:
        return ["another --constraint"]
    fewest = min(map(len, cures))
    return [" ".join(cure) for cure in cures if len(cure) == fewest]


def _bring_down(partition: Partition, kind: NodeKind, wanted: Resources) -> list[str]:
    most_nodes = kind.nodes if partition.max_nodes is None else min(kind.nodes, partition.max_nodes)
    most_cpus = kind.cpus // wanted.ranks_per_node
    cures = []
    if wanted.nodes > most_nodes:
        cures.append(f"--nodes {most_nodes}")
    if wanted.gpus_per_node > kind.gpus:
        cures.append(f"--gpus {kind.gpus}")
    # With fewer cards come fewer ranks, which may be few enough.
    if wanted.cpus_per_rank > most_cpus and (most_cpus or wanted.gpus_per_node <= kind.gpus):
        cures.append(f"--cpus {most_cpus}" if most_cpus else f"--ranks {kind.cpus * min(wanted.nodes, most_nodes)}")
    if wanted.mem_gb * MB_A_GB > kind.memory_mb:
        cures.append(f"--mem {kind.memory_mb // MB_A_GB}")
    if partition.time_limit_min is not None and wanted.time_min > partition.time_limit_min:
        cures.append(f"--time {format_time(partition.time_limit_min)}")
    return cures


def _has_features(kind: NodeKind, wanted: Resources) -> bool:
    # A constraint may be a whole formula, which Slurm judges.
    named = wanted.constraint if wanted.constraint and _PLAIN_FEATURE.fullmatch(wanted.constraint) else None
    return named is None or named in kind.features


def _offers(kind: NodeKind, wanted: Resources) -> bool:
    return (
        _has_features(kind, wanted)
        and kind.gpus >= wanted.gpus_per_node
        and kind.cpus >= wanted.ranks_per_node * wanted.cpus_per_rank
        and kind.memory_mb >= wanted.mem_gb * MB_A_GB
    )


def describe(partition: Partition) -> str:
    """Tell a partition's nodes and time limit in words."""
    limit = "" if partition.time_limit_min is None else f", at most {format_time(partition.time_limit_min)}"
    return " and ".join(map(str, partition.kinds)) + limit


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _read_size(text: str) -> int | None:
    """Read sinfo's size of a job in nodes: 1-infinite, 1-4 or 1."""
    most = text.rpartition("-")[2]
    return None if most in _UNBOUNDED else int(most)
