"""Submit a study to Slurm through submitit: a job or an array for each stage and arm, joined by dependencies."""

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from hipseg.errors import PARTIAL_EXIT_CODE, ConfigError, LaunchError
from hipseg.launch.allocation import SBATCH_VARIABLES
from hipseg.launch.cluster import JOB_NAME_PREFIX
from hipseg.launch.graph import PACK, PRETRAINING, Job
from hipseg.launch.private import PRIVATE_UMASK, masking
from hipseg.launch.resources import MAX_REQUEUES, Resources, Stage, submitit_parameters
from hipseg.launch.work import RunRank
from hipseg.runs import StudyPaths

ADMISSION = "# Slurm itself starts a job again, too, whose node was lost: a start that is one too many ends here."
SETUP = (
    "# When the job is taken away Slurm sends SIGTERM to the ranks, for them to save, and to this shell, which has to wait.",
    "trap : TERM",
    "# When one rank ends badly srun ends the others, but for those of a lost node it would wait, and if it came back for ever.",
    "log=$(readlink /proc/$$/fd/2)",
    'said=$(( $(stat -c %s "$log") + 1 ))',
    "(until tail -c +$said \"$log\" | grep -q '^srun: .*: Terminating StepId'; do sleep 2; done; sleep 20; "
    "pkill -KILL -x -P $$ srun) > /dev/null 2>&1 &",
    "watcher=$!",
)
OWN_JOB = ("SLURM", "SRUN_", "SUBMITIT_", "PMI", "OMPI_COMM_WORLD_")
"""How the variables begin by which a process knows which job, step and rank it is. Sources: manuals of sbatch and srun."""
HOW_TO_REACH_SLURM = frozenset({"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT", "SLURM_SACK_KEY", "SLURM_SACK_SOCKET"})
LAST_WORDS = re.compile(r"sbatch: error: (?P<words>.+)")


@dataclass(frozen=True)
class Batch:
    """Jobs that are submitted together: one, or an array.

    Args:
        name: unique within the study, in words.
        stage: by which they get their resources.
        jobs: what they do; all wait for the same jobs.
    """

    name: str
    stage: Stage
    jobs: tuple[Job, ...]

    @property
    def after(self) -> tuple[str, ...]:
        """Names of the jobs that have to end well first."""
        return self.jobs[0].after


@dataclass(frozen=True)
class Terms:
    """On what terms a batch is submitted.

    Args:
        waits: as `afterok:12:13`; None where nothing has to end before.
        at_once: how many of an array's jobs may run at the same time; None means all.
        max_requeues: how often each may be started again.
    """

    waits: str | None = None
    at_once: int | None = None
    max_requeues: int = MAX_REQUEUES


def gather(jobs: tuple[Job, ...]) -> tuple[Batch, ...]:
    """Put jobs of one stage and arm, which wait for the same, into one array; the order of the graph is kept."""
    batches = []
    for ((name, stage), _), together in groupby(jobs, lambda job: (_kind_of(job), frozenset(job.after))):
        batches.append(Batch(name, stage, tuple(together)))
    return tuple(batches)


def refuse_path(root: Path) -> None:
    """Refuse a results folder whose name Slurm would read otherwise.

    Raises:
        ConfigError: there is a percent sign or a backslash in its path, which stand for patterns in the names of logs.
    """
    odd = [one for one in "%\\" if one in str(root.absolute())]
    if odd:
        raise ConfigError(
            f"the path of the results holds {odd[0]!r}, for which Slurm puts something else in the names of logs: {root}; "
            f"choose another folder with --results"
        )


def render_script(paths: StudyPaths, batch: Batch, resources: Resources, terms: Terms) -> str:
    """Give the text that sbatch would get.

    Args:
        paths: the results.
        batch: the jobs.
        resources: of each.
        terms: of their submission.
    """
    executor = _make_executor(paths.next_attempt(batch.name), batch, resources, terms)
    if len(batch.jobs) > 1:
        executor.parameters["map_count"] = len(batch.jobs)
    text: str = executor._make_submission_file_text(executor._submitit_command_str, "")
    return text


