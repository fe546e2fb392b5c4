"""What a job on the cluster leaves about itself: one small file a rank and start, and one of the batch script's verdict.

Nobody stays to watch such a job, and a cluster need not keep accounts: these files say when a rank began, how it ended and
whether the job was started again. They are JSON, never unpickled, and named by the start, so that nothing of an earlier start is
taken for the present one.
"""

import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hipseg.errors import LaunchError
from hipseg.fsio import write_json

PRIVATE_MODE = 0o600
BATCH = "batch"
"""What stands in the place of a rank in the name of the batch script's file."""
_NAME = re.compile(r"(?P<job>\d+(?:_\d+)?)\.(?P<restart>\d+)\.(?:rank\d+|batch)\.json")


@dataclass(frozen=True)
class Start:
    """One start of a job on the cluster, as Slurm's variables name it.

    Args:
        job_id: as squeue writes it, 123 or 123_4 in an array. SLURM_JOB_ID would not do: for one task of an array it is the
            number of the whole array, and what is done to it is done to all.
        restart: how often the job had been started before.
        rank: of this process; 0 in the batch script.
    """

    job_id: str
    restart: int
    rank: int


@dataclass(frozen=True)
class Ending:
    """How one rank's start, or in the end the job's, went.

    Args:
        restart: how often the job had been started before.
        rank: None for the batch script's verdict over all ranks.
        started_s, finished_s: seconds since 1970, UTC; None where it did not come so far.
        exit_code: None while it runs, or if it was killed.
        error: one line of why.
        is_requeued: the job was put back into the queue.
        gave_way: it had saved and others wanted its nodes; such a start does not count against --max-requeues.
    """

    restart: int
    rank: int | None
    started_s: float | None = None
    finished_s: float | None = None
    exit_code: int | None = None
    error: str | None = None
    is_requeued: bool = False
    gave_way: bool = False


def find_start(environment: Mapping[str, str]) -> Start:
    """Read which start of which job this process belongs to.

    Raises:
        LaunchError: it is no job of Slurm.
    """
    raw = environment.get("SLURM_JOB_ID", "")
    if not raw.isdigit():
        raise LaunchError(f"SLURM_JOB_ID is {raw!r}; this runs inside a job of Slurm only")
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    job_id = f"{array}_{task}" if array and task else raw
    return Start(job_id, int(environment.get("SLURM_RESTART_COUNT") or 0), int(environment.get("SLURM_PROCID") or 0))


def write_ending(folder: Path, job_id: str, ending: Ending) -> None:
    """Write one file whole or not at all."""
    who = BATCH if ending.rank is None else f"rank{ending.rank}"
    write_json(folder / _name(job_id, ending.restart, who), dataclasses.asdict(ending), PRIVATE_MODE)


def read_endings(folder: Path) -> dict[str, tuple[Ending, ...]]:
    """Read what the jobs of a folder left, the last start of each only.

    Args:
        folder: of one attempt; one that is not there holds nothing.
    Returns:
        Job's id -> what its ranks and its batch script left at its last start. A damaged file counts as none: the disk was full.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError:
        return {}
    matches = [match for name in names if (match := _NAME.fullmatch(name))]
    last: dict[str, int] = {}
    for match in matches:
        last[match["job"]] = max(last.get(match["job"], 0), int(match["restart"]))
    newest = [match for match in matches if int(match["restart"]) == last[match["job"]]]
    found: dict[str, list[Ending]] = {job: [] for job in last}
    for match in newest:
        if (ending := _read(folder / match.string)) is not None:
            found[match["job"]].append(ending)
    return {job: tuple(endings) for job, endings in found.items()}


def count_spent(folder: Path, start: Start) -> int:
    """Count the earlier starts of a job that --max-requeues bounds.

    Args:
        folder: of the attempt.
        start: the present one.
    Returns:
        All of them but those whose batch script wrote that they gave way. Where it wrote nothing its node was lost.
    """
    verdicts = (_read(folder / _name(start.job_id, restart, BATCH)) for restart in range(start.restart))
    return sum(verdict is None or not verdict.gave_way for verdict in verdicts)


def verdict_of(endings: Iterable[Ending]) -> Ending | None:
    """Give what the batch script wrote; None where it did not come so far."""
    return next((one for one in endings if one.rank is None), None)


def _name(job_id: str, restart: int, who: str) -> str:
    return f"{job_id}.{restart}.{who}.json"


def _read(path: Path) -> Ending | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        value: Any = json.loads(path.read_text(encoding="utf-8"))
        return Ending(**value)
    return None
