import pytest

from hipseg.errors import ConfigError
from hipseg.learn.workspace import check_free, clear_run, hold_run
from hipseg.runs import FoldPaths
from tests.learn.builders import quiet_console


def leave_behind(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")
    return FoldPaths(root)


def test_unfinished_run_is_removed_and_that_is_said(tmp_path):
    paths = leave_behind(tmp_path, "settings.yaml", "history.csv", "checkpoints/last.npz", "tensorboard/training/events", ".lock")
    console = quiet_console()
    check_free(paths, "unet fold 0", overwrite=False)
    clear_run(paths, "unet fold 0", console)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert "unet fold 0: removed the unfinished earlier run" in console.file.getvalue()


def test_nothing_of_an_earlier_run_stays(tmp_path):
    left = (
        "transfer.json",
        "cases.json",
        "scores.jsonl",
        "summary.json",
        "predictions/c1.nii.gz",
        "predictions-cleaned/c1.nii.gz",
    )
    clear_run(leave_behind(tmp_path, *left), "unet fold 0", quiet_console())
    assert list(tmp_path.iterdir()) == []


def test_fresh_folder_needs_no_word(tmp_path):
    console = quiet_console()
    clear_run(FoldPaths(tmp_path), "unet fold 0", console)
    assert console.file.getvalue() == ""


def test_files_that_no_run_writes_stay(tmp_path):
    paths = leave_behind(tmp_path, "notes.txt", "model.keras")
    clear_run(paths, "unet fold 0", quiet_console())
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_complete_run_is_refused_with_the_way_out(tmp_path):
    paths = leave_behind(tmp_path, "summary.json")
    with pytest.raises(ConfigError, match=r"unet fold 0 is complete already.*summary\.json.*--overwrite"):
        check_free(paths, "unet fold 0", overwrite=False)
    check_free(paths, "unet fold 0", overwrite=True)
    console = quiet_console()
    clear_run(paths, "unet fold 0", console)
    assert "removed the complete earlier run" in console.file.getvalue()


def test_folder_is_held_by_one_process_at_a_time(tmp_path):
    paths = FoldPaths(tmp_path / "unet" / "fold_0")
    with (
        hold_run(paths, "unet fold 0"),
        pytest.raises(ConfigError, match="another hipseg command is at work on unet fold 0"),
        hold_run(paths, "unet fold 0"),
    ):
        pass
    with hold_run(paths, "unet fold 0"):
        pass
