import os
import signal
import socket
import subprocess
import time
from types import SimpleNamespace

import pytest

from hipseg.errors import LaunchError
from hipseg.launch.graph import Job
from hipseg.launch.state import Record, StudyState, read_state
from hipseg.launch.stopping import CANCELLED, cancel_on_cluster, stop_here, wait_for_cancelled
from hipseg.runs import StudyPaths

JOBS = tuple(Job(f"train unet fold {k}", ("train",), (), "unet", k) for k in range(3))


@pytest.fixture
def sleeper():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def here(record, driver_pid, host=None):
    return StudyState((record,), host or socket.gethostname(), driver_pid, time.time())


def test_jobs_that_are_queued_or_run_are_cancelled_and_that_is_written_down(slurm, tmp_path):
    slurm.say("squeue", "8_0|COMPLETED|None\n8_1|RUNNING|None\n8_2|PENDING|Priority\n99|RUNNING|None\n")
    paths = StudyPaths(tmp_path)
    records = tuple(Record(job, "queued", submitit_id=f"8_{job.fold}") for job in JOBS)
    names = cancel_on_cluster(paths, StudyState(records, "head", 1, 0.0, cluster="fake"))
    assert names == ("train unet fold 1", "train unet fold 2")
    assert slurm.calls[-1] == "scancel --quiet 8_1 8_2"
    assert [(one.stage, one.error) for one in read_state(paths).records] == [
        ("queued", None),
        ("cancelled", CANCELLED),
        ("cancelled", CANCELLED),
    ]


def test_who_submits_again_waits_until_cancelled_jobs_are_gone(slurm, monkeypatch):
    records = (Record(JOBS[0], "cancelled", submitit_id="8_0"), Record(JOBS[1], "queued", submitit_id="8_1"))
    state = StudyState(records, "head", 1, 0.0, cluster="fake")
    answers = iter(["8_0|COMPLETING|None\n8_1|RUNNING|None\n", "8_0|CANCELLED|None\n8_1|RUNNING|None\n"])
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: slurm.say("squeue", next(answers)))
    monkeypatch.setattr("hipseg.launch.stopping.time", clock)
    slurm.say("squeue", next(answers))
    wait_for_cancelled(state)
    assert len([one for one in slurm.calls if one.startswith("squeue")]) == 2
    slurm.say("squeue", "8_0|COMPLETING|None\n")
    with pytest.raises(LaunchError, match=r"job 8_0 was cancelled and is still ending; try again in a minute"):
        wait_for_cancelled(state, limit_s=-1.0)


def test_where_nothing_was_cancelled_nobody_waits(slurm):
    wait_for_cancelled(StudyState((Record(JOBS[0], "queued", submitit_id="8_0"),), "head", 1, 0.0, cluster="fake"))
    assert slurm.calls == []


def test_the_command_that_runs_a_study_here_is_asked_to_stop(sleeper):
    record = Record(JOBS[0], "running", pid=os.getpid(), started_s=time.time())
    assert stop_here(here(record, sleeper.pid)) == ("train unet fold 0",)
    assert sleeper.wait(timeout=10) == -signal.SIGTERM


def test_where_that_command_is_gone_its_jobs_are_asked(sleeper):
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert stop_here(here(Record(JOBS[0], "running", pid=sleeper.pid, started_s=time.time()), gone.pid)) == ("train unet fold 0",)
    assert sleeper.wait(timeout=10) == -signal.SIGTERM


def test_a_study_on_another_machine_is_out_of_reach():
    with pytest.raises(LaunchError, match=r"runs on elsewhere.*give the command there"):
        stop_here(here(Record(JOBS[0], "running", pid=1, started_s=time.time()), 1, "elsewhere"))
