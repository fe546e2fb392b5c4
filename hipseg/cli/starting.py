"""Start a study, here or on a cluster: what `hipseg submit` and `hipseg resubmit` share."""

import contextlib
import dataclasses
import math
import os
import shlex
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from hipseg.cli.foundation import look_at_foundation, show_warnings
from hipseg.config import StudySettings, dump_settings
from hipseg.errors import ConfigError, LaunchError
from hipseg.fsio import locked, write_text
from hipseg.launch.allocation import allocate
from hipseg.launch.cluster import ask_setting, look_up, name_cluster, read_queue
from hipseg.launch.graph import AGGREGATE, Job, Packing, Part, choose_part, give_ranks, in_order, plan_study, share_threads
from hipseg.launch.local import run_study
from hipseg.launch.machine import Machine, count_runs, count_threads, estimate_memory_bytes, look_at_machine
from hipseg.launch.prepared import find_prepared
from hipseg.launch.private import find_open
from hipseg.launch.ready import check_earlier, check_scans, find_done, has_splits
from hipseg.launch.request import Request
from hipseg.launch.site import PROFILE, SiteProfile, ask_site, read_site
from hipseg.launch.slurm import gather, refuse_path
from hipseg.launch.state import ABANDONED, Record, StudyState, read_state
from hipseg.launch.stopping import wait_for_cancelled
from hipseg.launch.submission import Charge, ClusterPlan, find_live, gather_runs, refuse_other_settings, show_plan, submit_plan
from hipseg.launch.wanted import drop_unwanted
from hipseg.runs import StudyPaths


@dataclass(frozen=True)
class Plan:
    """A study that is ready to start on this machine; `own` and `others` as `run_study` takes them."""

    paths: StudyPaths
    settings: StudySettings
    request: Request
    jobs: tuple[Job, ...]
    done: frozenset[str]
    manifests: Mapping[str, str]
    machine: Machine
    runs_at_once: int
    own: dict[str, Request]
    others: tuple[Record, ...]
    warnings: tuple[str, ...]


def start_here(settings: StudySettings, request: Request, before: tuple[Record, ...] = (), *, dry_run: bool) -> None:
    """Run a study on this machine and stay until its last job has ended.

    Args:
        settings: the study.
        request: what was asked for.
        before: jobs of earlier commands, to be taken up as those asked for them; none to do what is asked for now alone.
        dry_run: only show the jobs and their commands.
    """
    request.refuse_here()
    plan = _make_plan(settings, request, before)  # what cannot start leaves no results folder behind
    show_warnings(plan.warnings)
    if dry_run:
        _show(plan)
        return
    with locked(plan.paths.lock, f"the study in {plan.paths.root}"):
        _warn_of_others(plan.paths)
        _run(_make_plan(settings, request, before))


def start_on_cluster(settings: StudySettings, request: Request, before: tuple[Record, ...] = (), *, dry_run: bool) -> None:
    """Submit a study to Slurm and come back at once.

    Args:
        settings: the study.
        request: what was asked for.
        before: jobs of earlier submissions, to be taken up as they were then; none to lay the study out anew.
        dry_run: only show scripts and graph.
    """
    site = _look_at_site()
    paths = StudyPaths(settings.results)
    refuse_path(paths.root)
    plan = _plan_for_cluster(settings, request, before, site)
    show_warnings(plan.warnings)
    if dry_run:
        show_plan(plan, click.echo)
        return
    with locked(paths.lock, f"the study in {paths.root}"):
        if paths.state.is_file():
            wait_for_cancelled(read_state(paths))
        plan = _plan_for_cluster(settings, request, before, site)
        _warn_of_others(paths)
        for warning in dict.fromkeys(one for job in plan.jobs for one in plan.charge_of(job).allocation.warnings):
            click.echo(f"warning: {warning}", err=True)
        submit_plan(plan, click.echo)
    for kind, names in (("complete before", plan.done), ("submitted before", plan.live)):
        if names:
            click.echo(f"{kind}: {len(names)} job{'s' * (len(names) > 1)}")
    root = shlex.quote(str(paths.root))
    click.echo(f"`hipseg status {root}` shows how far it is; `hipseg cancel {root}` ends it")


