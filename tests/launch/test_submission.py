import dataclasses
from pathlib import Path

import pytest

from hipseg.config import StudySettings, dump_settings
from hipseg.errors import LaunchError, Stopped
from hipseg.launch.allocation import Allocation
from hipseg.launch.cluster import QueueEntry
from hipseg.launch.graph import choose_part, plan_study
from hipseg.launch.request import Request
from hipseg.launch.resources import STAGES
from hipseg.launch.state import Record, StudyState, read_state
from hipseg.launch.submission import Charge, ClusterPlan, find_live, refuse_other_settings, show_plan, submit_plan
from hipseg.runs import StudyPaths
from hipseg.signals import StopRequests

SETTINGS = StudySettings(folds=2)
ARMS = ("unet", "modified-unet-tl")
JOBS = plan_study(SETTINGS, Path("results/settings.yaml"), choose_part(SETTINGS, ARMS), has_splits=True)
NAMES = [job.name for job in JOBS]
RUNNING, WAITING, FAILED = QueueEntry("RUNNING"), QueueEntry("PENDING", "Dependency"), QueueEntry("FAILED")


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return ClusterPlan(
        StudyPaths(Path("results")),
        SETTINGS,
        JOBS,
        done=frozenset(),
        live={},
        replaced=frozenset(),
        earlier=(),
        cluster="fake",
        charge=Charge(Request(arms=ARMS, max_running=1), Allocation(STAGES)),
    )


def study(ids):
    records = tuple(Record(job, "queued", submitit_id=ids.get(job.name)) for job in JOBS)
    return StudyState(records, "host", 1, 0.0, cluster="fake")


def test_each_submission_waits_for_those_before_it_and_is_written_down(plan, slurm):
    said = []
    state = submit_plan(plan, said.append)
    assert said == [
        "submitted pretraining: 1 job as 101",
        "submitted train unet: 2 jobs as 102",
        "submitted train modified-unet-tl: 2 jobs as 103, afterok 101",
        "submitted aggregate: 1 job as 104, afterok 102:103",
        "submitted report: 1 job as 105, afterok 104",
    ]
    assert [record.submitit_id for record in state.records] == ["101", "102_0", "102_1", "103_0", "103_1", "104", "105"]
    assert read_state(plan.paths) == dataclasses.replace(state, manifests={})
    assert plan.paths.settings.read_text() == dump_settings(SETTINGS)
    assert "#SBATCH --array=0-1%1\n" in slurm.script(102)


def test_what_is_done_or_queued_is_not_submitted_and_what_waits_for_it_waits(plan, slurm):
    before = Record(JOBS[1], "queued", submitit_id="55_0", log="jobs/x/55_0_0_log.out", request=Request(gpus=4))
    other = Record(dataclasses.replace(JOBS[1], name="train other fold 0", arm="other"), "queued", submitit_id="50")
    plan = dataclasses.replace(plan, done=frozenset({NAMES[0], NAMES[3]}), live={NAMES[1]: "55_0"}, earlier=(other, before))
    said = []
    state = submit_plan(plan, said.append)
    assert said == [
        "submitted train unet: 1 job as 101",
        "submitted train modified-unet-tl: 1 job as 102",
        "submitted aggregate: 1 job as 103, afterok 55_0:101:102",
        "submitted report: 1 job as 104, afterok 103",
    ]
    assert [(record.stage, record.submitit_id) for record in state.records] == [
        ("queued", "50"),
        ("skipped", None),
        ("queued", "55_0"),
        ("queued", "101"),
        ("skipped", None),
        ("queued", "102"),
        ("queued", "103"),
        ("queued", "104"),
    ]
    assert state.records[2] == before


def test_a_refusal_half_way_leaves_what_was_submitted_known(plan, slurm):
    def refuse_after_the_second(line):
        if line.startswith("submitted train unet"):
            slurm.refuse("sbatch: error: Batch job submission failed: Invalid account\n")

    with pytest.raises(LaunchError, match=r"Slurm refused train modified-unet-tl: Batch job submission failed: Invalid account"):
        submit_plan(plan, refuse_after_the_second)
    assert [record.submitit_id for record in read_state(plan.paths).records] == ["101", "102_0", "102_1", None, None, None, None]


