"""Series that have slices of each other: parts of one volume under two series identifiers, as a damaged one leaves them.

Two good series of one study may follow each other evenly, too, as the stations of a long scan do. What tells them apart is that
each of those has all of its slices, and counts its images for itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

import numpy as np
from numpy.typing import NDArray

from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.images import SeriesKey, SeriesMap
from hipseg.ingest.series import ROUNDING_MM, SPACING_TOLERANCE_MM
from hipseg.ingest.stacks import MIN_STACK, is_volume


@dataclass(frozen=True, repr=False)
class Parts:
    """What is wrong or odd about series, in our own words.

    Args:
        faults: by series that lacks slices which another one has, and by that other one.
        warnings: by series that another one may be a part of; it is taken.
    """

    faults: dict[SeriesKey, str]
    warnings: dict[SeriesKey, str]


@dataclass(frozen=True, repr=False)
class _Extent:
    """Where the slices of a series lie along their normal, mm, rising."""

    key: SeriesKey
    lowest: ImageHeader
    highest: ImageHeader
    heights_mm: NDArray[np.float64]


def find_parts(series: SeriesMap) -> Parts:
    """Find pairs of series that are one volume together.

    Args:
        series: each of them whole.
    Returns:
        A fault of both where one has gaps that the other fills; a warning of both where one goes on where the other ends, and its
        instance numbers do not begin anew.
    """
    parts = Parts({}, {})
    for one, other in _find_volumes(series):
        lower, upper = sorted((one, other), key=lambda extent: float(extent.heights_mm[0]))
        if upper.heights_mm[0] > lower.heights_mm[-1]:
            if _go_on(lower.highest.instance_number, upper.lowest.instance_number):
                parts.warnings.setdefault(lower.key, _say_continued(len(upper.heights_mm), "above"))
                parts.warnings.setdefault(upper.key, _say_continued(len(lower.heights_mm), "below"))
        elif not (is_volume(series[one.key]) and is_volume(series[other.key])):
            # Two whole ones, each of every second slice, are two passes.
            for key in (one.key, other.key):
                parts.faults.setdefault(key, _say_filled(len(one.heights_mm) + len(other.heights_mm)))
    return parts


def _find_volumes(series: SeriesMap) -> Iterator[tuple[_Extent, _Extent]]:
    """Give the pairs of series of one study and geometry that are a volume together, and no slice of which is missing."""
    # A sorted list takes a fraction of a dictionary's memory.
    likenesses = sorted((key[0], images.likeness, key) for key, images in series.items() if len(images) >= MIN_STACK)
    for _, alike in groupby(likenesses, key=lambda one: one[:2]):
        keys = [key for *_, key in alike]
        if len(keys) == 1:
            continue
        extents = [extent for key in keys if (extent := _measure(key, series[key]))]
        for one, other in combinations(extents, 2):
            if _are_even(one, other) and is_volume((*series[one.key], *series[other.key])):
                yield one, other


def _measure(key: SeriesKey, images: Sequence[ImageHeader]) -> _Extent | None:
    """Measure a series; None where an image does not say where it lies, for which it is refused when it is opened."""
    headers = tuple(images)
    if any(header.position_mm is None for header in headers) or headers[0].orientation is None:
        return None
    normal = np.cross(*np.reshape(headers[0].orientation, (2, 3)))
    heights_mm = np.array([header.position_mm for header in headers]) @ normal
    order = np.argsort(heights_mm)
    return _Extent(key, headers[order[0]], headers[order[-1]], heights_mm[order])


def _are_even(one: _Extent, other: _Extent) -> bool:
    """Say whether two series have the slices of one line with even gaps, a quick look before the thorough one."""
    gaps_mm = np.diff(np.sort(np.concatenate((one.heights_mm, other.heights_mm))))
    return bool(np.ptp(gaps_mm) <= 2 * (SPACING_TOLERANCE_MM + ROUNDING_MM))


def _go_on(last: int | None, following: int | None) -> bool:
    """Say whether instance numbers go on from one series to the next, or may."""
    return last is None or following is None or abs(following - last) == 1


def _say_filled(count: int) -> str:
    return (
        "contradictory identifiers: its slices and those of another series (0020,000E) of the same study lie in each other's "
        f"gaps, {count} in one even line together; they are of one series: export it again under one identifier"
    )


def _say_continued(count: int, side: str) -> str:
    return (
        f"another series of the same study goes on right {side} it, with {count} slices in line with its own and no instance "
        "number that begins anew; if both are parts of one series, export it again under one identifier (0020,000E)"
    )
