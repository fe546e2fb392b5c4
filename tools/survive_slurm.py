"""Do to a run of two ranks on two nodes what clusters do to jobs, and hold what comes out against a run left in peace.

    tools/local_slurm.sh up DIR
    SLURM_CONF=DIR/slurm.conf .venv/bin/python tools/survive_slurm.py [--together] [--study] [FAULT ...]

Each fault strikes a run of its own, submitted as `sbatch slurm/finetune.sbatch`, or with --study by `hipseg submit`, in the midst
of training; with --together one run meets all of them, one after the other. Prints a line a fault: how many attempts the run
took, how long the ranks of the struck attempt lived on and after how long those of the next began, and whether at the end every
weight, row of the history, TensorBoard value and score equals those of the undisturbed run by the bit, with each epoch there
once. Ends with 1 where one does not, or where an attempt lived on for more than a minute.
Needs root: results lie on a small file system of their own, which one fault fills. Takes some 10 minutes on 2 cores; an attempt
costs 25 s of processor time, most of it TensorFlow's start.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from kill_and_resume import find_differences, read_rows

REPOSITORY = Path(__file__).resolve().parents[1]
LOCAL_SLURM = REPOSITORY / "tools" / "local_slurm.sh"
HIPSEG = (sys.executable, "-m", "hipseg")
ARM = "modified-unet"
FOLD = Path(ARM) / "fold_0"
SETTINGS = """
folds: 2
feed: {input_side: 256}
networks:
  modified_unet: {encoder_filters: [4, 6, 8, 9, 10, 11, 12, 13], decoder_filters: [12, 11, 10, 9, 8, 6, 4]}
train:
  batch_size: 4
  threads: 1
  save_every_min: 0.002  # faults shall meet half-written checkpoints, too
"""
RESULTS_MB = 48
EPOCHS, EPOCHS_TOGETHER, EPOCHS_LIMIT = 24, 60, 400
"""So many that a run outlasts the blows; those of the time limit last half a minute of fast epochs."""
DOWN_LIMIT_S = 60
WAIT_LIMIT_S = 900
POLL_S = 0.1


@dataclass
class Job:
    """A run on the cluster.

    Args:
        folder: the project's root that it is submitted from.
        results: in there; each run has its own.
        epochs: that it trains.
        is_study: submitted by `hipseg submit`, not by sbatch.
        number: Slurm's; changes where it is submitted again.
        struck_s: when it was struck last.
        lived_on_s: of each attempt that was struck, how long its processes did.
        away_s: of each, how long it took until those of the next began.
    """

    folder: Path
    results: str
    epochs: int
    is_study: bool
    number: str = ""
    struck_s: float = 0.0
    lived_on_s: list[float] = field(default_factory=list)
    away_s: list[float] = field(default_factory=list)

    @property
    def fold(self) -> Path:
        """The run's folder."""
        return self.folder / self.results / FOLD

    @property
    def attempts(self) -> int:
        """How often its ranks were started, by its log."""
        mark = r"^submitit .* - Starting with" if self.is_study else r"^\S+ \S+ job \d+, attempt"
        return len(re.findall(mark, self.said, re.MULTILINE))

    @property
    def said(self) -> str:
        """What its log says, over all attempts."""
        ours = (self.fold.parents[1] / "jobs").glob(f"train-{ARM}/attempt_*/*_0_log.out")
        return "".join(log.read_text() for log in (sorted(ours) if self.is_study else [self.fold / "job.log"]))

    def submit(self) -> None:
        """Submit it, or submit it again: the same command goes on."""
        if self.is_study:
            size = ("--nodes", "2", "--ranks", "2", "--cpus", "1", "--gpus", "0", "--mem", "1", "--partition", "low")
            run = ("--arm", ARM, "--fold", "0", "--results", self.results, "--epochs", str(self.epochs))
            tell(*HIPSEG, "submit", *run, *size, folder=self.folder)
            self.number = next(one["slurm_id"] for one in self.status() if one["arm"])
            return
        size = ("--array=0", "--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=1", "--gpus-per-node=0", "--mem=1G")
        where = ("--partition=low", *size, "slurm/finetune.sbatch")
        run = ("--arm", ARM, "--results", self.results, "--epochs", str(self.epochs))
        self.number = tell("sbatch", "--parsable", *where, *run, folder=self.folder).strip()

    def status(self) -> list[dict[str, Any]]:
        """Ask `hipseg status` for the jobs of the study."""
        jobs: list[dict[str, Any]] = json.loads(tell(*HIPSEG, "status", self.results, "--json", folder=self.folder))["jobs"]
        return jobs

    def look(self, what: str) -> str:
        """Read one value of the job, as JobState or Restarts."""
        found = re.search(rf"\b{what}=(\S+)", tell("scontrol", "--oneliner", "show", "job", self.number))
        return found[1] if found else ""

    def processes(self) -> dict[str, psutil.Process]:
        """Find the processes of its ranks, by their number."""
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                variables = process.environ()
                # The batch script and srun have a job's variables, and none of a step.
                is_rank = variables.get("SLURM_JOB_ID") == self.number and "SLURM_STEP_NUM_TASKS" in variables
                if is_rank and {"train", "submitit.core._submit"} & set(process.cmdline()) and is_alive(process):
                    found[variables["SLURM_PROCID"]] = process
        return found

    def epochs_done(self) -> int:
        """Count the epochs in its history."""
        try:
            return len(read_rows(self.fold))
        except (OSError, ValueError):
            return 0

    def wait_for_state(self, *states: str) -> str:
        """Wait until the job is in one of some states, and give it."""
        wait_for(lambda: self.look("JobState") in states, f"job {self.number} to be {' or '.join(states)}")
        return self.look("JobState")

    def reach_training(self) -> None:
        """Wait until an attempt has trained at least one epoch further than the run was."""
        before = self.epochs_done()
        wait_for(lambda: len(self.processes()) == 2 and self.epochs_done() > before, f"job {self.number} to train")

    def strike(self, blow: Callable[[], object]) -> None:
        """Do something to the job, and see how long its processes live on."""
        ranks = list(self.processes().values())
        self.struck_s = time.monotonic()
        blow()
        wait_for(lambda: not any(is_alive(one) for one in ranks), f"the ranks of job {self.number} to end")
        self.lived_on_s.append(time.monotonic() - self.struck_s)

    def come_back(self) -> None:
        """Wait for the ranks of the next attempt."""
        wait_for(lambda: len(self.processes()) == 2, f"the next attempt of job {self.number}")
        self.away_s.append(time.monotonic() - self.struck_s)


