"""Closed polygons on a slice -> the pixels whose centres lie inside."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hipseg.axes import SliceBool
from hipseg.errors import MaskError

INDEX_DECIMALS = 6
"""Of a pixel: far below any contour's accuracy, far above what converting millimetres leaves of a whole number."""
TOUCHING, INSIDE = 0.1, 0.9
"""Shares of the smaller of two contours' pixels that lie in both. Neighbours that overlap by rounding share no more than the
first, and a hole that touches the edge around it no less than the second."""
_Filled = tuple[tuple[slice, slice], SliceBool]
"""A part of an image (rows, columns), and the pixels of it that lie inside a contour."""


def fill_closed(polygons_xy: Sequence[NDArray[np.float64]], shape_yx: tuple[int, int]) -> SliceBool:
    """Fill closed contours of one structure: those beside each other are united, one inside another is a hole in it.

    The standard knows no holes but by keyhole, or by contours that say that they exclude each other; exports draw them as a
    contour inside another all the same. A contour that is there twice, with any first point and direction, counts once.

    Args:
        polygons_xy, shape_yx: see `fill_even_odd`.
    Returns:
        bool (y, x).
    Raises:
        MaskError: two contours cross, so that it is open what becomes of their common part.
    Source: DICOM PS3.3 C.8.8.6.1 and C.8.8.6.3.
    """
    polygons_xy = _drop_copies(polygons_xy)
    if len(polygons_xy) < 2:
        return fill_even_odd(polygons_xy, shape_yx)
    filled = [_fill_part(polygon, shape_yx) for polygon in polygons_xy]
    inside = np.zeros(shape_yx, dtype=np.bool_)
    for part, mask in filled:
        inside[part] ^= mask
    for one, other in combinations(filled, 2):
        part, common = _intersect(one, other)
        count, smaller = np.count_nonzero(common), min(np.count_nonzero(one[1]), np.count_nonzero(other[1]))
        if TOUCHING * smaller < count < INSIDE * smaller:
            raise MaskError(
                f"two contours of a structure cross: {count} pixels lie in both, the smaller one has {smaller}; contours beside "
                "or inside each other are expected: draw them as one"
            )
        if 0 < count <= TOUCHING * smaller:
            inside[part] |= common
    return inside


def fill_even_odd(polygons_xy: Sequence[NDArray[np.float64]], shape_yx: tuple[int, int]) -> SliceBool:
    """Fill polygons by the even-odd rule: a pixel belongs where a ray from its centre crosses an odd number of edges.

    A centre exactly on an edge belongs to one side only, so that two polygons with a common edge neither share nor lose a
    pixel; polygons inside others are holes.

    Args:
        polygons_xy: each float64 (n, 2), fractional pixel indices (column, row); the last point joins the first.
        shape_yx: rows and columns of the image; what lies beside it is cut off.
    Returns:
        bool (y, x); all False without polygons.
    """
    rows, columns = shape_yx
    parts = [_find_crossings(np.round(polygon, INDEX_DECIMALS), rows) for polygon in polygons_xy if len(polygon)]
    if not parts:
        return np.zeros(shape_yx, dtype=np.bool_)
    row = np.concatenate([part[0] for part in parts])
    x = np.concatenate([part[1] for part in parts])
    # The first pixel to the right of a crossing; one beyond the last column where there is none.
    first = np.clip(np.floor(x) + 1, 0, columns).astype(np.int64)
    crossings = np.bincount(row * (columns + 1) + first, minlength=rows * (columns + 1)).reshape(rows, columns + 1)
    inside: SliceBool = np.cumsum(crossings, axis=1)[:, :columns] % 2 == 1
    return inside


def _find_crossings(polygon_xy: NDArray[np.float64], rows: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Give each crossing of an edge with a row of pixel centres: the row and the fractional column."""
    (x0, y0), (x1, y1) = polygon_xy.T, np.roll(polygon_xy, -1, axis=0).T
    # Each edge owns its lower end and not its upper one, so that a corner on a row of centres counts once.
    first = np.clip(np.ceil(np.minimum(y0, y1)), 0, rows).astype(np.int64)
    stop = np.clip(np.ceil(np.maximum(y0, y1)), 0, rows).astype(np.int64)
    count = stop - first
    edge = np.repeat(np.arange(len(polygon_xy)), count)
    row = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
    x = x0[edge] + (row - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    return row, x


def _drop_copies(polygons_xy: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Leave out polygons with the same corners as an earlier one."""
    corners = [np.round(polygon, INDEX_DECIMALS) + 0.0 for polygon in polygons_xy]
    by_corners = {one[np.lexsort(one.T)].tobytes(): polygon for one, polygon in zip(corners, polygons_xy, strict=True)}
    return list(by_corners.values())


def _fill_part(polygon_xy: NDArray[np.float64], shape_yx: tuple[int, int]) -> _Filled:
    """Fill one polygon in the part of the image around it."""
    limits = np.array(shape_yx[::-1])
    low = np.clip(np.floor(polygon_xy.min(axis=0)), 0, limits).astype(int)
    high = np.clip(np.ceil(polygon_xy.max(axis=0)) + 1, low, limits).astype(int)
    (x0, y0), (x1, y1) = low.tolist(), high.tolist()
    return (slice(y0, y1), slice(x0, x1)), fill_even_odd([polygon_xy - low], (y1 - y0, x1 - x0))


def _intersect(one: _Filled, other: _Filled) -> _Filled:
    """Give the pixels of two parts that lie inside both."""
    low = [max(a.start, b.start) for a, b in zip(one[0], other[0], strict=True)]
    high = [max(min(a.stop, b.stop), start) for a, b, start in zip(one[0], other[0], low, strict=True)]
    part = (slice(low[0], high[0]), slice(low[1], high[1]))
    masks = [
        mask[part[0].start - rows.start : part[0].stop - rows.start, part[1].start - columns.start : part[1].stop - columns.start]
        for (rows, columns), mask in (one, other)
    ]
    return part, masks[0] & masks[1]
