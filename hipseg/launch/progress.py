"""How far a study is: study.json, each run's history and summary, the ends of the logs and, on a cluster, Slurm's queue."""

import csv
import dataclasses
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hipseg.config import load_settings
from hipseg.errors import ReportError
from hipseg.fsio import read_json
from hipseg.launch.graph import PRETRAINING
from hipseg.launch.log import read_last_line
from hipseg.launch.standing import BAD_STAGES, Sight, Standing, look_at_study
from hipseg.launch.state import ABANDONED, Record, StudyState, is_alive
from hipseg.runs import FoldPaths, StudyPaths

LOST_TEXT = "its process is gone and nobody recorded how it ended"


@dataclass(frozen=True)
class Progress:
    """One job and how far it is.

    Args:
        record: what study.json says.
        stage: how far it is now; `lost` where it is gone and nobody recorded how it ended.
        reason: why it waits, or how it ended.
        requeued: how often a cluster put it back into the queue.
        exit_code: of its command line; None while it runs.
        epoch, epochs: the last epoch that ended, and how many there will be.
        remaining_s: seconds of training still to come, from the median epoch so far.
        dice: mean over the validation cases of a complete run.
        last_line: what a job that did not end well said last.
    """

    record: Record
    stage: str
    reason: str | None = None
    requeued: int = 0
    exit_code: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    remaining_s: float | None = None
    dice: float | None = None
    last_line: str | None = None


@dataclass(frozen=True)
class StudyProgress:
    """A study and how far it is.

    Args:
        jobs: one entry a job, in the order of the graph.
        blind: why the cluster could not be asked; None where it could, or was not needed.
    """

    jobs: tuple[Progress, ...]
    blind: str | None = None


def is_driven(state: StudyState) -> bool:
    """Say whether somebody starts the study's jobs: a cluster, or the command that does; on another host it is taken to."""
    return state.cluster is not None or is_alive(state.driver_pid, state.driver_started_s, state.host) is not False


def read_progress(paths: StudyPaths, state: StudyState) -> StudyProgress:
    """Read how far each job is.

    Args:
        paths: the results.
        state: what study.json says.
    Raises:
        ReportError: the summary of a complete run is damaged.
    """
    epochs = _planned_epochs(paths)
    if state.cluster is None:
        driven = is_driven(state)
        standings = {record.job.name: _stand_here(paths, state, record, driven=driven) for record in state.records}
        sight = Sight(standings)
    else:
        runs = {record.job.name: _run_of(paths, record) for record in state.records}
        sight = look_at_study(paths, state, frozenset(name for name, run in runs.items() if run and run.is_complete))
    jobs = tuple(_look_at(paths, record, sight.standings[record.job.name], epochs) for record in state.records)
    return StudyProgress(jobs, sight.blind)


def _stand_here(paths: StudyPaths, state: StudyState, record: Record, *, driven: bool) -> Standing:
    """Tell how far a job on this machine is."""
    if record.stage == "running" and not driven and is_alive(record.pid, record.started_s, state.host) is False:
        # Nobody was left to write down how it ended; a run that came to its end shows that itself.
        run = _run_of(paths, record)
        return Standing("done") if run and run.is_complete else Standing("lost", LOST_TEXT)
    if record.stage == "queued" and not driven:
        return Standing("not run", ABANDONED)
    return Standing(record.stage, record.error, exit_code=record.exit_code)


def _look_at(paths: StudyPaths, record: Record, standing: Standing, epochs: dict[str, int]) -> Progress:
    run, base = _run_of(paths, record), Progress(record, standing.stage, standing.reason, standing.requeued, standing.exit_code)
    if standing.stage in ("done", "skipped"):
        return dataclasses.replace(base, dice=_read_dice(run) if run and record.job.arm else None)
    if standing.stage == "running" and run:
        return _measure(run, base, epochs.get(PRETRAINING if record.job.arm is None else "train"))
    if standing.stage in BAD_STAGES and record.log:
        return dataclasses.replace(base, last_line=read_last_line(paths.root / record.log))
    return base


def _run_of(paths: StudyPaths, record: Record) -> FoldPaths | None:
    job = record.job
    if job.arm is not None and job.fold is not None:
        return paths.fold(job.arm, job.fold, job.repeat)
    return paths.pretraining if job.name == PRETRAINING else None


def _planned_epochs(paths: StudyPaths) -> dict[str, int]:
    if not paths.settings.is_file():
        return {}
    settings = load_settings(paths.settings)
    return {"train": settings.train.epochs, PRETRAINING: settings.pretrain.train.epochs}


def _measure(run: FoldPaths, base: Progress, epochs: int | None) -> Progress:
    rows = _read_history(run.history, base.record.started_s or 0.0)
    if not rows:
        return dataclasses.replace(base, epoch=0, epochs=epochs)
    epoch = rows[-1][0]
    pace_s = statistics.median(seconds for _, seconds in rows)
    remaining_s = max(0, epochs - epoch) * pace_s if epochs is not None else None
    return dataclasses.replace(base, epoch=epoch, epochs=epochs, remaining_s=remaining_s)


def _read_history(path: Path, since_s: float) -> list[tuple[int, float]]:
    """Read number and seconds of each epoch; none where the file is not there, no history, or left by an earlier attempt."""
    try:
        if path.stat().st_mtime < since_s:
            return []
        with path.open(encoding="utf-8", newline="") as handle:
            return [(int(row["epoch"]), float(row["seconds"])) for row in csv.DictReader(handle)]
    except (OSError, KeyError, TypeError, ValueError):
        return []


def _read_dice(run: FoldPaths) -> float | None:
    if not run.is_complete:
        return None
    summary: Any = read_json(run.summary, ReportError, "summary")
    try:
        value = summary["foreground_mean"]["Dice"]
        return math.nan if value is None else float(value)
    except (KeyError, TypeError, ValueError) as error:
        raise ReportError(f"summary at {run.summary} has no foreground_mean.Dice; evaluate the fold again") from error