def is_alive(process: psutil.Process) -> bool:
    """Say whether a process still runs."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def tell(*words: str, folder: Path | None = None) -> str:
    """Run a command and give what it prints."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + WAIT_LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {WAIT_LIMIT_S} s for {what}")
        time.sleep(POLL_S)


# ---- the faults: each strikes a job that trains, and leaves it queued or running ----


def signal_users(job: Job) -> None:
    """USR2, as the cluster sends it ahead of a time limit."""
    job.strike(lambda: tell("scancel", "--signal=USR2", job.number))


def reach_limit(job: Job) -> None:
    """A time limit that comes within the two minutes ahead of which the ranks are told; the cluster looks every half minute."""
    elapsed_min = int(job.look("RunTime").split(":")[1])
    job.strike(lambda: tell("scontrol", "update", f"JobId={job.number}", f"TimeLimit={elapsed_min + 2}"))
    tell("scontrol", "update", f"JobId={job.number}", "TimeLimit=60")


def preempt(job: Job) -> None:
    """A job of a higher partition that wants both nodes whole."""
    job.strike(lambda: tell("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=true"))


def requeue(job: Job) -> None:
    """`scontrol requeue`."""
    job.strike(lambda: tell("scontrol", "requeue", job.number))


def kill_rank(job: Job, rank: str) -> None:
    """`kill -9` of one rank."""
    job.strike(lambda: job.processes()[rank].kill())


def kill_node(job: Job, node: str) -> None:
    """Every process of a node at once; it comes back when the job is down and the cluster has noticed.

    No node is back sooner than that, and for one that were the cluster would look for its job for minutes.
    """
    cluster = str(Path(os.environ["SLURM_CONF"]).parent)
    job.strike(lambda: tell(str(LOCAL_SLURM), "kill", node, cluster))
    wait_for(lambda: job.look("JobState") != "RUNNING", f"job {job.number} to be taken from {node}")
    tell(str(LOCAL_SLURM), "up", cluster)


def fill_disk(job: Job) -> None:
    """No byte left for the results; the job fails and says so, and once there is space the same command goes on."""
    filler = job.folder / job.results / "filler"

    def fill() -> None:
        with filler.open("wb", buffering=0) as handle, contextlib.suppress(OSError):
            while True:
                handle.write(bytes(1 << 12))

    job.strike(fill)
    job.wait_for_state("FAILED")
    if job.is_study:
        # Its logs lie on the full disk.
        said, pattern = "\n".join(str(one["error"]) for one in job.status()), "space left"
    else:
        said = (job.folder / f"hipseg-finetune-{job.number}_0.log").read_text()
        pattern = "error: cannot write .*: No space left on device; free some space"
    if job.look("ExitCode") == "0:0" or not re.search(pattern, said):
        raise SystemExit(f"the job ended with {job.look('ExitCode')}, and nobody says that the disk is full:\n{said}")
    filler.unlink()
    job.submit()