@pytest.mark.parametrize(("name", "raised"), [("INT", KeyboardInterrupt), ("TERM", Stopped)])
def test_a_job_that_slurm_got_while_the_command_was_stopped_is_known(plan, slurm, name, raised):
    slurm.stop_while_submitting(102, name)
    with pytest.raises(raised), StopRequests().listening():
        submit_plan(plan, lambda line: None)
    numbers = [record.submitit_id for record in read_state(plan.paths).records]
    assert numbers == ["101", "102_0", "102_1", None, None, None, None]
    assert not (slurm.folder / "script-103").exists()


def test_a_dry_run_shows_every_script_and_every_command_and_writes_nothing(plan, slurm, tmp_path):
    said = []
    show_plan(dataclasses.replace(plan, done=frozenset({NAMES[0]}), live={NAMES[1]: "55_0"}), said.append)
    text = "\n".join(said)
    assert [line for line in said if line.startswith("== ")] == [
        "== train unet: 1 job",
        "== train modified-unet-tl: 2 jobs",
        "== aggregate: 1 job",
        "== report: 1 job",
    ]
    assert text.count("#!/bin/bash") == 4
    assert "#SBATCH --dependency='afterok:55_0:<number of train modified-unet-tl>:<number of train unet>'" in text
    assert f"{NAMES[2]}\n  {JOBS[2].command}" in text
    assert said[-3:] == [
        "pretraining: complete, not run again",
        "train unet fold 0: already submitted as 55_0",
        "5 jobs in 4 submissions to fake; nothing was submitted",
    ]
    assert list(tmp_path.iterdir()) == []


def test_without_an_earlier_study_nothing_is_live():
    assert find_live(JOBS, frozenset(), None, {"1": RUNNING}) == ({}, frozenset())


def test_jobs_that_run_or_can_still_run_are_left_alone():
    ids = dict(zip(NAMES, ("1", "2_0", "2_1", "3_0", "3_1", "4", "5"), strict=True))
    queue = {"1": RUNNING, "2_0": RUNNING, "2_1": WAITING, "3_0": WAITING, "3_1": WAITING, "4": WAITING, "5": WAITING}
    assert find_live(JOBS, frozenset(), study(ids), queue) == (ids, frozenset())


def test_what_waits_for_a_job_that_failed_is_replaced_with_it():
    ids = dict(zip(NAMES, ("1", "2_0", "2_1", "3_0", "3_1", "4", "5"), strict=True))
    queue = {"1": FAILED, "2_0": RUNNING, "3_0": WAITING, "3_1": WAITING, "4": WAITING, "5": WAITING}
    live, replaced = find_live(JOBS, frozenset({NAMES[2]}), study(ids), queue)
    assert live == {NAMES[1]: "2_0"}
    assert replaced == {"3_0", "3_1", "4", "5"}


def test_a_job_that_waits_to_do_what_is_done_is_taken_out_of_the_queue():
    ids = {NAMES[1]: "2_0", NAMES[2]: "2_1"}
    assert find_live(JOBS, frozenset(ids), study(ids), {"2_0": WAITING, "2_1": RUNNING}) == ({}, frozenset({"2_0"}))


def test_a_table_that_is_being_made_without_runs_to_come_is_made_again():
    queue = {"2_0": FAILED, "4": RUNNING}
    assert find_live(JOBS, frozenset(), study({NAMES[1]: "2_0", "aggregate": "4"}), queue) == ({}, frozenset())


def test_jobs_that_were_cancelled_or_never_submitted_are_not_live():
    earlier = study({NAMES[0]: "1"})
    earlier = earlier.with_record(dataclasses.replace(earlier.records[0], stage="cancelled"))
    assert find_live(JOBS, frozenset(), earlier, {"1": RUNNING}) == ({}, frozenset())


def test_replaced_jobs_are_cancelled_before_they_are_submitted_anew(plan, slurm):
    submit_plan(dataclasses.replace(plan, replaced=frozenset({"4", "3_0"})), lambda line: None)
    assert slurm.calls == ["scancel --quiet 3_0 4"]


def test_settings_do_not_change_under_queued_jobs(plan):
    refuse_other_settings(plan.paths, SETTINGS)
    plan.paths.root.mkdir()
    plan.paths.settings.write_text(dump_settings(SETTINGS))
    refuse_other_settings(plan.paths, SETTINGS)
    with pytest.raises(LaunchError, match=r"other settings than these \(results/settings.yaml\); .*`hipseg cancel results`"):
        refuse_other_settings(plan.paths, StudySettings(folds=3))
