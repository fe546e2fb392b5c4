"""The scripts that sbatch gets, compared whole, and how jobs are submitted."""

# ruff: noqa: E501 - the lines of a script are as long as they are
import os
import re
import stat
import sys
from pathlib import Path

import pytest
from submitit.core.utils import DelayedSubmission

from hipseg.config import StudySettings
from hipseg.errors import ConfigError, LaunchError
from hipseg.launch.graph import Job, Packing, Part, plan_study
from hipseg.launch.resources import STAGES, Resources, sbatch_lines
from hipseg.launch.slurm import Batch, Terms, dependency, gather, refuse_path, render_script, submit_batch
from hipseg.launch.work import RunRank
from hipseg.runs import StudyPaths

SMALL = Resources(cpus_per_rank=2, mem_gb=4, time_min=60, nodes=2, partition="cpu", account="lab 7")
ARRAY = """\
#!/bin/bash

# Parameters
#SBATCH --account='lab 7'
#SBATCH --array=0-2%2
#SBATCH --cpus-per-task=2
#SBATCH --dependency=afterok:7:12_1
#SBATCH --job-name=hipseg-train-unet
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mem=4G
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/a/my results/jobs/train-unet/attempt_1/%A_%a_0_log.out
#SBATCH --partition=cpu
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=01:00:00

# setup
# Slurm itself starts a job again, too, whose node was lost: a start that is one too many ends here.
[ "${SLURM_RESTART_COUNT:-0}" -le 3 ] || PYTHON -m hipseg.launch.requeue '/a/my results/jobs/train-unet/attempt_1' 3 || exit
# When the job is taken away Slurm sends SIGTERM to the ranks, for them to save, and to this shell, which has to wait.
trap : TERM
# When one rank ends badly srun ends the others, but for those of a lost node it would wait, and if it came back for ever.
log=$(readlink /proc/$$/fd/2)
said=$(( $(stat -c %s "$log") + 1 ))
(until tail -c +$said "$log" | grep -q '^srun: .*: Terminating StepId'; do sleep 2; done; sleep 20; pkill -KILL -x -P $$ srun) > /dev/null 2>&1 &
watcher=$!

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output '/a/my results/jobs/train-unet/attempt_1/%A_%a_%t_log.out' --kill-on-bad-exit=1 --cpus-per-task=2 --export=ALL --open-mode=append PYTHON -u -m submitit.core._submit '/a/my results/jobs/train-unet/attempt_1'


# teardown
code=$?
kill "$watcher" 2> /dev/null
[ "$code" -eq 0 ] || exec PYTHON -m hipseg.launch.requeue '/a/my results/jobs/train-unet/attempt_1' 3 "$code"
""".replace(
    "--output=/a/my results/jobs/train-unet/attempt_1/%A_%a_0_log.out",
    "--output='/a/my results/jobs/train-unet/attempt_1/%A_%a_0_log.out'",
)
SINGLE = """\
#!/bin/bash

# Parameters
#SBATCH --account='lab 7'
#SBATCH --cpus-per-task=2
#SBATCH --job-name=hipseg-split
#SBATCH --mem=4G
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/a/results/jobs/split/attempt_1/%j_0_log.out
#SBATCH --partition=cpu
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=01:00:00

# setup
# Slurm itself starts a job again, too, whose node was lost: a start that is one too many ends here.
[ "${SLURM_RESTART_COUNT:-0}" -le 10 ] || PYTHON -m hipseg.launch.requeue /a/results/jobs/split/attempt_1 10 || exit
# When the job is taken away Slurm sends SIGTERM to the ranks, for them to save, and to this shell, which has to wait.
trap : TERM
# When one rank ends badly srun ends the others, but for those of a lost node it would wait, and if it came back for ever.
log=$(readlink /proc/$$/fd/2)
said=$(( $(stat -c %s "$log") + 1 ))
(until tail -c +$said "$log" | grep -q '^srun: .*: Terminating StepId'; do sleep 2; done; sleep 20; pkill -KILL -x -P $$ srun) > /dev/null 2>&1 &
watcher=$!

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /a/results/jobs/split/attempt_1/%j_%t_log.out --kill-on-bad-exit=1 --cpus-per-task=2 --export=ALL --open-mode=append PYTHON -u -m submitit.core._submit /a/results/jobs/split/attempt_1


# teardown
code=$?
kill "$watcher" 2> /dev/null
[ "$code" -eq 0 ] || exec PYTHON -m hipseg.launch.requeue /a/results/jobs/split/attempt_1 10 "$code"
"""


