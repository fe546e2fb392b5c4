"""Masks of several structures -> label numbers, under a stated rule for voxels that several of them claim."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hipseg.axes import SliceBool, SliceU8
from hipseg.errors import ConfigError, MaskError
from hipseg.labels import BACKGROUND_LABEL

LabelSlices = Callable[[int], SliceU8]
"""Gives the labels of a slice by its number; may raise MaskError, to which the caller adds where."""
ReadMask = Callable[[int], SliceBool | None]
"""Gives the mask of a slice by its number, None where nothing is drawn; may raise MaskError."""
Layer = tuple[int, ReadMask]
"""Label number and mask of one structure."""
Overlap = Literal["refuse", "first"]
"""A case with voxels in structures of two labels is refused, or such a voxel takes the label of the structure named first."""


@dataclass(frozen=True)
class MaskRules:
    """What is done where the source leaves it open.

    Args:
        overlap: with voxels that structures of two labels claim.
        fraction: share of Maximum Fractional Value from which on a voxel of a fractional SEG belongs to its segment.
    """

    overlap: Overlap = "refuse"
    fraction: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a share that takes every voxel or none."""
        if not 0 < self.fraction <= 1:
            raise ConfigError(f"fraction {self.fraction:g} of a fractional segment; above 0 and at most 1 is accepted")


DEFAULT_RULES = MaskRules()


def join_layers(layers: Sequence[Layer], shape_zyx: tuple[int, int, int], overlap: Overlap) -> LabelSlices:
    """Join masks slice by slice; masks of the same label are united.

    Args:
        layers: labels 1 to 255 with masks, in the order of precedence.
        shape_zyx: slices, rows and columns.
        overlap: what is done with voxels that two labels claim.
    Returns:
        The label slices, all background without layers. Where overlaps are refused, the first slice with one raises MaskError,
        with the count of the whole case.
    """

    def read_slice(z: int) -> SliceU8:
        labels, contested = _join_slice(layers, shape_zyx[1:], z)
        if overlap == "refuse" and contested is not None:
            raise _overlap_error([_join_slice(layers, shape_zyx[1:], other)[1] for other in range(shape_zyx[0])])
        return labels

    return read_slice


def _overlap_error(contested: Sequence[SliceBool | None]) -> MaskError:
    """Say how many voxels of each slice are claimed twice."""
    counts = np.array([0 if voxels is None else np.count_nonzero(voxels) for voxels in contested])
    return MaskError(
        f"{counts.sum()} voxels on {np.count_nonzero(counts)} of {len(counts)} slices of the case lie in structures of two "
        "labels; choose structures that do not overlap, or give --overlap first: they then take the label of the first --roi"
    )


def _join_slice(layers: Sequence[Layer], shape_yx: tuple[int, int], z: int) -> tuple[SliceU8, SliceBool | None]:
    """Give the labels of a slice, and the voxels that two labels claim; None where there are none."""
    labels: SliceU8 | None = None
    contested: SliceBool | None = None
    for label, read in layers:
        mask = read(z)
        if mask is None:
            continue
        # True is 1.
        painted = np.multiply(mask.view(np.uint8), np.uint8(label), order="C")
        if labels is None:
            labels = painted
            continue
        taken = mask & (labels != BACKGROUND_LABEL)
        if taken.any():
            painted[taken] = BACKGROUND_LABEL
            others = taken & (labels != label)
            if others.any():
                contested = others if contested is None else contested | others
        labels |= painted
    return np.zeros(shape_yx, dtype=np.uint8) if labels is None else labels, contested
