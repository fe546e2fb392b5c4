"""One run: train an arm on the training side of a fold, choose the best epoch on the other side."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass

import keras
from rich.console import Console

from hipseg.config import StudySettings, repeat_settings
from hipseg.fsio import write_json
from hipseg.learn.batches import check_labels, open_feed
from hipseg.learn.beginning import Beginning, identify, make_ready
from hipseg.learn.networks import build_network
from hipseg.learn.provenance import describe_run, end_record, list_cases
from hipseg.learn.ranks import ALONE, Ranks
from hipseg.learn.resume import Resume, find_start
from hipseg.learn.runtime import prepare_runtime
from hipseg.learn.training import Feeds, train_model
from hipseg.learn.transfer import Transfer, load_pretrained, write_transfer
from hipseg.runs import DatasetPaths, FoldPaths, StudyPaths
from hipseg.shards.manifest import Manifest, read_manifest
from hipseg.signals import StopRequests
from hipseg.splits import Split, choose_fold, digest_splits, read_splits


@dataclass(frozen=True)
class PreparedFold:
    """A run that is ready to start: its settings and data are checked, its network is built and no file is touched yet.

    Args:
        settings: of the study, with the seed of the repeat.
        arm: its name.
        fold: its number.
        title: the run in words.
        paths: of the run.
        manifest: of the data set.
        split: the fold's two sides.
        split_digest: of all folds.
        model: with its first weights.
        transfer: what these come from; None without transfer.
    """

    settings: StudySettings
    arm: str
    fold: int
    title: str
    paths: FoldPaths
    manifest: Manifest
    split: Split
    split_digest: str
    model: keras.Model
    transfer: Transfer | None


def prepare_fold(settings: StudySettings, arm: str, fold: int, repeat: int = 0) -> PreparedFold:
    """Check what a run needs and build its network.

    Args:
        settings: of the study.
        arm: name of the arm.
        fold: number of the fold, from 0.
        repeat: of the study with another seed, from 0; the pretraining is the same for all.
    Returns:
        The run, ready to start.
    Raises:
        ConfigError: there is no such arm, fold or repeat, no case to train on has a target label, or the network cannot be
            built as the settings say.
        ShardError: data or splits are missing or damaged.
        TrainError: the pretraining that the arm starts from is missing or does not fit.
    """
    settings = repeat_settings(settings, repeat)
    network, has_transfer = settings.arm(arm).network, settings.arm(arm).transfer
    dataset, study = DatasetPaths(settings.shards), StudyPaths(settings.results)
    manifest = read_manifest(dataset)
    splits = read_splits(dataset, manifest)
    split = choose_fold(splits, fold)
    check_labels([manifest.record(case) for case in split.train], (settings.target_labels,), "target_labels")
    prepare_runtime(settings.train)
    model = build_network(network, settings.networks, settings.feed.input_side, seed=settings.train.seed)
    transfer = load_pretrained(model, network, study.pretraining, settings.pretrain.freeze) if has_transfer else None
    what, paths = title(arm, fold, repeat), study.fold(arm, fold, repeat)
    return PreparedFold(settings, arm, fold, what, paths, manifest, split, digest_splits(splits), model, transfer)


def train_fold(
    run: PreparedFold,
    *,
    resume: Resume = "auto",
    overwrite: bool,
    environment: Mapping[str, str],
    console: Console,
    stops: StopRequests | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Train a prepared run; nothing of an earlier run is removed before its data could be opened.

    Args:
        run: from `prepare_fold`; its folder is held by the caller.
        resume: whether to go on from what an unfinished run left.
        overwrite: whether a complete run may be replaced.
        environment: the process's variables, for the cluster's ids.
        console: where progress is shown.
        stops: signals that this process hears.
        ranks: that train together.
    Raises:
        ConfigError: the run is complete, a case is larger than the network's input, or a file cannot be written.
        ShardError: a shard is missing or damaged.
        TrainError: training failed, or cannot go on from what is there.
        Stopped: a signal asked for it; the state is saved.
    """
    began_s = time.perf_counter()
    settings, paths = run.settings, run.paths
    identity = identify(
        settings,
        run.arm,
        data=run.manifest.data_digest,
        splits=run.split_digest,
        fold=run.fold,
        pretraining=run.transfer.source_digest if run.transfer else None,
    )
    start = find_start(paths, run.title, identity, resume, overwrite=overwrite, console=console)
    beginning = Beginning(identity, start)
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
        provenance = describe_run(settings, run.manifest.data_digest, run.split_digest, environment, ranks.size)
        # Every rank has read what is there before rank 0 changes it.
        ranks.wait()
        if ranks.leads:
            provenance = make_ready(paths, run.title, settings, beginning, provenance=provenance, console=console)
            write_json(paths.cases, list_cases(run.manifest, run.split))
            if run.transfer is not None:
                write_transfer(paths, run.transfer)
        train_model(
            run.model,
            Feeds(training, validation),
            settings.train,
            beginning,
            paths=paths,
            title=run.title,
            console=console,
            stops=stops,
            ranks=ranks,
        )
    if ranks.leads:
        end_record(paths, provenance, beginning.earlier_seconds + time.perf_counter() - began_s)


def title(arm: str, fold: int, repeat: int = 0) -> str:
    """Name a run in words."""
    return f"{arm} fold {fold}" + (f" repeat {repeat}" if repeat else "")
