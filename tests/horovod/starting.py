"""Starts real ranks on this machine as srun would: its variables set by hand, no ssh, no MPI."""

import os
import subprocess
import sys
import time
from pathlib import Path

LIMIT_S = 120


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


def start_ranks(arguments, size, *, nodes=1, step=0, **variables):
    """Start the ranks of a program; `arguments` follow `python`."""
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "HOROVOD_", "OMPI_", "SUBMITIT_"))
    }
    return [
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env=plain | srun_variables(rank, size, nodes=nodes, step=step) | {"TF_NUM_INTRAOP_THREADS": "1"} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def end_ranks(processes, limit_s=LIMIT_S):
    """Wait for the ranks and give (exit code, stdout, stderr) of each; none outlives the limit."""
    deadline = time.monotonic() + limit_s
    try:
        outputs = [process.communicate(timeout=max(1, deadline - time.monotonic())) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, out, err) for process, (out, err) in zip(processes, outputs, strict=True)]


def run_ranks(arguments, size, **options):
    """Start ranks, see all of them end well, and give their outputs."""
    ended = end_ranks(start_ranks(arguments, size, **options))
    assert all(code == 0 for code, _, _ in ended), "\n".join(err for _, _, err in ended)
    return [out for _, out, _ in ended]


def wait_for(path: Path, limit_s=LIMIT_S):
    """Wait until a file is there."""
    deadline = time.monotonic() + limit_s
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.05)
