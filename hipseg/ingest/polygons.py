"""Closed polygons on a slice -> the pixels whose centres lie inside."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hipseg.axes import SliceBool
from hipseg.errors import MaskError
from hipseg.ingest.tracing import find_edge_pixels, snap_traced

INDEX_DECIMALS = 6
"""Of a pixel: far below any contour's accuracy, far above what converting millimetres leaves of a whole number."""
TOUCHING, INSIDE = 0.1, 0.9
"""Shares of the smaller of two contours' pixels that lie in both. Neighbours that overlap by rounding share no more than the
first, and a hole that touches the edge around it no less than the second."""
ALIKE, BESIDE = 0.8, 0.4
"""A contour inside another is no hole in it, but another version of it, where it has more than the first of its pixels, and more
than the second of the pixels around it lie in neither: a rim of a pixel's width has no such gaps."""


@dataclass(frozen=True, eq=False)
class _Filled:
    """The pixels inside one contour: a part of the image that holds them all, and where its first pixel lies."""

    row: int
    column: int
    mask: SliceBool
    count: int

    @property
    def part(self) -> tuple[slice, slice]:
        """Where the mask lies in the image."""
        rows, columns = self.mask.shape
        return slice(self.row, self.row + rows), slice(self.column, self.column + columns)


def fill_closed(polygons_xy: Sequence[NDArray[np.float64]], shape_yx: tuple[int, int]) -> SliceBool:
    """Fill closed contours of one structure: those beside each other are united, one inside another is a hole in it.

    The standard knows no holes but by keyhole, or by contours that say that they exclude each other; exports draw them as a
    contour inside another all the same. Contours of the same pixels count once. Where all were traced through the centres of
    pixels, see `snap_traced`, the pixels on their edges belong to the structure, those around a hole too.

    Args:
        polygons_xy, shape_yx: see `fill_even_odd`.
    Returns:
        bool (y, x).
    Raises:
        MaskError: two contours cross, so that it is open what becomes of their common part, or are nearly the same.
    Source: DICOM PS3.3 C.8.8.6.1 and C.8.8.6.3.
    """
    traced = snap_traced(polygons_xy)
    polygons = polygons_xy if traced is None else traced
    filled = _drop_copies(polygons, [_fill_part(polygon, shape_yx) for polygon in polygons], is_traced=traced is not None)
    inside = np.zeros(shape_yx, dtype=np.bool_)
    for one in filled:
        inside[one.part] ^= one.mask
    _settle_overlaps(filled, inside, is_traced=traced is not None)
    return inside if traced is None else inside | find_edge_pixels(traced, shape_yx)


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


def _drop_copies(polygons_xy: Sequence[NDArray[np.float64]], filled: Sequence[_Filled], *, is_traced: bool) -> list[_Filled]:
    """Leave out contours with the same pixels as an earlier one, and those without any.

    A ring of one pixel is traced twice along the same pixels, in opposite directions: its outer edge, and that of its hole.
    """
    by_pixels = {
        (one.row, one.column, one.mask.shape, one.mask.tobytes(), is_traced and _is_clockwise(polygon)): one
        for polygon, one in zip(polygons_xy, filled, strict=True)
        if one.count
    }
    return list(by_pixels.values())


def _is_clockwise(polygon_xy: NDArray[np.float64]) -> bool:
    (x0, y0), (x1, y1) = polygon_xy.T, np.roll(polygon_xy, -1, axis=0).T
    return bool((x0 * y1 - x1 * y0).sum() > 0)


def _fill_part(polygon_xy: NDArray[np.float64], shape_yx: tuple[int, int]) -> _Filled:
    """Fill one polygon in the part of the image around it."""
    limits = np.array(shape_yx[::-1])
    low = np.clip(np.floor(polygon_xy.min(axis=0)), 0, limits).astype(int)
    high = np.clip(np.ceil(polygon_xy.max(axis=0)) + 1, low, limits).astype(int)
    (x0, y0), (x1, y1) = low.tolist(), high.tolist()
    mask = fill_even_odd([polygon_xy - low], (y1 - y0, x1 - x0))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return _Filled(y0, x0, mask[:0, :0], 0)
    cropped = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return _Filled(y0 + int(rows[0]), x0 + int(columns[0]), cropped, int(np.count_nonzero(cropped)))


