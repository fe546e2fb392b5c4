import contextlib
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter

import psutil
import pytest
from submitit.core.utils import DelayedSubmission

from hipseg.config import dump_settings
from hipseg.errors import LOST_EXIT_CODE, STOPPED_EXIT_CODE, LaunchError, ReportError
from hipseg.launch.graph import Job
from hipseg.launch.local import run_study
from hipseg.launch.private import make_private
from hipseg.launch.state import read_state
from hipseg.runs import StudyPaths

from ..learn.builders import pack_discs, small_settings
from ..report.results import write_results

QUICK = ("--version",)


@pytest.fixture
def paths(tmp_path):
    return StudyPaths(tmp_path / "results")


def run(paths, jobs, done=(), report=lambda record: None, runs_at_once=2, **rest):
    return run_study(paths, tuple(jobs), frozenset(done), runs_at_once=runs_at_once, report=report, **rest)


def endless(folder):
    """A real command that waits for ever: its settings file is a pipe into which nobody writes."""
    pipe = folder / "study.yaml"
    os.mkfifo(pipe)
    return ("submit", "--dry-run", "--config", str(pipe))


def wait_for_task(record):
    """The process that does the work, below submitit's controller."""
    controller, deadline = psutil.Process(record.pid), time.monotonic() + 20
    while not controller.children() and time.monotonic() < deadline:
        time.sleep(0.05)
    return controller.children()[0]


@contextlib.contextmanager
def held_open(pipe):
    """Wait until the command has come to its settings, and keep them from ending while the block runs."""
    deadline = time.monotonic() + 60
    while True:
        try:
            writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)  # fails while nobody reads
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield
    os.close(writer)


def stages(state):
    return {record.job.name: record.stage for record in state.records}


def test_a_failure_stops_what_waits_for_it_and_nothing_else(paths, tmp_path):
    jobs = (
        Job("split", QUICK),
        Job("train a fold 0", ("aggregate", str(tmp_path / "nowhere")), ("split",), "a", 0),
        Job("train b fold 0", QUICK, ("split",), "b", 0),
        Job("aggregate", QUICK, ("train a fold 0", "train b fold 0")),
        Job("after that", QUICK, ("aggregate",)),
    )
    state = run(paths, jobs)
    assert stages(state) == {
        "split": "done",
        "train a fold 0": "failed",
        "train b fold 0": "done",
        "aggregate": "not run",
        "after that": "not run",
    }
    failed = state.record("train a fold 0")
    assert failed.exit_code == ReportError.exit_code
    assert failed.error.startswith(f"no results at {tmp_path}/nowhere")
    assert f"error: {failed.error}" in (paths.root / failed.log).read_text()
    assert state.record("aggregate").error == "waits for train a fold 0, which failed"
    assert state.record("after that").error == "waits for aggregate, which was not run"
    assert state.record("split").finished_s <= state.record("train b fold 0").started_s
    assert read_state(paths) == state


def test_what_was_complete_before_is_not_run_and_lets_others_go_on(paths):
    jobs = (Job("split", ("no such command",)), Job("train a fold 0", QUICK, ("split",)))
    state = run(paths, jobs, done=("split",))
    assert stages(state) == {"split": "skipped", "train a fold 0": "done"}


def test_no_more_run_at_once_than_allowed_and_every_card_has_one_job(paths):
    now, most = Counter(), []

    def watch(record):
        now[record.stage] += 1
        most.append(now["running"] - now["done"])

    state = run(paths, [Job(f"job {n}", QUICK) for n in range(3)], report=watch, runs_at_once=1, gpus=("5",))
    assert max(most) == 1
    assert set(stages(state).values()) == {"done"}
    submitted = [DelayedSubmission.load(path) for path in paths.jobs.rglob("*_submitted.pkl")]
    assert [one.function.gpus for one in submitted] == ["5", "5", "5"]


def test_a_job_of_several_ranks_starts_as_many_processes_and_gets_as_many_cards(paths):
    state = run(paths, [Job("job", QUICK, ranks=2), Job("other", QUICK, ranks=1)], runs_at_once=1, gpus=("5", "6", "7"))
    assert set(stages(state).values()) == {"done"}
    submitted = {path.parent.parent.name: path for path in paths.jobs.rglob("*_submitted.pkl")}
    assert DelayedSubmission.load(submitted["job"]).function.gpus == "5,6"
    assert DelayedSubmission.load(submitted["other"]).function.gpus == "7"
    assert len(list(submitted["job"].parent.glob("*_result.pkl"))) == 2
    assert read_state(paths) == state


def test_a_job_of_which_one_rank_is_killed_has_failed(paths, tmp_path):
    def kill(record):
        if record.stage == "running":
            wait_for_task(record)
            for one in psutil.Process(record.pid).children():
                one.kill()

    state = run(paths, [Job("endless", endless(tmp_path), ranks=2)], report=kill)
    assert (state.record("endless").stage, state.record("endless").exit_code) == ("failed", 137)


def test_the_files_of_the_jobs_are_private_and_those_of_the_commands_are_not(paths):
    write_results(paths.root)
    before = os.umask(0o022)
    try:
        state = run(paths, [Job("aggregate", ("aggregate", str(paths.root)))])
    finally:
        os.umask(before)
    assert stages(state) == {"aggregate": "done"}
    assert stat.S_IMODE(paths.jobs.stat().st_mode) == 0o700
    files = [path for path in paths.jobs.rglob("*") if path.is_file()]
    assert len(files) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    made = [paths.comparison(form) for form in ("csv", "json", "md", "tex")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o644}


