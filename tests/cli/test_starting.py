"""How `hipseg submit` behaves on a cluster: one of scripts on PATH, so that nothing runs."""

import shutil
import subprocess
import sys

import pytest

from hipseg.cli.cancel import command as cancel
from hipseg.cli.resubmit import command as resubmit
from hipseg.cli.starting import start_here
from hipseg.cli.status import command as status
from hipseg.cli.submit import command as submit
from hipseg.config import StudySettings
from hipseg.errors import ConfigError, LaunchError
from hipseg.launch.machine import Machine
from hipseg.launch.request import Request
from hipseg.launch.state import read_state
from hipseg.runs import DatasetPaths, StudyPaths
from tests.cli.submitting import LIVE, call, submit_unet

HEAVY = ("tensorflow", "keras", "horovod", "pandas", "sklearn", "pydicom", "h5py")


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


def test_a_refusal_names_a_job_that_is_wanted(folder):
    assert str(submit_unet("--cpus", 20).exception).startswith("a run cannot run on this cluster: ")
    both = call(submit, "--folds", 2, "--cpus", 20)
    assert str(both.exception).startswith("the pretraining cannot run on this cluster: ")


def test_threads_that_the_settings_name_are_not_replaced(folder):
    ended = call(submit, "--folds", 2, "--set", "pretrain.train.threads=3", "--dry-run")
    assert "pretrain.train.threads=8" not in ended.output
    assert "--set train.threads=8" in ended.output


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
    (folder / "scans").mkdir()
    ended = submit_unet("--pack", "scans", "--pack-parts", 3)
    assert [line.split(" as ")[0] for line in ended.output.splitlines()[:3]] == [
        "submitted pack parts: 3 jobs",
        "submitted pack: 1 job",
        "submitted split: 1 job",
    ]


def test_scans_to_pack_that_are_not_there_are_refused(folder):
    ended = submit_unet("--pack", "nowhere", "--dry-run")
    assert isinstance(ended.exception, ConfigError)
    assert str(ended.exception).startswith("no scans to pack at nowhere; name their folder with --pack")


def test_without_srun_nothing_is_shown_or_submitted(folder, monkeypatch):
    find = shutil.which
    monkeypatch.setattr("shutil.which", lambda name: None if name == "srun" else find(name))
    for arguments in (["--dry-run"], []):
        assert "no srun here" in str(submit_unet(*arguments).exception)
    assert not (folder / "results").exists()


def test_a_results_folder_whose_name_is_a_pattern_to_slurm_is_refused_before_anything_is_made(folder):
    for arguments in (["--dry-run"], []):
        ended = submit_unet("--results", "r%j", *arguments)
        assert isinstance(ended.exception, ConfigError)
        assert "holds '%'" in str(ended.exception)
    assert not (folder / "r%j").exists()


def test_an_array_longer_than_the_cluster_takes_is_refused_before_anything_is_submitted(folder, slurm):
    slurm.say("scontrol show config", "ClusterName = fake\nMaxArraySize            = 3\n")
    assert call(submit, "--folds", 3, "--arm", "unet", "--dry-run").exit_code == 0
    ended = call(submit, "--folds", 2, "--repeats", 2, "--arm", "unet")
    assert isinstance(ended.exception, LaunchError)
    assert str(ended.exception).startswith("train unet has 4 jobs, and this cluster takes arrays of up to 3 (MaxArraySize); ")
    assert not (folder / "results").exists()


def test_results_that_everybody_may_write_to_are_warned_of(folder):
    assert "everybody" not in submit_unet().output
    (folder / "results").chmod(0o777)
    ended = submit_unet("--epochs", 3)
    assert ended.exit_code == 0
    assert f"warning: everybody may write to {folder / 'results'}, and so " in ended.output


def test_what_is_to_be_typed_next_can_be_typed(folder):
    (folder / "shards").rename(folder / "my shards")
    ended = submit_unet("--results", "my results", "--shards", "my shards")
    assert ended.output.splitlines()[-1].startswith("`hipseg status 'my results'` shows how far it is; `hipseg cancel 'my ")
    ended = submit_unet("--results", "results", "--shards", "no shards")
    assert str(ended.exception).endswith("`hipseg-pack DATA -o 'no shards'` or name their folder with --shards")


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
    assert str(ended.exception).startswith("--nodes and --time are for a Slurm cluster")


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
