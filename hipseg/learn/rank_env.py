"""Which of how many ranks this process is, from the variables that its launcher set; nothing here touches Horovod."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hipseg.errors import TrainError

GLOO_TIMEOUT_S = 120
"""A frozen rank ends the others' exchange after this."""
MPI_MARKS = ("PMIX_RANK", "PMI_RANK")
"""Set by `srun --mpi=pmix` and its like."""
HYDRA_NAMES = ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS")
"""Set by the mpirun of MPICH and its kin, Intel MPI among them. Slurm sets the first two as well."""


@dataclass(frozen=True)
class Place:
    """Where a rank stands among the others.

    Args:
        launcher: what started it: horovodrun, mpirun, submitit or srun.
        rank, size: among all.
        local_rank, local_size: among those on its node.
        cross_rank, cross_size: among the nodes that have a rank of the same local number.
        node: number of its node.
        meeting: a name that the ranks of this start share and no other start has.
        has_own_rendezvous: the launcher lets Horovod's ranks find each other.
        has_mpi: the launcher offers MPI.
    """

    launcher: str
    rank: int
    size: int
    local_rank: int
    local_size: int
    cross_rank: int
    cross_size: int
    node: int
    meeting: str
    has_own_rendezvous: bool = False
    has_mpi: bool = False


def find_place(environment: Mapping[str, str]) -> Place | None:
    """Read a rank's place, innermost launcher first.

    A batch script has SLURM_PROCID too, though one process runs in it: only a step's own variables count.

    Args:
        environment: the process's variables.
    Returns:
        The place; None where no launcher started several ranks.
    Raises:
        TrainError: a launcher's variables are incomplete or contradict each other.
    """
    if "HOROVOD_RANK" in environment:
        place = _from_horovodrun(environment)
    elif "OMPI_COMM_WORLD_RANK" in environment:
        place = _from_open_mpi(environment)
    elif all(name in environment for name in HYDRA_NAMES):
        place = _from_hydra(environment)
    elif "SUBMITIT_LOCAL_GLOBALID" in environment:
        place = _from_submitit(environment)
    elif "SLURM_STEP_NUM_TASKS" in environment and "SLURM_PROCID" in environment:
        place = _from_srun(environment)
    else:
        return None
    _check(place)
    return place if place.size > 1 else None


def gloo_variables(place: Place, address: tuple[str, int], interface: str) -> dict[str, str]:
    """Give what Horovod has to read so that its ranks meet through Gloo, without ssh and MPI.

    Args:
        place: of this rank.
        address: IPv4 address and port of rank 0's server.
        interface: the network card that reaches it.
    """
    return {
        "HOROVOD_RANK": str(place.rank),
        "HOROVOD_SIZE": str(place.size),
        "HOROVOD_LOCAL_RANK": str(place.local_rank),
        "HOROVOD_LOCAL_SIZE": str(place.local_size),
        "HOROVOD_CROSS_RANK": str(place.cross_rank),
        "HOROVOD_CROSS_SIZE": str(place.cross_size),
        "HOROVOD_HOSTNAME": f"node{place.node}",  # differs by node, as Horovod needs it; no name of a machine does for certain
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": address[0],
        "HOROVOD_GLOO_RENDEZVOUS_PORT": str(address[1]),
        "HOROVOD_GLOO_IFACE": interface,
        "HOROVOD_GLOO_TIMEOUT_SECONDS": str(GLOO_TIMEOUT_S),
        # What is added together with what must not hang on timing, or three ranks would round differently from run to run.
        "HOROVOD_DISABLE_GROUP_FUSION": "1",
        "HOROVOD_FUSION_THRESHOLD": "0",
    }


