"""The course of a run, from its checked settings to its saved model; the same for a fold and for the pretraining."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import keras

from hipseg.config import StudySettings, TrainSettings
from hipseg.demands import Targets, has_labels
from hipseg.fsio import write_json
from hipseg.learn.batches import SliceFeed, open_feed
from hipseg.learn.beginning import Beginning, make_ready
from hipseg.learn.checkpoints import Identity
from hipseg.learn.history import EpochRow
from hipseg.learn.progress import say
from hipseg.learn.provenance import Provenance, describe_run, end_record, list_cases
from hipseg.learn.resume import find_start
from hipseg.learn.session import Session
from hipseg.learn.training import Feeds, train_model
from hipseg.learn.transfer import Transfer, write_transfer
from hipseg.runs import DatasetPaths, FoldPaths
from hipseg.shards.manifest import Manifest
from hipseg.splits import Split

NOTHING_TO_FIND = (
    "no case to choose the best epoch by has a voxel of what is learned, so that the epoch of the lowest validation loss is taken"
)


@dataclass(frozen=True)
class Course:
    """A run that is ready to start: its settings and data are checked, its network is built and no file is touched yet.

    Args:
        title: the run in words.
        paths: of the run.
        settings: of the study.
        training: the part of them that this run trains by.
        identity: what decides its weights.
        dataset: what it learns from.
        manifest: of the data set.
        split: cases to learn from, and cases to choose the best epoch by.
        split_digest: of all folds, or of the one hold-out.
        targets: the label numbers of each output.
        model: the network, with its first weights.
        transfer: what these come from; None without transfer.
        warnings: what is to be told before it starts, one sentence each.
    """

    title: str
    paths: FoldPaths
    settings: StudySettings
    training: TrainSettings
    identity: Identity
    dataset: DatasetPaths
    manifest: Manifest
    split: Split
    split_digest: str
    targets: Targets
    model: keras.Model
    transfer: Transfer | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trained:
    """What came of a run.

    Args:
        history: one row an epoch.
        provenance: of the whole run, on rank 0.
    """

    history: tuple[EpochRow, ...]
    provenance: Provenance


def run_course(course: Course, session: Session) -> Trained:
    """Train a run that is ready; nothing of an earlier run is removed before its data could be opened.

    Args:
        course: the run; its model holds the best weights afterwards, on rank 0.
        session: how this process takes part; rank 0's caller holds the run's folder.
    Returns:
        What came of it; rank 0 has written it down too.
    Raises:
        ConfigError: the run is complete, a case is larger than the network's input, or a file cannot be written.
        ShardError: a shard is missing or damaged.
        TrainError: training failed, or cannot go on from what is there.
        Stopped: a signal asked for it; the state is saved.
    """
    began_s = time.perf_counter()
    start = find_start(
        course.paths, course.title, course.identity, session.resume, overwrite=session.overwrite, console=session.console
    )
    beginning = Beginning(course.identity, start)
    for warning in _warn(course):
        say(session.console, f"WARNING {course.title}: {warning}")
    with ExitStack() as stack:
        feeds = Feeds(_open(course, course.split.train, stack), _open(course, course.split.val, stack))
        provenance = _make_ready(course, session, beginning)
        history = train_model(
            course.model, feeds, course.training, beginning, paths=course.paths, title=course.title, session=session
        )
    if session.ranks.leads:
        end_record(course.paths, provenance, beginning.earlier_seconds + time.perf_counter() - began_s)
    return Trained(history, provenance)


def _warn(course: Course) -> Iterator[str]:
    yield from course.warnings
    if not has_labels(course.manifest.records(course.split.val), course.targets):
        yield NOTHING_TO_FIND


def _open(course: Course, cases: tuple[str, ...], stack: ExitStack) -> SliceFeed:
    records = course.manifest.records(cases)
    return stack.enter_context(open_feed(course.dataset, records, course.settings.feed, course.targets))


def _make_ready(course: Course, session: Session, beginning: Beginning) -> Provenance:
    digests = (course.manifest.data_digest, course.split_digest)
    provenance = describe_run(course.settings, *digests, session.environment, session.ranks.size)
    # Every rank has read what is there before rank 0 changes it.
    session.ranks.wait()
    if session.ranks.leads:
        provenance = make_ready(
            course.paths, course.title, course.settings, beginning, provenance=provenance, console=session.console
        )
        write_json(course.paths.cases, list_cases(course.manifest, course.split))
        if course.transfer is not None:
            write_transfer(course.paths, course.transfer)
    return provenance
