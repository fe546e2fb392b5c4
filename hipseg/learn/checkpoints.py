"""Everything that training needs to go on bit by bit, in one file with its checksum beside.

A checkpoint is a NumPy archive: `history` (JSON text), `model/<path>` and `optimizer/<path>` for each variable.
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
from hipseg.fsio import digest_file, replacing, write_text
from hipseg.learn.history import EpochRow
from hipseg.runs import FoldPaths

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after an epoch.

    Args:
        history: all epochs so far.
        model: each variable of the network by path, the moving statistics included.
        optimizer: each variable of the optimizer by path, its step count and learning rate included.
    """

    history: tuple[EpochRow, ...]
    model: Arrays
    optimizer: Arrays


def capture(model: keras.Model, optimizer: keras.Optimizer, history: Sequence[EpochRow]) -> Checkpoint:
    """Copy the state of a run out of its network and optimizer."""
    return Checkpoint(tuple(history), _values(model.variables), _values(optimizer.variables))


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
            history = tuple(EpochRow(**row) for row in json.loads(str(archive["history"])))
            return Checkpoint(history, _under("model/", archive), _under("optimizer/", archive))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise TrainError(f"cannot read checkpoint {path}: {error}; use another or train again") from error


def checksum_path(path: Path) -> Path:
    """Give the file beside a checkpoint that holds its checksum, in the form that `sha256sum -c` reads."""
    return path.with_name(path.name + ".sha256")


def _write(path: Path, checkpoint: Checkpoint) -> None:
    arrays: dict[str, Any] = {"history": np.array(json.dumps([asdict(row) for row in checkpoint.history]))}
    arrays |= {f"model/{name}": array for name, array in checkpoint.model.items()}
    arrays |= {f"optimizer/{name}": array for name, array in checkpoint.optimizer.items()}
    with path.open("wb") as handle:
        np.savez(handle, **arrays)


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