def _settle_overlaps(filled: Sequence[_Filled], inside: SliceBool, *, is_traced: bool) -> None:
    """Decide what becomes of pixels inside two contours; `inside` has them where an odd number of contours does."""
    depths: Counter[_Filled] = Counter()
    touching: list[tuple[_Filled, _Filled, tuple[slice, slice], SliceBool]] = []
    for one, other in _find_neighbours(filled):
        part, common = _intersect(one, other)
        smaller, larger = sorted((one, other), key=lambda each: each.count)
        count = np.count_nonzero(common)
        if TOUCHING * smaller.count < count < INSIDE * smaller.count:
            raise MaskError(
                f"two contours of a structure cross: {count} pixels lie in both, the smaller one has {smaller.count}; contours "
                "beside or inside each other are expected: draw them as one"
            )
        if count >= INSIDE * smaller.count:
            if not is_traced and smaller.count > ALIKE * larger.count and _share_beside(smaller, larger) > BESIDE:
                raise MaskError(
                    f"two contours of a structure are nearly the same: {count} pixels lie in both, they have {larger.count} and "
                    f"{smaller.count}, and much of their edges is common; one of them, or a hole with a rim around it, is "
                    "expected: remove the other"
                )
            depths[smaller] += 1
        elif count:
            touching.append((one, other, part, common))
    for one, other, part, common in touching:
        # Neighbours are united: two holes to one hole, all others to a part of the structure.
        inside[part][common] = depths[one] != depths[other] or depths[one] % 2 == 0


def _find_neighbours(filled: Sequence[_Filled]) -> Iterator[tuple[_Filled, _Filled]]:
    """Give each two contours whose boxes overlap: of those that begin in the rows of one, those that share columns with it."""
    ordered = sorted(filled, key=lambda one: one.row)
    first = np.array([(one.row, one.column) for one in ordered]).reshape(-1, 2)
    stop = first + np.array([one.mask.shape for one in ordered]).reshape(-1, 2)
    ends = np.searchsorted(first[:, 0], stop[:, 0])
    for number, end in enumerate(ends.tolist()):
        later = slice(number + 1, end)
        overlap = (first[later, 1] < stop[number, 1]) & (stop[later, 1] > first[number, 1])
        yield from ((ordered[number], ordered[number + 1 + other]) for other in np.flatnonzero(overlap).tolist())


def _intersect(one: _Filled, other: _Filled) -> tuple[tuple[slice, slice], SliceBool]:
    """Give the part of the image that two contours' parts share, and the pixels of it inside both."""
    shared = tuple(
        slice(max(a.start, b.start), max(min(a.stop, b.stop), a.start, b.start))
        for a, b in zip(one.part, other.part, strict=True)
    )
    rows, columns = shared
    masks = [
        each.mask[rows.start - each.row : rows.stop - each.row, columns.start - each.column : columns.stop - each.column]
        for each in (one, other)
    ]
    return (rows, columns), masks[0] & masks[1]


def _share_beside(inner: _Filled, outer: _Filled) -> float:
    """Give the share of the pixels around a contour that lie inside no other."""
    padded = np.pad(inner.mask, 1)
    around = ~padded & (
        np.roll(padded, 1, axis=0) | np.roll(padded, -1, axis=0) | np.roll(padded, 1, axis=1) | np.roll(padded, -1, axis=1)
    )
    frame = _Filled(inner.row - 1, inner.column - 1, around, int(np.count_nonzero(around)))
    return 1 - np.count_nonzero(_intersect(frame, outer)[1]) / frame.count
