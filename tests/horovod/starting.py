"""Starts real ranks on this machine as srun would: its variables set by hand, no ssh, no MPI."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass

LIMIT_S = 240
"""A group of ranks that hangs is a failure; this is longer than any takes on a busy machine."""


@dataclass(frozen=True)
class Ended:
    """How a rank ended: exit code, what it printed, number of its process, and when (time.time)."""

    code: int
    out: str
    said: str
    pid: int
    at_s: float


def srun_variables(rank, size, *, nodes=1, step=0):
    """What srun gives a task; ranks are dealt to the nodes in blocks."""
    local_size = size // nodes
    return {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_ID": str(step),
        "SLURM_STEP_NUM_TASKS": str(size),
        "SLURM_NTASKS": str(size),
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank % local_size),
        "SLURM_NODEID": str(rank // local_size),
        "SLURM_STEP_TASKS_PER_NODE": f"{local_size}(x{nodes})",
    }


def plain_environment():
    """This process's variables without those of any launcher, and one thread for each rank."""
    launchers = ("SLURM_", "HOROVOD_", "OMPI_", "PMI", "SUBMITIT_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(launchers)}
    return kept | {"TF_NUM_INTRAOP_THREADS": "1"}


def start_ranks(arguments, size, *, nodes=1):
    """Start the ranks of a program; `arguments` follow `python`."""
    return [
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=plain_environment() | srun_variables(rank, size, nodes=nodes),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def end_ranks(processes, limit_s=LIMIT_S):
    """Wait for the ranks and tell how each ended; none outlives the limit. They print little, so that no pipe fills."""
    deadline, ends_s = time.monotonic() + limit_s, {}
    while len(ends_s) < len(processes) and time.monotonic() < deadline:
        ends_s |= {one.pid: time.time() for one in processes if one.pid not in ends_s and one.poll() is not None}
        time.sleep(0.1)
    for process in processes:
        process.kill()
    outputs = [process.communicate() for process in processes]
    assert len(ends_s) == len(processes), "\n".join(said for _, said in outputs)
    return [
        Ended(process.returncode, out, said, process.pid, ends_s[process.pid])
        for process, (out, said) in zip(processes, outputs, strict=True)
    ]


def run_ranks(arguments, size, **options):
    """Start ranks and see all of them end well."""
    ended = end_ranks(start_ranks(arguments, size, **options))
    assert all(one.code == 0 for one in ended), "\n".join(one.said for one in ended)
