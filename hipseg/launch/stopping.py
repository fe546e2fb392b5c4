"""End a submitted study: its jobs save what they have, and go on when it is submitted again."""

import contextlib
import dataclasses
import os
import signal
import time

from hipseg.errors import LaunchError
from hipseg.launch.cluster import cancel_jobs, look_up, read_queue
from hipseg.launch.state import Record, StudyState, is_alive, is_seen_from_here, write_state
from hipseg.runs import StudyPaths

CANCELLED = "cancelled with `hipseg cancel`"
ENDING_LIMIT_S = 90.0
"""Slurm gives a cancelled job KillWait, 30 s unless a site says otherwise, to save."""
POLL_S = 1.0


def cancel_on_cluster(paths: StudyPaths, state: StudyState) -> tuple[str, ...]:
    """Cancel the jobs that are queued or run, and write that down.

    Args:
        paths: the results; the caller holds the study's lock.
        state: the study.
    Returns:
        Names of the jobs.
    Raises:
        LaunchError: Slurm does not answer, is another cluster's or refused.
    """
    queue = read_queue(state.cluster)
    live = [
        record for record in state.records if _is_live(record) and (e := look_up(queue, record.submitit_id or "")) and e.is_live
    ]
    cancel_jobs(record.submitit_id for record in live if record.submitit_id)
    for record in live:
        state = state.with_record(dataclasses.replace(record, stage="cancelled", error=CANCELLED))
    write_state(paths, state)
    return tuple(record.job.name for record in live)


def wait_for_cancelled(state: StudyState, limit_s: float = ENDING_LIMIT_S) -> None:
    """Wait until jobs that were cancelled have saved and gone: a run's folder belongs to one job at a time.

    Args:
        state: the study.
        limit_s: how long.
    Raises:
        LaunchError: one is still there.
    """
    if state.cluster is None:
        return
    numbers = [record.submitit_id for record in state.records if record.stage == "cancelled" and record.submitit_id]
    deadline_s = time.monotonic() + limit_s
    while numbers:
        queue = read_queue(state.cluster)
        left = [number for number in numbers if (entry := look_up(queue, number)) is not None and entry.is_live]
        if not left:
            return
        if time.monotonic() > deadline_s:
            raise LaunchError(f"job {left[0]} was cancelled and is still ending; try again in a minute (`squeue --me` shows it)")
        time.sleep(POLL_S)


def stop_here(state: StudyState) -> tuple[str, ...]:
    """Ask the command that runs a study on this machine to stop, or where it is gone what it left running.

    Args:
        state: the study.
    Returns:
        Names of the jobs that were asked.
    Raises:
        LaunchError: the study runs on another machine.
    """
    running = [record for record in state.records if record.stage == "running"]
    if not is_seen_from_here(state.host):
        raise LaunchError(f"the study runs on {state.host}, whose processes cannot be seen from here; give the command there")
    if is_alive(state.driver_pid, state.driver_started_s, state.host):
        _ask(state.driver_pid)
        return tuple(record.job.name for record in running)
    left = [record for record in running if is_alive(record.pid, record.started_s, state.host)]
    for record in left:
        _ask(record.pid)
    return tuple(record.job.name for record in left)


def _is_live(record: Record) -> bool:
    return record.submitit_id is not None and record.stage == "queued"


def _ask(pid: int | None) -> None:
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
