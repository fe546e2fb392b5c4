"""Overlay planes that lie beside the CT: in a second series of the same geometry, or in secondary captures of its slices."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hipseg.errors import MaskError, SeriesError
from hipseg.geometry import is_same_grid
from hipseg.ingest.dicomfile import UnreadableFileError, items, read_dataset, text
from hipseg.ingest.headers import ImageHeader, has_regions
from hipseg.ingest.images import SeriesKey, SeriesMap
from hipseg.ingest.index import SeriesIndex
from hipseg.ingest.pixels import read_slice_hu
from hipseg.ingest.planes import Plane, number_slices, place_plane
from hipseg.ingest.rounding import Rounding
from hipseg.ingest.series import OrderedSeries
from hipseg.ingest.spill import Spill
from hipseg.ingest.turning import AxisMatch

WHAT = "an image of overlay planes"
SOURCE_SEQUENCES = ("SourceImageSequence", "ReferencedImageSequence")
"""Source: DICOM PS3.3 C.7.6.1 and C.12.4, (0008,2112) and (0008,1140)."""
SOURCE_TAGS = (0x00082112, 0x00081140)


@dataclass(frozen=True, repr=False)
class Carrier:
    """The images of another series that hold overlay planes for a case.

    Args:
        images: those with regions drawn on them.
        planes: where each lies, and which images of the case it names.
        rivals: number of other series that it fits as well.
    """

    images: Sequence[ImageHeader]
    planes: Sequence[Plane]
    rivals: int


@dataclass(frozen=True, repr=False)
class Carried:
    """What second series gave.

    Args:
        by_case: carriers by the series that they belong to.
        copies: series that only repeat another one to carry its planes, and are no cases of their own.
        unpaired: number of captures that belong to no series here.
    """

    by_case: Mapping[SeriesKey, tuple[Carrier, ...]]
    copies: frozenset[SeriesKey]
    unpaired: int


def pair_carriers(captures: SeriesMap, index: SeriesIndex, spill: Spill) -> Carried:
    """Find the series that overlay planes of other series belong to, within one patient.

    A second series is a group of captures, or a CT series that has regions drawn on it. It belongs to the series whose images it
    names; where it names none, to those of equal frame of reference on whose slices its images lie. A CT series takes planes of
    another CT series only where it has none of its own and they lie on its slices, and where it is the only one. One that names
    the images of another, on the same grid and with the same pixels, is its copy and no case of its own.

    Args:
        captures: images that are no CT slices and have overlay planes, by patient and series.
        index: the CT series.
        spill: what bounds the memory of the carriers.
    Raises:
        NoRoomError: there are too many for the memory, and they cannot be written to disk.
    """
    by_case: dict[SeriesKey, list[Carrier]] = defaultdict(list)
    copies, unpaired = set(), 0
    for is_capture, group in ((True, captures), (False, index.series)):
        for key, images in group.items():
            if not images.has_regions or not _candidates(key, index, is_capture=is_capture):
                unpaired += len(images) if is_capture else 0
                continue
            bearing = tuple(image for image in images if has_regions(image))
            planes = _read_planes(bearing)
            keys, is_named = _find_owners(key, bearing, planes, index, is_capture=is_capture)
            if not is_capture:
                # It has its planes itself: where whose else they are is not plain, it keeps them.
                keys = [other for other in keys if _lies_on(planes, index.ordered(other))]
                keys = keys if len(keys) == 1 else []
                copies |= {key} if is_named and any(_is_copy(key, other, index) for other in keys) else set()
            unpaired += len(images) if is_capture and not keys else 0
            if keys:
                carrier = Carrier(spill.keep(bearing), spill.keep(planes), len(keys) - 1)
                for owner in keys:
                    by_case[owner].append(carrier)
    return Carried({key: tuple(found) for key, found in by_case.items()}, frozenset(copies), unpaired)


def place_carrier(carrier: Carrier, series: OrderedSeries) -> dict[int, tuple[int, AxisMatch]]:
    """Put the images of a carrier onto the slices of a series.

    Args:
        carrier: the other series.
        series: its slices in order.
    Returns:
        By slice number: number of the carrier's image, and how its rows and columns become the slice's.
    Raises:
        MaskError: the carrier fits several series, or one of its images lies off the slices or on that of another.
    """
    if carrier.rivals:
        raise MaskError(
            f"overlay planes in another series fit {carrier.rivals + 1} series of the patient, whose they are cannot be told; "
            "move the others elsewhere"
        )
    slice_by_uid = number_slices(series.headers)
    placed: dict[int, tuple[int, AxisMatch]] = {}
    for number, plane in enumerate(carrier.planes):
        z, axes = place_plane(plane, series, slice_by_uid, WHAT)
        if z in placed:
            raise MaskError(
                f"two images of overlay planes lie on slice {z + 1} of {len(series.headers)} by position; one is expected: "
                "remove the copy"
            )
        placed[z] = number, axes
    return placed


def _candidates(key: SeriesKey, index: SeriesIndex, *, is_capture: bool) -> list[SeriesKey]:
    """Give the series of the same patient that may take planes of another one."""
    return [other for other in index.find_patient(key[0]) if is_capture or (other != key and not index.series[other].has_regions)]


def _find_owners(
    key: SeriesKey, bearing: Sequence[ImageHeader], planes: Sequence[Plane], index: SeriesIndex, *, is_capture: bool
) -> tuple[list[SeriesKey], bool]:
    """Give the series that the planes belong to, and whether they name its images."""
    candidates = _candidates(key, index, is_capture=is_capture)
    uids = frozenset(uid for plane in planes for uid in plane.source_uids)
    named = [other for other in candidates if index.has_image(other, uids)]
    if named:
        return named, True
    frame_uids = {image.frame_uid for image in bearing}
    if len(frame_uids) != 1 or "" in frame_uids:
        return [], False
    return [
        other for other in candidates if index.series[other].frame_uid in frame_uids and _lies_on(planes, index.ordered(other))
    ], False


def _is_copy(key: SeriesKey, other: SeriesKey, index: SeriesIndex) -> bool:
    """Say whether two series have their images at the same places, and the middle ones the same pixels.

    Another reconstruction of one scan names its images, too, and is none.
    """
    own, theirs = index.ordered(key), index.ordered(other)
    if own is None or theirs is None or not is_same_grid(own.grid, theirs.grid):
        return False
    middles = [one.headers[len(one.headers) // 2] for one in (own, theirs)]
    if any(header.frame is not None for header in middles):
        return False
    try:
        one, another = (read_slice_hu(header.path, header, Rounding()) for header in middles)
    except SeriesError:
        return False
    return np.array_equal(one, another)


def _lies_on(planes: Sequence[Plane], series: OrderedSeries | None) -> bool:
    if series is None:
        return False
    try:
        for plane in planes:
            place_plane(plane, series, {}, WHAT)
    except MaskError:
        return False
    return True


def _read_planes(images: Sequence[ImageHeader]) -> tuple[Plane, ...]:
    return tuple(
        Plane(
            (image.rows or 0, image.columns or 0),
            image.position_mm,
            image.orientation,
            image.pixel_spacing_mm,
            _read_source_uids(image),
        )
        for image in images
    )


def _read_source_uids(image: ImageHeader) -> frozenset[str]:
    """Give the identifiers of the images that an image says it was made from; none where it can no longer be read."""
    try:
        dataset = read_dataset(image.path, SOURCE_TAGS, has_pixels=False)
    except (OSError, UnreadableFileError):
        return frozenset()
    uids = {text(one, "ReferencedSOPInstanceUID") for name in SOURCE_SEQUENCES for one in items(dataset, name)}
    return frozenset(uids - {""})
