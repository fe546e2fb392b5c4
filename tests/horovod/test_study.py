"""A study of two real ranks a run: through submitit's local executor, and by horovodrun; one table comes of both."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hipseg.config import dump_settings
from hipseg.learn.provenance import read_provenance
from hipseg.runs import StudyPaths
from tests.learn.builders import pack_discs, small_settings

pytestmark = [pytest.mark.horovod, pytest.mark.slow]

FOLDS = 2
LIMIT_S = 300


def hipseg(*arguments, before=()):
    programs = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    command = [*before, sys.executable, "-m", "hipseg", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_submitit_and_horovodrun_give_the_same_table(tmp_path):
    pack_discs(tmp_path / "shards", 4, folds=FOLDS)
    config = tmp_path / "study.yaml"
    config.write_text(dump_settings(small_settings(tmp_path, folds=FOLDS, train={"epochs": 1, "batch_size": 4, "threads": 1})))
    submitted, launched = StudyPaths(tmp_path / "submitted"), StudyPaths(tmp_path / "launched")
    hipseg("submit", "--local", "--config", config, "--results", submitted.root, "--arm", "modified-unet", "--ranks", 2)
    for fold in range(FOLDS):
        run = ("--config", config, "--results", launched.root, "--arm", "modified-unet", "--fold", fold)
        hipseg("train", *run, before=("horovodrun", "-np", "2", "--gloo"))
    hipseg("aggregate", launched.root)
    for fold in range(FOLDS):
        runs = [study.fold("modified-unet", fold) for study in (submitted, launched)]
        assert [read_provenance(run).ranks for run in runs] == [2, 2]
        assert runs[0].scores.read_text() == runs[1].scores.read_text()
        digests = [json.loads(run.summary.read_text())["hipseg"]["scores_digest"] for run in runs]
        assert digests[0] == digests[1]
    assert submitted.comparison("md").read_text() == launched.comparison("md").read_text()