def submit_batch(paths: StudyPaths, batch: Batch, resources: Resources, terms: Terms) -> tuple[tuple[str, Path], ...]:
    """Hand jobs over to Slurm.

    Args:
        paths, batch, resources, terms: as in `render_script`.
    Returns:
        Slurm's number and the log of each job.
    Raises:
        LaunchError: Slurm refused them, or their folder cannot be written.
    """
    folder = paths.next_attempt(batch.name)
    try:
        with masking(PRIVATE_UMASK) as umask, _without((*SBATCH_VARIABLES, *find_own_job(os.environ))):
            executor = _make_executor(folder, batch, resources, terms)
            submitted = executor.submit_array([_work_of(paths, job, umask) for job in batch.jobs])
    except OSError as error:
        raise LaunchError(f"cannot submit {batch.name} from {folder}: {error.strerror}") from error
    except RuntimeError as error:
        # submitit's own errors, with all that sbatch printed.
        said = [match["words"] for match in LAST_WORDS.finditer(str(error))] or [" ".join(str(error).split())]
        raise LaunchError(f"Slurm refused {batch.name}: {'; '.join(said)}") from error
    return tuple((one.job_id, Path(one.task(0).paths.stdout)) for one in submitted)


def find_own_job(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Name the variables of the job that this process belongs to, for jobs that it submits not to take themselves for that one.

    Args:
        environment: the process's variables; outside of a job those of Slurm are the user's, for srun, and none is named.
    """
    if "SLURM_JOB_ID" not in environment:
        return ()
    return tuple(name for name in environment if name.startswith(OWN_JOB) and name not in HOW_TO_REACH_SLURM)


def dependency(ids: Mapping[str, str], after: tuple[str, ...], whole: Set[str] = frozenset()) -> str | None:
    """Write what jobs wait for as sbatch takes it.

    Args:
        ids: name of a job that is queued or runs -> Slurm's number.
        after: names of the jobs that have to end well first; those without a number have.
        whole: numbers of arrays of which every job is waited for, so that the array's own number says it all.
    """
    waited = {ids[name] for name in after if name in ids}
    numbers = {one.partition("_")[0] if one.partition("_")[0] in whole else one for one in waited}
    return ":".join(("afterok", *sorted(numbers, key=_in_order))) if numbers else None


def _in_order(number: str) -> tuple[int, ...]:
    return tuple(int(part) for part in number.split("_"))


def _kind_of(job: Job) -> tuple[str, Stage]:
    if job.arm is not None:
        return f"train {job.arm}", "finetune"
    if job.name == PRETRAINING:
        return job.name, "pretrain"
    if job.name.startswith(f"{PACK} part "):
        return f"{PACK} parts", "pack"
    return job.name, "aggregate"


def _make_executor(folder: Path, batch: Batch, resources: Resources, terms: Terms) -> Any:
    # 0.1 s to load, which `hipseg submit --help` need not wait for.
    import submitit  # noqa: PLC0415

    executor = submitit.SlurmExecutor(folder)
    parameters = submitit_parameters(resources)
    if terms.waits is not None:
        # A job that waits for one that failed would wait for ever.
        parameters["additional_parameters"] |= {"dependency": terms.waits, "kill-on-invalid-dep": "yes"}
    command = shlex.join([sys.executable, "-m", "hipseg.launch.requeue", str(executor.folder), str(terms.max_requeues)])
    executor.update_parameters(
        job_name=f"{JOB_NAME_PREFIX}{batch.name.replace(' ', '-')}",
        array_parallelism=terms.at_once or len(batch.jobs),
        setup=[ADMISSION, f'[ "${{SLURM_RESTART_COUNT:-0}}" -le {terms.max_requeues} ] || {command} || exit', *SETUP],
        teardown=["code=$?", 'kill "$watcher" 2> /dev/null', f'[ "$code" -eq 0 ] || exec {command} "$code"'],
        **parameters,
    )
    return executor


def _work_of(paths: StudyPaths, job: Job, umask: int) -> RunRank:
    summary = None
    if job.arm is not None and job.fold is not None:
        summary = str(paths.fold(job.arm, job.fold, job.repeat).summary)
    elif job.name == PRETRAINING:
        summary = str(paths.pretraining.summary)
    # Cases that are refused are named, and the others are packed; the study goes on with those.
    return RunRank(job.arguments, umask, summary, (PARTIAL_EXIT_CODE,) if job.arguments[0] == PACK else ())


@contextlib.contextmanager
def _without(names: tuple[str, ...]) -> Iterator[None]:
    """Take variables out of the environment while the block runs."""
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
