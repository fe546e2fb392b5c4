"""One run: train an arm on the training side of a fold, choose the best epoch on the other side."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

import keras
from rich.console import Console

from hipseg.config import StudySettings
from hipseg.learn.batches import check_labels, open_feed
from hipseg.learn.networks import build_network
from hipseg.learn.provenance import begin_record, describe_run, end_record
from hipseg.learn.runtime import prepare_runtime
from hipseg.learn.training import train_model
from hipseg.learn.transfer import Transfer, load_pretrained, write_transfer
from hipseg.learn.workspace import check_free, clear_run
from hipseg.runs import DatasetPaths, FoldPaths, StudyPaths
from hipseg.shards.manifest import Manifest, read_manifest
from hipseg.splits import Split, choose_fold, digest_splits, read_splits


@dataclass(frozen=True)
class PreparedFold:
    """A run that is ready to start: its settings and data are checked, its network is built and no file is touched yet.

    Args:
        settings: of the study.
        title: the run in words.
        paths: of the run.
        manifest: of the data set.
        split: the fold's two sides.
        split_digest: of all folds.
        model: with its first weights.
        transfer: what these come from; None without transfer.
    """

    settings: StudySettings
    title: str
    paths: FoldPaths
    manifest: Manifest
    split: Split
    split_digest: str
    model: keras.Model
    transfer: Transfer | None


def prepare_fold(settings: StudySettings, arm: str, fold: int) -> PreparedFold:
    """Check what a run needs and build its network.

    Args:
        settings: of the study.
        arm: name of the arm.
        fold: number of the fold, from 0.
    Returns:
        The run, ready to start.
    Raises:
        ConfigError: there is no such arm or fold, no case to train on has a target label, or the network cannot be built as
            the settings say.
        ShardError: data or splits are missing or damaged.
        TrainError: the pretraining that the arm starts from is missing or does not fit.
    """
    network, has_transfer = settings.arm(arm).network, settings.arm(arm).transfer
    dataset, study = DatasetPaths(settings.shards), StudyPaths(settings.results)
    manifest = read_manifest(dataset)
    splits = read_splits(dataset, manifest)
    split = choose_fold(splits, fold)
    check_labels([manifest.record(case) for case in split.train], (settings.target_labels,), "target_labels")
    prepare_runtime(settings.train)
    model = build_network(network, settings.networks, settings.feed.input_side, seed=settings.train.seed)
    transfer = load_pretrained(model, network, study.pretraining, settings.pretrain.freeze) if has_transfer else None
    return PreparedFold(
        settings, title(arm, fold), study.fold(arm, fold), manifest, split, digest_splits(splits), model, transfer
    )


def train_fold(run: PreparedFold, *, overwrite: bool, environment: Mapping[str, str], console: Console) -> None:
    """Train a prepared run; nothing of an earlier run is removed before its data could be opened.

    Args:
        run: from `prepare_fold`; its folder is held by the caller.
        overwrite: whether a complete run may be replaced.
        environment: the process's variables, for the cluster's ids.
        console: where progress is shown.
    Raises:
        ConfigError: the run is complete, a case is larger than the network's input, or a file cannot be written.
        ShardError: a shard is missing or damaged.
        TrainError: training failed.
    """
    started = time.perf_counter()
    settings, paths = run.settings, run.paths
    check_free(paths, run.title, overwrite=overwrite)
    with contextlib.ExitStack() as stack:
        training, validation = (
            stack.enter_context(
                open_feed(
                    DatasetPaths(settings.shards),
                    [run.manifest.record(case) for case in cases],
                    settings.feed,
                    (settings.target_labels,),
                )
            )
            for cases in (run.split.train, run.split.val)
        )
        clear_run(paths, run.title, console)
        provenance = describe_run(settings, run.manifest.data_digest, run.split_digest, environment)
        begin_record(paths, settings, provenance)
        if run.transfer is not None:
            write_transfer(paths, run.transfer)
        train_model(run.model, training, validation, settings.train, paths=paths, title=run.title, console=console)
    end_record(paths, provenance, time.perf_counter() - started)


def title(arm: str, fold: int) -> str:
    """Name a run in words."""
    return f"{arm} fold {fold}"
