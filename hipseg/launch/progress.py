"""How far a study is, read from its files only: study.json, each run's history and summary, and the ends of the logs."""

import csv
import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hipseg.config import load_settings
from hipseg.errors import ReportError
from hipseg.fsio import read_json
from hipseg.launch.graph import PRETRAINING
from hipseg.launch.state import Record, StudyState, is_alive
from hipseg.runs import FoldPaths, StudyPaths

LOG_TAIL_BYTES = 4096
SUBMITIT_PREFIX = "submitit "
"""What submitit's own lines in a log begin with."""


@dataclass(frozen=True)
class Progress:
    """One job and how far it is.

    Args:
        record: what study.json says.
        stage: the record's, or `lost` where a job's process is gone and nobody recorded how it ended.
        epoch, epochs: the last epoch that ended, and how many there will be.
        remaining_s: seconds of training still to come, from the median epoch so far.
        dice: mean over the validation cases of a complete run.
        last_line: what a failed, cancelled or lost job said last.
    """

    record: Record
    stage: str
    epoch: int | None = None
    epochs: int | None = None
    remaining_s: float | None = None
    dice: float | None = None
    last_line: str | None = None


def is_driven(state: StudyState) -> bool:
    """Say whether the command that starts the study's jobs still runs; on another host it is taken to."""
    return is_alive(state.driver_pid, state.driver_started_s, state.host) is not False


def read_progress(paths: StudyPaths, state: StudyState) -> tuple[Progress, ...]:
    """Read how far each job is.

    Args:
        paths: the results.
        state: what study.json says.
    Returns:
        One entry a job, in the order of the graph.
    Raises:
        ReportError: the summary of a complete run is damaged.
    """
    epochs = _planned_epochs(paths)
    driven = is_driven(state)
    return tuple(_look_at(paths, state, record, epochs, driven) for record in state.records)


def _look_at(paths: StudyPaths, state: StudyState, record: Record, epochs: dict[str, int], driven: bool) -> Progress:
    run = _run_of(paths, record)
    stage: str = record.stage
    if stage == "running" and not driven and is_alive(record.pid, record.started_s, state.host) is False:
        # Nobody was left to write down how it ended; a run that came to its end shows that itself.
        stage = "done" if run and run.is_complete else "lost"
    if stage in ("done", "skipped"):
        return Progress(record, stage, dice=_read_dice(run) if run and record.job.arm else None)
    if stage == "running" and run:
        planned = epochs.get(PRETRAINING if record.job.arm is None else "train")
        return _measure(run, record, planned)
    ended_badly = stage in ("failed", "stopped", "cancelled", "lost")
    return Progress(record, stage, last_line=_read_last_line(paths.root / record.log) if ended_badly and record.log else None)


def _run_of(paths: StudyPaths, record: Record) -> FoldPaths | None:
    job = record.job
    if job.arm is not None and job.fold is not None:
        return paths.fold(job.arm, job.fold)
    return paths.pretraining if job.name == PRETRAINING else None


def _planned_epochs(paths: StudyPaths) -> dict[str, int]:
    if not paths.settings.is_file():
        return {}
    settings = load_settings(paths.settings)
    return {"train": settings.train.epochs, PRETRAINING: settings.pretrain.train.epochs}


def _measure(run: FoldPaths, record: Record, epochs: int | None) -> Progress:
    rows = _read_history(run.history, record.started_s or 0.0)
    if not rows:
        return Progress(record, "running", epoch=0, epochs=epochs)
    epoch = rows[-1][0]
    pace_s = statistics.median(seconds for _, seconds in rows)
    remaining_s = max(0, epochs - epoch) * pace_s if epochs is not None else None
    return Progress(record, "running", epoch=epoch, epochs=epochs, remaining_s=remaining_s)


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


def _read_last_line(path: Path) -> str | None:
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            lines = handle.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    said = [line.strip() for line in lines if line.strip() and not line.startswith(SUBMITIT_PREFIX)]
    return said[-1] if said else None
