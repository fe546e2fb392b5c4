"""`hipseg pretrain`, `train` and `evaluate` as a user runs them: one study from pretraining to scores."""

import json

import pytest

from hipseg.cli.main import main
from hipseg.config import dump_settings, load_settings
from hipseg.fsio import digest_file
from hipseg.runs import StudyPaths
from hipseg.score.record import read_scores
from tests.learn.builders import pack_discs, small_settings


def run(capfd, *arguments):
    """Give exit code, output and errors, the lines of TensorFlow's own libraries included."""
    code = 0
    try:
        main([*arguments])
    except SystemExit as ending:
        code = ending.code
    captured = capfd.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A packed study with its settings file; nothing is trained."""
    root = tmp_path_factory.mktemp("study")
    pack_discs(root / "shards", 2, folds=2)
    pack_discs(root / "organs", 2, first=2)
    (root / "study.yaml").write_text(dump_settings(small_settings(root)))
    return root


@pytest.fixture(scope="module")
def options(study):
    return ("--config", str(study / "study.yaml"), "--epochs", "1", "--batch-size", "8")


def test_transfer_arm_without_pretraining_says_which_command_to_run(study, options, capfd):
    code, out, err = run(capfd, "train", "--arm", "modified-unet-tl", "--fold", "0", *options)
    assert (code, out) == (6, "")
    assert err.count("\n") == 1
    assert "run `hipseg pretrain`" in err
    assert not (study / "results").exists()


def test_pretraining_training_and_scoring_follow_each_other(study, options, capfd):
    results = StudyPaths(study / "results")
    code, _, err = run(capfd, "pretrain", *options)
    assert (code, err) == (0, "")
    assert results.pretraining.is_complete

    code, _, err = run(capfd, "train", "--arm", "modified-unet-tl", "--fold", "0", *options)
    assert code == 6
    assert "made with other settings: pretrain.train.batch_size was 8, is now 4" in err

    options = (*options, "--set", "pretrain.train.epochs=1", "--set", "pretrain.train.batch_size=8")
    code, out, err = run(capfd, "train", "--arm", "modified-unet-tl", "--fold", "0", *options)
    paths = results.fold("modified-unet-tl", 0)
    assert (code, err) == (0, "")
    assert paths.is_complete
    assert out.splitlines()[0].startswith("WARNING modified-unet-tl fold 0: the masks have label 2, not in target_labels [1]")
    assert out.splitlines()[1].startswith("modified-unet-tl fold 0, epoch 1/1: ")
    assert load_settings(paths.settings).train.epochs == 1
    assert load_settings(paths.settings).train.batch_size == 8
    left = {path.name for path in paths.root.iterdir()}
    assert left == {
        ".lock",
        "cases.json",
        "checkpoints",
        "history.csv",
        "model.keras",
        "predictions",
        "predictions-cleaned",
        "provenance.json",
        "scores.jsonl",
        "settings.yaml",
        "summary.json",
        "tensorboard",
        "transfer.json",
    }

    code, _, err = run(capfd, "train", "--arm", "modified-unet-tl", "--fold", "0", *options)
    assert code == 2
    assert "--overwrite" in err

    summary = json.loads(paths.summary.read_text())
    paths.summary.unlink()
    code, _, _ = run(capfd, "evaluate", "--arm", "modified-unet-tl", "--fold", "0", *options[:2])
    assert code == 0
    assert json.loads(paths.summary.read_text()) == summary
    assert summary["hipseg"]["pretraining"] == {"model_digest": digest_file(results.pretraining.model)}
    assert summary["hipseg"]["clean"] == load_settings(paths.settings).evaluate.clean.model_dump()

    code, _, _ = run(capfd, "evaluate", "--arm", "modified-unet-tl", "--fold", "0", *options[:2], "--set", "evaluate.clean=null")
    assert code == 0
    assert json.loads(paths.summary.read_text())["hipseg"]["clean"] is None
    assert not paths.cleaned_predictions.exists()


def test_a_repeat_is_trained_and_scored_beside_the_first(study, options, capfd):
    code, out, err = run(capfd, "train", "--arm", "unet", "--fold", "1", "--repeat", "2", *options)
    paths = StudyPaths(study / "results").fold("unet", 1, 2)
    assert (code, err) == (0, "")
    assert out.splitlines()[1].startswith("unet fold 1 repeat 2, epoch 1/1: ")
    assert out.splitlines()[-1] == f"unet fold 1 repeat 2: weights, scores and predictions are in {paths.root}"
    assert load_settings(paths.settings).train.seed == 2
    assert {(score.repeat, score.answer) for score in read_scores(paths.scores)} == {(2, "raw"), (2, "cleaned")}
    assert not StudyPaths(study / "results").fold("unet", 1).root.exists()
    code, _, _ = run(capfd, "evaluate", "--arm", "unet", "--fold", "1", "--repeat", "2", *options[:2])
    assert code == 0
    assert json.loads(paths.summary.read_text())["hipseg"]["seed"] == 2


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_fold_that_is_not_there_is_one_line_and_leaves_nothing(study, options, capfd, command):
    code, out, err = run(capfd, command, "--arm", "unet", "--fold", "7", *options[:2])
    assert code != 0
    assert out == ""
    assert err.count("\n") == 1
    assert not StudyPaths(study / "results").fold("unet", 7).root.exists()


def test_scoring_what_is_not_trained_is_refused_and_leaves_nothing(study, options, capfd):
    code, _, err = run(capfd, "evaluate", "--arm", "unet", "--fold", "0", *options[:2])
    assert code == 6
    assert "unet fold 0 is not trained" in err
    assert not StudyPaths(study / "results").fold("unet", 0).root.exists()


def test_other_folders_can_be_named(study, options, capfd, tmp_path):
    code, _, err = run(
        capfd, "train", "--arm", "unet", "--fold", "0", *options, "--shards", str(tmp_path / "no"), "--results", str(tmp_path)
    )
    assert code == 5
    assert str(tmp_path / "no") in err
    assert "hipseg-pack" in err


def test_unknown_setting_is_refused(options, capfd):
    code, _, err = run(capfd, "train", "--arm", "unet", "--fold", "0", *options, "--set", "train.epoch=5")
    assert code == 2
    assert "did you mean 'epochs'" in err