def _look_at_site() -> SiteProfile:
    """Read the cluster's profile if it is this cluster's; a home folder may be that of several."""
    if shutil.which("srun") is None:
        raise LaunchError("no srun here, which submitit asks for; Slurm's programs are needed on PATH")
    if not PROFILE.is_file():
        return ask_site()
    site, here = read_site(PROFILE), name_cluster()
    if site.cluster == here:
        return site
    click.echo(
        f"warning: {PROFILE} is of the cluster {site.cluster}, and this is {here}, which is asked in its place; "
        f"`hipseg doctor --write-profile` writes it anew",
        err=True,
    )
    return ask_site()


def _warn_of_others(paths: StudyPaths) -> None:
    # Only a warning: on some file systems every folder looks so, and on some machines there is nobody else.
    if (folder := find_open(paths.root)) is not None:
        click.echo(
            f"warning: everybody may write to {folder}, and so put other jobs in the place of those in {paths.jobs}, which run "
            "as you; take that right away with `chmod o-w`, or choose another folder with --results",
            err=True,
        )


def _plan_for_cluster(settings: StudySettings, request: Request, before: tuple[Record, ...], site: SiteProfile) -> ClusterPlan:
    paths = StudyPaths(settings.results)
    asked = {record.job.name: record.request or request for record in before}
    requests = dict.fromkeys((request, *asked.values()))
    if request.pack is not None and not before:
        check_scans(Path(request.pack))
    wanted, _ = drop_unwanted(paths, settings, before)
    jobs = in_order(record.job for record in wanted) if before else _lay_out(settings, request)
    packs_first = any(one.pack is not None for one in requests)
    foundation = look_at_foundation(settings, _join_parts(settings, requests), packs_first=packs_first)
    done = find_done(paths, settings, jobs, foundation.digests)
    waiting = [job for job in jobs if job.name not in done]
    charges = {
        one: _charge(settings, one, site, [job for job in waiting if asked.get(job.name, request) == one]) for one in requests
    }
    own = {name: charges[one] for name, one in asked.items()}
    if before:
        jobs = tuple(one for job in jobs for one in give_ranks((job,), own[job.name].allocation.ranks))
    else:
        allocation = charges[request].allocation
        jobs = give_ranks(share_threads(jobs, settings, allocation.resources["finetune"].cpus_per_rank), allocation.ranks)
    earlier = _of_cluster(paths, check_earlier(paths, foundation.manifests, done), site)
    queue = read_queue(earlier.cluster) if earlier is not None else {}
    if earlier is not None:
        done |= find_prepared(paths, settings, jobs, done, earlier)
        jobs = gather_runs(jobs, earlier, queue)
    live, replaced = find_live(jobs, done, earlier, queue)
    if live:
        refuse_other_settings(paths, settings)
    records, dropped = drop_unwanted(paths, settings, earlier.records if earlier is not None else (), live)
    warned = (*foundation.warnings, *dropped)
    charge = charges[request]
    plan = ClusterPlan(
        paths, settings, jobs, done, live, replaced, records, site.cluster, charge, own, foundation.manifests, warned
    )
    _refuse_long_arrays(plan)
    return plan


def _refuse_long_arrays(plan: ClusterPlan) -> None:
    longest = max(plan.batches, key=lambda batch: len(batch.jobs), default=None)
    most = ask_setting("MaxArraySize")
    if longest is not None and most is not None and len(longest.jobs) > max(1, int(most)):
        raise LaunchError(
            f"{longest.name} has {len(longest.jobs)} jobs, and this cluster takes arrays of up to {most} (MaxArraySize); submit "
            f"them in steps, with fewer --repeats or some of the folds by --fold"
        )


def _charge(settings: StudySettings, request: Request, site: SiteProfile, jobs: list[Job]) -> Charge:
    """Find what the jobs of one command are given, of which those that are not done are judged."""
    networks = {settings.arm(arm).network for arm in choose_part(settings, request.arms).arms}
    stages = {batch.stage for batch in gather(tuple(jobs))}
    return Charge(request, allocate(request, site, os.environ, partial(estimate_memory_bytes, settings, networks), stages))


def _join_parts(settings: StudySettings, requests: Iterable[Request]) -> Part:
    """Give the part of the study that several commands asked for together."""
    parts = [choose_part(settings, one.arms, one.folds, one.repeats) for one in requests]
    arms, folds = ({name for part in parts for name in part.arms}, {fold for part in parts for fold in part.folds})
    return choose_part(settings, tuple(arms), tuple(folds), max(part.repeats for part in parts))


