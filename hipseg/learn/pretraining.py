"""The pretraining run: one sigmoid an organ, from which fine-tuning starts."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from hipseg.config import StudySettings
from hipseg.errors import ShardError
from hipseg.fsio import digest_file, write_json
from hipseg.learn.batches import Targets, check_labels, open_feed
from hipseg.learn.beginning import identify
from hipseg.learn.course import Course, Trained
from hipseg.learn.history import EpochRow, best_row
from hipseg.learn.networks import build_network
from hipseg.learn.progress import say
from hipseg.learn.provenance import Provenance
from hipseg.learn.runtime import prepare_runtime
from hipseg.learn.training import validate_model
from hipseg.learn.transfer import transfer_network
from hipseg.runs import DatasetPaths, StudyPaths
from hipseg.score.overlap import dice
from hipseg.shards.manifest import CaseRecord, read_manifest
from hipseg.splits import Split, count_patients, digest_splits, split_patients

HOLDOUT_PARTS = 10
"""One patient in ten is held out to choose the best epoch by."""
TITLE = "pretraining"


def prepare_pretraining(settings: StudySettings) -> Course:
    """Check what the pretraining needs and build its network.

    Args:
        settings: of the study.
    Returns:
        The run, ready to start.
    Raises:
        ConfigError: no arm uses the pretraining, no organ is there to learn, or the network cannot be built as the settings say.
        ShardError: the data is missing or damaged, or has masks of fewer than two patients.
    """
    name, train, targets = transfer_network(settings), settings.pretrain.train, organ_targets(settings.pretrain.organs)
    dataset = DatasetPaths(settings.pretrain.shards)
    manifest = read_manifest(dataset)
    split = hold_out(manifest.cases, train.seed)
    split_digest = digest_splits([split])
    check_labels([manifest.record(case) for case in split.train], targets, "pretrain.organs")
    prepare_runtime(train)
    return Course(
        title=TITLE,
        paths=StudyPaths(settings.results).pretraining,
        settings=settings,
        training=train,
        identity=identify(settings, None, data=manifest.data_digest, splits=split_digest),
        dataset=dataset,
        manifest=manifest,
        split=split,
        split_digest=split_digest,
        targets=targets,
        model=build_network(name, settings.networks, settings.feed.input_side, len(targets), train.seed),
    )


def finish_pretraining(course: Course, trained: Trained, console: Console) -> None:
    """Score the held-out patients by organ and write summary.json, which says that the pretraining is complete.

    Args:
        course: of the pretraining; its model holds the best weights.
        trained: what came of it.
        console: where the scores are shown.
    Raises:
        ConfigError: the file cannot be written.
        ShardError: a shard is missing or damaged.
    """
    scores = _score_organs(course)
    summary = {
        "network": transfer_network(course.settings),
        "model_digest": digest_file(course.paths.model),
        "organs": scores,
        "cases": {"train": list(course.split.train), "val": list(course.split.val)},
        "cases_digest": digest_file(course.paths.cases),
        **_history_summary(trained.history, trained.provenance),
    }
    write_json(course.paths.summary, summary)
    dices = ", ".join(f"{organ} {score['dice']:.4f}" for organ, score in scores.items())
    say(console, f"{TITLE}: Dice of the held-out patients: {dices}")


def hold_out(records: Sequence[CaseRecord], seed: int) -> Split:
    """Hold one patient in ten out of training, at least one; a patient is never on both sides.

    Args:
        records: the packed cases; those without a mask, and those that their publisher keeps for testing, are left out.
        seed: of the choice.
    Raises:
        ShardError: fewer than two patients have a mask.
    """
    patients = count_patients(records)
    if patients < 2:
        raise ShardError(
            f"pretraining needs masks of at least 2 patients, one to learn from and one to validate with; found {patients}"
        )
    return split_patients(records, min(HOLDOUT_PARTS, patients), seed)[0]


def organ_targets(organs: Mapping[str, int]) -> Targets:
    """Give each organ an output of its own, in the order of their names."""
    return tuple((organs[name],) for name in sorted(organs))


def _score_organs(course: Course) -> dict[str, Any]:
    """Score the best weights by organ, over all pixels of the held-out slices; NaN where an organ is nowhere."""
    records = [course.manifest.record(case) for case in course.split.val]
    with open_feed(course.dataset, records, course.settings.feed, course.targets) as validation:
        counts = validate_model(course.model, validation, course.training).counts
    organs = course.settings.pretrain.organs
    return {
        name: {"label": organs[name], "dice": dice(one), "tp": one.tp, "fp": one.fp, "fn": one.fn, "tn": one.tn}
        for name, one in zip(sorted(organs), counts, strict=True)
    }


def _history_summary(history: Sequence[EpochRow], provenance: Provenance) -> dict[str, Any]:
    best = best_row(history)
    return {
        "epochs": len(history),
        "best_epoch": best.epoch,
        "val_loss": best.val_loss,
        "val_dice": best.val_dice,
        "data_digest": provenance.data_digest,
        "split_digest": provenance.split_digest,
        "settings_digest": provenance.settings_digest,
        "code_digests": list(provenance.code_digests),
    }
