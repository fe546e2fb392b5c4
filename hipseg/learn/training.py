"""Train a network over slices: the loop over epochs, what it measures and what it saves."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import tensorflow as tf

from hipseg.config import TrainSettings
from hipseg.errors import TrainError
from hipseg.fsio import replacing
from hipseg.learn.batches import SliceFeed, count_batches, shuffled_order
from hipseg.learn.beginning import Beginning
from hipseg.learn.checkpoints import Checkpoint, Point, load_checkpoint, restore
from hipseg.learn.history import EpochRecords, EpochRow, best_row
from hipseg.learn.keeper import Keeper
from hipseg.learn.memory import naming_batch_that_fits
from hipseg.learn.normalisation import Moments
from hipseg.learn.passes import Way, run_pass
from hipseg.learn.progress import EpochProgress
from hipseg.learn.ranks import Ranks
from hipseg.learn.schedule import rate_at
from hipseg.learn.session import Session
from hipseg.learn.steps import AverageGradients, Step, compile_training, compile_validation
from hipseg.learn.tally import Pass, Tally, begin_tally, join_tallies, own_part
from hipseg.runs import FoldPaths
from hipseg.score.overlap import accuracy, dice, iou


@dataclass(frozen=True)
class Feeds:
    """The slices to learn from, and those to choose the best epoch by."""

    training: SliceFeed
    validation: SliceFeed


def train_model(
    model: keras.Model,
    feeds: Feeds,
    settings: TrainSettings,
    beginning: Beginning,
    *,
    paths: FoldPaths,
    title: str,
    session: Session,
    average: AverageGradients | None = None,
) -> tuple[EpochRow, ...]:
    """Train a network and leave history, TensorBoard files, checkpoints and the best model behind.

    Args:
        model: with its first weights; holds the best ones afterwards, on rank 0.
        feeds: of this run.
        settings: epochs, batches, learning rate, threshold, seed.
        beginning: what the run is and where it begins.
        paths, title: of the run; the latter in words.
        session: how this process takes part; rank 0 alone writes files.
        average: what happens to the gradients before they are applied; without it they are added over the ranks.
    Returns:
        One row an epoch.
    Raises:
        TrainError: the loss is no longer a number, or the checkpoint to go on from does not fit.
        Stopped: a signal asked for it; the state is saved.
        ShardError: a slice is damaged.
        ConfigError: a file cannot be written.
    """
    optimizer, ranks, stops = _begin(model, settings, beginning, session.ranks), session.ranks, session.stops
    keeper = Keeper(model, optimizer, paths, beginning.identity, every_min=settings.save_every_min, ranks=ranks, stops=stops)
    with (
        stops.deferring(),
        _records(paths, beginning.start, ranks) as records,
        EpochProgress(session.console, title, settings.epochs) as progress,
    ):
        run = _Run(model, optimizer, feeds, settings, ranks=ranks, keeper=keeper, progress=progress, average=average)
        history = run.train(beginning, records)
        _finish(model, optimizer, paths, history, ranks)
    return history


def save_model(model: keras.Model, paths: FoldPaths) -> None:
    """Write a network and its weights as one Keras file, whole or not at all.

    Raises:
        ConfigError: the file cannot be written.
    """
    with replacing(paths.model) as temporary:
        # Keras writes to no name with another ending.
        keras_name = temporary.with_suffix(".keras")
        try:
            model.save(keras_name)
            keras_name.replace(temporary)
        finally:
            keras_name.unlink(missing_ok=True)


class _Run:
    """The loop over epochs, with what it needs at every step."""

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.Optimizer,
        feeds: Feeds,
        settings: TrainSettings,
        *,
        ranks: Ranks,
        keeper: Keeper,
        progress: EpochProgress,
        average: AverageGradients | None,
    ) -> None:
        moments = Moments(ranks, settings.normalisation)
        moments.prepare(model)
        add = average or (lambda gradients: ranks.add(gradients, settings.compression))
        self._train = _naming_memory(compile_training(model, optimizer, settings.threshold, add, moments), model, ranks)
        self._validate = compile_validation(model, settings.threshold, ranks)
        self._optimizer = optimizer
        self._nothing = begin_tally(model.output_shape[-1])
        self._feeds, self._settings, self._ranks, self._keeper, self._progress = feeds, settings, ranks, keeper, progress
        self._steps = count_batches(len(feeds.training), settings.batch_size)

    def train(self, beginning: Beginning, records: EpochRecords | None) -> tuple[EpochRow, ...]:
        """Train what is left of the epochs."""
        history = list(beginning.start.history) if beginning.start else []
        point = beginning.point
        while point.epoch <= self._settings.epochs:
            row = self._run_epoch(point, history)
            history.append(row)
            self._keeper.save_epoch(history)
            if records is not None:
                records.add(row)
            self._progress.end_epoch(row, is_best=best_row(history) is row)
            point = Point(point.epoch + 1)
        return tuple(history)

    def _run_epoch(self, point: Point, history: list[EpochRow]) -> EpochRow:
        """Train and validate from a point on; every step may save the run or stop it."""
        began_s = time.perf_counter() - point.seconds
        to_validate = count_batches(len(self._feeds.validation), self._settings.batch_size)
        self._progress.begin_epoch(point.epoch, self._steps + to_validate, done=point.steps)

        def heed(steps: int, tally: Tally) -> None:
            self._progress.step()
            seconds = time.perf_counter() - began_s
            self._keeper.heed(history, lambda: Point(point.epoch, steps, seconds, join_tallies(tally, self._ranks)))

        trained = run_pass(
            self._train,
            self._training_way(point.epoch),
            self._ranks,
            own_part(point.trained or self._nothing, self._ranks),
            done=point.steps,
            before_step=lambda number: self._set_rate(point.epoch, number),
            after_step=heed,
        )
        validated = run_pass(
            self._validate,
            self._validation_way(point.epoch),
            self._ranks,
            self._nothing,
            after_step=lambda _number, _tally: heed(self._steps, trained),
        )
        passes = (join_tallies(tally, self._ranks).measure() for tally in (trained, validated))
        return _describe(point.epoch, time.perf_counter() - began_s, float(self._optimizer.learning_rate), *passes)

    def _set_rate(self, epoch: int, step: int) -> None:
        self._optimizer.learning_rate = rate_at(self._settings, epoch, step, self._steps)

    def _training_way(self, epoch: int) -> Way:
        order = shuffled_order(len(self._feeds.training), self._settings.seed, epoch)
        return Way(self._feeds.training, order, self._settings.batch_size, f"epoch {epoch}")

    def _validation_way(self, epoch: int) -> Way:
        feed = self._feeds.validation
        return Way(feed, feed.all_slices(), self._settings.batch_size, f"validation of epoch {epoch}")


def _begin(model: keras.Model, settings: TrainSettings, beginning: Beginning, ranks: Ranks) -> keras.Optimizer:
    """Make the optimizer, and give it and the network the same state on all ranks."""
    # Without a name of its own, a second optimizer of a process would not find its variables in a checkpoint of the first.
    optimizer = keras.optimizers.Adam(settings.learning_rate, name="adam")
    optimizer.build(model.trainable_variables)
    if beginning.start is not None:
        restore(beginning.start, model, optimizer)
    ranks.broadcast([*model.variables, *optimizer.variables])
    return optimizer


def _naming_memory(step: Step, model: keras.Model, ranks: Ranks) -> Step:
    def take(images: tf.Tensor, truth: tf.Tensor, share: float) -> tuple[tf.Tensor, tf.Tensor]:
        with naming_batch_that_fits(model, images, truth, ranks.size):
            return step(images, truth, share)

    return take


def _describe(epoch: int, seconds: float, learning_rate: float, trained: Pass, validated: Pass) -> EpochRow:
    return EpochRow(
        epoch=epoch,
        seconds=round(seconds, 3),
        learning_rate=learning_rate,
        loss=trained.loss,
        accuracy=accuracy(trained.pooled),
        iou=iou(trained.pooled),
        dice=dice(trained.pooled),
        val_loss=validated.loss,
        val_accuracy=accuracy(validated.pooled),
        val_iou=iou(validated.pooled),
        val_dice=dice(validated.pooled),
    )


@contextlib.contextmanager
def _records(paths: FoldPaths, start: Checkpoint | None, ranks: Ranks) -> Iterator[EpochRecords | None]:
    """Open history.csv and TensorBoard's files on rank 0, with the epochs that ended before."""
    if not ranks.leads:
        yield None
        return
    with contextlib.closing(EpochRecords(paths, start.history if start else ())) as records:
        yield records


def _finish(
    model: keras.Model, optimizer: keras.Optimizer, paths: FoldPaths, history: tuple[EpochRow, ...], ranks: Ranks
) -> None:
    ranks.check_equal([*model.variables, *optimizer.variables])
    if ranks.leads:
        _take_best(model, optimizer, paths, history)
        save_model(model, paths)


def _take_best(model: keras.Model, optimizer: keras.Optimizer, paths: FoldPaths, history: tuple[EpochRow, ...]) -> None:
    best, wanted = load_checkpoint(paths.checkpoint("best")), best_row(history).epoch
    # Not whole rows: a score that is undefined is unequal to itself.
    if (found := best.history[-1].epoch) != wanted:
        raise TrainError(
            f"{paths.checkpoint('best')} is of epoch {found}, and by history.csv epoch {wanted} is the best; train the fold again"
        )
    restore(best, model, optimizer)
