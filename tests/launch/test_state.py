import dataclasses
import json
import os
import socket
import subprocess
import time

import pytest

from hipseg.errors import LaunchError
from hipseg.launch.graph import Job
from hipseg.launch.request import Request
from hipseg.launch.state import Record, StudyState, is_alive, read_state, write_state
from hipseg.runs import StudyPaths

TRAIN = Job("train unet fold 0", ("train", "--fold", "0"), ("split",), "unet", 0)
OTHER = Request(folds=(1,), gpus=2)
STATE = StudyState(
    (
        Record(
            Job("split", ("split", "shards")), "done", "71", 71, 5.0, 6.5, 0, None, "jobs/split/attempt_1/71_0_log.out", OTHER
        ),
        Record(TRAIN, "failed", "72", 72, 7.0, 8.0, 6, "no mask", request=Request(arms=("unet",), ranks=2)),
    ),
    host="node1",
    driver_pid=70,
    driver_started_s=4.0,
    manifests={"shards": "ab12"},
    cluster="ours",
    request=Request(arms=("unet",), ranks=2),
)


def test_what_is_written_is_read_back(tmp_path):
    write_state(StudyPaths(tmp_path), STATE)
    assert read_state(StudyPaths(tmp_path)) == STATE


def test_a_job_of_which_nothing_else_is_said_was_submitted_as_the_study_was(tmp_path):
    paths = StudyPaths(tmp_path)
    write_state(paths, STATE)
    value = {**json.loads(paths.state.read_text()), "format_version": 2}
    for record in value["records"]:
        del record["request"]
    paths.state.write_text(json.dumps(value))
    assert [record.request for record in read_state(paths).records] == [STATE.request] * 2


def test_a_study_of_the_first_version_is_one_of_this_machine(tmp_path):
    paths = StudyPaths(tmp_path)
    write_state(paths, STATE)
    value = {**json.loads(paths.state.read_text()), "format_version": 1}
    paths.state.write_text(json.dumps({key: value[key] for key in value.keys() - {"cluster", "request"}}))
    first = read_state(paths)
    assert (first.cluster, first.request) == (None, Request())
    assert first == dataclasses.replace(STATE, cluster=None, request=Request())


def test_jobs_of_a_cluster_are_known_by_their_numbers_until_they_are_cancelled():
    records = (Record(TRAIN, "queued", "8_0"), Record(TRAIN, "cancelled", "8_1"), Record(TRAIN, "skipped"))
    assert dataclasses.replace(STATE, records=records).live_ids == {"8_0"}


def test_changing_one_record_leaves_the_others():
    changed = STATE.with_record(Record(TRAIN, "queued"))
    assert changed.records == (STATE.records[0], Record(TRAIN))
    assert changed.record("split") == STATE.record("split")


def test_without_a_study_the_cure_is_named(tmp_path):
    with pytest.raises(LaunchError, match=r"no study \(`hipseg submit` starts one\) at .*study.json"):
        read_state(StudyPaths(tmp_path))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format_version", 4, "has format 4; this version reads 1, 2, 3"),
        ("records", [{"stage": "asleep", "job": {"arguments": [], "after": []}}], "unknown stage 'asleep'"),
        ("records", [{"stage": "done"}], "KeyError: 'job'"),
        ("driver_pid", "many", "ValueError"),
    ],
)
def test_a_damaged_study_is_refused(tmp_path, key, value, message):
    paths = StudyPaths(tmp_path)
    write_state(paths, STATE)
    paths.state.write_text(json.dumps({**json.loads(paths.state.read_text()), key: value}))
    with pytest.raises(LaunchError, match=message):
        read_state(paths)


def test_the_cure_of_a_damaged_study_doubles_no_work(tmp_path):
    paths = StudyPaths(tmp_path)
    write_state(paths, STATE)
    whole = paths.state.read_text()
    for damaged in (whole[:40], "[]"):
        paths.state.write_text(damaged)
        with pytest.raises(LaunchError, match=r"delete it and submit again.*`squeue --me`.* ended before with `scancel`"):
            read_state(paths)


def test_a_process_is_alive_until_it_has_ended():
    here = socket.gethostname()
    with subprocess.Popen(["sleep", "60"]) as process:
        assert is_alive(process.pid, time.time(), here) is True
        process.kill()
    assert is_alive(process.pid, time.time(), here) is False


def test_a_process_that_began_long_after_the_job_is_another_one():
    assert is_alive(os.getpid(), time.time() - 86_400, socket.gethostname()) is False


def test_a_job_without_a_process_is_not_alive():
    assert is_alive(None, None, socket.gethostname()) is False


def test_nothing_is_said_about_the_processes_of_another_host():
    assert is_alive(os.getpid(), time.time(), "some-other-host") is None
