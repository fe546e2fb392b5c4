"""What a user gets wrong, run as the user runs it: one line, an exit code of its own, and nothing half-written."""

import os
import subprocess
import sys

import numpy as np
import pytest

from hipseg.errors import PARTIAL_EXIT_CODE, ConfigError, MaskError, ReportError, SeriesError, ShardError
from tests.conftest import REPOSITORY
from tests.ingest.builders import cut, volume_hu, write_ct_series, write_nifti

SEEDS = {"Doe": 1, "Roe": 2, "Poe": 3}


@pytest.fixture
def user(tmp_path):
    """Give a function that runs `hipseg` in an empty folder, with an empty home."""
    environment = os.environ | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config"), "PYTHONPATH": str(REPOSITORY)}
    (tmp_path / "here").mkdir()

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "hipseg", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path / "here",
            env=environment,
        )

    return run


@pytest.fixture
def here(tmp_path):
    return tmp_path / "here"


def write_patients(folder):
    """Write three patients with a mask each; their slices by name."""
    mask_xyz = np.zeros((12, 10, 4), dtype=np.uint8)
    mask_xyz[3:9, 2:5, 1:3] = 1
    written = {}
    for name, seed in SEEDS.items():
        uid = f"2.25.5{seed}"
        written[name] = write_ct_series(
            folder / name / "ct", volume_hu(seed=seed), patient_id=name, series_uid=uid, study_uid=uid + ".1"
        )
        # LPS to RAS: x and y turn round. Spacing and origin are the series builder's.
        write_nifti(
            folder / name / "hip.nii.gz", mask_xyz, np.diag([-0.5, -0.75, 3.0, 1.0]) + np.outer([10, 20, 100, 0], [0, 0, 0, 1])
        )
    return written


def assert_one_line(ended, exit_code, *facts):
    assert (ended.returncode, ended.stdout) == (exit_code, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    for fact in facts:
        assert fact in line


def test_an_empty_folder(user, here):
    (here / "data").mkdir()
    assert_one_line(user("pack", "data"), SeriesError.exit_code, "no CT series", "no files")
    assert [path.name for path in here.iterdir()] == ["data"]


def test_a_folder_of_text_files(user, here):
    (here / "data").mkdir()
    for name in ("a.txt", "b.dcm"):
        (here / "data" / name).write_text("a letter\n")
    assert_one_line(user("pack", "data"), SeriesError.exit_code, "no CT series", "2 files", "neither DICOM nor NIfTI nor NRRD")
    assert [path.name for path in here.iterdir()] == ["data"]


def test_a_mask_whose_grid_does_not_fit(user, here):
    write_patients(here / "data")
    write_nifti(here / "data" / "Roe" / "hip.nii.gz", np.ones((12, 9, 4), dtype=np.uint8), np.diag([-0.5, -0.75, 3.0, 1.0]))
    ended = user("pack", "data")
    assert ended.returncode == PARTIAL_EXIT_CODE
    (line,) = ended.stderr.splitlines()
    assert line.startswith("refused case c")
    assert "9 rows" in line or "(4, 9, 12)" in line or "4 x 9 x 12" in line
    assert "packed 2 of 3 cases" in ended.stdout
    assert user("verify", "shards").returncode == 0
    assert len([path for path in (here / "shards").iterdir() if path.suffix == ".h5"]) == 2


def test_a_mask_that_fits_nowhere_is_the_only_case(user, here):
    write_patients(here / "data")
    for name in ("Doe", "Poe"):
        for path in sorted((here / "data" / name).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    write_nifti(here / "data" / "Roe" / "hip.nii.gz", np.ones((12, 9, 4), dtype=np.uint8), np.diag([-0.5, -0.75, 3.0, 1.0]))
    assert user("pack", "data").returncode == MaskError.exit_code


def test_a_truncated_slice_among_good_ones(user, here):
    slices = write_patients(here / "data")
    cut(slices["Doe"][2], slices["Doe"][2].stat().st_size - 100)
    ended = user("pack", "data")
    assert ended.returncode == PARTIAL_EXIT_CODE
    (line,) = ended.stderr.splitlines()
    assert line.startswith("refused case c")
    assert "slice 3 of 4" in line
    assert "packed 2 of 3 cases" in ended.stdout
    assert user("verify", "shards").returncode == 0


def test_an_unknown_key_in_the_settings(user, here):
    (here / "mine.yaml").write_text("train: {epoch: 3}\n")
    ended = user("train", "--config", "mine.yaml", "--arm", "unet", "--fold", "0")
    assert_one_line(ended, ConfigError.exit_code, "unknown key 'train.epoch' in mine.yaml", "did you mean 'epochs'")
    assert [path.name for path in here.iterdir()] == ["mine.yaml"]


def test_fold_7_of_5(user, here):
    ended = user("submit", "--fold", "7")
    assert_one_line(ended, ConfigError.exit_code, "no fold 7 of 5", "0 to 4")
    assert list(here.iterdir()) == []


def test_fold_7_of_a_data_set_that_has_3(user, here):
    write_patients(here / "data")
    assert user("pack", "data").returncode == 0
    assert user("split", "shards", "--folds", "3").returncode == 0
    ended = user("train", "--arm", "unet", "--fold", "7", "--set", "feed.input_side=256")
    assert_one_line(ended, ConfigError.exit_code, "fold 7", "0 to 2")
    assert not (here / "results").exists()


def test_training_before_the_folds_are_dealt(user, here):
    write_patients(here / "data")
    assert user("pack", "data").returncode == 0
    ended = user("train", "--arm", "unet", "--fold", "0", "--set", "feed.input_side=256")
    assert_one_line(ended, ShardError.exit_code, "hipseg split")


def test_a_table_of_an_empty_folder(user, here):
    (here / "results").mkdir()
    assert_one_line(user("aggregate", "results/"), ReportError.exit_code, "results")
    assert list((here / "results").iterdir()) == []


def test_a_study_before_anything_is_packed(user, here):
    ended = user("submit", "--folds", "5")
    assert ended.returncode != 0
    (line,) = ended.stderr.splitlines()
    assert "hipseg-pack" in line
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("command", [("pack", "data", "-o", "taken/shards"), ("phantom", "taken/phantom")])
def test_an_output_folder_that_cannot_be_written(user, here, command):
    write_patients(here / "data")
    (here / "taken").write_text("a file, not a folder")
    assert_one_line(user(*command), ConfigError.exit_code, "taken/", "cannot write")
    assert (here / "taken").read_text() == "a file, not a folder"
