"""A study on a cluster: what has to be submitted, on what terms, and what was."""

import dataclasses
import os
import shlex
import signal
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from hipseg.config import StudySettings, dump_settings
from hipseg.errors import LaunchError
from hipseg.fsio import write_text
from hipseg.launch.allocation import Allocation
from hipseg.launch.cluster import QueueEntry, cancel_jobs, look_up
from hipseg.launch.graph import AGGREGATE, REPORT, Job, in_order
from hipseg.launch.private import make_private
from hipseg.launch.request import Request
from hipseg.launch.slurm import Batch, Terms, dependency, gather, render_script, submit_batch
from hipseg.launch.state import Record, StudyState, write_state
from hipseg.launch.stops import catching_stops, shielding
from hipseg.runs import StudyPaths

SHOWN_NAMES = 15
"""Enough for the thesis's study; a study of 500 folds would fill the screen with one job's list."""


@dataclass(frozen=True)
class Charge:
    """What a command was asked for, and what its jobs are given for it."""

    request: Request
    allocation: Allocation


@dataclass(frozen=True)
class ClusterPlan:
    """A study that is ready to be submitted.

    Args:
        paths, settings, jobs: the study; each job stands behind those that it waits for.
        done: names of jobs that are complete.
        live: name of a job that is queued or runs and stays so, be it one of `jobs` or not -> Slurm's number.
        replaced: Slurm's numbers of jobs that wait for ones that failed, and are submitted anew, or whose run is complete.
        earlier: records of the submission before; those of other jobs stay in study.json.
        cluster: its name.
        charge: what was asked for now, and what the jobs are given for it.
        own: name of a job that is taken up as it was submitted before -> what it was asked for then, and is given.
        manifests: digests of the data.
        warnings: what is taken although it may not be meant, one sentence each.
    """

    paths: StudyPaths
    settings: StudySettings
    jobs: tuple[Job, ...]
    done: frozenset[str]
    live: Mapping[str, str]
    replaced: frozenset[str]
    earlier: tuple[Record, ...]
    cluster: str
    charge: Charge
    own: Mapping[str, Charge] = field(default_factory=dict)
    manifests: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def batches(self) -> tuple[Batch, ...]:
        """What has to be submitted."""
        left = [job for job in self.jobs if job.name not in self.done and job.name not in self.live]
        return tuple(batch for _, alike in groupby(left, self.charge_of) for batch in gather(tuple(alike)))

    def charge_of(self, job: Job) -> Charge:
        """Tell what a job is submitted for."""
        return self.own.get(job.name, self.charge)


def gather_runs(
    jobs: tuple[Job, ...], earlier: StudyState | None = None, queue: Mapping[str, QueueEntry] | None = None
) -> tuple[Job, ...]:
    """Let the table wait for every run of the study, those of earlier submissions that are still to end included.

    Args:
        jobs: the graph.
        earlier: the study as it was submitted before; None where nothing of it can be on its way.
        queue: what Slurm knows.
    """
    others = _find_others(jobs, earlier, queue or {}) if earlier is not None else {}
    runs = (*(job.name for job in jobs if job.arm is not None), *others)
    return tuple(dataclasses.replace(job, after=runs) if job.name == AGGREGATE else job for job in jobs)


def find_live(
    jobs: tuple[Job, ...], done: frozenset[str], earlier: StudyState | None, queue: Mapping[str, QueueEntry]
) -> tuple[dict[str, str], frozenset[str]]:
    """Tell the jobs of an earlier submission that are left alone from those that can no longer come to anything.

    Args:
        jobs: the graph, each behind those that it waits for.
        done: names of jobs that are complete.
        earlier: the study as it was submitted before; None where it was not.
        queue: what Slurm knows.
    Returns:
        Name -> Slurm's number of the first kind, those of the study that are not in the graph included; numbers of the second.
    """
    ids = {record.job.name: record.submitit_id for record in earlier.records if record.stage == "queued"} if earlier else {}
    live = _find_others(jobs, earlier, queue) if earlier else {}
    replaced: set[str] = set()
    for job in jobs:
        number = ids.get(job.name)
        entry = look_up(queue, number) if number else None
        if number is None or entry is None or not entry.is_live:
            continue
        if job.name in done:
            # Somebody else completed the run while its job waited.
            replaced |= {number} if entry.is_waiting else set()
            continue
        # What waits for a job that is submitted anew waits for the old one's number.
        is_met = all(name in live or name in done for name in job.after)
        if entry.is_waiting and not is_met:
            replaced.add(number)
        elif is_met or job.name not in (AGGREGATE, REPORT):
            # A table or page that is being made holds nothing of the runs to come, and is made again after them.
            live[job.name] = number
    return live, frozenset(replaced)


def _find_others(jobs: Iterable[Job], earlier: StudyState, queue: Mapping[str, QueueEntry]) -> dict[str, str]:
    """Find the runs that are queued or run and are none of these jobs; name -> Slurm's number."""
    names = {job.name for job in jobs}
    queued = ((one.job, one.submitit_id) for one in earlier.records if one.stage == "queued" and one.submitit_id)
    runs = {job.name: number for job, number in queued if job.arm is not None and job.name not in names}
    return {name: number for name, number in runs.items() if (entry := look_up(queue, number)) is not None and entry.is_live}


