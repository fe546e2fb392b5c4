import json
import math
import shutil

import numpy as np
import pytest

from hipseg.config import EvaluateSettings
from hipseg.errors import ConfigError, TrainError
from hipseg.evaluate import evaluate_fold, summarise_cases
from hipseg.fsio import digest_file
from hipseg.geometry import is_same_grid
from hipseg.ingest.nifti import read_labels
from hipseg.learn.fold import prepare_fold, train_fold
from hipseg.learn.history import best_row, read_history
from hipseg.learn.prediction import load_model
from hipseg.learn.training import save_model
from hipseg.runs import DatasetPaths, StudyPaths
from hipseg.score.overlap import Counts, count
from hipseg.score.record import read_scores
from hipseg.splits import read_splits, write_splits
from tests.learn.builders import disc_case, pack_discs, quiet_console, small_settings
from tests.score.builders import made_score


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Four patients in two folds, and one fold of the U-Net trained for one epoch."""
    root = tmp_path_factory.mktemp("study")
    pack_discs(root / "shards", 4, folds=2)
    settings = small_settings(root, train={"epochs": 1, "batch_size": 4}, target_labels=(1, 2))
    train_fold(prepare_fold(settings, "unet", 0), overwrite=False, environment={}, console=quiet_console())
    return root


@pytest.fixture
def trained(template, tmp_path):
    """A copy of the trained study: its data set and its results."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return DatasetPaths(tmp_path / "shards"), StudyPaths(tmp_path / "results")


RAW_ONLY = EvaluateSettings(clean=None)


def evaluate(trained, fold=0, scoring=RAW_ONLY, **options):
    return evaluate_fold(*trained, "unet", fold, quiet_console(), scoring=scoring, **options)


def test_every_validation_case_is_scored_on_its_own_grid(trained):
    dataset, study = trained
    scores = evaluate(trained)
    paths, manifest = study.fold("unet", 0), pack_discs(dataset.root, 4)[1]
    split = read_splits(dataset, manifest)[0]
    assert tuple(score.case for score in scores) == split.val
    assert read_scores(paths.scores) == scores
    assert {path.name for path in paths.predictions.iterdir()} == {f"{case}.nii.gz" for case in split.val}
    for score in scores:
        prediction, grid = read_labels(paths.prediction(score.case))
        assert is_same_grid(grid, manifest.record(score.case).grid)
        assert set(np.unique(prediction)) <= {0, 1}
        # Both target labels are joined into one structure.
        truth = disc_case(int(score.case[1:]))[1] > 0
        assert score.counts == count(truth, prediction == 1)
        assert (score.arm, score.fold, score.patient) == ("unet", 0, f"p{score.case[1:]}")


def test_summary_has_what_nnunets_tools_and_the_report_read(trained):
    scores = evaluate(trained)
    paths = trained[1].fold("unet", 0)
    summary = json.loads(paths.summary.read_text())
    assert [one["reference_file"] for one in summary["metric_per_case"]] == [score.case for score in scores]
    first = summary["metric_per_case"][0]
    assert (paths.root / first["prediction_file"]).is_file()
    assert first["metrics"]["1"] == {
        "Dice": scores[0].dice,
        "IoU": scores[0].iou,
        "TP": scores[0].counts.tp,
        "FP": scores[0].counts.fp,
        "FN": scores[0].counts.fn,
        "TN": scores[0].counts.tn,
        "n_pred": scores[0].counts.tp + scores[0].counts.fp,
        "n_ref": scores[0].counts.tp + scores[0].counts.fn,
    }
    assert summary["mean"]["1"]["Dice"] == pytest.approx((scores[0].dice + scores[1].dice) / 2)
    assert summary["foreground_mean"] == summary["mean"]["1"]
    best = best_row(read_history(paths.history))
    own = summary["hipseg"]
    assert {key: own[key] for key in ("arm", "fold", "folds", "cases", "epochs", "study", "method")} == {
        "arm": "unet",
        "fold": 0,
        "folds": 2,
        "cases": 2,
        "epochs": 1,
        "study": "Ronneberger et al. 2015",
        "method": "U-Net",
    }
    assert (own["best_epoch"], own["val_loss"]) == (best.epoch, best.val_loss)
    assert own["scores_digest"] == digest_file(paths.scores)
    assert own.keys() >= {"data_digest", "split_digest", "settings_digest"}


def test_scoring_again_gives_the_same_bytes(trained):
    evaluate(trained)
    paths = trained[1].fold("unet", 0)
    kept = [paths.scores, paths.summary, *sorted(paths.predictions.iterdir())]
    before = [digest_file(path) for path in kept]
    (paths.predictions / "stale.nii.gz").write_text("old")
    evaluate(trained)
    assert [digest_file(path) for path in kept] == before
    assert not (paths.predictions / "stale.nii.gz").exists()


def test_prediction_that_finds_everything_scores_one(trained):
    # A head with a bias far above 0 answers "hip" everywhere; the score then follows from the truth's size alone.
    paths = trained[1].fold("unet", 0)
    model = load_model(paths.model, "")
    kernel, bias = model.get_layer("head_conv").get_weights()
    model.get_layer("head_conv").set_weights([0 * kernel, bias + 50])
    save_model(model, paths)
    for score in evaluate(trained):
        truth = int((disc_case(int(score.case[1:]))[1] > 0).sum())
        assert score.recall == 1.0
        assert score.counts == Counts(truth, score.counts.total - truth, 0, 0)
        assert score.dice == pytest.approx(2 * truth / (truth + score.counts.total))


def test_averages_leave_out_what_is_undefined_and_are_null_of_nothing():
    found, empty = made_score("c1", "p1", "unet", 0, Counts(3, 1, 2, 4)), made_score("c2", "p2", "unet", 0, Counts(0, 0, 0, 10))
    summary = summarise_cases([found, empty])
    assert summary["mean"]["1"]["Dice"] == found.dice
    assert summary["mean"]["1"]["TP"] == 1.5
    assert math.isnan(summarise_cases([empty])["mean"]["1"]["Dice"])


def test_fold_that_is_not_trained_is_refused(trained):
    with pytest.raises(TrainError, match=r"unet fold 1 is not trained.*hipseg train"):
        evaluate(trained, 1)


def test_fold_that_is_not_there_is_refused(trained):
    with pytest.raises(ConfigError, match="no fold 7"):
        evaluate(trained, 7)


def test_other_data_than_that_of_the_training_is_refused_and_the_scores_stay(trained):
    evaluate(trained)
    pack_discs(trained[0].root, 5, folds=2)
    with pytest.raises(TrainError, match="unet fold 0 was trained with other data"):
        evaluate(trained)
    assert trained[1].fold("unet", 0).is_complete


def test_other_folds_than_those_of_the_training_are_refused(trained):
    dataset = trained[0]
    splits = read_splits(dataset, pack_discs(dataset.root, 4)[1])
    write_splits(DatasetPaths(dataset.root), splits[::-1])
    with pytest.raises(TrainError, match="unet fold 0 was trained with other folds"):
        evaluate(trained)


def test_interrupted_scoring_leaves_the_fold_partial(trained):
    evaluate(trained)
    paths = trained[1].fold("unet", 0)
    for shard in trained[0].root.glob("*.h5"):
        data = bytearray(shard.read_bytes())
        data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
        shard.write_bytes(data)
    with pytest.raises(Exception, match="damaged"):
        evaluate(trained)
    assert not paths.is_complete
