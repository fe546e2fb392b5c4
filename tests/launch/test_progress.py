import json
import math
import os
import socket
import subprocess
import time

import pytest

from hipseg.config import StudySettings, dump_settings
from hipseg.errors import ReportError
from hipseg.launch.graph import Job
from hipseg.launch.progress import is_driven, read_progress
from hipseg.launch.state import Record, StudyState
from hipseg.runs import StudyPaths

TRAIN = Job("train unet fold 0", ("train",), (), "unet", 0)
PRETRAINING = Job("pretraining", ("pretrain",))
HISTORY = "epoch,seconds,learning_rate\n1,30.0,0.001\n2,10.0,0.001\n3,12.0,0.001\n"


@pytest.fixture
def paths(tmp_path):
    return StudyPaths(tmp_path)


@pytest.fixture
def dead_pid():
    ended = subprocess.Popen(["true"])
    ended.wait()
    return ended.pid


def study(*records, driver_pid=None):
    return StudyState(records, socket.gethostname(), driver_pid or os.getpid(), time.time())


def running(job, pid=None):
    return Record(job, "running", pid=pid or os.getpid(), started_s=time.time() - 1, log="job.log")


def look(paths, record, **study_facts):
    (progress,) = read_progress(paths, study(record, **study_facts)).jobs
    return progress


def write_history(run, text=HISTORY):
    run.root.mkdir(parents=True)
    run.history.write_text(text)


def test_a_running_run_shows_its_epoch_and_the_time_left_at_the_median_pace(paths):
    paths.settings.write_text(dump_settings(StudySettings.model_validate({"train": {"epochs": 10}})))
    write_history(paths.fold("unet", 0))
    progress = look(paths, running(TRAIN))
    assert (progress.stage, progress.epoch, progress.epochs, progress.remaining_s) == ("running", 3, 10, 7 * 12.0)


def test_the_pretraining_run_has_epochs_of_its_own(paths):
    paths.settings.write_text(dump_settings(StudySettings.model_validate({"pretrain": {"train": {"epochs": 4}}})))
    write_history(paths.pretraining)
    progress = look(paths, running(PRETRAINING))
    assert (progress.epoch, progress.epochs, progress.remaining_s) == (3, 4, 12.0)


def test_the_history_of_an_earlier_attempt_does_not_count(paths):
    run = paths.fold("unet", 0)
    write_history(run)
    os.utime(run.history, (0, 0))
    assert look(paths, running(TRAIN)).epoch == 0


@pytest.mark.parametrize("text", ["", "epoch\n1\n", "epoch,seconds\none,two\n"])
def test_a_history_that_cannot_be_read_shows_no_epoch(paths, text):
    write_history(paths.fold("unet", 0), text)
    progress = look(paths, running(TRAIN))
    assert (progress.stage, progress.epoch, progress.remaining_s) == ("running", 0, None)


@pytest.mark.parametrize("stage", ["done", "skipped"])
def test_a_complete_run_shows_its_dice(paths, stage):
    run = paths.fold("unet", 0)
    run.root.mkdir(parents=True)
    run.summary.write_text(json.dumps({"foreground_mean": {"Dice": 0.875}}))
    assert look(paths, Record(TRAIN, stage)).dice == 0.875
    run.summary.write_text(json.dumps({"foreground_mean": {"Dice": None}}))
    assert math.isnan(look(paths, Record(TRAIN, stage)).dice)


def test_a_damaged_summary_is_an_error(paths):
    run = paths.fold("unet", 0)
    run.root.mkdir(parents=True)
    run.summary.write_text("{}")
    with pytest.raises(ReportError, match=r"has no foreground_mean.Dice; evaluate the fold again"):
        look(paths, Record(TRAIN, "done"))


def test_a_failed_job_shows_what_it_said_last_without_submitits_lines(paths):
    (paths.root / "job.log").write_text("epoch 1\nerror: no mask\n\nsubmitit INFO (now) - Exiting after successful completion\n")
    assert look(paths, Record(TRAIN, "failed", error="no mask", log="job.log")).last_line == "error: no mask"


def test_only_the_end_of_a_long_log_is_read(paths):
    (paths.root / "job.log").write_text("x" * 100_000 + "\nthe end\n")
    assert look(paths, Record(TRAIN, "failed", log="job.log")).last_line == "the end"


@pytest.mark.parametrize("text", [None, "", "submitit INFO (now) - Starting\n"])
def test_a_log_without_words_has_no_last_line(paths, text):
    if text is not None:
        (paths.root / "job.log").write_text(text)
    assert look(paths, Record(TRAIN, "failed", log="job.log")).last_line is None


def test_a_job_is_lost_when_it_and_the_command_that_watched_it_are_gone(paths, dead_pid):
    (paths.root / "job.log").write_text("epoch 1\n")
    progress = look(paths, running(TRAIN, dead_pid), driver_pid=dead_pid)
    assert (progress.stage, progress.last_line) == ("lost", "epoch 1")


def test_a_job_that_came_to_its_end_unwatched_is_done(paths, dead_pid):
    run = paths.fold("unet", 0)
    run.root.mkdir(parents=True)
    run.summary.write_text(json.dumps({"foreground_mean": {"Dice": 0.5}}))
    progress = look(paths, running(TRAIN, dead_pid), driver_pid=dead_pid)
    assert (progress.stage, progress.dice) == ("done", 0.5)


def test_a_job_that_outlived_the_command_still_runs(paths, dead_pid):
    assert look(paths, running(TRAIN), driver_pid=dead_pid).stage == "running"


def test_a_job_that_has_just_ended_is_left_to_the_command_that_watches_it(paths, dead_pid):
    assert look(paths, running(TRAIN, dead_pid)).stage == "running"


def test_a_study_is_driven_while_its_command_runs(dead_pid):
    assert is_driven(study())
    assert not is_driven(study(driver_pid=dead_pid))