def _lay_out(settings: StudySettings, request: Request) -> tuple[Job, ...]:
    """Lay out the jobs of one command on a cluster."""
    part = choose_part(settings, request.arms, request.folds, request.repeats)
    packing = Packing(Path(request.pack), request.pack_parts) if request.pack is not None else None
    return plan_study(settings, StudyPaths(settings.results).settings, part, has_splits=has_splits(settings), packing=packing)


def _make_plan(settings: StudySettings, request: Request, before: tuple[Record, ...]) -> Plan:
    paths = StudyPaths(settings.results)
    requests = dict.fromkeys(record.request or request for record in before) or {request: None}
    part = _join_parts(settings, requests)
    jobs, own = _lay_out_here(settings, requests)
    ranks = max(job.ranks for job in jobs)
    foundation = look_at_foundation(settings, part)
    done = find_done(paths, settings, jobs, foundation.digests)
    earlier = check_earlier(paths, foundation.manifests, done)
    _refuse_queued(paths, earlier)
    records, dropped = drop_unwanted(paths, settings, earlier.records if earlier is not None else ())
    others, warned = _keep_others(paths, records, jobs), (*foundation.warnings, *dropped)
    machine = look_at_machine()
    memory_bytes = estimate_memory_bytes(settings, {settings.arm(arm).network for arm in part.arms}, ranks)
    runs_at_once = request.max_running or count_runs(machine, memory_bytes, ranks)
    _check_machine(machine, runs_at_once, ranks, memory_bytes)
    if runs_at_once * ranks > 1:
        jobs = share_threads(jobs, settings, count_threads(machine, runs_at_once * ranks))
    return Plan(paths, settings, request, jobs, done, foundation.manifests, machine, runs_at_once, own, others, warned)


def _lay_out_here(settings: StudySettings, requests: Iterable[Request]) -> tuple[tuple[Job, ...], dict[str, Request]]:
    """Lay out the jobs of several commands on this machine together, and tell which asked for each."""
    jobs: dict[str, Job] = {}
    own: dict[str, Request] = {}
    for request in requests:
        part = choose_part(settings, request.arms, request.folds, request.repeats)
        planned = plan_study(settings, StudyPaths(settings.results).settings, part, has_splits=has_splits(settings))
        jobs |= {job.name: job for job in give_ranks(planned, request.ranks or 1)}
        own |= {job.name: request for job in planned}
    return in_order(gather_runs(tuple(jobs.values()))), own


def _keep_others(paths: StudyPaths, records: Iterable[Record], jobs: tuple[Job, ...]) -> tuple[Record, ...]:
    """Give the records of the study's jobs that are not to run now; nobody works at them any more."""
    names = {job.name for job in jobs}
    others = (record for record in records if record.job.name not in names)
    return tuple(_settle(paths, record) if record.stage in ("queued", "running") else record for record in others)


def _settle(paths: StudyPaths, record: Record) -> Record:
    job = record.job
    if job.arm is not None and job.fold is not None and paths.fold(job.arm, job.fold, job.repeat).is_complete:
        return dataclasses.replace(record, stage="done")
    return dataclasses.replace(record, stage="not run", error=ABANDONED)


def _of_cluster(paths: StudyPaths, earlier: StudyState | None, site: SiteProfile) -> StudyState | None:
    """Give an earlier study if this cluster was to run it; one of this machine has left nothing that is queued anywhere."""
    if earlier is None or earlier.cluster is None:
        return None
    if earlier.cluster != site.cluster:
        raise LaunchError(
            f"the study in {paths.root} was submitted to the cluster {earlier.cluster}, and this is {site.cluster}; choose "
            f"another folder with --results, or delete {paths.state} if nothing runs there any more"
        )
    return earlier


