"""How `hipseg submit` behaves on a cluster: one of scripts on PATH, so that nothing runs."""

import dataclasses
import subprocess
import sys

import pytest
from click.testing import CliRunner

from hipseg.cli.cancel import command as cancel
from hipseg.cli.resubmit import command as resubmit
from hipseg.cli.starting import start_here
from hipseg.cli.status import command as status
from hipseg.cli.submit import command as submit
from hipseg.config import StudySettings
from hipseg.errors import ConfigError, LaunchError
from hipseg.launch.machine import Machine
from hipseg.launch.request import Request
from hipseg.launch.state import read_state, write_state
from hipseg.runs import DatasetPaths, StudyPaths
from hipseg.splits import split_patients, write_splits
from tests.learn.builders import pack_discs

HEAVY = ("tensorflow", "keras", "horovod", "pandas", "sklearn", "pydicom", "h5py")
LIVE = "101|RUNNING|None\n102_0|PENDING|Dependency\n102_1|PENDING|Dependency\n103|PENDING|Dependency\n104|PENDING|Dependency\n"


@pytest.fixture
def folder(tmp_path, monkeypatch, slurm):
    """A folder with two packed data sets, empty but there, and splits still to be dealt."""
    for name in ("shards", "shards-pretrain", "private"):
        (tmp_path / name).mkdir()
        DatasetPaths(tmp_path / name).manifest.write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(command, *arguments):
    return CliRunner().invoke(command, [str(one) for one in arguments])


def submit_unet(*arguments):
    return call(submit, "--folds", 2, "--arm", "unet", *arguments)


def test_a_study_is_submitted_and_the_command_comes_back(folder):
    ended = submit_unet("--partition", "gpu", "--gpus", 4)
    assert ended.exit_code == 0, ended.output
    assert ended.output.splitlines() == [
        "submitted split: 1 job as 101",
        "submitted train unet: 2 jobs as 102, afterok 101",
        "submitted aggregate: 1 job as 103, afterok 102",
        "submitted report: 1 job as 104, afterok 103",
        "`hipseg status results` shows how far it is; `hipseg cancel results` ends it",
    ]
    state = read_state(StudyPaths(folder / "results"))
    assert state.cluster == "fake"
    assert state.request == Request(arms=("unet",), partition="gpu", gpus=4)
    assert [record.job.ranks for record in state.records] == [1, 4, 4, 1, 1]
    assert state.records[1].job.arguments[-2:] == ("--set", "train.threads=8")


def test_submitting_twice_submits_once(folder, slurm):
    submit_unet()
    before = read_state(StudyPaths(folder / "results")).records
    slurm.say("squeue", LIVE)
    ended = submit_unet()
    assert ended.output.splitlines()[0] == "submitted before: 5 jobs"
    assert read_state(StudyPaths(folder / "results")).records == before
    assert not (slurm.folder / "script-105").exists()


def submit_in_two(folder, slurm):
    """Submit one arm, and while its folds train another one, which pretrains first."""
    dataset, manifest = pack_discs(folder / "shards", 2)
    write_splits(dataset, split_patients(manifest.cases, 2, seed=0))
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
    dataset, manifest = pack_discs(folder / "shards", 2)
    write_splits(dataset, split_patients(manifest.cases, 2, seed=0))
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
    dataset, manifest = pack_discs(folder / "shards", 2)
    call(submit, "--folds", 2, "--arm", "unet", "--arm", "modified-unet")
    write_splits(dataset, split_patients(manifest.cases, 2, seed=0))
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
    dataset, manifest = pack_discs(folder / "shards", 2)
    call(submit, "--folds", 2, "--arm", "unet", "--pack", "scans", "--pack-parts", 2)
    write_splits(dataset, split_patients(manifest.cases, 2, seed=0))
    queue = "".join(f"{number}|COMPLETED|None\n" for number in ("101_0", "101_1", "102", "103"))
    slurm.say("squeue", f"{queue}104_0|RUNNING|None\n104_1|PENDING|Resources\n105|PENDING|Dependency\n106|PENDING|Dependency\n")
    ended = call(submit, "--folds", 2, "--arm", "unet", "--pack", "scans", "--pack-parts", 2)
    assert ended.output.splitlines()[:2] == ["complete before: 3 jobs", "submitted before: 4 jobs"]
    assert not [one for one in slurm.calls if one.startswith("scancel")]


def test_queued_jobs_keep_the_settings_they_were_submitted_with(folder, slurm):
    submit_unet()
    slurm.say("squeue", LIVE)
    ended = submit_unet("--epochs", 3)
    assert isinstance(ended.exception, LaunchError)
    assert "other settings than these" in str(ended.exception)


def test_what_cannot_be_had_is_refused_and_leaves_nothing_behind(folder, slurm):
    ended = submit_unet("--gpus", 2)
    assert str(ended.exception).endswith("what would fit: --gpus 0 or --partition gpu")
    assert not (folder / "results").exists()
    assert not (slurm.folder / "script-101").exists()


