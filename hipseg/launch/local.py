"""Drive a study on this machine: submitit's local executor, a few jobs at once, in the order of the graph."""

import contextlib
import dataclasses
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from hipseg.errors import LOST_EXIT_CODE, STOPPED_EXIT_CODE, LaunchError
from hipseg.launch.graph import Job
from hipseg.launch.log import read_last_line
from hipseg.launch.private import PRIVATE_UMASK, make_private, masking
from hipseg.launch.request import Request
from hipseg.launch.state import Record, Stage, StudyState, write_state
from hipseg.launch.stops import catching_stops, shielding
from hipseg.launch.work import BUG_EXIT_CODE, INTERRUPTED_EXIT_CODE, Outcome, RunCommand
from hipseg.runs import StudyPaths

POLL_S = 0.25
SAVE_WAIT_S = 60.0
"""How long a run that is asked to stop may take to save its state: the step it is in, and a checkpoint on a slow disk."""
CANCEL_WAIT_S = 15.0
"""For killed processes to be gone; this leaves room on a busy machine."""
NO_TIME_LIMIT_MIN = 60 * 24 * 365
"""submitit ends a local job after two minutes unless it is told otherwise."""
STDERR_DESCRIPTOR = 2
ERROR_MARK = "error: "
CONTROLLER_LOG = "controller.log"
STOPPED = Outcome(INTERRUPTED_EXIT_CODE, "stopped by the user")
KILLED = Outcome(
    137, "ended without a result: killed from outside, perhaps for want of memory (a smaller train.batch_size needs less)"
)

Report = Callable[[Record], None]


def run_study(
    paths: StudyPaths,
    jobs: tuple[Job, ...],
    done: frozenset[str],
    *,
    runs_at_once: int,
    report: Report,
    gpus: tuple[str, ...] = (),
    manifests: Mapping[str, str] | None = None,
    request: Request | None = None,
    own: Mapping[str, Request] | None = None,
    others: tuple[Record, ...] = (),
) -> StudyState:
    """Run the jobs of a study in this machine's processes and stay until the last has ended; study.json has every change.

    A job starts when those before it have ended well. When one fails, those that wait for it are not run and the others go on.
    Ctrl-C, a terminal that is closed or SIGTERM asks what runs to save its state and stop; a second one, or a minute, ends it.

    Args:
        paths, jobs: the results, whose lock the caller holds, and the graph.
        done: names of jobs that are complete already.
        runs_at_once: jobs that run at the same time, at least 1.
        report: called with a job's record when it starts and when it ends.
        gpus: graphics cards to deal out, one a rank of a running job as far as they reach.
        manifests: digests of the data, kept in study.json.
        request, own: what was asked for now, and by the name of a job that is taken up what its own command asked for.
        others: records of the study's other jobs, kept there, none of them queued or running.
    Returns:
        The study as it ended; jobs are `stopped`, `cancelled` or `not run` where it was stopped.
    Raises:
        LaunchError: the folder of the jobs belongs to somebody else, or a job cannot be started.
    """
    make_private(paths.jobs)
    asked, own = request or Request(), own or {}
    records = [Record(job, "skipped" if job.name in done else "queued", request=own.get(job.name, asked)) for job in jobs]
    state = StudyState((*others, *records), socket.gethostname(), os.getpid(), time.time(), dict(manifests or {}), request=asked)
    driver = _Driver(paths, state, runs_at_once, gpus, report)
    with catching_stops() as stops:
        driver.drive(stops)
    return driver.state


