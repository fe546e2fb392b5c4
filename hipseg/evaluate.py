"""Score a trained fold: every validation case in its original grid, from the best weights to scores.jsonl and summary.json."""

import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from hipseg.axes import VolumeBool
from hipseg.config import EvaluateSettings, FeedSettings, StudySettings, TrainSettings, load_settings
from hipseg.demands import Targets
from hipseg.errors import ConfigError, TrainError
from hipseg.fsio import digest_file, digest_json, read_json, unwritable, write_json
from hipseg.geometry import Grid
from hipseg.ingest.nifti import write_volume
from hipseg.labels import HIP_LABEL
from hipseg.learn.fold import title
from hipseg.learn.history import EpochRow, best_row, read_history
from hipseg.learn.prediction import Infer, compile_inference, load_model, predict_slices
from hipseg.learn.progress import say
from hipseg.learn.provenance import WINDOWS, Provenance, digest_code, list_cases, read_provenance, scoring_versions
from hipseg.learn.transfer import read_source_digest
from hipseg.runs import Answer, DatasetPaths, FoldPaths, StudyPaths
from hipseg.score.cleaning import clean_mask
from hipseg.score.masks import measure_structures
from hipseg.score.record import HIP, CaseScore, score_case, write_scores
from hipseg.shards.manifest import CaseRecord, Manifest, read_manifest
from hipseg.shards.reader import open_reader
from hipseg.splits import Split, choose_fold, digest_splits, read_splits

TRAIN_AGAIN = "train the fold again with `hipseg train`"
Structures = NDArray[np.bool_]
"""bool (structure, z, y, x)."""


@dataclass(frozen=True)
class TrainedFold:
    """A run whose training is done.

    Args:
        arm, fold, repeat: which.
        paths: of the run.
        settings, provenance, history: as its training left them.
        pretraining: SHA-256 of the model that it started from; None without transfer.
        model_digest: SHA-256 of its own.
    """

    arm: str
    fold: int
    repeat: int
    paths: FoldPaths
    settings: StudySettings
    provenance: Provenance
    history: tuple[EpochRow, ...]
    pretraining: str | None
    model_digest: str

    @property
    def title(self) -> str:
        """The run in words."""
        return title(self.arm, self.fold, self.repeat)


def evaluate_fold(
    dataset: DatasetPaths,
    study: StudyPaths,
    arm: str,
    fold: int,
    console: Console,
    *,
    scoring: EvaluateSettings,
    repeat: int = 0,
) -> tuple[CaseScore, ...]:
    """Predict and score the validation cases of a fold, with the settings it was trained with.

    Args:
        dataset: the packed data that it was trained on.
        study: the results.
        arm: name of the arm.
        fold: number of the fold, from 0.
        console: where progress is shown.
        scoring: how the answers are scored; nothing of it bears on the training.
        repeat: of the study with another seed, from 0.
    Returns:
        The scores of each case in the order of the split: of the raw answer, then of the cleaned one.
    Raises:
        TrainError: the fold is not trained, its files are damaged, its model is another one, or data or splits are not those it
            was trained on.
        ShardError: data or splits are missing or damaged.
        ConfigError: there is no such fold, or a file cannot be written.
    """
    manifest = read_manifest(dataset)
    splits = read_splits(dataset, manifest)
    split = choose_fold(splits, fold)
    run = _read_run(study.fold(arm, fold, repeat), arm, fold, repeat)
    _check_same_data(run, manifest, splits)
    infer = compile_inference(load_model(run.paths.model, TRAIN_AGAIN), run.settings.feed)
    _clear_scores(run.paths)
    scores: list[CaseScore] = []
    for case in split.val:
        scores += _evaluate_case(infer, dataset, run, manifest.record(case), scoring=scoring, console=console)
    write_scores(run.paths.scores, scores)
    counted = {"folds": len(splits), "scans": count_scans(manifest)}
    write_json(run.paths.summary, summarise_cases(scores) | {"hipseg": _describe(run, scoring, scores) | counted})
    return tuple(scores)


def _evaluate_case(
    infer: Infer, dataset: DatasetPaths, run: TrainedFold, record: CaseRecord, *, scoring: EvaluateSettings, console: Console
) -> tuple[CaseScore, ...]:
    """Predict and score one case, and say how it went."""
    began_s = time.perf_counter()
    targets = (run.settings.target_labels,)
    truths, predictions = predict_case(infer, dataset, record, run.settings.feed, run.settings.train, targets=targets)
    predicted_s = time.perf_counter()
    scores = _score_answers(run, record, truths, predictions[0], scoring)
    took = f"{predicted_s - began_s:.1f} s to predict, {time.perf_counter() - predicted_s:.1f} s to score"
    say(console, f"{run.title}, case {record.case}: {_tell(scores)} ({took})")
    return scores