def test_a_profile_is_read_in_place_of_asking(folder, slurm):
    (folder / "configs").mkdir()
    kinds = "{kinds: [{nodes: 1, cpus: 4, memory_mb: 8192}]}"
    text = f"cluster: fake\npartition: small\naccount: lab\npartitions: {{small: {kinds}}}\n"
    (folder / "configs" / "cluster.yaml").write_text(text)
    assert submit_unet("--dry-run").output.count("#SBATCH --account=lab\n") == 4
    assert not [call for call in slurm.calls if call.startswith("sinfo")]


def test_a_profile_of_another_cluster_is_not_taken_for_this_one(folder, slurm):
    (folder / "configs").mkdir()
    profile = folder / "configs" / "cluster.yaml"
    profile.write_text("cluster: ours\naccount: lab\npartitions: {small: {kinds: [{nodes: 1, cpus: 4, memory_mb: 8192}]}}\n")
    shown = submit_unet("--dry-run").output
    assert "warning: configs/cluster.yaml is of the cluster ours, and this is fake, which is asked in its place" in shown
    assert "--account" not in shown
    assert "#SBATCH --partition=cpu\n" in shown


@pytest.mark.parametrize("has_profile", [False, True])
def test_a_study_of_another_cluster_is_neither_doubled_nor_are_its_numbers_cancelled_here(folder, slurm, has_profile):
    submit_unet()
    if has_profile:
        (folder / "configs").mkdir()
        text = "cluster: fake\npartition: small\npartitions: {small: {kinds: [{nodes: 1, cpus: 4, memory_mb: 65536}]}}\n"
        (folder / "configs" / "cluster.yaml").write_text(text)
    slurm.say("scontrol show config", "ClusterName = other\n")
    slurm.say("squeue", "101|RUNNING|None\n")
    for ended in (submit_unet(), call(resubmit), call(cancel)):
        assert isinstance(ended.exception, LaunchError)
        assert "was submitted to the cluster fake, and this is other" in str(ended.exception)
    assert not [one for one in slurm.calls if one.startswith("scancel")]
    assert not (slurm.folder / "script-105").exists()
    shown = call(status).output
    assert "running" not in shown
    assert "the cluster fake, and this is other; give the command there; this is what the study's own files say" in shown


