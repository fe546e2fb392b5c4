import dataclasses
import json
import re
import subprocess
from pathlib import Path

import pytest
import tensorflow as tf

from hipseg import __version__
from hipseg.config import EvaluateSettings, StudySettings, load_settings
from hipseg.errors import TrainError
from hipseg.fsio import digest_bytes
from hipseg.learn import provenance
from hipseg.learn.provenance import (
    begin_record,
    continue_record,
    describe_run,
    digest_code,
    digest_settings,
    digest_sources,
    end_record,
    list_cases,
    read_provenance,
)
from hipseg.runs import FoldPaths
from hipseg.splits import Split
from tests.learn.builders import pack_discs

ENVIRONMENT = {"SLURM_JOB_ID": "42", "SLURM_ARRAY_TASK_ID": "3", "USER": "someone", "SLURM_JOB_USER": "someone"}


def described(**changes):
    return dataclasses.replace(describe_run(StudySettings(), "d" * 64, "s" * 64, ENVIRONMENT), **changes)


def test_versions_are_those_that_run():
    versions = described().versions
    assert versions["hipseg"] == __version__
    assert versions["tensorflow"] == tf.__version__
    assert set(versions) == {"hipseg", "python", "tensorflow", "keras", "numpy", "h5py"}


def test_only_the_ids_of_the_cluster_are_kept():
    assert described().slurm == {"SLURM_JOB_ID": "42", "SLURM_ARRAY_TASK_ID": "3"}
    assert describe_run(StudySettings(), "d", "s", {}).slurm == {}


def test_commit_is_that_of_the_checkout():
    folder = Path(provenance.__file__).parent
    answer = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if answer.returncode:
        pytest.skip("not a git checkout")
    assert described().commit is None or re.fullmatch("[0-9a-f]{40}", described().commit)


def test_commit_of_somebody_elses_checkout_is_not_taken_for_ours(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "hipseg"
    (package / "learn").mkdir(parents=True)
    (package / "__init__.py").touch()
    author = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    for command in (("init",), (*author, "commit", "--allow-empty", "-m", "Theirs")):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, capture_output=True)
    monkeypatch.setattr(provenance, "__file__", str(package / "learn" / "provenance.py"))
    assert described().commit is None


def test_record_is_read_back_with_its_settings(tmp_path):
    paths, settings = FoldPaths(tmp_path), StudySettings(folds=7)
    begin_record(paths, settings, described())
    assert read_provenance(paths) == described(started=read_provenance(paths).started)
    assert load_settings(paths.settings) == settings
    assert json.loads(paths.provenance.read_text())["ranks"] == 1
    assert read_provenance(paths).model_digest is None
    paths.model.write_bytes(b"weights")
    end_record(paths, described(), 12.3456)
    assert read_provenance(paths).seconds == 12.346
    assert read_provenance(paths).model_digest == digest_bytes(b"weights")


def test_paths_and_threads_do_not_change_the_digest_of_settings_and_all_else_does():
    base = digest_settings(StudySettings())
    train = StudySettings().train
    assert (
        digest_settings(StudySettings(shards="elsewhere", results="there", train=train.model_copy(update={"threads": 3}))) == base
    )
    assert digest_settings(StudySettings(folds=4)) != base
    assert digest_settings(StudySettings(train=train.model_copy(update={"epochs": 3}))) != base


def test_how_a_fold_is_scored_does_not_change_the_digest_of_settings():
    assert digest_settings(StudySettings(evaluate=EvaluateSettings(clean=None))) == digest_settings(StudySettings())


def test_code_digest_is_that_of_the_sources_and_of_their_places(tmp_path):
    (tmp_path / "learn").mkdir()
    (tmp_path / "learn" / "provenance.py").write_text("a = 1")
    (tmp_path / "notes.txt").write_text("no source")
    digests = [digest_sources(tmp_path)]
    (tmp_path / "notes.txt").write_text("still none")
    assert digest_sources(tmp_path) == digests[0]
    (tmp_path / "learn" / "provenance.py").write_text("a = 2")
    digests.append(digest_sources(tmp_path))
    (tmp_path / "learn" / "provenance.py").rename(tmp_path / "provenance.py")
    digests.append(digest_sources(tmp_path))
    assert len(set(digests)) == 3


def test_record_holds_the_digest_of_the_sources_that_run():
    assert described().code_digests == (digest_code(),)
    assert re.fullmatch("[0-9a-f]{64}", digest_code())


def test_run_that_other_sources_go_on_with_names_both(tmp_path):
    paths = FoldPaths(tmp_path)
    begin_record(paths, StudySettings(), described(code_digests=("a" * 64,)))
    continue_record(paths, StudySettings(), described(code_digests=("a" * 64,)))
    assert read_provenance(paths).code_digests == ("a" * 64,)
    continue_record(paths, StudySettings(), described(code_digests=("b" * 64,)))
    assert read_provenance(paths).code_digests == ("a" * 64, "b" * 64)


def test_cases_of_both_sides_are_listed_with_patients_and_images(tmp_path):
    _, manifest = pack_discs(tmp_path, 3)
    images = [record.image_digest for record in manifest.cases]
    assert list_cases(manifest, Split(("c0", "c2"), ("c1",))) == {
        "salt_id": manifest.salt_id,
        "windows_hu": [None],
        "train": [
            {"case": "c0", "patient": "p0", "image_digest": images[0]},
            {"case": "c2", "patient": "p2", "image_digest": images[2]},
        ],
        "val": [{"case": "c1", "patient": "p1", "image_digest": images[1]}],
    }


def test_damaged_record_is_refused(tmp_path):
    (tmp_path / "provenance.json").write_text('{"ranks": 1}')
    with pytest.raises(TrainError, match="damaged provenance"):
        read_provenance(FoldPaths(tmp_path))
