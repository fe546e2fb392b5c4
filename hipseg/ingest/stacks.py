"""Several stacks under one series identifier -> one series each, where the headers tell them apart cleanly."""

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Sequence
from itertools import accumulate

import numpy as np

from hipseg.errors import SeriesError
from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.series import order_series

DIRECTION_DIGITS = 2
"""Directions that agree in so many decimals are of one stack; a finer difference is refused as mixed orientations."""
SPACING_DIGITS = 3
"""Pixel spacings that agree in so many decimals (mm) are alike."""
MIN_STACK = 2
"""Images that a stack has; a single one says nothing about its spacing."""


def round_orientation(header: ImageHeader) -> Hashable:
    """Give the orientation of an image as far as stacks are told apart by it."""
    return tuple(round(value, DIRECTION_DIGITS) + 0.0 for value in header.orientation or ())


def round_geometry(header: ImageHeader) -> Hashable:
    """Give size, pixel spacing and orientation of an image as far as series are told apart by them."""
    spacing_mm = tuple(round(value, SPACING_DIGITS) for value in header.pixel_spacing_mm or ())
    return header.rows, header.columns, spacing_mm, round_orientation(header)


_MARKS: dict[str, Callable[[ImageHeader], Hashable]] = {
    "stack": lambda header: header.stack_id,
    "time point": lambda header: -1 if header.time_point is None else header.time_point,
    "orientation": round_orientation,
    "acquisition": lambda header: -1 if header.acquisition_number is None else header.acquisition_number,
}
"""What may tell stacks apart, the surest first. Source: DICOM PS3.3 C.7.6.16.2.2.2, C.7.6.2.1.1 and C.7.6.16.2.2.1."""
_OVERLAPPING = ("time point", "acquisition")
"""Marks that scanners also change within one volume: where such stacks lie one after the other, they are that volume, or slices
between them are missing. Stacks that lie in each other are two, even if their slices alternate evenly."""


def split_stacks(images: Sequence[ImageHeader]) -> dict[str, tuple[ImageHeader, ...]]:
    """Split the images of one series into the stacks that they are.

    A series is split by the first mark that leaves nothing but volumes of at least two images; by stack or orientation only if it
    is no volume itself, by time point or acquisition only if the stacks lie in each other. Where no mark does, it stays whole,
    and is refused when it is opened if it is no volume.

    Args:
        images: at least one image of one series, in any order.
    Returns:
        Images by what the stack is to be called behind the series identifier: empty for a series that stays whole.
    """
    for name, mark in _MARKS.items():
        stacks: dict[Hashable, list[ImageHeader]] = defaultdict(list)
        for header in images:
            stacks[mark(header)].append(header)
        if len(stacks) < MIN_STACK or not all(map(_is_stack, stacks.values())):
            continue
        if _overlap(stacks.values()) if name in _OVERLAPPING else not is_volume(images):
            return {f" {name} {value}": tuple(stack) for value, stack in stacks.items()}
    return {"": tuple(images)}


def is_volume(images: Sequence[ImageHeader]) -> bool:
    """Say whether images are the slices of one volume, tilted or not."""
    try:
        order_series(images, "", takes_tilt=True)
    except SeriesError:
        return False
    return True


def _overlap(stacks: Collection[Sequence[ImageHeader]]) -> bool:
    """Say whether no stack lies clear of the others along the slices' normal."""
    normal = np.cross(*np.reshape(next(iter(stacks))[0].orientation or (), (2, 3)))
    heights = [[float(np.dot(header.position_mm or (), normal)) for header in stack] for stack in stacks]
    ranges = sorted((min(one), max(one)) for one in heights)
    highest = accumulate((high for _, high in ranges), max)
    return all(low <= high for high, (low, _) in zip(highest, ranges[1:], strict=False))


def _is_stack(images: Sequence[ImageHeader]) -> bool:
    return len(images) >= MIN_STACK and is_volume(images)