def refuse_other_settings(paths: StudyPaths, settings: StudySettings) -> None:
    """Refuse to change the settings under jobs that have not read them yet.

    Raises:
        LaunchError: the settings that the queued jobs read are others.
    """
    if paths.settings.is_file() and paths.settings.read_text(encoding="utf-8") != dump_settings(settings):
        raise LaunchError(
            f"jobs of this study are queued or run with other settings than these ({paths.settings}); wait for them, end them "
            f"with `hipseg cancel {shlex.quote(str(paths.root))}`, or choose another folder with --results"
        )


def show_plan(plan: ClusterPlan, say: Callable[[str], None]) -> None:
    """Show every script as sbatch would get it, and the graph; submits and writes nothing."""
    for batch in plan.batches:
        resources = plan.charge_of(batch.jobs[0]).allocation.resources[batch.stage]
        names = {batch.name: f"<number of {batch.name}>" for batch in plan.batches}
        numbers = {job.name: names[one.name] for one in plan.batches for job in one.jobs} | dict(plan.live)
        waited = sorted({numbers[name] for name in batch.after if name in numbers})
        waits = ":".join(("afterok", *waited)) if waited else None
        say(f"== {batch.name}: {_count(batch)}")
        say(render_script(plan.paths, batch, resources, _terms(plan, batch, waits)))
        for job in batch.jobs:
            say(f"{job.name}\n  {job.command}")
            if job.after:
                say(f"  after {_list_names(job.after)}")
        say("")
    for name in sorted(plan.done):
        say(f"{name}: complete, not run again")
    for name, number in plan.live.items():
        say(f"{name}: already submitted as {number}")
    jobs = sum(len(batch.jobs) for batch in plan.batches)
    say(f"{jobs} jobs in {len(plan.batches)} submissions to {plan.cluster}; nothing was submitted")


def submit_plan(plan: ClusterPlan, say: Callable[[str], None]) -> StudyState:
    """Submit what has to be, in the order of the graph; study.json names each job as soon as Slurm has it.

    Args:
        plan: the study; the caller holds its lock.
        say: told one line a submission.
    Returns:
        The study as submitted.
    Raises:
        LaunchError: Slurm refused a job. Those before it stay in the queue, and the same command submits the rest.
        ConfigError: a file cannot be written.
        KeyboardInterrupt, Stopped: a signal came. What Slurm had got by then is written down, and the rest was not submitted.
    """
    make_private(plan.paths.jobs)
    write_text(plan.paths.settings, dump_settings(plan.settings))
    cancel_jobs(plan.replaced)
    state = _begin(plan)
    write_state(plan.paths, state)
    numbers = dict(plan.live)
    whole: set[str] = set()
    for batch in plan.batches:
        waits = dependency(numbers, batch.after, whole)
        resources = plan.charge_of(batch.jobs[0]).allocation.resources[batch.stage]
        # A job that Slurm has and study.json does not name would be submitted a second time.
        with catching_stops() as stops:
            with shielding():
                submitted = submit_batch(plan.paths, batch, resources, _terms(plan, batch, waits))
            state = _record_submitted(plan.paths, state, batch, submitted)
        numbers |= {job.name: number for job, (number, _) in zip(batch.jobs, submitted, strict=True)}
        base = submitted[0][0].partition("_")[0]
        whole.add(base)
        say(f"submitted {batch.name}: {_count(batch)} as {base}" + (f", {waits.replace(':', ' ', 1)}" if waits else ""))
        for number in stops:
            signal.raise_signal(number)
    return state


def _record_submitted(paths: StudyPaths, state: StudyState, batch: Batch, submitted: tuple[tuple[str, Path], ...]) -> StudyState:
    for job, (number, log) in zip(batch.jobs, submitted, strict=True):
        relative = os.path.relpath(log, paths.root.absolute())
        before = state.record(job.name)
        state = state.with_record(dataclasses.replace(before, submitit_id=number, log=relative))
    write_state(paths, state)
    return state


def _begin(plan: ClusterPlan) -> StudyState:
    """Give the study as it is before anything is submitted."""
    names = {job.name for job in plan.jobs}
    others = [record for record in plan.earlier if record.job.name not in names]
    by_name = {record.job.name: record for record in (*others, *(_record_before(plan, job) for job in plan.jobs))}
    # Of several submissions the later may hold what jobs of the earlier wait for: `hipseg resubmit` goes by this order.
    records = tuple(by_name[job.name] for job in in_order(record.job for record in by_name.values()))
    return StudyState(records, socket.gethostname(), os.getpid(), time.time(), plan.manifests, plan.cluster, plan.charge.request)


def _record_before(plan: ClusterPlan, job: Job) -> Record:
    if job.name in plan.done:
        return Record(job, "skipped", request=plan.charge_of(job).request)
    before = next((record for record in plan.earlier if record.job.name == job.name), None)
    if job.name in plan.live and before is not None:
        return dataclasses.replace(before, job=job)
    return Record(job, "queued", request=plan.charge_of(job).request)


def _terms(plan: ClusterPlan, batch: Batch, waits: str | None) -> Terms:
    request = plan.charge_of(batch.jobs[0]).request
    return Terms(waits, request.max_running, request.max_requeues)


def _count(batch: Batch) -> str:
    return "1 job" if len(batch.jobs) == 1 else f"{len(batch.jobs)} jobs"


def _list_names(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:SHOWN_NAMES])
    return shown if len(names) <= SHOWN_NAMES else f"{shown} and {len(names) - SHOWN_NAMES} more"
