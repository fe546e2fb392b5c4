"""Closed polygons on a slice -> the pixels whose centres lie inside."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hipseg.axes import SliceBool

INDEX_DECIMALS = 6
"""Of a pixel: far below any contour's accuracy, far above what converting millimetres leaves of a whole number."""


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
