"""Learning curves of every run of a study, also of those that are still training."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hipseg.errors import ReportError
from hipseg.runs import StudyPaths

CURVES = ("loss", "accuracy", "iou", "dice")
"""Columns of history.csv that are read, each with its `val_` twin."""
COLUMNS = tuple(prefix + name for name in CURVES for prefix in ("", "val_"))


@dataclass(frozen=True)
class Curve:
    """What one run wrote after each epoch.

    Args:
        arm, fold, repeat: the run.
        epochs: int64 (epoch,), from 1.
        values: column -> float64 (epoch,), NaN where undefined.
    """

    arm: str
    fold: int
    repeat: int
    epochs: NDArray[np.int64]
    values: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Band:
    """The folds of one arm together, epoch by epoch, as far as all folds came: beyond, a mean would jump where a fold ends.

    Args:
        epochs: int64 (epoch,).
        mean, low, high: float64 (epoch,), over the folds; NaN where none is defined.
    """

    epochs: NDArray[np.int64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def read_curves(paths: StudyPaths, runs: Iterable[tuple[str, int, int]]) -> tuple[Curve, ...]:
    """Read the history of each run that has one.

    Args:
        paths: the results.
        runs: arm, repeat and fold of each run.
    Returns:
        The curves of the runs that have ended an epoch, in the order given.
    Raises:
        ReportError: a history is damaged.
    """
    curves = []
    for arm, repeat, fold in runs:
        path = paths.fold(arm, fold, repeat).history
        if rows := _read_rows(path):
            values = {name: np.array([row[name] for row in rows]) for name in COLUMNS}
            curves.append(Curve(arm, fold, repeat, np.array([row["epoch"] for row in rows], np.int64), values))
    return tuple(curves)


def join_folds(curves: Iterable[Curve], column: str) -> Band:
    """Put the folds of one arm together.

    Args:
        curves: at least one.
        column: of history.csv.
    """
    members = list(curves)
    epochs = np.arange(1, min(curve.epochs.size for curve in members) + 1)
    table = np.array([curve.values[column][: epochs.size] for curve in members])
    defined = ~np.isnan(table)
    counted = defined.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(defined, table, 0.0).sum(axis=0) / counted
    low = np.where(defined, table, np.inf).min(axis=0)
    high = np.where(defined, table, -np.inf).max(axis=0)
    nothing = counted == 0
    return Band(epochs, mean, np.where(nothing, np.nan, low), np.where(nothing, np.nan, high))


def _read_rows(path: Path) -> list[dict[str, float]]:
    """Read the lines of a history, if there is one, but for one at its end that a running training is still writing."""
    try:
        whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
        rows = [{name: float(row[name]) for name in ("epoch", *COLUMNS)} for row in csv.DictReader(whole.splitlines())]
        if any(row["epoch"] != number for number, row in enumerate(rows, start=1)):
            raise ValueError("its epochs are not 1, 2, 3 and so on")
        return rows
    except FileNotFoundError:
        return []
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ReportError(f"history at {path} is damaged ({type(error).__name__}: {error}); train the fold again") from error