def folds(count, arm="unet", after=("split",)):
    return tuple(Job(f"train {arm} fold {k}", ("train", "--fold", str(k)), after, arm, k) for k in range(count))


def array(count=3):
    return Batch("train unet", "finetune", folds(count))


SPLIT = Batch("split", "aggregate", (Job("split", ("split", "shards")),))


@pytest.mark.parametrize(
    ("root", "batch", "terms", "expected"),
    [
        ("/a/my results", array(), Terms("afterok:7:12_1", 2, 3), ARRAY),
        ("/a/results", SPLIT, Terms(), SINGLE),
    ],
)
def test_the_whole_script_is_as_written_here(slurm, monkeypatch, root, batch, terms, expected):
    monkeypatch.setattr(sys, "executable", "PYTHON")
    assert render_script(StudyPaths(Path(root)), batch, SMALL, terms) == expected.rstrip("\n")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_asked_for_in_the_lines_that_the_templates_hold(slurm, stage):
    script = render_script(StudyPaths(Path("/a")), Batch("x", stage, (Job("x", ("x",)),)), STAGES[stage], Terms())
    assert set(sbatch_lines(STAGES[stage])) <= set(script.splitlines())


@pytest.mark.parametrize("stage", STAGES)
def test_the_templates_ask_for_the_same(stage):
    folder = Path(__file__).resolve().parents[2] / "slurm"
    lines = [line for line in (folder / f"{stage}.sbatch").read_text().splitlines() if line.startswith("#SBATCH")]
    own = [line for line in lines if not re.match("#SBATCH --(job-name|output|array)=", line)]
    assert own == list(sbatch_lines(STAGES[stage]))


def test_a_study_is_as_many_submissions_as_stages_and_arms(tmp_path):
    settings = StudySettings(folds=3)
    part = Part(tuple(settings.arms), (0, 1, 2))
    jobs = plan_study(settings, Path("s.yaml"), part, has_splits=False, packing=Packing(Path("data"), 4))
    batches = gather(jobs)
    assert [(one.name, one.stage, len(one.jobs)) for one in batches] == [
        ("pack parts", "pack", 4),
        ("pack", "aggregate", 1),
        ("split", "aggregate", 1),
        ("pretraining", "pretrain", 1),
        ("train unet", "finetune", 3),
        ("train modified-unet-tl", "finetune", 3),
        ("train modified-unet", "finetune", 3),
        ("aggregate", "aggregate", 1),
        ("report", "aggregate", 1),
    ]
    assert tuple(job for one in batches for job in one.jobs) == jobs
    assert all(job.after == one.after for one in batches for job in one.jobs)


def test_folds_of_an_arm_that_wait_for_different_jobs_are_submitted_apart():
    first, second = folds(2)
    apart = (first, Job(second.name, second.arguments, (), second.arm, second.fold))
    assert [(one.after, len(one.jobs)) for one in gather(apart)] == [(("split",), 1), ((), 1)]


@pytest.mark.parametrize(
    ("after", "whole", "expected"),
    [
        ((), set(), None),
        (("gone",), set(), None),
        (("split",), set(), "afterok:7"),
        (("a0", "a1", "split"), {"12"}, "afterok:7:12"),
        # Of an array that was there before, a task that failed is nobody's to wait for.
        (("a0", "a1", "split"), set(), "afterok:7:12_0:12_10"),
    ],
)
def test_jobs_wait_for_those_before_them(after, whole, expected):
    assert dependency({"split": "7", "a0": "12_0", "a1": "12_10", "other": "13"}, after, whole) == expected


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return StudyPaths(Path("results"))


def test_an_array_is_one_submission_whose_jobs_and_logs_have_numbers(slurm, paths, tmp_path):
    submitted = submit_batch(paths, array(), SMALL, Terms("afterok:7", 2))
    folder = tmp_path / "results/jobs/train-unet/attempt_1"
    assert submitted == tuple((f"101_{k}", folder / f"101_{k}_0_log.out") for k in range(3))
    assert "#SBATCH --array=0-2%2\n" in slurm.script(101)
    assert "#SBATCH --dependency=afterok:7\n" in slurm.script(101)


