import json
import subprocess
import sys

import pytest

from hipseg.cli.main import run
from hipseg.config import dump_settings
from hipseg.errors import ConfigError, LaunchError, ShardError
from hipseg.runs import DatasetPaths, StudyPaths
from hipseg.splits import split_patients
from tests.learn.builders import pack_discs, small_settings

ARM = ("--arm", "modified-unet")
TRANSFER = ("--arm", "modified-unet-tl")


@pytest.fixture(scope="module")
def discs(tmp_path_factory):
    """Packed once; a test that deals the folds works on a copy of the few files."""
    root = tmp_path_factory.mktemp("discs")
    return root, pack_discs(root / "shards")[1]


@pytest.fixture
def study(discs, tmp_path):
    root, _ = discs
    subprocess.run(["cp", "-r", root / "shards", tmp_path / "shards"], check=True)
    settings = small_settings(tmp_path)
    (tmp_path / "study.yaml").write_text(dump_settings(settings))
    return settings


def prepare(study, *words):
    run(["prepare", "--config", str(study.shards.parent / "study.yaml"), *words])


def test_the_folder_of_the_run_is_made_and_is_all_that_is_printed(study, capsys):
    prepare(study, *ARM, "--fold", "2")
    folder = StudyPaths(study.results).fold("modified-unet", 2).root
    assert capsys.readouterr().out == f"{folder}\n"
    assert folder.is_dir()


def test_folds_that_nobody_dealt_are_dealt_as_the_settings_say(study, discs, capsys):
    prepare(study, *ARM, "--set", "split_seed=5")
    expected = split_patients(discs[1].cases, 3, 5)
    dealt = json.loads(DatasetPaths(study.shards).splits.read_text())
    assert [tuple(fold["val"]) for fold in dealt] == [split.val for split in expected]
    assert "into 3 folds" in capsys.readouterr().err


def test_folds_that_are_there_stay(study):
    prepare(study, *ARM)
    before = DatasetPaths(study.shards).splits.read_bytes()
    prepare(study, *ARM, "--set", "split_seed=5")
    assert DatasetPaths(study.shards).splits.read_bytes() == before


def test_tasks_that_come_at_the_same_time_deal_the_folds_once(study):
    command = [sys.executable, "-m", "hipseg", "prepare", "--config", str(study.shards.parent / "study.yaml"), *ARM]
    tasks = [
        subprocess.Popen([*command, "--fold", str(fold)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for fold in range(2)
    ]
    said = [task.communicate()[1] for task in tasks]
    assert [task.returncode for task in tasks] == [0] * 2, said
    assert sum("dealt the patients" in one for one in said) == 1


def test_a_fold_that_is_not_there_is_refused_before_anything_is_made(study):
    with pytest.raises(ConfigError, match="no fold 3: there are 3 folds"):
        prepare(study, *ARM, "--fold", "3")
    assert not study.results.exists()


def test_scans_that_are_not_packed_are_refused_with_the_command_to_give(study):
    with pytest.raises(LaunchError, match="pack them with `hipseg-pack DATA -o elsewhere`"):
        prepare(study, *ARM, "--shards", "elsewhere")


def test_a_pretraining_that_is_not_packed_is_refused_with_the_command_to_give(study):
    with pytest.raises(LaunchError, match=r"hipseg-pack ORGANS -o \S+organs --roi bright=1 --roi dark=2"):
        prepare(study, *TRANSFER)


def test_a_pretraining_that_was_not_done_is_refused_with_the_commands_to_give(study):
    study.pretrain.shards.symlink_to(study.shards)
    with pytest.raises(LaunchError, match=r"sbatch --parsable slurm/pretrain.sbatch.*--dependency=afterok:\$JOB"):
        prepare(study, *TRANSFER)
    assert not study.results.exists()


def test_an_arm_with_transfer_is_ready_after_the_pretraining(study, capsys):
    study.pretrain.shards.symlink_to(study.shards)
    prepare(study)
    pretraining = StudyPaths(study.results).pretraining
    pretraining.settings.write_text(dump_settings(study))
    pretraining.summary.write_text("{}")
    prepare(study, *TRANSFER)
    folders = [pretraining.root, StudyPaths(study.results).fold("modified-unet-tl", 0).root]
    assert capsys.readouterr().out.splitlines() == [str(folder) for folder in folders]


def test_a_pretraining_made_with_other_settings_is_refused_with_the_difference(study):
    study.pretrain.shards.symlink_to(study.shards)
    prepare(study)
    pretraining = StudyPaths(study.results).pretraining
    pretraining.settings.write_text(dump_settings(study))
    pretraining.summary.write_text("{}")
    with pytest.raises(LaunchError, match=r"modified-unet-tl starts from .* made with other settings: feed.window_hu was "):
        prepare(study, *TRANSFER, "--set", "feed.window_hu=[0, 900]")


def test_the_pretraining_needs_its_own_scans_only(study):
    with pytest.raises(ShardError, match="organs"):
        prepare(study)


@pytest.mark.parametrize(
    ("words", "restarts", "is_done"), [((), "0", True), (("--overwrite",), "0", False), (("--overwrite",), "1", True)]
)
def test_a_complete_run_has_nothing_left_to_do(study, capsys, monkeypatch, words, restarts, is_done):
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    run_paths = StudyPaths(study.results).fold("modified-unet", 0)
    run_paths.root.mkdir(parents=True)
    run_paths.summary.write_text("{}")
    prepare(study, *ARM, *words)
    shown = capsys.readouterr()
    assert (shown.out == "", "nothing is left to do" in shown.err) == (is_done, is_done)
