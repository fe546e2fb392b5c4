"""`hipseg submit` on a real Slurm: two ranks a run on two nodes, and the table out of the aggregation job."""

import json
import signal
import stat
import subprocess
import sys
import time

import psutil
import pytest

from hipseg.learn.provenance import read_provenance
from hipseg.runs import StudyPaths
from tests.slurm.cluster import ARM, ask, make_project, submit, wait_for_end

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.horovod]

SMALL = ("--nodes", "2", "--ranks", "2", "--gpus", "0", "--cpus", "1", "--mem", "4")
FOLDS = 2
EPOCHS = 60
LONG = ("--folds", FOLDS, "--set", f"arms.{ARM}.transfer=false", "--set", f"train.epochs={EPOCHS}")
"""Two runs that something can happen to."""
LIMIT_S = 400


def hipseg(folder, *arguments):
    return ask(sys.executable, "-m", "hipseg", *arguments, folder=folder)


def look(folder, results="results"):
    jobs = json.loads(hipseg(folder, "status", results, "--json"))["jobs"]
    return {job["name"]: job for job in jobs}


def wait_for_study(folder, results="results"):
    """Wait until every job has ended; gives them by their names."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        jobs = look(folder, results)
        if not {"queued", "running"} & {job["stage"] for job in jobs.values()}:
            return jobs
        assert time.monotonic() < deadline, jobs
        time.sleep(1.0)


@pytest.fixture
def root(cluster, tmp_path):
    root = make_project(tmp_path, folds=FOLDS)
    hipseg(root, "split", "shards", "--folds", FOLDS)
    return root


def test_a_whole_study_comes_out_as_the_table_and_is_not_submitted_twice(root):
    """In a folder whose name is a program, if anybody should take it for one."""
    odd = 'it\'s; $(touch harm) `touch harm` "quoted" & more'
    study = ("submit", "--folds", FOLDS, "--results", odd, "--max-running", 1, *SMALL)
    assert [line.split(":")[0] for line in hipseg(root, *study).splitlines()[:4]] == [
        "submitted pretraining",
        f"submitted train {ARM}",
        "submitted aggregate",
        "submitted report",
    ]
    assert hipseg(root, *study).startswith("submitted before: 5 jobs\n")
    jobs = wait_for_study(root, odd)
    assert {job["stage"] for job in jobs.values()} == {"done"}, jobs
    results = StudyPaths(root / odd)
    assert f"| {ARM} | hip, raw | 2/2 |" in results.comparison("md").read_text()
    assert f"{ARM}: Dice" in results.report.read_text()
    for fold in range(FOLDS):
        assert read_provenance(results.fold(ARM, fold)).ranks == 2
        assert 0.0 <= jobs[f"train {ARM} fold {fold}"]["dice"] <= 1.0
    files = [path for path in results.jobs.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(results.jobs.stat().st_mode) == 0o700
    assert not list(root.rglob("harm"))
    # No start hands anything back that a later one could be judged by: what is judged is named by its start.
    assert not list(results.jobs.rglob("*_result.pkl"))
    said = hipseg(root, *study)
    assert said.startswith("submitted aggregate: 1 job as ")
    assert "complete before: 3 jobs" in said


def ranks_of(job, root):
    """The processes of a job, by their rank."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        if "submitit.core._submit" in (process.info["cmdline"] or ()) and str(root) in process.info["cmdline"][-1]:
            variables = process.environ()
            if variables.get("SLURM_ARRAY_TASK_ID") == job.partition("_")[2] and "SLURM_STEP_ID" in variables:
                found[int(variables["SLURM_PROCID"])] = process
    return found


def wait_for_epoch(root, fold):
    """Wait for the first epoch by the file itself: on a busy machine the run may end while `hipseg status` starts."""
    history, deadline = StudyPaths(root / "results").fold(ARM, fold).history, time.monotonic() + LIMIT_S
    while not history.is_file():
        assert time.monotonic() < deadline, look(root)
        time.sleep(0.05)


