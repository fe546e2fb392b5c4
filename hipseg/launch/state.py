"""The state of a study, study.json: each job, how far it is, and how it ended."""

import dataclasses
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import psutil

from hipseg.errors import LaunchError
from hipseg.fsio import read_json, write_json
from hipseg.launch.graph import Job
from hipseg.launch.request import Request, dump_request, read_request
from hipseg.runs import StudyPaths

FORMAT_VERSION = 3
READABLE_VERSIONS = (1, 2, 3)
"""Version 1 knows no cluster and no request, version 2 one request for all jobs."""
DAMAGE_CURE = (
    "delete it and submit again, complete folds are kept; jobs of it on a cluster (`squeue --me`) have to be ended before with "
    "`scancel`, or they are submitted a second time"
)
CLOCK_TOLERANCE_S = 60.0
"""A process that began later than this after its job is another one that was given the same number."""

ABANDONED = "the command that was to run it is gone"
Stage = Literal["queued", "running", "done", "failed", "stopped", "cancelled", "skipped", "not run"]
"""`stopped`: ended at a signal, and goes on from its checkpoint with the next submit; `skipped`: was complete before;
`not run`: a job before it did not end well, or the study was stopped."""


@dataclass(frozen=True)
class Record:
    """One job and how far it is.

    Args:
        job: what it runs.
        stage: how far it is; on a cluster only `queued`, `skipped` or `cancelled`, since nobody stays to write more.
        submitit_id: what submitit calls it; on a cluster Slurm's number, 123 or 123_4 in an array.
        pid: its process on the study's host.
        started_s, finished_s: seconds since 1970, UTC.
        exit_code: of the command line.
        error: one line of why it failed or was not run.
        log: its log file, relative to the results folder.
        request: what the command that submitted it was asked for; None as long as that is what the study was.
    """

    job: Job
    stage: Stage = "queued"
    submitit_id: str | None = None
    pid: int | None = None
    started_s: float | None = None
    finished_s: float | None = None
    exit_code: int | None = None
    error: str | None = None
    log: str | None = None
    request: Request | None = None


@dataclass(frozen=True)
class StudyState:
    """A study.

    Args:
        records: one a job, in the order of the graph.
        host: the machine that the jobs run on, or were submitted from.
        driver_pid, driver_started_s: the process that starts the jobs, and since when.
        manifests: packed data set ("shards", "pretraining shards") -> SHA-256 of its manifest file when the study began.
        cluster: name of the Slurm cluster that runs the jobs; None where this machine does.
        request: what the last command was asked for.
    """

    records: tuple[Record, ...]
    host: str
    driver_pid: int
    driver_started_s: float
    manifests: Mapping[str, str] = field(default_factory=dict)
    cluster: str | None = None
    request: Request = field(default_factory=Request)

    def record(self, name: str) -> Record:
        """Look a job up by its name."""
        return next(record for record in self.records if record.job.name == name)

    @property
    def live_ids(self) -> frozenset[str]:
        """Slurm's numbers of all jobs that were submitted and not cancelled."""
        return frozenset(record.submitit_id for record in self.records if record.submitit_id and record.stage == "queued")

    def with_record(self, changed: Record) -> "StudyState":
        """Give the same study with one job's record changed."""
        records = tuple(changed if record.job.name == changed.job.name else record for record in self.records)
        return dataclasses.replace(self, records=records)


def planned_runs(paths: StudyPaths) -> list[tuple[str, int, int]]:
    """Name arm, repeat and fold of every run that was submitted; none where the folds were trained by hand."""
    if not paths.state.is_file():
        return []
    jobs = [record.job for record in read_state(paths).records]
    return [(job.arm, job.repeat, job.fold) for job in jobs if job.arm is not None and job.fold is not None]


def write_state(paths: StudyPaths, state: StudyState) -> None:
    """Write study.json whole or not at all."""
    records = [_dump_record(record) for record in state.records]
    value = {**dataclasses.asdict(dataclasses.replace(state, records=())), "records": records}
    value["request"] = dump_request(state.request)
    write_json(paths.state, {"format_version": FORMAT_VERSION, **value})


def read_state(paths: StudyPaths) -> StudyState:
    """Read study.json.

    Raises:
        LaunchError: there is none, or it is damaged or of another version.
    """
    try:
        value = read_json(paths.state, LaunchError, "study (`hipseg submit` starts one)")
    except LaunchError as error:
        if isinstance(error.__cause__, ValueError):
            raise LaunchError(f"{error}; {DAMAGE_CURE}") from error
        raise
    try:
        if value["format_version"] not in READABLE_VERSIONS:
            readable = ", ".join(map(str, READABLE_VERSIONS))
            raise LaunchError(f"study at {paths.state} has format {value['format_version']!r}; this version reads {readable}")
        request = read_request(value.get("request", {}))
        return StudyState(
            tuple(_read_record(record, request) for record in value["records"]),
            value["host"],
            int(value["driver_pid"]),
            float(value["driver_started_s"]),
            dict(value["manifests"]),
            value.get("cluster"),
            request,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LaunchError(f"damaged study at {paths.state} ({type(error).__name__}: {error}); {DAMAGE_CURE}") from error


def is_seen_from_here(host: str) -> bool:
    """Say whether a study's processes are processes of this machine."""
    return host == socket.gethostname()


def is_alive(pid: int | None, started_s: float | None, host: str) -> bool | None:
    """Say whether a recorded process still runs; None where it was started on another host, which cannot be seen from here."""
    if not is_seen_from_here(host):
        return None
    if pid is None or started_s is None:
        return False
    try:
        process = psutil.Process(pid)
        began_s: float = process.create_time()
        return began_s <= started_s + CLOCK_TOLERANCE_S and bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _dump_record(record: Record) -> dict[str, Any]:
    return {**dataclasses.asdict(record), "request": dump_request(record.request) if record.request else None}


def _read_record(value: dict[str, Any], request: Request) -> Record:
    """Read one job; where it names no request of its own it is that of the study."""
    stage = value["stage"]
    if stage not in get_args(Stage):
        raise ValueError(f"unknown stage {stage!r}")
    job = value["job"]
    lists = {"arguments": tuple(job["arguments"]), "after": tuple(job["after"])}
    own = read_request(value["request"]) if value.get("request") is not None else request
    return Record(**{**value, "job": Job(**{**job, **lists}), "request": own})
