"""Everything that training needs to go on bit by bit, in one file with its checksum beside.

A checkpoint is a NumPy archive: `run` (JSON text: format version, what was trained, how far it is, the epochs so far),
`model/<path>` and `optimizer/<path>` for each variable. The order of an epoch's slices follows from seed and epoch alone, so that
these two are the whole state of the shuffling; there is no random augmentation.
"""

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from hipseg.errors import TrainError
from hipseg.fsio import digest_file, replacing, unwritable, write_text
from hipseg.learn.history import EpochRow
from hipseg.learn.tally import Tally
from hipseg.runs import FoldPaths
from hipseg.score.overlap import Counts

FORMAT_VERSION = 2
"""1 was written after whole epochs only and did not say what it had been trained with."""

Arrays = Mapping[str, NDArray[Any]]
Identity = Mapping[str, Any]
"""What decides the weights of a run, by dotted names: settings, digests of data and splits. Plain values."""


@dataclass(frozen=True)
class Point:
    """How far a run is.

    Args:
        epoch: the one it is in, from 1.
        steps: training steps of the epoch that are done; all of them where validation is what comes next.
        seconds: spent on the epoch so far.
        trained: sums over the epoch's training steps so far, of all ranks; None before the first.
    """

    epoch: int
    steps: int = 0
    seconds: float = 0.0
    trained: Tally | None = None


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run.

    Args:
        identity: what is trained.
        point: how far it is.
        history: all epochs that ended.
        model: each variable of the network by path, the moving statistics included.
        optimizer: each variable of the optimizer by path, its step count and learning rate included.
    """

    identity: Identity
    point: Point
    history: tuple[EpochRow, ...]
    model: Arrays
    optimizer: Arrays


def capture(
    model: keras.Model, optimizer: keras.Optimizer, history: Sequence[EpochRow], point: Point, identity: Identity
) -> Checkpoint:
    """Copy the state of a run out of its network and optimizer."""
    return Checkpoint(identity, point, tuple(history), _values(model.variables), _values(optimizer.variables))


def restore(checkpoint: Checkpoint, model: keras.Model, optimizer: keras.Optimizer) -> None:
    """Put a state back, bit by bit.

    Raises:
        TrainError: the checkpoint belongs to another network or optimizer; nothing was changed then.
    """
    pairs = ((model.variables, checkpoint.model, "network"), (optimizer.variables, checkpoint.optimizer, "optimizer"))
    for variables, arrays, what in pairs:
        _check_fit(variables, arrays, what)
    for variables, arrays, _ in pairs:
        for variable in variables:
            variable.assign(arrays[variable.path])


def save_last(paths: FoldPaths, checkpoint: Checkpoint) -> None:
    """Save the newest state as `last`; the one before becomes `previous`.

    However this is interrupted, one of the two stays whole: `last` is moved only when `previous`'s new checksum is there, and the
    new `last` takes its place under a checksum that is there already.

    Raises:
        ConfigError: the files cannot be written.
    """
    last, previous = paths.checkpoint("last"), paths.checkpoint("previous")
    with replacing(last) as temporary:
        _write(temporary, checkpoint)
        if last.exists():
            write_text(checksum_path(previous), _checksum_line(_read_checksum(last), previous))
            last.replace(previous)
        write_text(checksum_path(last), _checksum_line(digest_file(temporary), last))


def save_best(paths: FoldPaths, checkpoint: Checkpoint) -> None:
    """Save a state as `best`.

    Raises:
        ConfigError: the file cannot be written.
    """
    best = paths.checkpoint("best")
    with replacing(best) as temporary:
        _write(temporary, checkpoint)
        write_text(checksum_path(best), _checksum_line(digest_file(temporary), best))


def remove_checkpoint(path: Path) -> None:
    """Remove a checkpoint and its checksum, so that it does not become `previous` in place of a whole one.

    Raises:
        ConfigError: it cannot be removed.
    """
    try:
        path.unlink(missing_ok=True)
        checksum_path(path).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint whose checksum holds.

    Raises:
        TrainError: it or its checksum is missing, or it is damaged.
    """
    try:
        found, expected = digest_file(path), _read_checksum(path)
        if found != expected:
            raise TrainError(
                f"checkpoint {path} is damaged: its SHA-256 is {found}, expected {expected}; use another or train again"
            )
        with np.load(path, allow_pickle=False) as archive:
            return _assemble(json.loads(str(archive["run"])), archive)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise TrainError(f"cannot read checkpoint {path}: {error}; use another or train again") from error


def is_whole(path: Path) -> bool:
    """Say whether a checkpoint is there and its checksum holds."""
    try:
        return digest_file(path) == _read_checksum(path)
    except (OSError, ValueError):
        return False


def checksum_path(path: Path) -> Path:
    """Give the file beside a checkpoint that holds its checksum, in the form that `sha256sum -c` reads."""
    return path.with_name(path.name + ".sha256")


def _write(path: Path, checkpoint: Checkpoint) -> None:
    run = {
        "format_version": FORMAT_VERSION,
        "identity": dict(checkpoint.identity),
        "point": asdict(checkpoint.point),
        "history": [asdict(row) for row in checkpoint.history],
    }
    arrays: dict[str, Any] = {"run": np.array(json.dumps(run))}
    arrays |= {f"model/{name}": array for name, array in checkpoint.model.items()}
    arrays |= {f"optimizer/{name}": array for name, array in checkpoint.optimizer.items()}
    with path.open("wb") as handle:
        np.savez(handle, **arrays)


def _assemble(run: Mapping[str, Any], archive: Mapping[str, NDArray[Any]]) -> Checkpoint:
    if run["format_version"] != FORMAT_VERSION:
        raise ValueError(f"its format is {run['format_version']!r}, this version reads {FORMAT_VERSION}")
    point = Point(**{**run["point"], "trained": _read_tally(run["point"]["trained"])})
    history = tuple(EpochRow(**row) for row in run["history"])
    return Checkpoint(run["identity"], point, history, _under("model/", archive), _under("optimizer/", archive))


def _read_tally(value: Mapping[str, Any] | None) -> Tally | None:
    if value is None:
        return None
    return Tally(value["slices"], value["loss_sum"], tuple(Counts(**one) for one in value["counts"]))


def _checksum_line(digest: str, path: Path) -> str:
    return f"{digest}  {path.name}\n"


def _read_checksum(path: Path) -> str:
    return checksum_path(path).read_text(encoding="utf-8").split(" ")[0]


def _under(prefix: str, archive: Mapping[str, NDArray[Any]]) -> Arrays:
    return {name.removeprefix(prefix): archive[name] for name in archive if name.startswith(prefix)}


def _values(variables: Sequence[keras.Variable]) -> Arrays:
    values = {variable.path: variable.value.numpy().copy() for variable in variables}
    if len(values) != len(variables):
        raise TrainError(f"{len(variables)} variables share {len(values)} names; each needs its own to be saved")
    return values


def _check_fit(variables: Sequence[keras.Variable], arrays: Arrays, what: str) -> None:
    wanted = {variable.path: tuple(variable.shape) for variable in variables}
    found = {name: array.shape for name, array in arrays.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise TrainError(
                f"checkpoint is of another {what}: {name} has shape {found.get(name, 'nothing')} in the checkpoint and "
                f"{wanted.get(name, 'nothing')} in the {what}; use the settings that the checkpoint was made with"
            )
