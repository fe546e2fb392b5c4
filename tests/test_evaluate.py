import json
import math
import shutil

import numpy as np
import pytest

from hipseg.config import CleanSettings, EvaluateSettings, dump_settings, load_settings
from hipseg.errors import ConfigError, TrainError
from hipseg.evaluate import count_scans, evaluate_fold, summarise_cases
from hipseg.fsio import digest_file, write_text
from hipseg.geometry import is_same_grid
from hipseg.ingest.nifti import read_labels
from hipseg.learn.course import run_course
from hipseg.learn.fold import prepare_fold
from hipseg.learn.history import best_row, read_history
from hipseg.learn.prediction import compile_inference, load_model, predict_slices
from hipseg.learn.provenance import digest_code, read_provenance
from hipseg.learn.training import save_model
from hipseg.report.collect import collect
from hipseg.runs import DatasetPaths, StudyPaths
from hipseg.score.cleaning import clean_mask
from hipseg.score.masks import measure_masks
from hipseg.score.overlap import Counts, count
from hipseg.score.record import read_scores
from hipseg.shards.manifest import Refusal, read_manifest
from hipseg.shards.reader import open_reader
from hipseg.splits import read_splits, write_splits
from tests.learn.builders import disc_case, pack_discs, quiet_console, quiet_session, small_settings
from tests.score.builders import made_score
from tests.shards.builders import make_manifest, make_record


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Four patients in two folds, and one fold of the U-Net trained for one epoch."""
    root = tmp_path_factory.mktemp("study")
    pack_discs(root / "shards", 4, folds=2)
    settings = small_settings(root, train={"epochs": 1, "batch_size": 4}, target_labels=(1, 2))
    run_course(prepare_fold(settings, "unet", 0), quiet_session())
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
    assert {key: own[key] for key in ("arm", "fold", "repeat", "seed", "folds", "cases", "epochs", "study", "method")} == {
        "arm": "unet",
        "fold": 0,
        "repeat": 0,
        "seed": 0,
        "folds": 2,
        "cases": 2,
        "epochs": 1,
        "study": "Ronneberger et al. 2015",
        "method": "U-Net",
    }
    assert (own["best_epoch"], own["val_loss"]) == (best.epoch, best.val_loss)
    assert (own["scores_digest"], own["cases_digest"]) == (digest_file(paths.scores), digest_file(paths.cases))
    assert own["model_digest"] == digest_file(paths.model) == read_provenance(paths).model_digest
    assert own["labels"] == [{"name": "hip", "numbers": [1, 2]}]
    assert own["scans"] == {"packed": 4, "refused": 0, "without_mask": 0, "kept_for_testing": 0}
    assert (own["clean"], own["pretraining"]) == (None, None)
    provenance = read_provenance(paths)
    assert own["code_digest"] == provenance.code_digests[0] == digest_code()
    assert own["versions"].items() >= {**provenance.versions, "surface-distance": "0.1"}.items()
    assert own.keys() >= {"data_digest", "split_digest", "settings_digest"}


def test_fold_that_other_sources_trained_has_a_code_digest_of_its_own(trained):
    paths = trained[1].fold("unet", 0)
    value = json.loads(paths.provenance.read_text())
    evaluate(trained)
    usual = json.loads(paths.summary.read_text())["hipseg"]["code_digest"]
    paths.provenance.write_text(json.dumps({**value, "code_digests": ["0" * 64]}))
    evaluate(trained)
    assert json.loads(paths.summary.read_text())["hipseg"]["code_digest"] not in (usual, "0" * 64)


def test_lines_carry_what_the_audit_and_the_distances_need(trained):
    dataset, study = trained
    for score in evaluate(trained):
        record = read_manifest(dataset).record(score.case)
        assert (score.shape_zyx, score.spacing_mm_zyx) == (record.grid.shape_zyx, record.grid.spacing_mm_zyx)
        assert (score.image_digest, score.label, score.answer, score.repeat) == (record.image_digest, "hip", "raw", 0)
        truth = disc_case(int(score.case[1:]))[1] > 0
        prediction = read_labels(study.fold("unet", 0).prediction(score.case))[0] == 1
        # NaN, where nothing is found, equals nothing but its own text.
        assert str(score.distances) == str(measure_masks(truth, prediction, score.spacing_mm_zyx).distances)


def give_noisy_answers(dataset, paths):
    """Set the threshold to the first validation case's mean, so that a network of one epoch answers with hip here and there."""
    settings = load_settings(paths.settings)
    manifest = read_manifest(dataset)
    record = manifest.record(read_splits(dataset, manifest)[0].val[0])
    infer = compile_inference(load_model(paths.model, ""), settings.feed)
    with open_reader(dataset, record) as reader:
        threshold = float(np.mean(np.stack([of_slice for _, (of_slice,) in predict_slices(infer, reader, settings.feed, 4)])))
    write_text(
        paths.settings,
        dump_settings(settings.model_copy(update={"train": settings.train.model_copy(update={"threshold": threshold})})),
    )
    return record


