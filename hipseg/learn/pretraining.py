"""The pretraining run: one sigmoid an organ, from which fine-tuning starts."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from rich.console import Console

from hipseg.config import StudySettings
from hipseg.errors import ShardError
from hipseg.fsio import digest_file, write_json
from hipseg.learn.batches import SliceFeed, Targets, check_labels, open_feed
from hipseg.learn.beginning import Beginning, identify, make_ready
from hipseg.learn.history import EpochRow, best_row
from hipseg.learn.networks import build_network
from hipseg.learn.progress import say
from hipseg.learn.provenance import Provenance, describe_run, end_record, list_cases
from hipseg.learn.ranks import ALONE, Ranks
from hipseg.learn.resume import Resume, find_start
from hipseg.learn.runtime import prepare_runtime
from hipseg.learn.training import Feeds, train_model, validate_model
from hipseg.learn.transfer import transfer_network
from hipseg.learn.workspace import hold_run
from hipseg.runs import DatasetPaths, StudyPaths
from hipseg.score.overlap import dice
from hipseg.shards.manifest import CaseRecord, Manifest, read_manifest
from hipseg.signals import StopRequests
from hipseg.splits import Split, count_patients, digest_splits, split_patients

HOLDOUT_PARTS = 10
"""One patient in ten is held out to choose the best epoch by."""
TITLE = "pretraining"


def pretrain(
    settings: StudySettings,
    *,
    resume: Resume = "auto",
    overwrite: bool,
    environment: Mapping[str, str],
    console: Console,
    stops: StopRequests | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Train the network of the transfer arms on organs.

    Args:
        settings: of the study.
        resume: whether to go on from what an unfinished pretraining left.
        overwrite: whether a complete pretraining may be replaced.
        environment: the process's variables, for the cluster's ids.
        console: where progress is shown.
        stops: signals that this process hears.
        ranks: that train together.
    Raises:
        ConfigError: no arm uses the pretraining, it is complete, no organ is there to learn, or the data does not fit the
            network.
        ShardError: the data is missing or damaged, or has masks of fewer than two patients.
        TrainError: training failed, or cannot go on from what is there.
        Stopped: a signal asked for it; the state is saved.
    """
    began_s = time.perf_counter()
    name, train, organs = transfer_network(settings), settings.pretrain.train, settings.pretrain.organs
    paths = StudyPaths(settings.results).pretraining
    manifest = read_manifest(DatasetPaths(settings.pretrain.shards))
    split = hold_out(manifest.cases, train.seed)
    check_labels([manifest.record(case) for case in split.train], organ_targets(organs), "pretrain.organs")
    prepare_runtime(train)
    model = build_network(name, settings.networks, settings.feed.input_side, len(organs), train.seed)
    identity = identify(settings, None, data=manifest.data_digest, splits=digest_splits([split]))
    with hold_run(paths, TITLE) if ranks.leads else contextlib.nullcontext(), contextlib.ExitStack() as stack:
        start = find_start(paths, TITLE, identity, resume, overwrite=overwrite, console=console)
        beginning = Beginning(identity, start)
        training, validation = (stack.enter_context(_open_side(settings, manifest, cases)) for cases in (split.train, split.val))
        provenance = describe_run(settings, manifest.data_digest, digest_splits([split]), environment, ranks.size)
        # Every rank has read what is there before rank 0 changes it.
        ranks.wait()
        if ranks.leads:
            provenance = make_ready(paths, TITLE, settings, beginning, provenance=provenance, console=console)
            write_json(paths.cases, list_cases(manifest, split))
        history = train_model(
            model,
            Feeds(training, validation),
            train,
            beginning,
            paths=paths,
            title=TITLE,
            console=console,
            stops=stops,
            ranks=ranks,
        )
        if not ranks.leads:
            return
        scores = _score_organs(model, validation, settings)
        end_record(paths, provenance, beginning.earlier_seconds + time.perf_counter() - began_s)
        summary = {
            "network": name,
            "model_digest": digest_file(paths.model),
            "organs": scores,
            "cases": {"train": list(split.train), "val": list(split.val)},
            "cases_digest": digest_file(paths.cases),
            **_history_summary(history, provenance),
        }
        write_json(paths.summary, summary)
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


def _open_side(settings: StudySettings, manifest: Manifest, cases: Sequence[str]) -> contextlib.AbstractContextManager[SliceFeed]:
    records = [manifest.record(case) for case in cases]
    return open_feed(DatasetPaths(settings.pretrain.shards), records, settings.feed, organ_targets(settings.pretrain.organs))


def _score_organs(model: keras.Model, validation: SliceFeed, settings: StudySettings) -> dict[str, Any]:
    """Score the best weights by organ, over all pixels of the held-out slices; NaN where an organ is nowhere."""
    counts = validate_model(model, validation, settings.pretrain.train).counts
    organs = settings.pretrain.organs
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
