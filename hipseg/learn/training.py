"""Train a network over slices: the loop over epochs, what it measures and what it saves."""

import contextlib
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf
from rich.console import Console

from hipseg.config import TrainSettings
from hipseg.errors import TrainError
from hipseg.fsio import replacing
from hipseg.learn.batches import SliceFeed, count_batches, shuffled_order
from hipseg.learn.checkpoints import capture, load_checkpoint, restore, save_best, save_last
from hipseg.learn.history import EpochRow, ScalarLog, append_row, best_row
from hipseg.learn.progress import EpochProgress
from hipseg.learn.steps import AverageGradients, Step, compile_training, compile_validation, keep_gradients
from hipseg.runs import FoldPaths
from hipseg.score.overlap import NO_COUNTS, Counts, accuracy, dice, iou


@dataclass(frozen=True)
class Pass:
    """What one pass over some slices measured.

    Args:
        loss: mean over all pixels.
        counts: pixels of each output.
    """

    loss: float
    counts: tuple[Counts, ...]

    @property
    def pooled(self) -> Counts:
        """Pixels of all outputs."""
        return sum(self.counts, NO_COUNTS)


@dataclass(frozen=True)
class Steps:
    """The compiled steps of one model."""

    train: Step
    validate: Step


def train_model(
    model: keras.Model,
    training: SliceFeed,
    validation: SliceFeed,
    settings: TrainSettings,
    *,
    paths: FoldPaths,
    title: str,
    console: Console,
    average: AverageGradients = keep_gradients,
) -> tuple[EpochRow, ...]:
    """Train a network and leave history, TensorBoard files, checkpoints and the best model behind.

    Args:
        model: with its first weights; holds the best ones afterwards.
        training: the slices to learn from.
        validation: the slices to choose the best epoch by.
        settings: epochs, batches, learning rate, threshold, seed.
        paths: of the run.
        title: the run in words.
        console: where progress is shown.
        average: what happens to the gradients before they are applied.
    Returns:
        One row an epoch.
    Raises:
        TrainError: the loss is no longer a number.
        ShardError: a slice is damaged.
        ConfigError: a file cannot be written.
    """
    # Without a name of its own, a second optimizer of a process would not find its variables in a checkpoint of the first.
    optimizer = keras.optimizers.Adam(settings.learning_rate, name="adam")
    optimizer.build(model.trainable_variables)
    steps = Steps(compile_training(model, optimizer, settings.threshold, average), compile_validation(model, settings.threshold))
    history: list[EpochRow] = []
    with contextlib.closing(ScalarLog(paths.tensorboard)) as scalars, EpochProgress(console, title, settings.epochs) as progress:
        for epoch in range(1, settings.epochs + 1):
            progress.begin_epoch(epoch, sum(count_batches(len(feed), settings.batch_size) for feed in (training, validation)))
            row = _run_epoch(epoch, steps, training, validation, settings, progress=progress)
            history.append(row)
            is_best = best_row(history) is row
            state = capture(model, optimizer, history)
            save_last(paths, state)
            if is_best:
                save_best(paths, state)
            append_row(paths.history, row)
            scalars.write(row)
            progress.end_epoch(row, is_best=is_best)
    restore(load_checkpoint(paths.checkpoint("best")), model, optimizer)
    save_model(model, paths)
    return tuple(history)


def validate_model(model: keras.Model, validation: SliceFeed, settings: TrainSettings) -> Pass:
    """Measure a network on some slices, each output by itself; its weights stay as they are."""
    return _run_pass(compile_validation(model, settings.threshold), _in_order(validation, settings), "validation", None)


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


def _run_epoch(
    epoch: int,
    steps: Steps,
    training: SliceFeed,
    validation: SliceFeed,
    settings: TrainSettings,
    *,
    progress: EpochProgress,
) -> EpochRow:
    started = time.perf_counter()
    order = shuffled_order(len(training), settings.seed, epoch)
    trained = _run_pass(steps.train, training.batches(order, settings.batch_size), f"epoch {epoch}", progress)
    validated = _run_pass(steps.validate, _in_order(validation, settings), f"validation of epoch {epoch}", progress)
    return EpochRow(
        epoch=epoch,
        seconds=round(time.perf_counter() - started, 3),
        learning_rate=settings.learning_rate,
        loss=trained.loss,
        accuracy=accuracy(trained.pooled),
        iou=iou(trained.pooled),
        dice=dice(trained.pooled),
        val_loss=validated.loss,
        val_accuracy=accuracy(validated.pooled),
        val_iou=iou(validated.pooled),
        val_dice=dice(validated.pooled),
    )


def _in_order(feed: SliceFeed, settings: TrainSettings) -> Iterable[tuple[tf.Tensor, tf.Tensor]]:
    return feed.batches(feed.all_slices(), settings.batch_size)


def _run_pass(step: Step, batches: Iterable[tuple[tf.Tensor, tf.Tensor]], where: str, progress: EpochProgress | None) -> Pass:
    """Take a step for each batch; each slice counts the same, whatever the size of its batch."""
    slices, loss_sum = 0, 0.0
    counts: tuple[Counts, ...] = ()
    for number, (images, truth) in enumerate(batches, start=1):
        loss_tensor, pixels = step(images, truth)
        loss = float(loss_tensor)
        if not math.isfinite(loss):
            raise TrainError(f"loss is {loss} in {where}, step {number}; a lower train.learning_rate may keep it finite")
        slices += len(images)
        loss_sum += loss * len(images)
        counts = _add_counts(counts, pixels.numpy().tolist())
        if progress is not None:
            progress.step()
    return Pass(loss_sum / slices, counts)


def _add_counts(counts: Sequence[Counts], pixels: list[list[int]]) -> tuple[Counts, ...]:
    more = [Counts(*row) for row in pixels]
    return tuple(a + b for a, b in zip(counts or [NO_COUNTS] * len(more), more, strict=True))