def test_cleaned_answers_are_written_and_scored_beside_the_raw_ones(trained):
    dataset, study = trained
    paths, clean = study.fold("unet", 0), CleanSettings(smooth_mm=1.0, min_piece_ml=0.5)
    record = give_noisy_answers(dataset, paths)
    scores = evaluate(trained, scoring=EvaluateSettings(clean=clean))
    assert [(one.case, one.answer) for one in scores[:2]] == [(record.case, "raw"), (record.case, "cleaned")]
    raw, cleaned = (read_labels(paths.prediction(record.case, answer))[0] for answer in ("raw", "cleaned"))
    assert not np.array_equal(raw, cleaned)
    assert np.array_equal(cleaned == 1, clean_mask(raw == 1, record.grid.spacing_mm_zyx, clean))
    truth = disc_case(int(record.case[1:]))[1] > 0
    assert [one.counts for one in scores[:2]] == [count(truth, raw == 1), count(truth, cleaned == 1)]
    summary = json.loads(paths.summary.read_text())
    assert summary["hipseg"]["clean"] == clean.model_dump()
    assert summary["hipseg"]["cases"] == 2
    # nnU-Net's part knows one answer a case.
    assert summary["mean"]["1"]["TP"] == np.mean([one.counts.tp for one in scores if one.answer == "raw"])


def test_scoring_without_cleaning_removes_earlier_cleaned_answers(trained):
    paths = trained[1].fold("unet", 0)
    evaluate(trained, scoring=EvaluateSettings())
    assert len(list(paths.cleaned_predictions.iterdir())) == 2
    evaluate(trained)
    assert not paths.cleaned_predictions.exists()


def test_repeat_is_scored_in_its_own_folder(trained):
    study = trained[1]
    study.fold("unet", 0, 3).root.parent.mkdir()
    study.fold("unet", 0).root.rename(study.fold("unet", 0, 3).root)
    scores = evaluate(trained, repeat=3)
    assert {score.repeat for score in scores} == {3}
    assert read_scores(study.fold("unet", 0, 3).scores) == scores
    with pytest.raises(TrainError, match=r"unet fold 0 repeat 4 is not trained"):
        evaluate(trained, repeat=4)


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
    forget_model(paths)
    for score in evaluate(trained):
        truth = int((disc_case(int(score.case[1:]))[1] > 0).sum())
        assert score.recall == 1.0
        assert score.counts == Counts(truth, score.counts.total - truth, 0, 0)
        assert score.dice == pytest.approx(2 * truth / (truth + score.counts.total))


def forget_model(paths):
    """Leave the digest of the model out of the provenance, as earlier versions did."""
    value = json.loads(paths.provenance.read_text())
    del value["model_digest"]
    paths.provenance.write_text(json.dumps(value))


def test_model_of_another_run_is_refused_and_the_scores_stay(trained):
    evaluate(trained)
    paths = trained[1].fold("unet", 0)
    paths.model.write_bytes(b"of another fold")
    with pytest.raises(TrainError, match=r"model\.keras is not the model that unet fold 0 trained: SHA-256 [0-9a-f]{64}, "):
        evaluate(trained)
    assert paths.is_complete


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


def test_list_of_cases_of_an_earlier_version_is_taken(trained):
    paths = trained[1].fold("unet", 0)
    cases = json.loads(paths.cases.read_text())
    assert cases.pop("windows_hu") == [None]
    paths.cases.write_text(json.dumps(cases))
    assert len(evaluate(trained)) == 2


def test_a_list_of_cases_that_was_edited_or_is_missing_is_refused(trained):
    paths = trained[1].fold("unet", 0)
    cases = json.loads(paths.cases.read_text())
    paths.cases.write_text(json.dumps({**cases, "train": cases["train"][1:]}))
    with pytest.raises(TrainError, match="unet fold 0 was trained with other cases"):
        evaluate(trained)
    paths.cases.write_text("3")
    with pytest.raises(TrainError, match="unet fold 0 was trained with other cases"):
        evaluate(trained)
    paths.cases.unlink()
    with pytest.raises(TrainError, match=r"no list of the run's cases at .*cases\.json"):
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


def test_aggregation_reads_what_evaluation_leaves(trained):
    scores = evaluate(trained, scoring=EvaluateSettings())
    collection = collect(trained[1], allow_partial=True)
    (fold,) = collection.arms[0].folds
    assert fold.lines == scores
    assert fold.scores == tuple(score for score in scores if score.answer == "raw")
    assert collection.gaps == ("fold 1 of arm unet is missing",)


def test_scans_that_are_in_no_fold_are_counted():
    kept, bare = make_record("a", "p", subset="test"), make_record("b", "q", has_mask=False)
    refused = (Refusal("x", "IngestError", "damaged"), Refusal("y", "IngestError", "damaged"))
    manifest = make_manifest(kept, bare, make_record("c", "r"), refusals=refused)
    assert count_scans(manifest) == {"packed": 3, "refused": 2, "without_mask": 1, "kept_for_testing": 1}
