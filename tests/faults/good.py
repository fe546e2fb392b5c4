"""A good series, and how a fault of it is written down.

A fault is a function that spoils a good series in place. Its decorator says whether the series must be refused (with which
words), read right, or read right with a warning. "Right" is the volume and the mask of the good series, or what the function
returns.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from tests.ingest.builders import Plane, volume_hu, write_ct_series

SLICES, ROWS, COLUMNS = 6, 10, 12
Outcome = Literal["refused", "read", "warned"]
Truth = tuple[np.ndarray, np.ndarray | None]
"""HU, int16 (z, y, x), and labels, uint8 (z, y, x), None without mask."""


@dataclass
class Good:
    """A good series with one overlay structure; faults spoil its files.

    Args:
        folder: where it lies.
        paths: files by rising slice number.
        volume, labels: what it holds.
        rng: seeded by the fault's name.
    """

    folder: Path
    paths: list[Path]
    volume: np.ndarray
    labels: np.ndarray
    rng: np.random.Generator

    def edit(self, change: Callable[[Dataset], None], *slices: int) -> None:
        """Change the data sets of some slices; of all where none is named."""
        for z in slices or range(len(self.paths)):
            dataset = dcmread(self.paths[z])
            change(dataset)
            dataset.save_as(self.paths[z])

    def set(self, *slices: int, **values: object) -> None:
        """Set header values of some slices; None empties one."""
        self.edit(lambda dataset: [setattr(dataset, keyword, value) for keyword, value in values.items()] and None, *slices)

    def drop(self, *keywords: str, slices: tuple[int, ...] = ()) -> None:
        """Remove header values."""
        self.edit(lambda dataset: [delattr(dataset, keyword) for keyword in keywords] and None, *slices)

    def move(self, z: int, x: float = 0, y: float = 0, up: float = 0) -> None:
        """Move one slice, mm."""

        def change(dataset: Dataset) -> None:
            old = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [float(old[0]) + x, float(old[1]) + y, float(old[2]) + up]

        self.edit(change, z)

    def without_masks(self) -> None:
        """Remove the overlay planes."""

        def change(dataset: Dataset) -> None:
            for tag in [element.tag for element in dataset if element.tag.group == 0x6000]:
                del dataset[tag]

        self.edit(change)


@dataclass(frozen=True)
class Fault:
    """One fault: what it is, what must come of it, and with which options the series is read."""

    name: str
    outcome: Outcome
    words: str
    spoil: Callable[[Good], Truth | None]
    untilt: bool = False
    rois: Mapping[str, int] = field(default_factory=dict)


FAULTS: dict[str, Fault] = {}


def write_good(folder: Path, name: str) -> Good:
    """Write the good series that a fault begins with."""
    seed = sum(name.encode())
    volume = volume_hu(SLICES, ROWS, COLUMNS, seed)
    rng = np.random.default_rng(seed)
    labels = np.zeros(volume.shape, dtype=np.uint8)
    labels[1:5, 2:7, 3:9] = 1
    planes = {z: [Plane(labels[z] > 0)] for z in range(SLICES) if labels[z].any()}
    return Good(folder, write_ct_series(folder, volume, overlays=planes), volume, labels, rng)


def _add(outcome: Outcome, words: str = "", **options: object) -> Callable[[Callable], Callable]:
    def register(spoil: Callable) -> Callable:
        FAULTS[spoil.__name__] = Fault(spoil.__name__, outcome, words, spoil, **options)
        return spoil

    return register


def refused(words: str, **options: object) -> Callable[[Callable], Callable]:
    """The series must be refused with these words (a regular expression)."""
    return _add("refused", words, **options)


def warned(words: str, **options: object) -> Callable[[Callable], Callable]:
    """The series must be read right, with these words in a warning."""
    return _add("warned", words, **options)


read_right = _add("read")
"""The series must be read right, without a warning."""

read_right_by_name = _add("read", rois={"bone": 1})
"""The same, with the structure bone chosen by its name."""
