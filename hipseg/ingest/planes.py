"""One plane drawn elsewhere, as a SEG's frame or another series' image: the slice of a series that it lies on."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hipseg.errors import ConfigError, MaskError
from hipseg.geometry import Grid, make_grid, points_to_indices
from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.series import OrderedSeries
from hipseg.ingest.turning import AxisMatch, match_axes

OFF_SLICE_MM = 0.1
"""By as much a slice may itself lie off the even grid of its series."""
COARSER_STEP = 1.5
"""Slices from one plane to the next: half way between those of the series itself and of one with gaps twice as wide."""
MIN_IN_STEPS = 3
"""Slices with something drawn on them that tell a step between them; two may be two ends."""
AS_IT_IS = AxisMatch((0, 1, 2), (False, False, False))


@dataclass(frozen=True, slots=True, repr=False)
class Plane:
    """Where a plane of pixels lies, as far as its header says so; `source_uids` are the images that it was drawn on."""

    shape_yx: tuple[int, int]
    position_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing_mm: tuple[float, ...] | None
    source_uids: frozenset[str]


def number_slices(headers: Sequence[ImageHeader]) -> dict[str, int]:
    """Give the slice number of each image identifier that names one slice alone; frames of one file share theirs."""
    counts = Counter(header.instance_uid for header in headers)
    return {
        header.instance_uid: z for z, header in enumerate(headers) if header.instance_uid and counts[header.instance_uid] == 1
    }


def usual_step(planes: Sequence[Plane], series: OrderedSeries) -> float:
    """Give how many slices of a series lie from one plane to the next, as a rule.

    Args:
        planes: in any order; those that say neither their place nor an image of the series are passed over.
        series: the series, tilted or not.
    Returns:
        The lower median of the distances, in slices; 0 for fewer than two places.
    """
    return median_gap(find_heights(planes, series))


def find_heights(planes: Sequence[Plane], series: OrderedSeries) -> set[float]:
    """Give the places of some planes along the normal of the slices, in slices; see `usual_step`."""
    slice_by_uid = number_slices(series.headers)
    positions = [plane.position_mm for plane in planes if plane.position_mm is not None]
    heights = set(points_to_indices(np.array(positions), series.grid)[:, 2].round(2).tolist()) if positions else set()
    return heights | {
        slice_by_uid[uid] for plane in planes if plane.position_mm is None for uid in plane.source_uids & slice_by_uid.keys()
    }


def median_gap(heights: Collection[float]) -> float:
    """Give the lower median of the distances from one place to the next; 0 for fewer than two."""
    gaps = np.sort(np.diff(sorted(set(heights))))
    return float(gaps[(len(gaps) - 1) // 2]) if gaps.size else 0.0


def find_slices(planes: Iterable[Plane], series: OrderedSeries) -> set[int]:
    """Give the slices of a series to which some planes lie nearest; those that do not say their place are passed over."""
    positions = [plane.position_mm for plane in planes if plane.position_mm is not None]
    if not positions:
        return set()
    nearest = points_to_indices(np.array(positions), series.grid)[:, 2].round().astype(int)
    return set(nearest.tolist()).intersection(range(series.grid.shape_zyx[0]))


def is_coarser(step: float) -> bool:
    """Say whether planes that are so many slices apart as a rule were drawn on a coarser series, whose slices lie between."""
    return step > COARSER_STEP


def is_drawn_in_steps(heights: Collection[float]) -> bool:
    """Say whether what is drawn at some places leaves out slices between them as a rule."""
    return len(set(heights)) >= MIN_IN_STEPS and is_coarser(median_gap(heights))


def place_plane(plane: Plane, series: OrderedSeries, slice_by_uid: Mapping[str, int], what: str) -> tuple[int, AxisMatch]:
    """Find the slice that a plane lies on.

    Args:
        plane: the plane.
        series: the series, tilted or not.
        slice_by_uid: slice number by image identifier; decides where the plane does not say its place, else is held against it.
        what: what the plane is, for messages.
    Returns:
        The slice number, and how the plane's rows and columns become the slice's.
    Raises:
        MaskError: it lies on no slice, its pixels are not the slice's, or place and references contradict each other.
    """
    grid = series.grid
    named = {slice_by_uid[uid] for uid in plane.source_uids if uid in slice_by_uid}
    if plane.position_mm is None or plane.orientation is None or plane.spacing_mm is None:
        if len(named) != 1 or plane.shape_yx != grid.shape_zyx[1:]:
            raise MaskError(
                f"{what} does not say where it lies, neither by position, orientation and spacing nor by one image of the series "
                "and of its size; export the masks again"
            )
        return named.pop(), AS_IT_IS
    z, axes = _place_by_geometry(plane, series, what)
    if len(named) == 1 and z not in named:
        raise MaskError(
            f"{what} contradicts itself: by position it lies on slice {z + 1} of {grid.shape_zyx[0]}, and it names the image of "
            f"slice {named.pop() + 1}; export the masks again"
        )
    return z, axes


def _place_by_geometry(plane: Plane, series: OrderedSeries, what: str) -> tuple[int, AxisMatch]:
    grid = series.grid
    spacing_mm = grid.spacing_mm_zyx[0]
    normal = np.array(grid.directions_xyz[2])
    position = np.array(plane.position_mm)
    z = min(max(round(float(points_to_indices(position[np.newaxis], grid)[0, 2])), 0), grid.shape_zyx[0] - 1)
    y_mm, x_mm = series.shifts_mm_yx[z] if series.shifts_mm_yx else (0.0, 0.0)
    along_row, along_column = (np.array(one) for one in grid.directions_xyz[:2])
    even = np.array(grid.origin_mm_xyz) + z * spacing_mm * normal + y_mm * along_column + x_mm * along_row
    off_mm = abs(float((position - even) @ normal))
    try:
        axes = _match(plane, grid, even, what)
    except MaskError:
        # A slice may itself lie a little beside the even grid, and planes that were drawn on it lie there with it.
        own = series.headers[z].position_mm if series.headers else None
        if own is None:
            raise
        axes = _match(plane, grid, np.array(own), what)
    if off_mm > OFF_SLICE_MM:
        raise MaskError(
            f"{what} lies off the slices: {off_mm:.2f} mm from slice {z + 1} of {grid.shape_zyx[0]} by position, the "
            f"nearest one; at most {OFF_SLICE_MM} mm accepted; it belongs to other slices"
        )
    return z, axes


def _match(plane: Plane, grid: Grid, origin: NDArray[np.float64], what: str) -> AxisMatch:
    """Match the pixels of a plane with those of a slice that begins at a point, wherever along the normal it lies."""
    row, column = np.array(plane.orientation).reshape(2, 3)
    normal = np.array(grid.directions_xyz[2])
    position = np.array(plane.position_mm)
    snapped = position - ((position - origin) @ normal) * normal
    spacing_mm = grid.spacing_mm_zyx[0]
    try:
        own = make_grid(
            (1, *plane.shape_yx), (spacing_mm, *(plane.spacing_mm or ())), snapped, (row, column, np.cross(row, column))
        )
    except ConfigError as error:
        raise MaskError(f"{what} has no extent: {error}") from error
    return match_axes(own, make_grid((1, *grid.shape_zyx[1:]), grid.spacing_mm_zyx, origin, grid.directions_xyz), what)
