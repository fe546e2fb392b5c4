"""The sbatch files on a real Slurm, given as a user gives them: bare, from the project's root."""

import json
import shutil
import sys

import pytest

from hipseg.learn.provenance import read_provenance
from hipseg.runs import StudyPaths
from tests.slurm.cluster import ARM, ask, read_logs, submit, wait_for_end

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def submit_after(project, job, *words):
    return submit(project, f"--dependency=afterok:{job}", "--kill-on-invalid-dep=yes", *words)


def test_bare_commands_lead_from_scans_to_the_table(project):
    shutil.rmtree(project / "shards")
    phantom = ("--patients", 5, "--slices", 4, "--matrix", 64)
    ask(sys.executable, "-m", "hipseg", "phantom", "data", *phantom, folder=project)
    packed = submit(project, "slurm/pack.sbatch")
    ranks = ("--nodes=2", "--ntasks-per-node=2", "--cpus-per-task=1")
    pretraining = submit_after(project, packed, *ranks, "slurm/pretrain.sbatch")
    folds = submit_after(project, pretraining, "slurm/finetune.sbatch")
    table = submit_after(project, folds, "slurm/aggregate.sbatch")
    assert wait_for_end(table) == {table: "COMPLETED"}, read_logs(project)
    assert wait_for_end(folds) == {f"{folds}_{fold}": "COMPLETED" for fold in range(5)}
    study = StudyPaths(project / "results")
    assert "| This study | Modified U-Net |" in study.comparison("md").read_text()
    assert f"{ARM}: Dice" in study.report.read_text()
    assert read_provenance(study.pretraining).ranks == 4
    for fold in range(5):
        run = study.fold(ARM, fold)
        assert json.loads(run.summary.read_text())
        assert f"{ARM} fold {fold}, epoch 1/1" in (run.root / "job.log").read_text()
    again = submit(project, "--array=2", "slurm/finetune.sbatch")
    assert wait_for_end(again) == {f"{again}_2": "COMPLETED"}
    assert "fold_2 is complete; nothing is left to do" in read_logs(project)


def test_without_the_pretraining_a_task_ends_at_once_and_says_what_to_give(project):
    job = submit(project, "--array=0", "slurm/finetune.sbatch")
    assert wait_for_end(job) == {f"{job}_0": "FAILED"}
    said = (project / f"hipseg-finetune-{job}_0.log").read_text()
    assert said.count("\n") == 3  # the label that is not learned, the folds that were dealt, and the error
    assert "JOB=$(sbatch --parsable slurm/pretrain.sbatch)" in said
    assert "sbatch --dependency=afterok:$JOB slurm/finetune.sbatch" in said


def test_a_job_that_a_task_of_an_array_submits_is_itself_and_finds_hipseg(project):
    shutil.rmtree(project / "shards")
    ask(sys.executable, "-m", "hipseg", "phantom", "data", "--patients", 1, "--slices", 4, "--matrix", 64, folder=project)
    outer = submit(project, "--array=3", "--mem=1G", "--wrap", "sbatch --wait --export=NONE slurm/pack.sbatch")
    assert wait_for_end(outer) == {f"{outer}_3": "COMPLETED"}, read_logs(project)
    assert "packed 1 of 1 cases into shards" in read_logs(project)


def test_the_settings_of_a_site_come_from_the_environment(project, monkeypatch):
    monkeypatch.setenv("SBATCH_PARTITION", "nowhere")
    with pytest.raises(AssertionError, match="invalid partition"):
        submit(project, "slurm/pack.sbatch")