def _score_answers(
    run: TrainedFold, record: CaseRecord, truths: Structures, prediction: VolumeBool, scoring: EvaluateSettings
) -> tuple[CaseScore, ...]:
    """Write each answer of one case, and score it."""
    scores: list[CaseScore] = []
    for answer, mask in _answers(prediction, record.grid, scoring):
        write_volume(run.paths.prediction(record.case, answer), mask * np.uint8(HIP_LABEL), record.grid)
        names = {"arm": run.arm, "fold": run.fold, "repeat": run.repeat, "answer": answer}
        scores += score_structures(record, (HIP,), truths, mask[np.newaxis], **names)
    return tuple(scores)


def score_structures(
    record: CaseRecord, names: Sequence[str], truths: Structures, predictions: Structures, **run: Any
) -> Iterator[CaseScore]:
    """Score the structures of one case one by one.

    Args:
        record: the case.
        names: of the structures.
        truths, predictions: bool (structure, z, y, x), on the case's grid.
        run: fields of `CaseScore` that say whose answer it is: arm, fold, and others.
    Returns:
        The scores, in the order of the names.
    """
    grid = record.grid
    for name, measured in measure_structures(names, truths, predictions, grid.spacing_mm_zyx):
        about = {"case": record.case, "patient": record.patient, "image_digest": record.image_digest, "label": name}
        yield score_case(measured, shape_zyx=grid.shape_zyx, spacing_mm_zyx=grid.spacing_mm_zyx, **about, **run)


def _tell(scores: Sequence[CaseScore]) -> str:
    return "; ".join(f"{one.answer} dice {one.dice:.4f}, HD95 {one.hd95_mm:.1f} mm" for one in scores)


def _answers(prediction: VolumeBool, grid: Grid, scoring: EvaluateSettings) -> Iterator[tuple[Answer, VolumeBool]]:
    """Give the prediction as it is, then cleaned where that is wanted; one of them is held at a time besides it."""
    yield "raw", prediction
    if scoring.clean is not None:
        yield "cleaned", clean_mask(prediction, grid.spacing_mm_zyx, scoring.clean)