def test_what_is_pickled_is_the_command_line_and_nothing_else(slurm, paths):
    before = os.umask(0o027)
    try:
        submit_batch(paths, array(2), SMALL, Terms())
    finally:
        os.umask(before)
    pickles = sorted(paths.jobs.rglob("*_submitted.pkl"))
    assert [DelayedSubmission.load(path).function for path in pickles] == [
        RunRank(("train", "--fold", str(k)), 0o027, f"results/unet/fold_{k}/summary.json") for k in range(2)
    ]
    assert all(str(Path.home()).encode() not in path.read_bytes() for path in pickles)


def test_only_packing_may_leave_something_out(slurm, paths):
    jobs = (Job("pack part 1", ("pack",)), Job("pack part 2", ("pack",)))
    submit_batch(paths, Batch("pack parts", "pack", jobs), SMALL, Terms())
    assert {DelayedSubmission.load(path).function.accepted for path in paths.jobs.rglob("*_submitted.pkl")} == {(10,)}


def test_everything_about_a_job_is_private_and_its_own_files_follow_the_users_mask(slurm, paths):
    submit_batch(paths, array(2), SMALL, Terms())
    files = [path for path in paths.jobs.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert (slurm.folder / "umask-101").read_text() == "0077\n"


def test_a_second_attempt_has_a_folder_of_its_own(slurm, paths):
    logs = [submit_batch(paths, SPLIT, SMALL, Terms())[0][1] for _ in range(2)]
    assert [log.parent.name for log in logs] == ["attempt_1", "attempt_2"]


def test_what_stands_in_the_script_is_not_overruled_by_sbatchs_variables(slurm, paths, monkeypatch):
    overruling = (
        "PARTITION",
        "TIMELIMIT",
        "ARRAY_INX",
        "JOB_NAME",
        "GPUS",
        "GPUS_PER_NODE",
        "MEM_PER_CPU",
        "OPEN_MODE",
        "NO_REQUEUE",
        "SIGNAL",
    )
    for name in (*overruling, "QOS", "EXPORT"):
        monkeypatch.setenv(f"SBATCH_{name}", "1")
    submit_batch(paths, SPLIT, SMALL, Terms())
    assert set(slurm.variables(101).split()) == {"SBATCH_QOS=1", "SBATCH_EXPORT=1"}
    assert os.environ["SBATCH_PARTITION"] == "1"


def test_submitting_does_not_wait_for_the_jobs(slurm, paths, monkeypatch):
    monkeypatch.setenv("SBATCH_WAIT", "1")
    submit_batch(paths, SPLIT, SMALL, Terms())
    assert slurm.variables(101) == ""


def test_a_job_that_is_submitted_from_inside_another_does_not_take_itself_for_that(slurm, paths, monkeypatch):
    own = {
        "SLURM_ARRAY_JOB_ID": "1",
        "SLURM_RESTART_COUNT": "3",
        "SLURMD_NODENAME": "n",
        "SUBMITIT_EXECUTOR": "slurm",
        "PMIX_RANK": "0",
    }
    for name, value in (own | {"SLURM_JOB_ID": "8", "SLURM_CONF": "/etc/slurm.conf"}).items():
        monkeypatch.setenv(name, value)
    submit_batch(paths, SPLIT, SMALL, Terms())
    assert slurm.variables(101) == "SLURM_CONF=/etc/slurm.conf\n"
    assert os.environ["SLURM_JOB_ID"] == "8"


def test_what_a_user_sets_for_srun_reaches_the_job(slurm, paths, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("SLURM_MPI_TYPE", "pmix")
    submit_batch(paths, SPLIT, SMALL, Terms())
    assert slurm.variables(101) == "SLURM_MPI_TYPE=pmix\n"


def test_sbatchs_reason_for_a_refusal_is_given(slurm, paths):
    slurm.refuse("sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates policy\n")
    with pytest.raises(LaunchError) as refusal:
        submit_batch(paths, SPLIT, SMALL, Terms())
    assert str(refusal.value) == (
        "Slurm refused split: QOSMaxSubmitJobPerUserLimit; Batch job submission failed: Job violates policy"
    )


@pytest.mark.parametrize("name", ["50%", "a\\b"])
def test_a_path_that_slurm_would_read_as_a_pattern_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"the path of the results holds .* choose another folder with --results"):
        refuse_path(tmp_path / name)
    refuse_path(tmp_path / 'it\'s; $(fine) & "good"')
