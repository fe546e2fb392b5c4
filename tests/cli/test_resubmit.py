"""A study in several commands, and how `hipseg resubmit` takes it up again, on a cluster of scripts and here."""

import dataclasses

from hipseg.cli.cancel import command as cancel
from hipseg.cli.resubmit import command as resubmit
from hipseg.cli.status import command as status
from hipseg.cli.submit import command as submit
from hipseg.errors import ConfigError, LaunchError
from hipseg.launch.request import Request
from hipseg.launch.state import read_state, write_state
from hipseg.runs import StudyPaths
from tests.cli.submitting import LIVE, block_dealing, call, deal, submit_unet


def submit_in_two(folder, slurm):
    """Submit one arm, and while its folds train another one, which pretrains first."""
    deal(folder)
    submit_unet()
    slurm.say("squeue", "101_0|RUNNING|None\n101_1|RUNNING|None\n102|PENDING|Dependency\n103|PENDING|Dependency\n")
    return call(submit, "--folds", 2, "--arm", "modified-unet-tl")


def test_the_table_waits_for_the_runs_of_both_commands(folder, slurm):
    ended = submit_in_two(folder, slurm)
    assert ended.output.splitlines()[:4] == [
        "submitted pretraining: 1 job as 104",
        "submitted train modified-unet-tl: 2 jobs as 105, afterok 104",
        "submitted aggregate: 1 job as 106, afterok 101_0:101_1:105",
        "submitted report: 1 job as 107, afterok 106",
    ]
    assert "scancel --quiet 102 103" in slurm.calls


def test_resubmit_takes_both_up_each_behind_what_it_waits_for(folder, slurm):
    call(submit, "--folds", 2, "--arm", "modified-unet")
    slurm.say("squeue", "101|FAILED|NonZeroExitCode\n")
    call(submit, "--folds", 2, "--arm", "modified-unet-tl")
    slurm.say("squeue", "105|FAILED|NonZeroExitCode\n106|FAILED|NonZeroExitCode\n")
    assert [line for line in call(resubmit).output.splitlines() if line.startswith("submitted ")] == [
        "submitted split: 1 job as 110",
        "submitted train modified-unet: 2 jobs as 111, afterok 110",
        "submitted pretraining: 1 job as 112",
        "submitted train modified-unet-tl: 2 jobs as 113, afterok 110:112",
        "submitted aggregate: 1 job as 114, afterok 111:113",
        "submitted report: 1 job as 115, afterok 114",
    ]


def test_resubmit_takes_up_no_other_study_than_the_one_named(folder, slurm, monkeypatch):
    submit_unet()
    slurm.say("squeue", "")
    (folder / "results").rename(folder / "old")
    elsewhere = call(resubmit, "old")
    monkeypatch.chdir(folder / "private")
    for ended in (elsewhere, call(resubmit, "../old")):
        assert isinstance(ended.exception, ConfigError)
        assert "call its results results, which from here is another folder; give the command where" in str(ended.exception)
    (folder / "old").rename(folder / "results")
    monkeypatch.chdir(folder)
    assert call(resubmit, folder / "results").output.startswith("submitted split: 1 job as 105\n")


def test_resubmit_gives_each_job_what_its_own_command_asked_for(folder, slurm):
    """The two leave the same order of the runs and other resources for each."""
    deal(folder)
    submit_unet("--time", "60", "--partition", "gpu", "--gpus", 2)
    call(submit, "--folds", 2, "--arm", "modified-unet", "--time", "10")
    slurm.say("squeue", "")
    ended = call(resubmit)
    assert ended.exit_code == 0, ended.output
    unet, modified = slurm.script(107), slurm.script(108)
    assert "#SBATCH --job-name=hipseg-train-unet\n" in unet
    for line in ("--partition=gpu", "--time=01:00:00", "--gpus-per-node=2", "--ntasks-per-node=2", "--array=0-1%2"):
        assert f"#SBATCH {line}\n" in unet
    for line in ("--partition=cpu", "--time=00:10:00", "--ntasks-per-node=1"):
        assert f"#SBATCH {line}\n" in modified
    records = {record.job.name: record for record in read_state(StudyPaths(folder / "results")).records}
    assert records["train unet fold 0"].request == Request(arms=("unet",), time_min=60, partition="gpu", gpus=2)
    assert records["train unet fold 0"].job.ranks == 2
    assert records["train modified-unet fold 0"].job.ranks == 1


