import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from hipseg.cli.submit import command
from hipseg.config import load_settings
from hipseg.errors import ConfigError, LaunchError
from hipseg.fsio import locked
from hipseg.labels import ORGAN_LABELS
from hipseg.launch.state import read_state
from hipseg.runs import DatasetPaths, StudyPaths
from tests.cli.submitting import block_dealing
from tests.shards.builders import describe_cases

GRAPH = """\
split
  hipseg split shards --folds 2 --seed 0
pretraining
  hipseg pretrain --config results/settings.yaml
train modified-unet-tl fold 0
  hipseg train --config results/settings.yaml --arm modified-unet-tl --fold 0
  after split, pretraining
train modified-unet-tl fold 1
  hipseg train --config results/settings.yaml --arm modified-unet-tl --fold 1
  after split, pretraining
train modified-unet fold 0
  hipseg train --config results/settings.yaml --arm modified-unet --fold 0
  after split
train modified-unet fold 1
  hipseg train --config results/settings.yaml --arm modified-unet --fold 1
  after split
aggregate
  hipseg aggregate results
  after train modified-unet-tl fold 0, train modified-unet-tl fold 1, train modified-unet fold 0, train modified-unet fold 1
report
  hipseg report results
  after aggregate
8 jobs, 1 at once; nothing was started
"""


@pytest.fixture
def options(tmp_path, monkeypatch, no_cluster):
    """Options for a study of two folds, of whose data sets the manifests alone are there."""
    monkeypatch.chdir(tmp_path)
    describe_cases(tmp_path / "shards")
    describe_cases(tmp_path / "organs", ORGAN_LABELS.values())
    places = ["--shards", tmp_path / "shards", "--results", tmp_path / "results", "--set", f"pretrain.shards={tmp_path}/organs"]
    return [str(one) for one in (*places, "--folds", 2, "--max-running", 1)]


def submit(*arguments):
    return CliRunner().invoke(command, [*arguments])


def test_a_dry_run_shows_the_graph_and_leaves_nothing_behind(options, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    ended = submit(*options, "--dry-run", "--arm", "modified-unet-tl", "--arm", "modified-unet")
    assert ended.exit_code == 0
    assert ended.output == GRAPH
    assert sorted(tmp_path.rglob("*")) == before


def test_runs_at_once_share_the_cores_unless_the_settings_say_how_many(options):
    shared = submit(*options, "--dry-run", "--max-running", "999").output
    assert shared.count("--set train.threads=1") == 6
    assert shared.count("--set pretrain.train.threads=1") == 1
    chosen = submit(*options, "--dry-run", "--max-running", "999", "--set", "train.threads=3").output
    assert "--set train.threads=1" not in chosen
    assert chosen.count("--set pretrain.train.threads=1") == 1


def test_a_study_that_cannot_start_leaves_no_results_folder(options, tmp_path):
    DatasetPaths(tmp_path / "shards").manifest.unlink()
    ended = submit(*options, "--local")
    assert isinstance(ended.exception, LaunchError)
    assert not (tmp_path / "results").exists()


def test_two_submits_do_not_drive_one_study(options, tmp_path):
    paths = StudyPaths(tmp_path / "results")
    with locked(paths.lock, "the study"):
        ended = submit(*options, "--local")
    assert isinstance(ended.exception, ConfigError)
    assert "another hipseg command is at work on the study in" in str(ended.exception)


def test_a_study_whose_first_job_fails_runs_nothing_else_and_says_so(options, tmp_path):
    block_dealing(tmp_path)
    ended = submit(*options, "--local", "--epochs", "3", "--arm", "unet")
    paths = StudyPaths(tmp_path / "results")
    assert isinstance(ended.exception, LaunchError)
    assert str(ended.exception).startswith("1 of 5 jobs failed (split), 4 were not run; `hipseg status ")
    lines = ended.output.splitlines()
    assert lines[0] == "jobs: 5, complete before: 0, at once: 1; results: results"
    assert lines[-4:] == [
        "train unet fold 0: not run: waits for split, which failed",
        "train unet fold 1: not run: waits for split, which failed",
        "aggregate: not run: waits for train unet fold 0, which was not run",
        "report: not run: waits for aggregate, which was not run",
    ]
    state = read_state(paths)
    assert (state.record("split").stage, state.record("split").exit_code) == ("failed", 2)
    assert sorted(state.manifests) == ["pretraining shards", "shards"]
    settings = load_settings(paths.settings)
    assert (settings.folds, settings.train.epochs, settings.pretrain.train.epochs) == (2, 3, 3)
    assert settings.shards == Path("shards")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_the_command_stops_its_jobs(options, tmp_path, number):
    manifest = DatasetPaths(tmp_path / "shards").manifest
    program = [sys.executable, "-m", "hipseg", "submit", "--local", "--arm", "unet", *options]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while "running" not in (line := process.stdout.readline()):
            assert line, process.stderr.read()
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "stopped; the same command goes on from here\n"
    assert manifest.is_file()
    last = {line.split(":")[0]: line for line in out.splitlines()}
    assert last["report"].startswith("report: not run: ")
    stages = [record.stage for record in read_state(StudyPaths(tmp_path / "results")).records]
    # A job that had not come as far as its first line could not answer the signal.
    assert stages[0] in ("stopped", "cancelled")
    assert stages[1:] == ["not run"] * 4


def test_the_help_loads_neither_tensorflow_nor_submitit():
    code = (
        "import sys, hipseg.cli.main as m\n"
        "m.root.get_command(None, 'submit')\n"
        "print([n for n in ('tensorflow', 'keras', 'pandas', 'submitit', 'pydicom', 'h5py') if n in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_ranks_are_shown_for_the_runs_they_do_and_share_the_cores(options):
    shown = CliRunner().invoke(command, ["--dry-run", "--arm", "unet", "--ranks", "2", *options], catch_exceptions=False)
    lines = shown.output.splitlines()
    assert "train unet fold 0 (2 ranks)" in lines
    assert "aggregate" in lines
    assert all("--set train.threads=" in line for line in lines if "hipseg train" in line)