class _Driver:
    """Holds what changes while a study runs: its state, and the submitit jobs and cards in use."""

    def __init__(self, paths: StudyPaths, state: StudyState, runs_at_once: int, gpus: tuple[str, ...], report: Report) -> None:
        self.paths = paths
        self.state = state
        self.runs_at_once = runs_at_once
        self.report = report
        self.running: dict[str, Any] = {}
        self.cards: dict[str, list[str]] = {}
        self.free_gpus = list(gpus)

    def drive(self, stops: list[int]) -> None:
        """Start, wait and record until nothing runs and nothing can start."""
        try:
            write_state(self.paths, self.state)
            while not stops:
                self._record_endings()
                self._drop_unreachable()
                self._start_ready()
                if not self.running:
                    return
                time.sleep(POLL_S)
            self._cancel(stops)
        except BaseException:
            # A full disk, say: no job may go on that nobody watches.
            self._interrupt()
            raise

    def _record_endings(self) -> None:
        for name, submitted in list(self.running.items()):
            if submitted.done():
                outcome = read_outcome(submitted)
                self._end(name, stage_of(outcome), outcome)

    def _drop_unreachable(self) -> None:
        for record in self.state.records:
            if record.stage != "queued":
                continue
            stages = {name: self.state.record(name).stage for name in record.job.after}
            broken = [name for name, stage in stages.items() if stage in ("failed", "stopped", "not run", "cancelled")]
            if broken:
                how = {"failed": "failed", "stopped": "was stopped"}.get(stages[broken[0]], "was not run")
                why = f"waits for {broken[0]}, which {how}"
                self._change(dataclasses.replace(record, stage="not run", error=why))

    def _start_ready(self) -> None:
        for record in self.state.records:
            if len(self.running) >= self.runs_at_once:
                return
            before = (self.state.record(name).stage for name in record.job.after)
            if record.stage == "queued" and all(stage in ("done", "skipped") for stage in before):
                self._start(record)

    def _start(self, record: Record) -> None:
        name = record.job.name
        ranks = record.job.ranks
        self.cards[name], self.free_gpus = self.free_gpus[:ranks], self.free_gpus[ranks:]
        submitted = start_job(self.paths.next_attempt(name), record.job.arguments, ",".join(self.cards[name]), ranks)
        self.running[name] = submitted
        log = os.path.relpath(submitted.task(0).paths.stdout, self.paths.root.absolute())
        started = dataclasses.replace(
            record, stage="running", submitit_id=submitted.job_id, pid=int(submitted.job_id), started_s=time.time(), log=log
        )
        self._change(started)

    def _end(self, name: str, stage: Stage, outcome: Outcome) -> None:
        del self.running[name]
        self.free_gpus += self.cards.pop(name)
        ended = dataclasses.replace(
            self.state.record(name), stage=stage, finished_s=time.time(), exit_code=outcome.exit_code, error=outcome.error
        )
        self._change(ended)

    def _cancel(self, stops: list[int]) -> None:
        """Let what runs save and stop, cancel what does not, and record that the rest never started."""
        self._ask_to_stop(stops)
        self._interrupt()
        for name, submitted in list(self.running.items()):
            outcome = read_outcome(submitted) if submitted.done() else STOPPED
            stage = stage_of(outcome)
            self._end(name, *(("cancelled", STOPPED) if stage == "failed" else (stage, outcome)))
        for record in self.state.records:
            if record.stage == "queued":
                self._change(dataclasses.replace(record, stage="not run", error="the study was stopped"))

    def _ask_to_stop(self, stops: list[int]) -> None:
        """Send SIGTERM to what runs, through submitit's controllers, and wait; a second signal to this process ends that."""
        for submitted in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(submitted.job_id), signal.SIGTERM)
        asked, deadline = len(stops), time.monotonic() + SAVE_WAIT_S
        while len(stops) == asked and time.monotonic() < deadline and not self._have_all_ended():
            time.sleep(POLL_S)

    def _have_all_ended(self) -> bool:
        return all(submitted.done() for submitted in self.running.values())

    def _interrupt(self) -> None:
        for submitted in self.running.values():
            if not submitted.done():
                kill_job(int(submitted.job_id))
        deadline = time.monotonic() + CANCEL_WAIT_S
        while time.monotonic() < deadline and not self._have_all_ended():
            time.sleep(POLL_S)

    def _change(self, record: Record) -> None:
        self.state = self.state.with_record(record)
        write_state(self.paths, self.state)
        self.report(record)


def start_job(folder: Path, arguments: tuple[str, ...], gpus: str, ranks: int = 1) -> Any:
    """Start one command line through submitit's local executor.

    Args:
        folder: where its pickles and log go; made, private.
        arguments: what follows `hipseg`.
        gpus: what CUDA_VISIBLE_DEVICES shall say.
        ranks: processes of the command line that are started together.
    Returns:
        submitit's job; its id is the number of the process.
    Raises:
        LaunchError: the process cannot be started.
    """
    # 0.1 s to load, which `hipseg submit --help` need not wait for.
    import submitit  # noqa: PLC0415

    try:
        with masking(PRIVATE_UMASK) as umask, _stderr_into(folder / CONTROLLER_LOG):
            executor = submitit.LocalExecutor(folder)
            executor.update_parameters(timeout_min=NO_TIME_LIMIT_MIN, stderr_to_stdout=True, tasks_per_node=ranks)
            # What runs hears of Ctrl-C by the SIGTERM of the command that drives it, and saves; so does submitit's controller.
            with shielding():
                return executor.submit(RunCommand(arguments, umask, gpus))
    except OSError as error:
        raise LaunchError(f"cannot start `hipseg {' '.join(arguments)}` in {folder}: {error.strerror}") from error


def kill_job(pid: int) -> None:
    """Kill submitit's controller and the ranks below it, at once.

    Args:
        pid: of the controller, which is not ended yet.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        controller = psutil.Process(pid)
        controller.suspend()  # or it may start another rank meanwhile
        for process in (*controller.children(recursive=True), controller):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def stage_of(outcome: Outcome) -> Stage:
    """Give the stage that a job is in after its end."""
    if outcome.exit_code == 0:
        return "done"
    return "stopped" if outcome.exit_code == STOPPED_EXIT_CODE else "failed"


def read_outcome(submitted: Any) -> Outcome:
    """Read how a finished submitit job ended: as the first of its ranks that ended badly, one that says why before others."""
    outcomes = [_read_rank(submitted.task(rank)) for rank in range(submitted.num_tasks)]
    bad = [outcome for outcome in outcomes if outcome.exit_code]
    return min(bad, key=lambda outcome: outcome == KILLED, default=outcomes[0])


def _read_rank(task: Any) -> Outcome:
    if not task.paths.result_pickle.is_file():
        # The watch over the ranks ends a process whose main thread hangs: it says why, and nobody is left to hand it back.
        said = read_last_line(task.paths.stdout) or ""
        return Outcome(LOST_EXIT_CODE, said.removeprefix(ERROR_MARK)) if said.startswith(ERROR_MARK) else KILLED
    if task.exception() is not None:
        return Outcome(BUG_EXIT_CODE, "the job could not be loaded; the traceback is in the log")
    outcome: Outcome = task.result()
    return outcome


@contextmanager
def _stderr_into(path: Path) -> Iterator[None]:
    """Give new processes a file as their stderr: submitit's controller greets an interrupt with a traceback on the terminal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = os.dup(STDERR_DESCRIPTOR)
    try:
        with path.open("ab") as handle:
            os.dup2(handle.fileno(), STDERR_DESCRIPTOR)
        yield
    finally:
        os.dup2(kept, STDERR_DESCRIPTOR)
        os.close(kept)
