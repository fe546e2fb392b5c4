import json
import os
import re
import socket
import subprocess
import time

import pytest
from click.testing import CliRunner

from hipseg.cli.status import command
from hipseg.config import StudySettings, dump_settings
from hipseg.errors import LaunchError
from hipseg.launch.graph import Job
from hipseg.launch.state import Record, StudyState, read_state, write_state
from hipseg.runs import StudyPaths

TABLE = """\
┏━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
┃ arm           ┃ fold 0           ┃ fold 1                               ┃
┡━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┩
│ unet          │ done, Dice 0.875 │ running, epoch 3/10, 1 min 24 s left │
│ modified-unet │ failed           │ queued                               │
└───────────────┴──────────────────┴──────────────────────────────────────┘
split: done
pretraining: complete before
aggregate: not run
train modified-unet fold 0 failed: no mask in case c1
  last line: the last words [of] the job
  log: RESULTS/job.log
aggregate not run: waits for train modified-unet fold 0, which failed
"""


def train(arm, fold):
    return Job(f"train {arm} fold {fold}", ("train",), ("split",), arm, fold)


@pytest.fixture
def paths(tmp_path):
    return StudyPaths(tmp_path / "results")


@pytest.fixture
def dead_pid():
    ended = subprocess.Popen(["true"])
    ended.wait()
    return ended.pid


def write_study(paths, job_pid, driver_pid):
    now = time.time()
    records = (
        Record(Job("split", ("split",)), "done", exit_code=0),
        Record(Job("pretraining", ("pretrain",)), "skipped"),
        Record(train("unet", 0), "done"),
        Record(train("unet", 1), "running", pid=job_pid, started_s=now - 1),
        Record(train("modified-unet", 0), "failed", exit_code=4, error="no mask in case c1", log="job.log"),
        Record(train("modified-unet", 1)),
        Record(Job("aggregate", ("aggregate",)), "not run", error="waits for train modified-unet fold 0, which failed"),
    )
    paths.root.mkdir()
    write_state(paths, StudyState(records, socket.gethostname(), driver_pid, now))
    paths.settings.write_text(dump_settings(StudySettings.model_validate({"train": {"epochs": 10}})))
    for fold in (0, 1):
        paths.fold("unet", fold).root.mkdir(parents=True)
    paths.fold("unet", 0).summary.write_text(json.dumps({"foreground_mean": {"Dice": 0.875}}))
    paths.fold("unet", 1).history.write_text("epoch,seconds\n1,30\n2,10\n3,12\n")
    (paths.root / "job.log").write_text("the last words [of] the job\n")


def status(*arguments):
    return CliRunner().invoke(command, [str(one) for one in arguments], terminal_width=100)


def test_the_whole_of_a_study_that_runs(paths):
    write_study(paths, os.getpid(), os.getpid())
    ended = status(paths.root)
    assert ended.exit_code == 0
    assert ended.output.replace(str(paths.root), "RESULTS") == TABLE


def test_a_narrow_terminal_takes_no_letter_from_the_name_of_an_arm(paths, monkeypatch):
    monkeypatch.setenv("COLUMNS", "44")
    write_study(paths, os.getpid(), os.getpid())
    said = status(paths.root).output
    assert re.findall(r"^│ (\S+) *│", said, re.MULTILINE) == ["unet", "modified-unet"]
    assert "│ running," in said  # and what comes behind it in the next lines


def test_a_study_whose_command_died_says_what_is_lost_and_how_to_go_on(paths, dead_pid):
    write_study(paths, dead_pid, dead_pid)
    shown = status(paths.root).output
    assert "│ unet          │ done, Dice 0.875 │ lost    │" in shown
    assert "│ modified-unet │ failed           │ not run │" in shown
    assert "train modified-unet fold 1 not run: the command that was to run it is gone\n" in shown
    assert "train unet fold 1 lost: its process is gone and nobody recorded how it ended\n" in shown
    assert shown.endswith("the command that ran this study is gone; the same `hipseg submit` goes on where it ended\n")


def test_watching_ends_where_nobody_is_left_to_run_what_waits(paths, dead_pid, monkeypatch):
    monkeypatch.setattr("hipseg.cli.status.time.sleep", lambda _: pytest.fail("it looks once more"))
    write_study(paths, dead_pid, dead_pid)
    assert status(paths.root, "--watch").exit_code == 0


def test_a_stopped_run_says_that_it_goes_on(paths, dead_pid):
    write_study(paths, dead_pid, dead_pid)
    stopped = Record(train("unet", 1), "stopped", exit_code=75, error="stopped by SIGTERM in epoch 3 after 2 steps and saved")
    write_state(paths, read_state(paths).with_record(stopped))
    shown = status(paths.root).output
    assert "train unet fold 1 stopped: stopped by SIGTERM in epoch 3 after 2 steps and saved\n" in shown
    assert shown.endswith("the same `hipseg submit` goes on where it ended\n")


def test_a_run_whose_epochs_are_over_is_being_scored(paths):
    write_study(paths, os.getpid(), os.getpid())
    paths.settings.write_text(dump_settings(StudySettings.model_validate({"train": {"epochs": 3}})))
    assert "│ running, scoring │" in status(paths.root).output


def test_json_says_the_same(paths):
    write_study(paths, os.getpid(), os.getpid())
    value = json.loads(status(paths.root, "--json").output)
    assert (value["host"], value["driven"]) == (socket.gethostname(), True)
    by_name = {job["name"]: job for job in value["jobs"]}
    assert by_name["train unet fold 1"] == {
        "name": "train unet fold 1",
        "arm": "unet",
        "fold": 1,
        "repeat": 0,
        "stage": "running",
        "waiting": None,
        "requeued": 0,
        "slurm_id": None,
        "epoch": 3,
        "epochs": 10,
        "remaining_s": 84.0,
        "dice": None,
        "exit_code": None,
        "error": None,
        "last_line": None,
        "log": None,
    }
    assert by_name["train unet fold 0"]["dice"] == 0.875
    assert by_name["train modified-unet fold 0"]["exit_code"] == 4


def test_the_results_of_the_settings_are_shown_by_default(paths, monkeypatch):
    write_study(paths, os.getpid(), os.getpid())
    monkeypatch.chdir(paths.root.parent)
    assert status().output == TABLE.replace("RESULTS", "results")


def test_without_a_study_the_cure_is_named(tmp_path):
    ended = status(tmp_path)
    assert isinstance(ended.exception, LaunchError)
    assert "`hipseg submit` starts one" in str(ended.exception)


def test_looking_changes_nothing(paths):
    write_study(paths, os.getpid(), os.getpid())
    before = {path: path.read_bytes() for path in paths.root.rglob("*") if path.is_file()}
    status(paths.root)
    assert {path: path.read_bytes() for path in paths.root.rglob("*") if path.is_file()} == before