def _refuse_queued(paths: StudyPaths, earlier: StudyState | None) -> None:
    """Refuse to run here what a cluster may be running."""
    if earlier is None or earlier.cluster is None or not earlier.live_ids:
        return
    try:
        queue = read_queue(earlier.cluster)
    except LaunchError as error:
        raise LaunchError(
            f"the study in {paths.root} was submitted to the cluster {earlier.cluster}, which cannot be asked from here "
            f"({error}); choose another folder with --results, or delete {paths.state} if nothing runs there any more"
        ) from error
    live = [one for one in sorted(earlier.live_ids) if (entry := look_up(queue, one)) is not None and entry.is_live]
    if live:
        raise LaunchError(
            f"{len(live)} jobs of this study are queued or run on the cluster {earlier.cluster} ({live[0]} is the first); "
            f"end them with `hipseg cancel {shlex.quote(str(paths.root))}`, or choose another folder with --results"
        )


def _check_machine(machine: Machine, runs_at_once: int, ranks: int, memory_bytes: int) -> None:
    cards = len(machine.gpus)
    if cards and runs_at_once * ranks > cards:
        raise ConfigError(
            f"{runs_at_once} runs at once of {ranks} ranks need {runs_at_once * ranks} graphics cards, and there are {cards}: "
            f"the others would train on the processor; ask for less with --max-running and --ranks, or hide the cards with "
            f"CUDA_VISIBLE_DEVICES= before the command"
        )
    if not cards and memory_bytes > machine.memory_bytes:
        click.echo(
            f"warning: one run needs about {math.ceil(memory_bytes / 1024**3)} GB of memory and "
            f"{machine.memory_bytes / 1024**3:.0f} GB are free; a smaller train.batch_size needs less",
            err=True,
        )


def _show(plan: Plan) -> None:
    for job in plan.jobs:
        note = " (complete, not run again)" if job.name in plan.done else f" ({job.ranks} ranks)" if job.ranks > 1 else ""
        after = f"  after {', '.join(job.after)}" if job.after else ""
        click.echo(f"{job.name}{note}\n  {job.command}")
        if after:
            click.echo(after)
    click.echo(f"{len(plan.jobs)} jobs, {plan.runs_at_once} at once; nothing was started")


def _run(plan: Plan) -> None:
    write_text(plan.paths.settings, dump_settings(plan.settings))
    waiting = len(plan.jobs) - len(plan.done)
    click.echo(f"jobs: {waiting}, complete before: {len(plan.done)}, at once: {plan.runs_at_once}; results: {plan.paths.root}")
    state = run_study(
        plan.paths,
        plan.jobs,
        plan.done,
        runs_at_once=plan.runs_at_once,
        report=lambda record: _tell(plan.paths, record),
        gpus=plan.machine.gpus,
        manifests=plan.manifests,
        request=plan.request,
        own=plan.own,
        others=plan.others,
    )
    records = [state.record(job.name) for job in plan.jobs]
    for record in records:
        click.echo(_describe(record))
    _finish(plan, records)


def _finish(plan: Plan, records: list[Record]) -> None:
    stages = [record.stage for record in records]
    if {"stopped", "cancelled"} & set(stages) or any(record.error == "the study was stopped" for record in records):
        click.echo("stopped; the same command goes on from here", err=True)
        raise SystemExit(130)
    failed = [record.job.name for record in records if record.stage == "failed"]
    if failed:
        raise LaunchError(
            f"{len(failed)} of {len(stages)} jobs failed ({', '.join(failed)}), {stages.count('not run')} were not run; "
            f"`hipseg status {shlex.quote(str(plan.paths.root))}` says why, and the same command runs what is left"
        )
    if any(job.name == AGGREGATE for job in plan.jobs):
        click.echo(f"table: {plan.paths.comparison('md')}, page: {plan.paths.report}")
    else:
        root = shlex.quote(str(plan.paths.root))
        click.echo(f"only some folds were run; once all are complete, `hipseg aggregate {root}` makes the table")


def _tell(paths: StudyPaths, record: Record) -> None:
    more = f": {record.error}" if record.error else ""
    if record.stage == "running" and record.log:
        more = f", log {paths.root / record.log}"
    # The terminal may be gone, for which what runs is just being stopped.
    with contextlib.suppress(OSError):
        click.echo(f"{time.strftime('%H:%M:%S')} {record.stage} {record.job.name}{more}")


def _describe(record: Record) -> str:
    if record.stage == "skipped":
        return f"{record.job.name}: complete before"
    took = ""
    if record.started_s is not None and record.finished_s is not None:
        took = f" after {record.finished_s - record.started_s:.0f} s"
    return f"{record.job.name}: {record.stage}{took}" + (f": {record.error}" if record.error else "")
