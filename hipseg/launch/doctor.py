"""What this machine offers for a study, what is missing, and how to mend it. Reads only."""

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hipseg.errors import LaunchError
from hipseg.launch.cluster import ask_setting, has_cluster
from hipseg.launch.machine import look_at_machine
from hipseg.launch.site import PROFILE, ask_site, describe

PROBE_LIMIT_S = 120
"""Loading TensorFlow from a busy file system can take minutes."""
LITTLE_MEMORY_BYTES = 3 * 1024**3
LITTLE_DISK_BYTES = 10 * 1024**3
"""Checkpoints of one run of the default networks are about 1 GB; a study has fifteen runs."""

UNRUN = "this release of hipseg has not been run on a graphics card"

TENSORFLOW_PROBE = """
import json, tensorflow as tf
cards = tf.config.list_physical_devices("GPU")
gpus = [tf.config.experimental.get_device_details(one).get("device_name", one.name) for one in cards]
print(json.dumps({"version": tf.__version__, "cuda": tf.test.is_built_with_cuda(), "gpus": gpus}))
"""
HOROVOD_PROBE = """
import json, horovod, horovod.tensorflow as hvd
built = {"gloo": hvd.gloo_built(), "nccl": bool(hvd.nccl_built()), "mpi": hvd.mpi_built()}
print(json.dumps({"version": horovod.__version__, **built}))
"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: what.
        found: in words.
        cure: how to mend it; None where nothing is wrong.
        is_needed: whether nothing can be trained without it.
    """

    name: str
    found: str
    cure: str | None = None
    is_needed: bool = False


def examine(folder: Path) -> tuple[Finding, ...]:
    """Look at everything.

    Args:
        folder: where results are going to lie; the nearest folder above that is there is looked at.
    """
    tensorflow, horovod = probe(TENSORFLOW_PROBE), probe(HOROVOD_PROBE)
    return (
        Finding("Python", platform.python_version()),
        _judge_tensorflow(tensorflow),
        *_judge_gpus(tensorflow, horovod, look_at_machine().gpus),
        _judge_horovod(horovod),
        *_judge_machine(folder),
        *_judge_slurm(),
    )


def probe(program: str) -> dict[str, Any] | str:
    """Run a program that prints JSON as its last line, in a process of its own.

    Returns:
        What it printed, or its last line of error.
    """
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, timeout=PROBE_LIMIT_S
        )
        if done.returncode == 0:
            value: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return value
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    except subprocess.TimeoutExpired:
        return f"did not load within {PROBE_LIMIT_S} s"


def _judge_tensorflow(tensorflow: dict[str, Any] | str) -> Finding:
    if isinstance(tensorflow, str):
        return Finding("TensorFlow", f"does not load: {tensorflow}", "make the environment with `make env`", is_needed=True)
    return Finding("TensorFlow", f"{tensorflow['version']}, {'with' if tensorflow['cuda'] else 'without'} CUDA")


def _judge_gpus(tensorflow: dict[str, Any] | str, horovod: dict[str, Any] | str, cards: tuple[str, ...]) -> tuple[Finding, ...]:
    seen = [] if isinstance(tensorflow, str) else tensorflow["gpus"]
    found = f"{len(cards)} in the machine, {len(seen)} seen by TensorFlow" + "".join(f"; {name}" for name in seen)
    findings = [Finding("graphics cards", found if cards or seen else "none")]
    if len(seen) < len(cards):
        findings = [Finding("graphics cards", found, "make the environment with `make env GPU=1`, and check the driver")]
    if isinstance(horovod, dict) and horovod["nccl"]:
        findings.append(Finding("GPU build", f"loads; {UNRUN}"))
    return tuple(findings)


def _judge_horovod(horovod: dict[str, Any] | str) -> Finding:
    if isinstance(horovod, str):
        cure = "make the environment with `make env`; one process a run needs no Horovod"
        return Finding("Horovod", f"does not load: {horovod}", cure)
    kinds = ", ".join(f"{kind} {'yes' if horovod[kind] else 'no'}" for kind in ("gloo", "nccl", "mpi"))
    return Finding("Horovod", f"{horovod['version']}: {kinds}", None if horovod["gloo"] else "compile it anew with `make env`")


def _judge_machine(folder: Path) -> tuple[Finding, ...]:
    machine = look_at_machine()
    # Unlike Path.exists this takes what lies in a folder that may not be entered as not there.
    there = next(one for one in (folder.absolute(), *folder.absolute().parents) if os.path.exists(one))  # noqa: PTH110
    free_bytes = shutil.disk_usage(there).free
    is_ours = os.access(there, os.W_OK | os.X_OK, effective_ids=True)
    return (
        Finding("cores", str(machine.cores)),
        Finding(
            "memory",
            f"{machine.memory_bytes / 1024**3:.1f} GiB free",
            "end other programs, or take a larger machine" if machine.memory_bytes < LITTLE_MEMORY_BYTES else None,
        ),
        Finding(
            "disk",
            f"{free_bytes / 1024**3:.1f} GiB free for {folder}" + ("" if is_ours else ", where you may not write"),
            "name another folder with --results" if free_bytes < LITTLE_DISK_BYTES or not is_ours else None,
        ),
    )


def _judge_slurm() -> tuple[Finding, ...]:
    programs = [name for name in ("sbatch", "srun", "squeue", "scontrol", "sinfo") if shutil.which(name)]
    if not programs:
        return (Finding("Slurm", "none; studies run on this machine"),)
    if len(programs) < 5:
        return (Finding("Slurm", f"{' and '.join(programs)} alone", "ask for a node with all of Slurm's programs"),)
    try:
        if not has_cluster():
            return (Finding("Slurm", "its programs, and no cluster; studies run on this machine"),)
        site, down_after = ask_site(), ask_setting("SlurmdTimeout")
    except LaunchError as error:
        return (Finding("Slurm", str(error), "studies run on this machine with --local until then"),)
    known = f"profile {PROFILE}" if PROFILE.is_file() else f"no {PROFILE}"
    partitions = "; ".join(f"{name} with {describe(partition)}" for name, partition in site.partitions.items())
    cure = None if PROFILE.is_file() else "`hipseg doctor --write-profile` writes it, for an account or a partition of your own"
    findings = (Finding("Slurm", f"cluster {site.cluster}: {partitions}; {known}", cure),)
    if down_after is None:
        return findings
    # The ranks on the other nodes end by themselves; when the job starts again is the cluster's to say.
    return (
        *findings,
        Finding("lost nodes", f"count as down after {down_after} (SlurmdTimeout), and their jobs start again then"),
    )
