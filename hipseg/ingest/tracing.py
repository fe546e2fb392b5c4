"""Contours traced from one pixel's centre to the next, as OpenCV does: they run through the outermost pixels of a structure.

Taken as areas they lose half a pixel on every side, and what is one pixel wide altogether.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hipseg.axes import SliceBool

CENTRE_TOLERANCE = 0.05
"""Of a pixel, from a corner to a pixel's centre; millimetres are written with two decimals or more."""


def snap_traced(polygons_xy: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]] | None:
    """Put contours that were traced from centre to centre exactly onto the centres.

    They are known by their corners, all of which are centres. Outlines around pixels that were put half a pixel too far have such
    corners, too, but no slanting edge where they turn inwards, which a tracing has.

    Args:
        polygons_xy: all contours of a structure on a slice, each float64 (n, 2), fractional pixel indices (column, row).
    Returns:
        The same on whole numbers; None where they were not traced, or there are none.
    Source: S. Suzuki and K. Abe, Topological structural analysis of digitized binary images by border following, 1985.
    """
    corners = [np.rint(polygon) for polygon in polygons_xy]
    is_on_centres = all(
        (np.abs(polygon - whole) <= CENTRE_TOLERANCE).all() for polygon, whole in zip(polygons_xy, corners, strict=True)
    )
    return corners if corners and is_on_centres and not any(map(_is_outline, corners)) else None


def find_edge_pixels(polygons_xy: Sequence[NDArray[np.float64]], shape_yx: tuple[int, int]) -> SliceBool:
    """Give the pixels whose centres lie on an edge of polygons.

    Args:
        polygons_xy: corners on whole numbers; see `snap_traced`.
        shape_yx: rows and columns of the image; what lies beside it is left out.
    Returns:
        bool (y, x).
    """
    pixels: SliceBool = np.zeros(shape_yx, dtype=np.bool_)
    for polygon in polygons_xy:
        corners = polygon.astype(np.int64)
        along = np.roll(corners, -1, axis=0) - corners
        # Between two centres on a line lie as many others as their distances have common divisors.
        steps = np.maximum(np.gcd(along[:, 0], along[:, 1]), 1)
        edge = np.repeat(np.arange(len(corners)), steps)
        step = np.arange(len(edge)) - np.repeat(np.cumsum(steps) - steps, steps)
        x, y = (corners[edge] + step[:, np.newaxis] * (along // steps[:, np.newaxis])[edge]).T
        is_there = (x >= 0) & (x < shape_yx[1]) & (y >= 0) & (y < shape_yx[0])
        pixels[y[is_there], x[is_there]] = True
    return pixels


def _is_outline(polygon_xy: NDArray[np.float64]) -> bool:
    """Say whether a polygon turns both ways, never back, and runs along rows and columns alone."""
    edges = np.roll(polygon_xy, -1, axis=0) - polygon_xy
    edges = edges[edges.any(axis=1)]
    following = np.roll(edges, -1, axis=0)
    if edges.all(axis=1).any() or ((edges * following).sum(axis=1) < 0).any():
        return False
    turns = edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]
    return bool((turns > 0).any() and (turns < 0).any())
