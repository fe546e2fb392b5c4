"""Series that have slices of each other: parts of one volume under two series identifiers, as a damaged one leaves them.

Two good series of one study may follow each other evenly, too, as the stations of a long scan do. What tells them apart is that
each of those has all of its slices, and counts its images for itself. Images that name no series are one by their folder alone,
and an export that empties that name puts one scan into several folders all the same; what then lies in line is refused.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

import numpy as np
from numpy.typing import NDArray

from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.images import SeriesKey, SeriesMap
from hipseg.ingest.series import ROUNDING_MM, SPACING_TOLERANCE_MM
from hipseg.ingest.sorting import sort_apart
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
        A fault of both where one has gaps that the other fills. Where one goes on where the other ends, a warning of both if its
        instance numbers do not begin anew; of images that name no series a fault, and a warning if the numbers do.
    """
    parts = Parts({}, {})
    for one, other in _find_volumes(series):
        lower, upper = sorted((one, other), key=lambda extent: float(extent.heights_mm[0]))
        keys, counts = (lower.key, upper.key), (len(upper.heights_mm), len(lower.heights_mm))
        is_named = bool(series[one.key].series_uid)
        if upper.heights_mm[0] <= lower.heights_mm[-1]:
            # Two whole ones, each of every second slice, are two passes.
            if not (is_volume(series[one.key]) and is_volume(series[other.key])):
                _add(parts.faults, keys, [_say_filled(sum(counts))] * 2 if is_named else map(_say_unnamed, counts))
        elif not is_named:
            goes_on = _go_on(lower.highest.instance_number, upper.lowest.instance_number)
            _add(parts.faults if goes_on else parts.warnings, keys, map(_say_unnamed, counts))
        elif _go_on(lower.highest.instance_number, upper.lowest.instance_number):
            _add(parts.warnings, keys, map(_say_continued, counts, ("above", "below")))
    return parts


def _add(found: dict[SeriesKey, str], keys: Iterable[SeriesKey], words: Iterable[str]) -> None:
    """Say something of series of which nothing is said yet."""
    for key, said in zip(keys, words, strict=True):
        found.setdefault(key, said)


def _find_volumes(series: SeriesMap) -> Iterator[tuple[_Extent, _Extent]]:
    """Give the pairs of series of one study and geometry that are a volume together, and no slice of which is missing.

    Of images that name no series, the study may be lost, too, and the patient.
    """
    likenesses = sort_apart(
        (key[0] if images.series_uid else "", images.likeness, key)
        for key, images in series.items()
        if len(images) >= (MIN_STACK if images.series_uid else 1)
    )
    for _, alike in groupby(likenesses, key=lambda one: one[:2]):
        keys = [key for *_, key in alike]
        if len(keys) == 1:
            continue
        extents = [extent for key in keys if (extent := _measure(key, series[key]))]
        for one, other in combinations(extents, 2):
            if (
                len(one.heights_mm) + len(other.heights_mm) > MIN_STACK
                and _are_even(one, other)
                and len({series[extent.key].patient_id for extent in (one, other)} - {""}) <= 1
                and is_volume((*series[one.key], *series[other.key]))
            ):
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


def _say_unnamed(count: int) -> str:
    return (
        f"contradictory identifiers: its images have no series identifier (0020,000E), and {count} others of another folder that "
        "have none lie in one even line with them; they may be of one series: move them into one folder, or export the series "
        "again with its identifier"
    )