def truncate_last(job: Job) -> None:
    """Half of the newest checkpoint, between two attempts."""
    requeue(job)
    last = job.fold / "checkpoints" / "last.npz"
    os.truncate(last, last.stat().st_size // 2)
    wait_for(lambda: "going on from" in job.said, "the attempt that goes on from the previous checkpoint")


LIMIT = "time limit"
FAULTS: dict[str, Callable[[Job], None]] = {
    "USR2": signal_users,
    LIMIT: reach_limit,
    "preemption": preempt,
    "scontrol requeue": requeue,
    "kill -9 rank 0": lambda job: kill_rank(job, "0"),
    "kill -9 rank 1": lambda job: kill_rank(job, "1"),
    "node1 dies (batch script, rank 0)": lambda job: kill_node(job, "node1"),
    "node2 dies (rank 1)": lambda job: kill_node(job, "node2"),
    "full disk": fill_disk,
    "truncated checkpoint": truncate_last,
}


# ---- runs ----


def run(job: Job, faults: list[str]) -> None:
    """Submit a run, let the faults strike, and stay until it has ended well."""
    job.submit()
    for name in faults:
        job.reach_training()
        FAULTS[name](job)
        job.come_back()
    state = job.wait_for_state("COMPLETED", "FAILED", "TIMEOUT", "NODE_FAIL", "CANCELLED")
    if state != "COMPLETED":
        raise SystemExit(f"job {job.number} ended as {state}:\n{job.said[-3000:]}")


def judge(job: Job, undisturbed: Job) -> tuple[list[str], bool]:
    """Name what differs from the undisturbed run, and say whether each epoch is there once."""
    epochs = [int(row["epoch"]) for row in read_rows(job.fold)]
    return find_differences(job.fold, undisturbed.fold), epochs == list(range(1, job.epochs + 1))


def show(name: str, job: Job, undisturbed: Job, blows: int) -> bool:
    """Print a line of the table, and say whether all is well."""
    differences, is_once = judge(job, undisturbed)
    longest_s = max(job.lived_on_s)
    equal = ", ".join(differences) or "equal"
    times = f"{longest_s:11.1f} {max(job.away_s):11.1f}"
    print(f"{name:34} {job.attempts:8} {times}  {equal:8} {'once' if is_once else 'NOT ONCE':11}", flush=True)
    return not differences and is_once and longest_s <= DOWN_LIMIT_S and job.attempts > blows


def survive(folder: Path, faults: list[str], *, is_together: bool, is_study: bool) -> bool:
    """Run everything, print the table, and say whether all is well."""
    print(f"{'fault':34} {'attempts':>8} {'down after':>11} {'back after':>11}  {'weights':8} {'each epoch':11}")
    is_well, peace = True, dict[int, Job]()
    for number, blows in enumerate([faults] if is_together else [[name] for name in faults]):
        epochs = EPOCHS_LIMIT if LIMIT in blows else EPOCHS_TOGETHER if is_together else EPOCHS
        if epochs not in peace:
            peace[epochs] = Job(folder, f"results/undisturbed-{epochs}", epochs, is_study)
            run(peace[epochs], [])
        job = Job(folder, f"results/struck-{number}", epochs, is_study)
        run(job, blows)
        is_well = show(" + ".join(blows), job, peace[epochs], len(blows)) and is_well
    return is_well


@contextlib.contextmanager
def study() -> Iterator[Path]:
    """Make a project's root with packed data and a small file system for its results, which the nodes see."""
    with tempfile.TemporaryDirectory(prefix="hipseg-survive-") as name:
        folder = Path(name)
        shutil.copytree(REPOSITORY / "slurm", folder / "slurm")
        (folder / ".venv").symlink_to(sys.prefix)
        (folder / "configs").mkdir()
        (folder / "configs" / "study.yaml").write_text(SETTINGS)
        tell(*HIPSEG, "phantom", "data", "--patients", "4", "--slices", "6", "--matrix", "64", folder=folder)
        tell(*HIPSEG, "pack", "data", "-o", "shards", folder=folder)
        (folder / "results").mkdir()
        tell("mount", "-t", "tmpfs", "-o", f"size={RESULTS_MB}m", "tmpfs", str(folder / "results"))
        try:
            restart_nodes()
            yield folder
        finally:
            tell("umount", "--lazy", str(folder / "results"))


def restart_nodes() -> None:
    """Start the nodes anew: they have the file systems of when they were started."""
    cluster = str(Path(os.environ["SLURM_CONF"]).parent)
    for node in ("node1", "node2"):
        tell(str(LOCAL_SLURM), "kill", node, cluster)
    tell(str(LOCAL_SLURM), "up", cluster)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=f"{', '.join(FAULTS)}; all unless some are named")
    parser.add_argument("--together", action="store_true", help="all faults strike one run")
    parser.add_argument("--study", action="store_true", help="submit with `hipseg submit`, not with sbatch")
    options = parser.parse_args()
    unknown = sorted(set(options.faults) - set(FAULTS))
    if unknown:
        parser.error(f"no fault {unknown[0]!r}; the faults are {', '.join(FAULTS)}")
    if "SLURM_CONF" not in os.environ:
        parser.error('no SLURM_CONF; give it with: eval "$(tools/local_slurm.sh up)"')
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    with study() as folder:
        is_well = survive(folder, options.faults or list(FAULTS), is_together=options.together, is_study=options.study)
        sys.exit(0 if is_well else 1)


if __name__ == "__main__":
    main()