def tasks_by_node(text: str) -> list[int]:
    """Read Slurm's `2(x3),1` as 2, 2, 2, 1.

    Raises:
        TrainError: it is not of that form.
    """
    counts = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if match is None:
            raise TrainError(f"SLURM_STEP_TASKS_PER_NODE is {text!r}; something as 2(x3),1 is needed")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def _from_horovodrun(environment: Mapping[str, str]) -> Place:
    names = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE", "CROSS_RANK", "CROSS_SIZE")
    rank, size, local_rank, local_size, cross_rank, cross_size = (_number(environment, f"HOROVOD_{name}") for name in names)
    address, port = (environment.get(f"HOROVOD_GLOO_RENDEZVOUS_{name}", "") for name in ("ADDR", "PORT"))
    meeting = f"horovodrun-{address}-{port}"
    # Among equally filled nodes the number of the node is that among those with the same local number.
    return Place(
        "horovodrun", rank, size, local_rank, local_size, cross_rank, cross_size, cross_rank, meeting, has_own_rendezvous=True
    )


def _from_open_mpi(environment: Mapping[str, str]) -> Place:
    names = ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
    start = environment.get("PMIX_NAMESPACE") or environment.get("OMPI_MCA_ess_base_jobid")
    if not start:
        raise TrainError("mpirun set neither PMIX_NAMESPACE nor OMPI_MCA_ess_base_jobid; use srun or horovodrun")
    return _from_mpirun([_number(environment, f"OMPI_COMM_WORLD_{name}") for name in names], start)


def _from_hydra(environment: Mapping[str, str]) -> Place:
    # Hydra gives a start no name that all nodes know. Two starts of one run at the same time would spoil each other anyway.
    start = environment.get("SLURM_JOB_ID", "hydra")
    return _from_mpirun([_number(environment, name) for name in HYDRA_NAMES], start)


def _from_mpirun(numbers: Sequence[int], start: str) -> Place:
    rank, size, local_rank, local_size = numbers
    if not local_size or size % local_size or rank % local_size != local_rank:
        raise TrainError(
            f"mpirun started rank {rank} of {size} as {local_rank} of {local_size} on its node; every node needs the same number "
            "of ranks, and they have to follow each other there (Open MPI: --map-by slot)"
        )
    node = rank // local_size
    return Place("mpirun", rank, size, local_rank, local_size, node, size // local_size, node, f"mpirun-{start}", has_mpi=True)


def _from_submitit(environment: Mapping[str, str]) -> Place:
    rank, local_rank, size, nodes, node = (
        _number(environment, f"SUBMITIT_LOCAL_{name}") for name in ("GLOBALID", "LOCALID", "NTASKS", "JOB_NUM_NODES", "NODEID")
    )
    meeting = f"submitit-{environment.get('SUBMITIT_LOCAL_JOB_ID', '')}"
    return Place("submitit", rank, size, local_rank, size // max(nodes, 1), node, nodes, node, meeting)


def _from_srun(environment: Mapping[str, str]) -> Place:
    rank, size, local_rank, node = (
        _number(environment, f"SLURM_{name}") for name in ("PROCID", "STEP_NUM_TASKS", "LOCALID", "NODEID")
    )
    tasks = tasks_by_node(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    if sum(tasks) != size or node >= len(tasks):
        raise TrainError(f"srun started {size} ranks, SLURM_STEP_TASKS_PER_NODE counts {tasks} and this is node {node}")
    ids = [environment.get(f"SLURM_{name}", "0") for name in ("JOB_ID", "STEP_ID", "RESTART_COUNT")]
    return Place(
        "srun",
        rank,
        size,
        local_rank,
        tasks[node],
        cross_rank=sum(count > local_rank for count in tasks[:node]),
        cross_size=sum(count > local_rank for count in tasks),
        node=node,
        meeting=f"srun-{'-'.join(ids)}",
        has_mpi=any(mark in environment for mark in MPI_MARKS),
    )


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not text.isdigit():
        raise TrainError(f"{name} is {text!r}; the launcher of several ranks has to set it to a whole number")
    return int(text)


def _check(place: Place) -> None:
    if not (0 <= place.rank < place.size and 0 <= place.local_rank < place.local_size <= place.size):
        raise TrainError(
            f"{place.launcher} says rank {place.rank} of {place.size}, {place.local_rank} of {place.local_size} on its node; "
            "each number has to be below how many there are"
        )