def test_a_dry_run_writes_nothing_and_loads_nothing_heavy(folder, slurm):
    before = sorted(folder.rglob("*"))
    arguments = ["submit", "--folds", "2", "--dry-run"]
    code = (
        "import sys\nfrom hipseg.cli.main import main\n"
        f"try:\n    main({arguments!r})\nfinally:\n    print('loaded:', sorted(set({HEAVY!r}) & sys.modules.keys()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.endswith("10 jobs in 7 submissions to fake; nothing was submitted\nloaded: []\n")
    assert shown.count("#!/bin/bash") == 7
    assert sorted(folder.rglob("*")) == before
    assert not (slurm.folder / "script-101").exists()


def test_packing_comes_first_where_scans_are_named(folder):
    DatasetPaths(folder / "shards").manifest.unlink()
    ended = submit_unet("--pack", "scans", "--pack-parts", 3)
    assert [line.split(" as ")[0] for line in ended.output.splitlines()[:3]] == [
        "submitted pack parts: 3 jobs",
        "submitted pack: 1 job",
        "submitted split: 1 job",
    ]


def test_a_home_folder_is_named_nowhere(folder, monkeypatch):
    monkeypatch.chdir(folder / "private")
    ended = submit_unet("--shards", folder / "shards", "--results", folder / "results")
    assert ended.exit_code == 0, ended.output
    for path in (StudyPaths(folder / "results").settings, StudyPaths(folder / "results").state):
        assert str(folder) not in path.read_text()
    assert all(str(folder).encode() not in path.read_bytes() for path in (folder / "results").rglob("*_submitted.pkl"))


@pytest.mark.parametrize("option", ["--shards", "--results", "--pack"])
def test_a_line_break_in_a_path_is_refused_by_name(folder, option):
    ended = submit_unet(option, "a\nb")
    assert isinstance(ended.exception, ConfigError)
    assert r"'a\nb'; rename it" in str(ended.exception)


def test_a_cluster_that_does_not_answer_is_no_reason_to_compute_on_its_login_node(folder, slurm):
    slurm.say("scontrol ping", "Slurmctld(primary) at head is DOWN\n", code=1)
    ended = submit_unet()
    assert isinstance(ended.exception, LaunchError)
    assert "add --local" in str(ended.exception)
    assert not (folder / "results").exists()


def test_what_a_cluster_runs_is_not_run_here_as_well(folder, slurm):
    submit_unet()
    slurm.say("squeue", LIVE)
    ended = submit_unet("--local")
    assert str(ended.exception).startswith("5 jobs of this study are queued or run on the cluster fake (101 is the first)")


def test_a_study_of_a_cluster_that_is_out_of_sight_is_left_alone(folder, slurm):
    submit_unet()
    slurm.say("squeue", code=1, error="squeue: fatal: Could not establish a configuration source\n")
    ended = submit_unet("--local")
    assert "the cluster fake, which cannot be asked from here (squeue failed: squeue: fatal" in str(ended.exception)
    slurm.say("scontrol show config", "ClusterName = other\n")
    assert "was submitted to the cluster fake, and this is other; " in str(submit_unet().exception)


def test_options_of_a_cluster_are_refused_without_one(folder, no_cluster):
    ended = submit_unet("--nodes", 2, "--time", 30)
    assert str(ended.exception).startswith("--nodes and --time is for a Slurm cluster")


def test_cancel_ends_what_is_live_and_resubmit_takes_up_what_is_left(folder, slurm):
    dataset, manifest = pack_discs(folder / "shards", 2)
    submit_unet("--partition", "gpu")
    slurm.say("squeue", LIVE.replace("101|RUNNING", "101|COMPLETED"))
    assert call(cancel).output == "cancelled 4 jobs: train unet fold 0, train unet fold 1, aggregate, report\n"
    slurm.say("squeue", "")
    write_splits(dataset, split_patients(manifest.cases, 2, seed=0))
    shown = call(resubmit, "--dry-run").output
    assert "== train unet: 2 jobs" in shown
    assert "#SBATCH --partition=gpu" in shown
    ended = call(resubmit)
    assert ended.exit_code == 0, ended.output
    assert ended.output.startswith("submitted train unet: 2 jobs as 105\n")
    assert call(cancel).output == "cancelled 0 jobs; nothing was queued or running\n"


def test_a_study_of_this_machine_is_taken_up_here_with_its_own_options(folder, no_cluster):
    ended = submit_unet("--max-running", 2, "--ranks", 2)
    assert isinstance(ended.exception, LaunchError)  # the manifests are none, which the first job finds out
    shown = call(resubmit, "--dry-run").output
    assert "train unet fold 0 (2 ranks)" in shown
    assert "modified" not in shown
    assert shown.endswith("5 jobs, 2 at once; nothing was started\n")


def test_a_second_command_here_keeps_the_runs_of_the_first_and_resubmit_takes_up_both(folder, no_cluster):
    submit_unet("--ranks", 2)  # ends with its first job: the manifests are none
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


def test_status_shows_what_the_cluster_says(folder, slurm):
    submit_unet()
    slurm.say("squeue", LIVE.replace("102_0|PENDING|Dependency", "102_0|RUNNING|None"))
    shown = call(status).output
    assert "│ unet │ running, epoch 0/100 │ queued (Dependency) │" in shown
    assert "split: running\naggregate: queued (Dependency)\nreport: queued (Dependency)\n" in shown


def test_status_of_many_folds_has_a_line_each_and_counts_them(folder, slurm):
    call(submit, "--folds", 30, "--arm", "unet")
    folds = "".join(f"102_{fold}|PENDING|Resources\n" for fold in range(30))
    slurm.say("squeue", f"101|RUNNING|None\n{folds}103|PENDING|Dependency\n104|PENDING|Dependency\n")
    shown = call(status).output
    assert "│ 29   │ queued (Resources) │" in shown
    assert "33 jobs: 32 queued, 1 running\n" in shown


def test_watching_ends_with_the_last_job(folder, slurm):
    submit_unet()
    slurm.say("squeue", "101|CANCELLED|None\n102|CANCELLED|None\n103|CANCELLED|None\n104|CANCELLED|None\n")
    ended = call(status, "--watch")
    assert ended.exit_code == 0
    assert "`hipseg resubmit results` submits again what did not end well" in ended.output
    assert call(status, "--watch", "--json").exit_code == 2


@pytest.fixture
def machine(folder, monkeypatch, no_cluster):
    """Say what this machine has; gives what a dry run says then."""

    def dry_run(request, gpus=(), memory_gb=64):
        monkeypatch.setattr("hipseg.cli.starting.look_at_machine", lambda: Machine(8, memory_gb * 1024**3, gpus))
        settings = StudySettings(folds=2)
        start_here(settings, request, dry_run=True)

    return dry_run


def test_no_run_lands_on_the_processor_because_the_cards_are_taken(machine):
    machine(Request(arms=("unet",), max_running=2), gpus=("0", "1"))
    for asked in (Request(arms=("unet",), max_running=3), Request(arms=("unet",), ranks=4)):
        with pytest.raises(ConfigError, match=r"graphics cards, and there are 2: the others would train on the processor"):
            machine(asked, gpus=("0", "1"))


def test_too_little_memory_for_one_run_is_said_beforehand(machine, capsys):
    machine(Request(arms=("unet",)), memory_gb=4)
    assert "warning: one run needs about " in capsys.readouterr().err
    machine(Request(arms=("unet",)), memory_gb=512)
    assert capsys.readouterr().err == ""
