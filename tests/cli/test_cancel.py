"""How `hipseg cancel` speaks of a study on this machine; test_starting.py has those of a cluster."""

import os
import signal
import socket
import subprocess
import time

import pytest
from click.testing import CliRunner

from hipseg.cli.cancel import command
from hipseg.launch.graph import Job
from hipseg.launch.state import Record, StudyState, write_state
from hipseg.runs import StudyPaths


@pytest.fixture
def driver():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def cancel(folder, driver_pid, *stages):
    jobs = [Job(f"train unet fold {k}", ("train",), (), "unet", k) for k in range(len(stages))]
    records = [Record(job, stage, pid=os.getpid(), started_s=time.time()) for job, stage in zip(jobs, stages, strict=True)]
    folder.mkdir(exist_ok=True)
    write_state(StudyPaths(folder), StudyState(tuple(records), socket.gethostname(), driver_pid, time.time()))
    return CliRunner().invoke(command, [str(folder)]).output


def test_what_runs_is_asked_and_what_waits_is_told_of(tmp_path, driver):
    results = tmp_path / "results"
    assert cancel(results, driver.pid, "done", "running", "queued", "queued") == (
        f"asked train unet fold 1 to save and stop; 2 more had not begun and will not; `hipseg status {results}` shows when "
        "that is done\n"
    )
    assert driver.wait(timeout=10) == -signal.SIGTERM
    assert cancel(results, driver.pid, "done", "queued") == "nothing was running; 1 more had not begun and will not\n"
    assert cancel(results, driver.pid, "done") == "nothing was running\n"
