"""Score a trained pretraining: the organs of every held-out case in its original grid, to scores.jsonl and summary.json."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import reduce
from operator import add
from typing import Any

from rich.console import Console

from hipseg.config import transfer_network
from hipseg.evaluate import mean_defined, predict_case, score_structures
from hipseg.fsio import digest_file, write_json
from hipseg.learn.course import Course, Trained
from hipseg.learn.history import best_row
from hipseg.learn.prediction import Infer, compile_inference
from hipseg.learn.pretraining import TITLE
from hipseg.learn.progress import say
from hipseg.score.overlap import NO_COUNTS
from hipseg.score.record import CaseScore, write_scores


def finish_pretraining(course: Course, trained: Trained, console: Console) -> None:
    """Score the held-out cases organ by organ and write summary.json, which says that the pretraining is complete.

    Two organs may claim one voxel, so that no label volume could hold the predictions; only their scores are kept.

    Args:
        course: of the pretraining; its model holds the best weights.
        trained: what came of it.
        console: where the scores are shown.
    Raises:
        ConfigError: a file cannot be written.
        ShardError: a shard is missing or damaged.
    """
    infer = compile_inference(course.model, course.settings.feed)
    scores = [score for case in course.split.val for score in _score_case(course, infer, case, console)]
    write_scores(course.paths.scores, scores)
    organs = _summarise_organs(course, scores)
    write_json(course.paths.summary, _describe(course, trained, organs))
    dices = ", ".join(f"{organ} {one['dice']:.4f}" for organ, one in organs.items())
    say(console, f"{TITLE}: mean Dice of the held-out cases: {dices}")


def _score_case(course: Course, infer: Infer, case: str, console: Console) -> Iterator[CaseScore]:
    record = course.manifest.record(case)
    truths, predictions = predict_case(
        infer, course.dataset, record, course.settings.feed, course.training, targets=course.targets
    )
    names = sorted(course.settings.pretrain.organs)
    for score in score_structures(record, names, truths, predictions, arm=TITLE, fold=0):
        say(console, f"{TITLE}, case {case}: {score.label} dice {score.dice:.4f}, HD95 {score.hd95_mm:.1f} mm")
        yield score


def _summarise_organs(course: Course, scores: Sequence[CaseScore]) -> dict[str, dict[str, Any]]:
    """Give each organ's mean Dice over the cases where it is defined, NaN of none, and its voxels over all cases."""
    organs = {}
    for name, label in sorted(course.settings.pretrain.organs.items()):
        of_organ = [score for score in scores if score.label == name]
        dices = [score.dice for score in of_organ]
        counts = reduce(add, (score.counts for score in of_organ), NO_COUNTS)
        defined = sum(not math.isnan(dice) for dice in dices)
        organs[name] = {"label": label, "dice": mean_defined(dices), "cases_with_dice": defined, **asdict(counts)}
    return organs


def _describe(course: Course, trained: Trained, organs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    best, provenance = best_row(trained.history), trained.provenance
    return {
        "network": transfer_network(course.settings),
        "model_digest": digest_file(course.paths.model),
        "organs": organs,
        "cases": {"train": list(course.split.train), "val": list(course.split.val)},
        "cases_digest": digest_file(course.paths.cases),
        "scores_digest": digest_file(course.paths.scores),
        "epochs": len(trained.history),
        "best_epoch": best.epoch,
        "val_loss": best.val_loss,
        "val_dice": best.val_dice,
        "data_digest": provenance.data_digest,
        "split_digest": provenance.split_digest,
        "settings_digest": provenance.settings_digest,
        "code_digests": list(provenance.code_digests),
    }
