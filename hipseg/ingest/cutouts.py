"""CT series that are masks: a program may write a mask as a stack of images, on the grid of the scan that it was drawn on.

Such a stack has the scan's values inside the structure and one value outside, or two values in all. Packed as a scan it would be
a body of which nothing but one bone is left, and where the scan has masks of its own, a case that shows its answer.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, permutations
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from hipseg.axes import SliceI16
from hipseg.errors import SeriesError
from hipseg.ingest.enhanced import read_image_hu
from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.hounsfield import is_of_two
from hipseg.ingest.images import SeriesKey, SeriesMap
from hipseg.ingest.sorting import sort_apart
from hipseg.ingest.stacks import round_geometry

SAME_PLACE_MM = 0.05
"""As far as two grids may lie apart that count as the same."""
UNUSUAL_MM = 0.1371
"""Added to positions before they are cut to whole millimetres, so that no cut lies where headers have their positions."""
OWN_OR_ONE = (
    "its values are those of another series on the same grid, or one and the same: a mask written as images, or a scan cut out; "
    "export the mask as DICOM SEG, RTSTRUCT or NIfTI, and move this series elsewhere"
)


TWO_VALUES = (
    "no more than two different values in all slices, on the grid of another series: a mask written as images; export the mask "
    "as DICOM SEG, RTSTRUCT or NIfTI, and move this series elsewhere"
)


@dataclass(frozen=True, repr=False)
class _Stack:
    """The images of a series in the order in which they were found, and where each lies, mm (images, 3)."""

    headers: tuple[ImageHeader, ...]
    positions_mm: NDArray[np.float64]


def find_cutouts(series: SeriesMap) -> dict[SeriesKey, str]:
    """Find series on the very grid of another one of their patient, of which they are a mask.

    Of two series that are no masks one slice each is read, since one that differs in more than one value tells them apart.

    Returns:
        What is wrong and what to do, by series, in our own words.
    """
    found: dict[SeriesKey, str] = {}
    by_count = sort_apart((key[0], len(images), key) for key, images in series.items())
    for _, alike in groupby(by_count, key=itemgetter(0, 1)):
        keys = [key for *_, key in alike]
        if len(keys) > 1:
            found |= _compare(keys, series)
    return found


def _compare(keys: Sequence[SeriesKey], series: SeriesMap) -> Iterator[tuple[SeriesKey, str]]:
    """Compare the series of equal size that lie at the same place."""
    by_place: dict[Hashable, list[SeriesKey]] = defaultdict(list)
    for key in keys:
        headers = tuple(series[key])
        positions_mm = [header.position_mm for header in headers if header.position_mm is not None]
        if len(positions_mm) == len(headers):
            place = np.floor(np.min(positions_mm, axis=0) + UNUSUAL_MM)
            by_place[round_geometry(headers[0]), *place.tolist()].append(key)
    for twins in by_place.values():
        judged = {(one, other): _judge(_stack(series[one]), _stack(series[other])) for one, other in permutations(twins, 2)}
        for (one, other), words in judged.items():
            # One with regions drawn on it is where masks come from. Two that have each other's values differ in their padding.
            if words and not series[one].has_regions and (words == TWO_VALUES or not judged[other, one]):
                yield one, words


def _stack(images: Sequence[ImageHeader]) -> _Stack:
    headers = tuple(images)
    return _Stack(headers, np.array([header.position_mm for header in headers]))


def _judge(one: _Stack, scan: _Stack) -> str:
    """Say why a series is a mask of a scan; nothing where it is none, or cannot be read."""
    values: set[int] = set()
    scan_values: set[int] = set()
    outside: set[int] = set()
    may_be_of_two = may_be_part = is_scan_of_two = True
    try:
        for image_hu, scan_hu in _pair(one, scan):
            is_scan_of_two = is_scan_of_two and is_of_two(scan_hu, scan_values)
            may_be_of_two = may_be_of_two and is_of_two(image_hu, values)
            may_be_part = may_be_part and _is_part(image_hu, scan_hu, outside)
            if not (may_be_of_two or may_be_part):
                return ""
    except SeriesError:
        return ""
    if is_scan_of_two or not (may_be_of_two or outside):
        return ""
    return TWO_VALUES if may_be_of_two else OWN_OR_ONE


def _pair(one: _Stack, scan: _Stack) -> Iterator[tuple[SliceI16, SliceI16]]:
    """Read the images of a series and those at their places, first the middle one, in which there is most to be seen.

    Raises:
        SeriesError: one cannot be read, or there is none of its size at its place.
    """
    middle = len(one.headers) // 2
    for number in (middle, *range(middle), *range(middle + 1, len(one.headers))):
        distances_mm = np.abs(scan.positions_mm - one.positions_mm[number]).max(axis=1)
        nearest = int(distances_mm.argmin())
        if distances_mm[nearest] > SAME_PLACE_MM:
            raise SeriesError("its images lie at places of their own")
        image_hu, scan_hu = read_image_hu(one.headers[number]), read_image_hu(scan.headers[nearest])
        if image_hu.shape != scan_hu.shape:
            raise SeriesError("its images have a size of their own")
        yield image_hu, scan_hu


def _is_part(image_hu: SliceI16, scan_hu: SliceI16, outside: set[int]) -> bool:
    """Say whether an image has the scan's values, and where it does not, one value, which is added to those of other images."""
    differing = image_hu[image_hu != scan_hu]
    if not differing.size:
        # The whole scan, of which there may be a copy; or one value in both, as far from the patient.
        return bool(image_hu.min() == image_hu.max())
    outside |= {int(differing.min()), int(differing.max())}
    return len(outside) == 1
