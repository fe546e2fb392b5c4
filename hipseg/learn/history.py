"""One row an epoch: in memory, in history.csv and on TensorBoard."""

import csv
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import tensorflow as tf

from hipseg.errors import TrainError
from hipseg.fsio import replacing, unwritable
from hipseg.runs import FoldPaths


@dataclass(frozen=True)
class EpochRow:
    """What one epoch did. The scores come from counts pooled over all pixels of the fed slices; NaN where undefined.

    Args:
        epoch: counts from 1.
        seconds: of training and validation.
        learning_rate: of the epoch.
        loss, accuracy, iou, dice: of training, while the weights changed.
        val_loss, val_accuracy, val_iou, val_dice: of validation, after the epoch.
    """

    epoch: int
    seconds: float
    learning_rate: float
    loss: float
    accuracy: float
    iou: float
    dice: float
    val_loss: float
    val_accuracy: float
    val_iou: float
    val_dice: float


COLUMNS = tuple(field.name for field in fields(EpochRow))
CURVES = ("loss", "accuracy", "iou", "dice")
"""What is measured of training and, with `val_` ahead, of validation."""


def best_row(rows: Sequence[EpochRow]) -> EpochRow:
    """Choose the epoch of the highest validation Dice; of equals that of the lowest validation loss, then the first.

    Dice is undefined only where nothing is to be found and nothing was. Such a validation side gives 0 as soon as one pixel is
    found, so that neither tells how good an epoch is: undefined counts as 0, and the loss chooses.

    Raises:
        TrainError: there is no epoch.
    """
    if not rows:
        raise TrainError("history has no epoch; train the fold again")
    return max(rows, key=lambda row: (_or(row.val_dice, 0.0), -_or(row.val_loss, math.inf)))


def _or(value: float, otherwise: float) -> float:
    return otherwise if math.isnan(value) else value


def append_row(path: Path, row: EpochRow) -> None:
    """Add an epoch to history.csv, under a heading where the file is new.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        is_new = not path.exists() or path.stat().st_size == 0
        with path.open("a", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(asdict(row))
    except OSError as error:
        raise unwritable(path, error) from error


def read_history(path: Path) -> tuple[EpochRow, ...]:
    """Read history.csv.

    Raises:
        TrainError: it is missing or damaged.
    """
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            return tuple(row_from_text(values) for values in csv.DictReader(handle))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainError(f"cannot read the history at {path}: {error}; train the fold again") from error


def row_from_text(values: dict[str, str]) -> EpochRow:
    """Build a row from the text of its columns; raises ValueError, KeyError or TypeError where it is none."""
    return EpochRow(int(values["epoch"]), *(float(values[name]) for name in COLUMNS[1:]))


def rewrite_rows(path: Path, rows: Sequence[EpochRow]) -> None:
    """Write history.csv anew, whole or not at all, so that it holds these epochs and no other; none leave no file.

    Raises:
        ConfigError: the file cannot be written.
    """
    if not rows:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as temporary:
        for row in rows:
            append_row(temporary, row)


class ScalarLog:
    """TensorBoard's event files: training and validation as two runs, so that their curves share a diagram."""

    def __init__(self, folder: Path) -> None:
        self._training = tf.summary.create_file_writer(str(folder / "training"))
        self._validation = tf.summary.create_file_writer(str(folder / "validation"))

    def write(self, row: EpochRow) -> None:
        """Write an epoch and flush it, so that a running TensorBoard shows it."""
        for writer, prefix in ((self._training, ""), (self._validation, "val_")):
            with writer.as_default(step=row.epoch):
                for name in CURVES:
                    tf.summary.scalar(name, getattr(row, prefix + name))
            writer.flush()

    def close(self) -> None:
        """Close the files."""
        self._training.close()
        self._validation.close()


class EpochRecords:
    """history.csv and TensorBoard's event files of a run, each epoch once.

    Both are written anew from the epochs given: those that a checkpoint holds, when a run goes on. What an interrupted process
    wrote beyond its last checkpoint is gone then, and what it had no time to write is there.

    Args:
        paths: of the run.
        rows: epochs that ended before.
    Raises:
        ConfigError: a file cannot be written.
    """

    def __init__(self, paths: FoldPaths, rows: Sequence[EpochRow]) -> None:
        self._history = paths.history
        rewrite_rows(paths.history, rows)
        try:
            if paths.tensorboard.exists():
                shutil.rmtree(paths.tensorboard)
        except OSError as error:
            raise unwritable(paths.tensorboard, error) from error
        self._scalars = ScalarLog(paths.tensorboard)
        for row in rows:
            self._scalars.write(row)

    def add(self, row: EpochRow) -> None:
        """Write an epoch that ended."""
        append_row(self._history, row)
        self._scalars.write(row)

    def close(self) -> None:
        """Close the files."""
        self._scalars.close()
