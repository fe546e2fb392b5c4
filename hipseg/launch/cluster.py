"""Slurm's programs: the only module that runs them, but for sbatch, which submitit runs."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hipseg.errors import LaunchError

LIMIT_S = 60
"""A controller that is busy with thousands of jobs answers late, not never."""
SUBMIT = "sbatch"
NOT_CONFIGURED = "configuration source"
"""In what Slurm's programs say where no cluster is configured: Debian's slurm-client alone, say."""
WAITING_STATES = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
RUNNING_STATES = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED"})
"""Source: squeue's manual, job state codes."""
JOB_NAME_PREFIX = "hipseg-"
"""What the names of all jobs of a study begin with."""
IDS_A_CALL = 500
"""Numbers of jobs in one command line; far below what a system takes."""


@dataclass(frozen=True)
class QueueEntry:
    """What Slurm says of a job.

    Args:
        state: in Slurm's words, as PENDING.
        reason: why it waits, in Slurm's words; empty where it does not.
    """

    state: str
    reason: str = ""

    @property
    def is_live(self) -> bool:
        """Say whether it runs or may still come to run."""
        return self.state in WAITING_STATES | RUNNING_STATES

    @property
    def is_waiting(self) -> bool:
        """Say whether it is live and does not run."""
        return self.state in WAITING_STATES


def has_cluster() -> bool:
    """Say whether this machine submits to a Slurm cluster.

    Slurm's programs alone make no cluster: they come with packages of other things, too.

    Raises:
        LaunchError: a cluster is configured and does not answer. A study must not land on a login node for that.
    """
    if not (shutil.which(SUBMIT) and shutil.which("scontrol")):
        return False
    done = _run("scontrol", "ping")
    if " UP" in done.stdout:
        return True
    if NOT_CONFIGURED in done.stderr:
        return False
    said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[0]
    raise LaunchError(f"Slurm's controller does not answer ({said}); try again later, or add --local to run on this machine")


def ask(program: str, *arguments: str) -> str:
    """Run one of Slurm's programs and give what it printed.

    Raises:
        LaunchError: it is missing, failed or did not answer.
    """
    done = _run(program, *arguments)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise LaunchError(f"{program} failed: {said}")
    return done.stdout


def ask_setting(name: str) -> str | None:
    """Ask Slurm for one of its settings, as SlurmdTimeout; None where it tells none of that name.

    Raises:
        LaunchError: it does not answer.
    """
    match = re.search(rf"^{name}\s*=\s*(\S.*?)\s*$", ask("scontrol", "show", "config"), re.MULTILINE)
    return match[1] if match else None


def name_cluster() -> str:
    """Name the cluster that Slurm's programs here talk to.

    Raises:
        LaunchError: it does not answer.
    """
    return ask_setting("ClusterName") or "slurm"


def read_queue(cluster: str | None) -> dict[str, QueueEntry]:
    """Give every job of this user and of a study that Slurm's controller knows, ended ones for some minutes, too.

    Args:
        cluster: name of the one whose jobs are meant. A home folder may be that of several clusters, and their numbers the same.
    Returns:
        Job's id, 123 or 123_4 in an array -> its state. Jobs of other names are left out: numbers are given anew after a while.
    Raises:
        LaunchError: the controller does not answer, or is another cluster's.
    """
    here = name_cluster()
    if here != cluster:
        raise LaunchError(f"the study was submitted to the cluster {cluster}, and this is {here}; give the command there")
    text = ask("squeue", "--me", "--array", "--noheader", "--states=all", "--format=%i|%T|%r|%j")
    lines = [line.split("|", 3) for line in text.splitlines() if line.count("|") >= 3]
    ours = [(job, state, reason) for job, state, reason, name in lines if name.startswith(JOB_NAME_PREFIX)]
    return {job: QueueEntry(state, "" if reason == "None" else reason) for job, state, reason in ours}


def read_accounts(ids: Iterable[str]) -> dict[str, QueueEntry]:
    """Ask the accounts for jobs that the controller no longer knows.

    Args:
        ids: as in `read_queue`.
    Returns:
        What is known; nothing where the cluster keeps no accounts. Jobs of other names are left out here, too.
    """
    bases = sorted({one.split("_")[0] for one in ids}, key=int)
    found: dict[str, QueueEntry] = {}
    for first in range(0, len(bases), IDS_A_CALL):
        jobs = ",".join(bases[first : first + IDS_A_CALL])
        try:
            text = ask("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={jobs}", "--format=JobID,State,JobName")
        except LaunchError:
            return found
        for line in text.splitlines():
            job, state, name = line.split("|", 2)
            if not name.startswith(JOB_NAME_PREFIX):
                continue
            # "CANCELLED by 1000" says who.
            # Tasks that never started stand together: 12_[3-5%2].
            found[job.partition("_[")[0]] = QueueEntry(state.split()[0] if state else "")
    return found


def look_up(entries: Mapping[str, QueueEntry], job_id: str) -> QueueEntry | None:
    """Find a job; tasks of an array that never started are written as the array itself once they were cancelled."""
    return entries.get(job_id) or entries.get(job_id.split("_", maxsplit=1)[0])


def cancel_jobs(ids: Iterable[str]) -> None:
    """Cancel jobs; those that have ended already are no mistake.

    Raises:
        LaunchError: Slurm refused.
    """
    every = sorted(ids)
    for first in range(0, len(every), IDS_A_CALL):
        ask("scancel", "--quiet", *every[first : first + IDS_A_CALL])


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=LIMIT_S)
    except FileNotFoundError as error:
        raise LaunchError(f"no {program} here; Slurm's programs are needed on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise LaunchError(f"{program} did not answer within {LIMIT_S} s") from error
