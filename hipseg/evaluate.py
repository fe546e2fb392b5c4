"""Score a trained fold: every validation case in its original grid, from the best weights to scores.jsonl and summary.json."""

import math
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console

from hipseg.axes import VolumeU8
from hipseg.config import StudySettings, load_settings
from hipseg.errors import ConfigError, TrainError
from hipseg.fsio import digest_file, unwritable, write_json
from hipseg.ingest.nifti import write_volume
from hipseg.labels import HIP_LABEL
from hipseg.learn.fold import title
from hipseg.learn.history import EpochRow, best_row, read_history
from hipseg.learn.prediction import Infer, compile_inference, load_model, predict_slices
from hipseg.learn.progress import say
from hipseg.learn.provenance import Provenance, read_provenance
from hipseg.runs import DatasetPaths, FoldPaths, StudyPaths
from hipseg.score.masks import measure_labels
from hipseg.score.record import HIP, CaseScore, score_case, write_scores
from hipseg.shards.manifest import CaseRecord, Manifest, read_manifest
from hipseg.shards.reader import open_reader
from hipseg.splits import Split, choose_fold, digest_splits, read_splits

TRAIN_AGAIN = "train the fold again with `hipseg train`"


def evaluate_fold(dataset: DatasetPaths, study: StudyPaths, arm: str, fold: int, console: Console) -> tuple[CaseScore, ...]:
    """Predict and score the validation cases of a fold, with the settings it was trained with.

    Args:
        dataset: the packed data that it was trained on.
        study: the results.
        arm: name of the arm.
        fold: number of the fold, from 0.
        console: where progress is shown.
    Returns:
        One score a case, in the order of the split.
    Raises:
        TrainError: the fold is not trained, its files are damaged, or data or splits are not those it was trained on.
        ShardError: data or splits are missing or damaged.
        ConfigError: there is no such fold, or a file cannot be written.
    """
    paths = study.fold(arm, fold)
    manifest = read_manifest(dataset)
    splits = read_splits(dataset, manifest)
    split = choose_fold(splits, fold)
    provenance, settings, history = _read_run(paths, title(arm, fold))
    _check_same_data(provenance, manifest, splits, title(arm, fold))
    infer = compile_inference(load_model(paths.model, TRAIN_AGAIN), settings.feed)
    _clear_scores(paths)
    scores = []
    for case in split.val:
        record = manifest.record(case)
        truth, prediction = _predict_case(infer, dataset, record, settings)
        write_volume(paths.prediction(case), prediction, record.grid)
        for name, measured in measure_labels(truth, prediction, {HIP_LABEL: HIP}, record.grid.spacing_mm_zyx):
            scores.append(
                score_case(
                    measured,
                    case=case,
                    patient=record.patient,
                    arm=arm,
                    fold=fold,
                    label=name,
                    image_digest=record.image_digest,
                    shape_zyx=record.grid.shape_zyx,
                    spacing_mm_zyx=record.grid.spacing_mm_zyx,
                )
            )
        say(console, f"{title(arm, fold)}, case {case}: dice {scores[-1].dice:.4f}")
    write_scores(paths.scores, scores)
    summary = {
        **summarise_cases(scores),
        "hipseg": {
            "arm": arm,
            "fold": fold,
            "folds": len(splits),
            "study": settings.arm(arm).study,
            "method": settings.arm(arm).method,
            **_training_facts(history, provenance),
            "cases": len(scores),
            "cases_with_dice": sum(not math.isnan(score.dice) for score in scores),
            "scores_digest": digest_file(paths.scores),
        },
    }
    write_json(paths.summary, summary)
    return tuple(scores)


def summarise_cases(scores: Sequence[CaseScore]) -> dict[str, Any]:
    """Give the part of summary.json that nnU-Net's tools read; an average leaves undefined values out, and is NaN of none.

    Source: nnU-Net 2, evaluation/evaluate_predictions.py, keys and meaning of its summary.
    """
    metrics = [_nnunet_metrics(score) for score in scores]
    mean = {name: _mean([one[name] for one in metrics]) for name in metrics[0]} if metrics else {}
    label = str(HIP_LABEL)
    return {
        "metric_per_case": [
            {
                "prediction_file": f"predictions/{score.case}.nii.gz",
                "reference_file": score.case,
                "metrics": {label: one},
            }
            for score, one in zip(scores, metrics, strict=True)
        ],
        "mean": {label: mean},
        "foreground_mean": mean,
    }


def _nnunet_metrics(score: CaseScore) -> dict[str, float]:
    counts = score.counts
    return {
        "Dice": score.dice,
        "IoU": score.iou,
        "TP": counts.tp,
        "FP": counts.fp,
        "FN": counts.fn,
        "TN": counts.tn,
        "n_pred": counts.predicted,
        "n_ref": counts.truth,
    }


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def _predict_case(infer: Infer, dataset: DatasetPaths, record: CaseRecord, settings: StudySettings) -> tuple[VolumeU8, VolumeU8]:
    """Give the hip's label volumes of one case: the truth and the prediction."""
    truth, prediction = np.zeros((2, *record.grid.shape_zyx), np.uint8)
    with open_reader(dataset, record) as reader:
        for z, probabilities in predict_slices(infer, reader, settings.feed, settings.train.batch_size):
            truth[z][np.isin(reader.read_labels(z), settings.target_labels)] = HIP_LABEL
            prediction[z][probabilities >= settings.train.threshold] = HIP_LABEL
    return truth, prediction


def check_trained(paths: FoldPaths, what: str) -> None:
    """Refuse to score a fold without weights.

    Raises:
        TrainError: there is no model.
    """
    if not paths.model.is_file():
        raise TrainError(f"{what} is not trained: no {paths.model}; train it with `hipseg train`")


def _read_run(paths: FoldPaths, what: str) -> tuple[Provenance, StudySettings, tuple[EpochRow, ...]]:
    check_trained(paths, what)
    try:
        return read_provenance(paths), load_settings(paths.settings), read_history(paths.history)
    except ConfigError as error:
        raise TrainError(f"cannot use the settings of {what}: {error}; {TRAIN_AGAIN}") from error


def _check_same_data(provenance: Provenance, manifest: Manifest, splits: Sequence[Split], what: str) -> None:
    for name, found, trained in (
        ("data", manifest.data_digest, provenance.data_digest),
        ("folds", digest_splits(splits), provenance.split_digest),
    ):
        if found != trained:
            raise TrainError(
                f"{what} was trained with other {name}: their digest was {trained[:12]} and is now {found[:12]}; scoring a "
                f"model on cases it may have learned from would flatter it; {TRAIN_AGAIN}"
            )


def _clear_scores(paths: FoldPaths) -> None:
    """Remove earlier scores and predictions, the summary first, since it says that they are complete."""
    try:
        paths.summary.unlink(missing_ok=True)
        paths.scores.unlink(missing_ok=True)
        if paths.predictions.exists():
            shutil.rmtree(paths.predictions)
    except OSError as error:
        raise unwritable(paths.root, error) from error


def _training_facts(history: Sequence[EpochRow], provenance: Provenance) -> dict[str, Any]:
    best = best_row(history)
    return {
        "epochs": len(history),
        "best_epoch": best.epoch,
        "val_loss": best.val_loss,
        "data_digest": provenance.data_digest,
        "split_digest": provenance.split_digest,
        "settings_digest": provenance.settings_digest,
    }
