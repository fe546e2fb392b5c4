"""Slices of a case as a person looks at them: grey pixels, the truth and each arm's answer, cropped to the hip."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hipseg.axes import SliceBool


@dataclass(frozen=True)
class SliceView:
    """One slice of a case.

    Args:
        z: slice of the case, from 0.
        image: uint8 (y, x), the intensities of the window, 0 the darkest.
        truth: bool (y, x), the mask that the case came with.
        answers: arm -> bool (y, x), what its network gave.
    """

    z: int
    image: NDArray[np.uint8]
    truth: SliceBool
    answers: Mapping[str, SliceBool]


@dataclass(frozen=True)
class CaseView:
    """Some slices of a case, from low to high, all cropped to one rectangle.

    Args:
        case: key of the case.
        depth: slices of the whole case.
        spacing_mm_yx: distance between pixels.
        slices: those shown.
    """

    case: str
    depth: int
    spacing_mm_yx: tuple[float, float]
    slices: tuple[SliceView, ...]

    @property
    def largest(self) -> SliceView:
        """The slice with most of the truth, or of the answers where the truth is empty."""
        return max(self.slices, key=lambda one: (int(one.truth.sum()), sum(int(answer.sum()) for answer in one.answers.values())))


def spread_evenly(count: int, most: int, needed: Collection[int]) -> tuple[int, ...]:
    """Choose places among 0, 1, ..., count - 1.

    Args:
        count: at least 1.
        most: at most so many are chosen, at least 1.
        needed: at least one; one of these is chosen.
    Returns:
        The places, evenly spread from first to last, in rising order.
    """
    chosen = np.linspace(0, count - 1, min(most, count)).round().astype(np.intp)
    if not set(chosen.tolist()) & set(needed):
        first = min(needed)
        chosen[np.abs(chosen - first).argmin()] = first
    return tuple(int(place) for place in chosen)


def window_grey(image_hu: NDArray[np.int16], low_hu: float, high_hu: float) -> NDArray[np.uint8]:
    """Map CT intensities linearly onto the greys 0..255, clamped.

    Args:
        image_hu: int16 of any shape, Hounsfield units.
        low_hu, high_hu: what becomes 0 and 255; low_hu < high_hu.
    Returns:
        uint8 of the same shape.
    Source: DICOM PS3.3 C.11.2.1.3.2.
    """
    share = (image_hu.astype(np.float32) - low_hu) / (high_hu - low_hu)
    greys: NDArray[np.uint8] = np.rint(np.clip(share, 0.0, 1.0) * 255.0).astype(np.uint8)
    return greys