@pytest.mark.long
def test_a_stop_and_a_killed_rank_put_their_own_job_back_and_no_other(root):
    hipseg(root, "submit", *LONG, *SMALL)
    first, second = (f"train {ARM} fold {fold}" for fold in range(FOLDS))
    numbers = {name: job["slurm_id"] for name, job in look(root).items()}
    wait_for_epoch(root, 0)
    subprocess.run(["scancel", "--signal=USR2", numbers[first]], check=True)
    wait_for_epoch(root, 1)
    ranks_of(numbers[second], root)[1].send_signal(signal.SIGKILL)
    jobs = wait_for_study(root)
    assert {job["stage"] for job in jobs.values()} == {"done"}, jobs
    results = StudyPaths(root / "results")
    for fold, name in enumerate((first, second)):
        assert jobs[name]["requeued"] >= 1
        assert "going on in epoch" in (results.root / jobs[name]["log"]).read_text()
        # Nobody but the job itself put it back: what is done to one task of an array is easily done to all.
        verdicts = (results.root / jobs[name]["log"]).parent.glob(f"{numbers[name]}.*.batch.json")
        assert sum(json.loads(path.read_text())["is_requeued"] for path in verdicts) == jobs[name]["requeued"]
        epochs = [line.split(",")[0] for line in results.fold(ARM, fold).history.read_text().splitlines()[1:]]
        assert epochs == [str(one) for one in range(1, EPOCHS + 1)]


@pytest.mark.long
def test_what_is_cancelled_stays_cancelled_until_it_is_submitted_again(root):
    hipseg(root, "submit", *LONG, *SMALL)
    for fold in range(FOLDS):
        wait_for_epoch(root, fold)
    assert hipseg(root, "cancel").startswith("cancelled 4 jobs: ")
    time.sleep(10)
    assert {job["stage"] for job in look(root).values()} == {"cancelled"}
    assert hipseg(root, "resubmit").count("submitted ") == 3
    jobs = wait_for_study(root)
    assert {job["stage"] for job in jobs.values()} == {"done"}, jobs
    for fold in range(FOLDS):
        assert "going on in epoch" in (root / "results" / jobs[f"train {ARM} fold {fold}"]["log"]).read_text()


@pytest.mark.long
def test_a_failed_fold_leaves_the_others_and_is_all_that_is_submitted_again(root):
    options = ("--folds", FOLDS, "--set", f"arms.{ARM}.transfer=false")
    folder = StudyPaths(root / "results").fold(ARM, 1).root
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder of the run has to be")
    hipseg(root, "submit", *options, *SMALL)
    jobs = wait_for_study(root)
    assert {name: job["stage"] for name, job in jobs.items()} == {
        f"train {ARM} fold 0": "done",
        f"train {ARM} fold 1": "failed",
        "aggregate": "not run",
        "report": "not run",
    }
    assert jobs["aggregate"]["error"] == f"waits for train {ARM} fold 1, which failed"
    assert jobs[f"train {ARM} fold 1"]["requeued"] == 0
    folder.unlink()
    said = hipseg(root, "resubmit")
    assert f"submitted train {ARM}: 1 job as" in said
    assert "complete before: 1 jobs" in said
    assert {job["stage"] for job in wait_for_study(root).values()} <= {"done", "skipped"}


def test_sbatch_says_no_and_the_reason_is_given(root):
    done = subprocess.run(
        [sys.executable, "-m", "hipseg", "submit", "--folds", str(FOLDS), "--constraint", "(a&b)", *SMALL],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7
    assert "error: Slurm refused pretraining: Batch job submission failed: " in done.stderr


def test_the_array_number_means_one_task_only(root):
    """What the requeueing rests on: for one task SLURM_JOB_ID is the number of the whole array."""
    script = root / "show.sh"
    script.write_text('#!/bin/bash\n#SBATCH --array=0-1\n#SBATCH --output=%a.log\necho "$SLURM_JOB_ID"\n')
    job = submit(root, script)
    assert set(wait_for_end(job).values()) == {"COMPLETED"}
    assert job in {(root / f"{task}.log").read_text().strip() for task in (0, 1)}
