"""How far each job of a study on a cluster is: by what its ranks wrote, Slurm's queue, and accounts if any."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hipseg.errors import PARTIAL_EXIT_CODE, STOPPED_EXIT_CODE, LaunchError
from hipseg.launch.cluster import QueueEntry, look_up, read_accounts, read_queue
from hipseg.launch.endings import Ending, read_endings, verdict_of
from hipseg.launch.graph import PRETRAINING, Job
from hipseg.launch.state import Record, StudyState
from hipseg.runs import StudyPaths

BAD_STAGES = ("failed", "stopped", "cancelled", "lost", "not run")
GONE = "it ended well, and its results are gone"
SLURM_WORDS: Mapping[str, str] = {
    "TIMEOUT": "reached its time limit before it could save; a longer --time",
    "NODE_FAIL": "its node was lost",
    "OUT_OF_MEMORY": "ran out of memory; more --mem, or a smaller train.batch_size",
    "BOOT_FAIL": "its node did not start",
    "DEADLINE": "could not start before its deadline",
    "PREEMPTED": "gave way to another job, and this cluster did not start it again",
    "FAILED": "could not write how it ended; is there space left for the results?",
}
"""Slurm's states of a job that ended without a word of its own. Source: squeue's manual, job state codes."""


@dataclass(frozen=True)
class Standing:
    """How far a job on a cluster is.

    Args:
        stage: as a record's, or `running`, `done`, `failed`, `stopped`, `lost`.
        reason: why it waits or how it ended; None where that goes without saying.
        requeued: how often it was put back into the queue.
        exit_code: of its command line.
    """

    stage: str
    reason: str | None = None
    requeued: int = 0
    exit_code: int | None = None


@dataclass(frozen=True)
class Sight:
    """What could be seen of a study.

    Args:
        standings: by the name of the job.
        blind: why Slurm could not be asked; None where it answered.
    """

    standings: Mapping[str, Standing]
    blind: str | None = None


def look_at_study(paths: StudyPaths, state: StudyState, complete: frozenset[str]) -> Sight:
    """Find out how far each job is; reads only.

    Args:
        paths, state: the study.
        complete: names of the jobs whose run is complete.
    """
    endings = _read_all(paths, state)
    queue, blind = _ask_queue(state.cluster)
    if blind is None:
        silent = [
            record.submitit_id
            for record in state.records
            if record.submitit_id
            and record.job.name not in complete
            and look_up(queue, record.submitit_id) is None
            and not any(one.exit_code is not None for one in endings.get(record.submitit_id, ()))
        ]
        queue = {**(read_accounts(silent) if silent else {}), **queue}
    standings: dict[str, Standing] = {}
    for record in state.records:
        number = record.submitit_id
        entry = look_up(queue, number) if number else None
        left = endings.get(number, ()) if number else ()
        if record.job.name in complete and not (entry and entry.is_live):
            standings[record.job.name] = Standing("skipped" if number is None else "done", requeued=_count_requeues(left))
            continue
        broken = next((one for one in record.job.after if one in standings and standings[one].stage in BAD_STAGES), None)
        waits = f"waits for {broken}, which {_past(standings[broken].stage)}" if broken else None
        standing = _judge(record, entry, left, waits, is_blind=blind is not None)
        is_gone = standing.stage == "done" and _lacks_its_run(paths, record.job)
        standings[record.job.name] = Standing("lost", GONE, standing.requeued) if is_gone else standing
    return Sight(standings, blind)


def _lacks_its_run(paths: StudyPaths, job: Job) -> bool:
    """Say whether a job has not left what its run writes last; looked up anew, since it may have come to its end just now."""
    if job.arm is not None and job.fold is not None:
        return not paths.fold(job.arm, job.fold, job.repeat).is_complete
    return job.name == PRETRAINING and not paths.pretraining.is_complete


def _read_all(paths: StudyPaths, state: StudyState) -> dict[str, tuple[Ending, ...]]:
    folders = {(paths.root / record.log).parent for record in state.records if record.log and record.submitit_id}
    return {number: endings for folder in sorted(folders) for number, endings in read_endings(folder).items()}


def _ask_queue(cluster: str | None) -> tuple[dict[str, QueueEntry], str | None]:
    try:
        return read_queue(cluster), None
    except LaunchError as error:
        return {}, str(error)


def _judge(record: Record, entry: QueueEntry | None, left: Sequence[Ending], waits: str | None, *, is_blind: bool) -> Standing:
    """Judge a job whose run is not complete."""
    requeued = _count_requeues(left)
    if record.submitit_id is None:
        never = Standing("not run", waits or "was not submitted; `hipseg resubmit` submits it")
        return never if record.stage == "queued" else Standing(record.stage, record.error)
    if entry is not None and entry.is_live:
        return Standing("queued", entry.reason or None, requeued) if entry.is_waiting else Standing("running", None, requeued)
    if record.stage == "cancelled":
        return Standing("cancelled", record.error, requeued)
    silence = Standing("running" if left else "queued", None, requeued) if is_blind else _judge_silence(entry, left, waits)
    return _judge_ending(left) or silence


def _judge_ending(left: Sequence[Ending]) -> Standing | None:
    """Judge by what the job wrote at its last start; None where that says nothing."""
    verdict, requeued = verdict_of(left), _count_requeues(left)
    if verdict is not None and not verdict.is_requeued:
        stage = "stopped" if verdict.exit_code == STOPPED_EXIT_CODE else "failed"
        return Standing(stage, verdict.error, requeued, verdict.exit_code)
    codes = [one.exit_code for one in left if one.rank is not None]
    if verdict is None and codes and all(code in (0, PARTIAL_EXIT_CODE) for code in codes):
        partial = next((one.error for one in left if one.exit_code == PARTIAL_EXIT_CODE), None)
        return Standing("done", partial, requeued, max(code or 0 for code in codes))
    return None


def _judge_silence(entry: QueueEntry | None, left: Sequence[Ending], waits: str | None) -> Standing:
    """Judge a job that is gone and did not say how, by Slurm's word for its end."""
    state, requeued = entry.state if entry is not None else None, _count_requeues(left)
    if waits is not None and not left:
        return Standing("not run", waits)
    if state == "COMPLETED":
        return Standing("done", None, requeued, 0)
    if state == "CANCELLED":
        return Standing("cancelled", "cancelled at the cluster", requeued)
    if state is not None:
        # A job whose ranks never began may have failed at anything.
        words = SLURM_WORDS if left or state != "FAILED" else {}
        return Standing("failed", words.get(state, f"Slurm says {state}"), requeued)
    return Standing("lost", "it is gone from the queue and nobody recorded how it ended", requeued)


def _count_requeues(left: Sequence[Ending]) -> int:
    return max((one.restart + one.is_requeued for one in left), default=0)


def _past(stage: str) -> str:
    return {"failed": "failed", "lost": "is lost", "not run": "was not run", "stopped": "was stopped"}.get(stage, f"was {stage}")