def test_resubmit_deals_no_folds_again_and_leaves_those_in_the_queue_alone(folder, slurm):
    call(submit, "--folds", 2, "--arm", "unet", "--arm", "modified-unet")
    deal(folder)
    queue = (
        "101|COMPLETED|None\n102_0|RUNNING|None\n102_1|PENDING|Resources\n103_0|FAILED|NonZeroExitCode\n103_1|PENDING|Resources\n"
    )
    slurm.say("squeue", queue + "104|PENDING|Dependency\n105|PENDING|Dependency\n")
    ended = call(resubmit)
    assert ended.output.splitlines()[:3] == [
        "submitted train modified-unet: 1 job as 106",
        "submitted aggregate: 1 job as 107, afterok 102_0:102_1:103_1:106",
        "submitted report: 1 job as 108, afterok 107",
    ]
    assert [one for one in slurm.calls if one.startswith("scancel")] == ["scancel --quiet 104 105"]


def test_scans_that_are_packed_are_not_packed_again_beside_the_folds_that_read_them(folder, slurm):
    (folder / "scans").mkdir()
    call(submit, "--folds", 2, "--arm", "unet", "--pack", "scans", "--pack-parts", 2)
    deal(folder)
    queue = "".join(f"{number}|COMPLETED|None\n" for number in ("101_0", "101_1", "102", "103"))
    slurm.say("squeue", f"{queue}104_0|RUNNING|None\n104_1|PENDING|Resources\n105|PENDING|Dependency\n106|PENDING|Dependency\n")
    ended = call(submit, "--folds", 2, "--arm", "unet", "--pack", "scans", "--pack-parts", 2)
    assert ended.output.splitlines()[:2] == ["complete before: 3 jobs", "submitted before: 4 jobs"]
    assert not [one for one in slurm.calls if one.startswith("scancel")]


def test_cancel_ends_what_is_live_and_resubmit_takes_up_what_is_left(folder, slurm):
    submit_unet("--partition", "gpu")
    slurm.say("squeue", LIVE.replace("101|RUNNING", "101|COMPLETED"))
    assert call(cancel).output == "cancelled 4 jobs: train unet fold 0, train unet fold 1, aggregate, report\n"
    slurm.say("squeue", "")
    deal(folder)
    shown = call(resubmit, "--dry-run").output
    assert "== train unet: 2 jobs" in shown
    assert "#SBATCH --partition=gpu" in shown
    ended = call(resubmit)
    assert ended.exit_code == 0, ended.output
    assert ended.output.startswith("submitted train unet: 2 jobs as 105\n")
    assert call(cancel).output == "cancelled 0 jobs; nothing was queued or running\n"


def test_a_study_of_this_machine_is_taken_up_here_with_its_own_options(folder, no_cluster):
    block_dealing(folder)
    ended = submit_unet("--max-running", 2, "--ranks", 2)
    assert isinstance(ended.exception, LaunchError)
    shown = call(resubmit, "--dry-run").output
    assert "train unet fold 0 (2 ranks)" in shown
    assert "modified" not in shown
    assert shown.endswith("5 jobs, 2 at once; nothing was started\n")


def test_a_second_command_here_keeps_the_runs_of_the_first_and_resubmit_takes_up_both(folder, no_cluster):
    block_dealing(folder)
    submit_unet("--ranks", 2)
    call(submit, "--folds", 2, "--arm", "modified-unet", "--max-running", 1)
    records = {record.job.name: record for record in read_state(StudyPaths(folder / "results")).records}
    assert [records[f"train {arm} fold 1"].stage for arm in ("unet", "modified-unet")] == ["not run", "not run"]
    assert "│ unet          │ not run │ not run │" in call(status).output
    shown = call(resubmit, "--dry-run").output
    assert "train unet fold 1 (2 ranks)\n" in shown
    assert "train modified-unet fold 1\n" in shown
    assert (
        shown.count("after train unet fold 0, train unet fold 1, train modified-unet fold 0, train modified-unet fold 1\n") == 1
    )


def test_what_another_command_left_half_done_is_nobodys_work_now(folder, no_cluster):
    block_dealing(folder)
    submit_unet()
    paths = StudyPaths(folder / "results")
    state = read_state(paths)
    left = {"train unet fold 0": "running", "train unet fold 1": "queued"}
    for name, stage in left.items():
        state = state.with_record(dataclasses.replace(state.record(name), stage=stage, error=None))
    write_state(paths, state)
    paths.fold("unet", 0).root.mkdir(parents=True)
    paths.fold("unet", 0).summary.write_text("{}")
    call(submit, "--folds", 2, "--arm", "modified-unet")
    after = read_state(paths)
    assert [after.record(name).stage for name in left] == ["done", "not run"]
