"""Names, numbers and attributes of the shard format, as FORMAT.md writes them down; writer and reader share them."""

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from hipseg.errors import ShardError
from hipseg.geometry import Grid, make_grid
from hipseg.shards.schema import WindowHu

if TYPE_CHECKING:
    import h5py

SHARD_FORMAT = "hipseg-shard"
SHARD_VERSION = 2
SHARD_SUFFIX = ".h5"
HDF5_LOCK = threading.RLock()
"""Held around every call of HDF5, which is not built for threads; h5py's own lock has let two of its calls meet."""
NAME_DIGITS = 12
"""Digits of a shard's digest in its name."""
CASES_GROUP = "cases"
IMAGE = "image"
LABELS = "labels"
LABELS_DTYPE: np.dtype[Any] = np.dtype("u1")
WINDOW = "window_hu"


def shard_name(case: str, shard_digest: str) -> str:
    """Name the shard of one case by its content: a case that changes gets another file, and the older one stays whole."""
    return f"{case}-{shard_digest[:NAME_DIGITS]}{SHARD_SUFFIX}"


def chunk_shape(grid: Grid) -> tuple[int, int, int]:
    """Give the shape of a chunk: one whole slice."""
    return (1, grid.shape_zyx[1], grid.shape_zyx[2])


def write_text_attribute(attributes: "h5py.AttributeManager", name: str, text: str) -> None:
    """Write ASCII text of a fixed length; HDF5 would put variable lengths into a heap elsewhere in the file."""
    attributes[name] = np.bytes_(text.encode("ascii"))


def read_text_attribute(attributes: "h5py.AttributeManager", name: str) -> str:
    """Read an ASCII attribute of fixed or variable length.

    Raises:
        KeyError: there is no such attribute.
    """
    value: Any = attributes[name]
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


def write_grid(attributes: "h5py.AttributeManager", grid: Grid) -> None:
    """Write a grid's spacing, origin and directions; its shape is the shape of the data."""
    attributes["spacing_mm_zyx"] = np.array(grid.spacing_mm_zyx, dtype="<f8")
    attributes["origin_mm_xyz"] = np.array(grid.origin_mm_xyz, dtype="<f8")
    attributes["directions_xyz"] = np.array(grid.directions_xyz, dtype="<f8")


def read_grid(attributes: "h5py.AttributeManager", shape_zyx: tuple[int, ...]) -> Grid:
    """Read the grid that `write_grid` wrote.

    Raises:
        KeyError: an attribute is missing.
        ConfigError: the numbers are no grid.
    """
    return make_grid(shape_zyx, attributes["spacing_mm_zyx"], attributes["origin_mm_xyz"], attributes["directions_xyz"])


def write_window(attributes: "h5py.AttributeManager", window_hu: WindowHu | None) -> None:
    """Write the window of an image stored as uint8; an image stored as int16 has none."""
    if window_hu is not None:
        attributes[WINDOW] = np.array(window_hu, dtype="<i8")


def read_window(attributes: "h5py.AttributeManager") -> WindowHu | None:
    """Read what `write_window` wrote."""
    if WINDOW not in attributes:
        return None
    low_hu, high_hu = (int(value) for value in attributes[WINDOW])
    return low_hu, high_hu


def check_version(found: object, read: int, what: str) -> None:
    """Refuse a format version that this hipseg does not read.

    Raises:
        ShardError: the version is another one.
    """
    if found != read:
        raise ShardError(
            f"{what} has format version {found}, this hipseg reads version {read}; pack again or use the hipseg of then"
        )