def summarise_cases(scores: Sequence[CaseScore]) -> dict[str, Any]:
    """Give the part of summary.json that nnU-Net's tools read, of the raw answers alone.

    An average leaves undefined values out, and is NaN of none.

    Source: nnU-Net 2, evaluation/evaluate_predictions.py, keys and meaning of its summary.
    """
    raw = [score for score in scores if score.answer == "raw"]
    metrics = [_nnunet_metrics(score) for score in raw]
    mean = {name: mean_defined([one[name] for one in metrics]) for name in metrics[0]} if metrics else {}
    label = str(HIP_LABEL)
    return {
        "metric_per_case": [
            {
                "prediction_file": f"predictions/{score.case}.nii.gz",
                "reference_file": score.case,
                "metrics": {label: one},
            }
            for score, one in zip(raw, metrics, strict=True)
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


def count_scans(manifest: Manifest) -> dict[str, int]:
    """Count what became of the scans that were found in packing; a table's reader is to know of those that are not in it."""
    return {
        "packed": len(manifest.cases),
        "refused": len(manifest.refusals),
        "without_mask": sum(not one.has_mask for one in manifest.cases),
        "kept_for_testing": sum(one.has_mask and not one.is_for_folds for one in manifest.cases),
    }


def mean_defined(values: Sequence[float]) -> float:
    """Average what is defined; NaN of nothing."""
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def predict_case(
    infer: Infer, dataset: DatasetPaths, record: CaseRecord, feed: FeedSettings, training: TrainSettings, *, targets: Targets
) -> tuple[Structures, Structures]:
    """Predict one case on its own grid.

    Args:
        infer: the network.
        dataset, record: the case.
        feed, training: as the network was trained.
        targets: the label numbers of each output.
    Returns:
        Truths and predictions, each bool (output, z, y, x); predictions of two outputs may overlap.
    Raises:
        ConfigError: the case is larger than the network's input.
        ShardError: a slice is damaged.
    """
    truths, predictions = np.zeros((2, len(targets), *record.grid.shape_zyx), np.bool_)
    with open_reader(dataset, record) as reader:
        for z, probabilities in predict_slices(infer, reader, feed, training.batch_size):
            labels = reader.read_labels(z)
            for output, (numbers, of_slice) in enumerate(zip(targets, probabilities, strict=True)):
                truths[output, z] = np.isin(labels, numbers)
                predictions[output, z] = of_slice >= training.threshold
    return truths, predictions


def check_trained(paths: FoldPaths, what: str) -> None:
    """Refuse to score a fold without weights.

    Raises:
        TrainError: there is no model.
    """
    if not paths.model.is_file():
        raise TrainError(f"{what} is not trained: no {paths.model}; train it with `hipseg train`")


def _read_run(paths: FoldPaths, arm: str, fold: int, repeat: int) -> TrainedFold:
    what = title(arm, fold, repeat)
    check_trained(paths, what)
    try:
        settings = load_settings(paths.settings)
    except ConfigError as error:
        raise TrainError(f"cannot use the settings of {what}: {error}; {TRAIN_AGAIN}") from error
    pretraining = read_source_digest(paths) if settings.arm(arm).transfer else None
    provenance, found = read_provenance(paths), digest_file(paths.model)
    if provenance.model_digest not in (None, found):
        raise TrainError(
            f"{paths.model} is not the model that {what} trained: SHA-256 {found}, {paths.provenance.name} says "
            f"{provenance.model_digest}; restore it, or {TRAIN_AGAIN}"
        )
    return TrainedFold(
        arm, fold, repeat, paths, settings, provenance, read_history(paths.history), pretraining, model_digest=found
    )


def _check_same_data(run: TrainedFold, manifest: Manifest, splits: Sequence[Split]) -> None:
    cases = read_json(run.paths.cases, TrainError, "list of the run's cases")
    listed = list_cases(manifest, splits[run.fold])
    if not isinstance(cases, dict) or WINDOWS not in cases:
        del listed[WINDOWS]
    for name, found, trained in (
        ("data", manifest.data_digest, run.provenance.data_digest),
        ("folds", digest_splits(splits), run.provenance.split_digest),
        ("cases", digest_json(listed), digest_json(cases)),
    ):
        if found != trained:
            raise TrainError(
                f"{run.title} was trained with other {name}: their digest was {trained[:12]} and is now {found[:12]}; scoring a "
                f"model on cases it may have learned from would flatter it; {TRAIN_AGAIN}"
            )


def _clear_scores(paths: FoldPaths) -> None:
    """Remove earlier scores and predictions, the summary first, since it says that they are complete."""
    try:
        paths.summary.unlink(missing_ok=True)
        paths.scores.unlink(missing_ok=True)
        for folder in (paths.predictions, paths.cleaned_predictions):
            if folder.exists():
                shutil.rmtree(folder)
    except OSError as error:
        raise unwritable(paths.root, error) from error


def _describe(run: TrainedFold, scoring: EvaluateSettings, scores: Sequence[CaseScore]) -> dict[str, Any]:
    """Give hipseg's own part of the summary: what was scored and how, and the digests that tell whether folds fit together."""
    chosen, best, provenance = run.settings.arm(run.arm), best_row(run.history), run.provenance
    raw = [score for score in scores if score.answer == "raw"]
    code = tuple(dict.fromkeys((*provenance.code_digests, digest_code())))
    return {
        "arm": run.arm,
        "fold": run.fold,
        "repeat": run.repeat,
        "seed": run.settings.train.seed,
        "study": chosen.study,
        "method": chosen.method,
        "epochs": len(run.history),
        "best_epoch": best.epoch,
        "val_loss": best.val_loss,
        "cases": len(raw),
        "cases_with_dice": sum(not math.isnan(score.dice) for score in raw),
        "labels": [{"name": HIP, "numbers": list(run.settings.target_labels)}],
        "clean": scoring.clean.model_dump(mode="json") if scoring.clean else None,
        "model_digest": run.model_digest,
        "pretraining": {"model_digest": run.pretraining} if run.pretraining else None,
        "versions": {**provenance.versions, **scoring_versions()},
        # One digest, whether one program trained and scored the fold or several.
        "code_digest": code[0] if len(code) == 1 else digest_json(code),
        "data_digest": provenance.data_digest,
        "split_digest": provenance.split_digest,
        "settings_digest": provenance.settings_digest,
        "cases_digest": digest_file(run.paths.cases),
        "scores_digest": digest_file(run.paths.scores),
    }