def test_each_attempt_keeps_its_own_log(paths):
    logs = [run(paths, [Job("a job", QUICK)]).record("a job").log for _ in range(2)]
    assert [log.rsplit("/", 1)[0] for log in logs] == ["jobs/a-job/attempt_1", "jobs/a-job/attempt_2"]
    assert all((paths.root / log).is_file() for log in logs)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_what_runs_and_says_so(paths, tmp_path, capfd, number):
    kept = contextlib.ExitStack()

    def stop(record):
        if record.stage == "running":
            kept.enter_context(held_open(tmp_path / "study.yaml"))
            os.kill(os.getpid(), number)

    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with kept:
        state = run(paths, [Job("endless", endless(tmp_path)), Job("never", QUICK, ("endless",))], report=stop)
    assert stages(state) == {"endless": "stopped", "never": "not run"}
    assert state.record("endless").exit_code == STOPPED_EXIT_CODE
    assert "SIGTERM" in state.record("endless").error
    assert state.record("never").error == "the study was stopped"
    assert not psutil.pid_exists(state.record("endless").pid)
    assert read_state(paths) == state
    assert "Traceback" not in capfd.readouterr().err
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers


TERMINAL = """\
import signal, sys
from pathlib import Path
from hipseg.launch.graph import Job
from hipseg.launch.local import run_study
from hipseg.runs import StudyPaths
signal.signal(signal.SIGHUP, signal.SIG_DFL)
results, *arguments = sys.argv[1:]
run_study(StudyPaths(Path(results)), (Job("endless", tuple(arguments)),), frozenset(), runs_at_once=1, report=lambda record: None)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_a_terminal_sends_to_all_processes_lets_what_runs_save(paths, tmp_path, number):
    """As Ctrl-C and a closed terminal do: they reach the whole group, submitit's controller and the ranks included."""
    program = [sys.executable, "-c", TERMINAL, str(paths.root), *endless(tmp_path)]
    with (
        subprocess.Popen(program, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver,
        held_open(tmp_path / "study.yaml"),
    ):
        os.killpg(driver.pid, number)
        said, _ = driver.communicate(timeout=60)
    assert driver.returncode == 0, said
    record = read_state(paths).record("endless")
    assert (record.stage, record.exit_code) == ("stopped", STOPPED_EXIT_CODE)
    assert "SIGTERM" in record.error


@pytest.mark.slow
def test_a_run_that_a_signal_stops_is_stopped_and_goes_on_with_the_next_start(paths, tmp_path):
    """By a real training run: the signal reaches it through submitit's controller, and the checkpoint is taken up again."""
    pack_discs(tmp_path / "shards", 2, folds=2)
    settings = small_settings(tmp_path, results=paths.root, folds=2, train={"epochs": 3, "batch_size": 1})
    file = tmp_path / "study.yaml"
    file.write_text(dump_settings(settings))
    job = Job("train unet fold 0", ("train", "--config", str(file), "--arm", "unet", "--fold", "0"), (), "unet", 0)
    fold = paths.fold("unet", 0)
    stopper = threading.Thread(target=stop_once_there, args=(fold.checkpoint("best"),))
    stopper.start()
    state = run(paths, [job, Job("after", QUICK, (job.name,))])
    stopper.join()
    assert stages(state) == {job.name: "stopped", "after": "not run"}
    assert state.record(job.name).exit_code == 75
    assert "SIGTERM" in state.record(job.name).error

    state = run(paths, [job])
    assert stages(state) == {job.name: "done"}
    assert "going on in epoch" in (paths.root / state.record(job.name).log).read_text()
    assert [line.split(",")[0] for line in fold.history.read_text().splitlines()] == ["epoch", "1", "2", "3"]


def stop_once_there(path):
    """Interrupt this process, as Ctrl-C does, once a file is there."""
    deadline = time.monotonic() + 120
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_job_that_is_killed_has_failed(paths, tmp_path):
    def kill(record):
        if record.stage == "running":
            wait_for_task(record).kill()

    state = run(paths, [Job("endless", endless(tmp_path))], report=kill)
    assert stages(state) == {"endless": "failed"}
    assert (state.record("endless").exit_code, state.record("endless").error) == (
        137,
        "ended without a result: killed from outside, perhaps for want of memory (a smaller train.batch_size needs less)",
    )


def test_a_rank_that_the_watch_over_the_ranks_ended_says_what_the_watch_said(paths, tmp_path):
    """As the watch does it: a line in the log, and an end that leaves no result."""

    def end(record):
        if record.stage == "running":
            task = wait_for_task(record)
            with (paths.root / record.log).open("a") as log:
                log.write("error: no rank has moved for 900 s; all are at step 7\n")
            task.kill()

    state = run(paths, [Job("endless", endless(tmp_path))], report=end)
    assert (state.record("endless").stage, state.record("endless").exit_code) == ("failed", LOST_EXIT_CODE)
    assert state.record("endless").error == "no rank has moved for 900 s; all are at step 7"


def test_no_job_goes_on_that_nobody_watches(paths, tmp_path):
    seen = []

    def break_down(record):
        seen.append(record)
        raise LaunchError("the disk is full, say")

    with pytest.raises(LaunchError, match="the disk is full"):
        run(paths, [Job("endless", endless(tmp_path))], report=break_down)
    assert [record.stage for record in seen] == ["running"]
    assert not psutil.pid_exists(seen[0].pid)


def test_a_folder_that_cannot_be_made_private_is_refused(tmp_path):
    (tmp_path / "jobs").write_text("a file")
    with pytest.raises(LaunchError, match=r"cannot make .*/jobs private: File exists; choose another folder with --results"):
        make_private(tmp_path / "jobs")
