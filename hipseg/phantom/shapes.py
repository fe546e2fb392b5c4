"""Solids as signed distances in millimetres: negative inside, 0 on the surface.

A solid is asked for one axial plane at a time. Each has a box, and nothing is computed outside it:
that is what makes a 512 x 512 slice with a hundred solids take a tenth of a second.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

ArrayF32 = NDArray[np.float32]
Point = tuple[float, float, float]
Window = tuple[slice, slice]

FAR_MM = 1000.0
"""The distance that stands for "outside the box"; farther than any body is wide."""
EDGE_MM = 3.0
"""How far beyond a solid its distance is still computed, so that partial volume finds the edge; wider than any pixel used."""


@dataclass(frozen=True)
class Box:
    """A box with sides along the axes, mm."""

    low: Point
    high: Point


@dataclass(frozen=True)
class Plane:
    """The pixel centres of an axial plane, or of a part of one.

    Args:
        x_mm: float32 (columns,), rising.
        y_mm: float32 (rows,), rising.
        z_mm: height.
    """

    x_mm: ArrayF32
    y_mm: ArrayF32
    z_mm: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.y_mm), len(self.x_mm)

    def at(self, z_mm: float) -> "Plane":
        """Give the same pixels at another height."""
        return Plane(self.x_mm, self.y_mm, z_mm)

    def part(self, window: Window) -> "Plane":
        """Give the pixels of a window."""
        return Plane(self.x_mm[window[1]], self.y_mm[window[0]], self.z_mm)

    def seen_from(self, point: Point) -> tuple[ArrayF32, ArrayF32, np.float32]:
        """Give offsets from a point: float32 (1, columns), float32 (rows, 1) and one number, mm."""
        x, y, z = point
        return (self.x_mm - np.float32(x))[None, :], (self.y_mm - np.float32(y))[:, None], np.float32(self.z_mm - z)


class Solid(Protocol):
    """Anything with a box and a signed distance."""

    @property
    def box(self) -> Box:
        """The smallest box known to hold the solid."""

    def distance(self, plane: Plane) -> ArrayF32:
        """Give the signed distance of each pixel: float32 (rows, columns), mm.

        It is exact enough near the surface, and FAR_MM or more where nothing is near.
        """


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid with axes along x, y and z."""

    centre: Point
    radii: Point

    @cached_property
    def box(self) -> Box:
        """The box that touches it."""
        return _box([self.centre], [self.radii])

    def distance(self, plane: Plane) -> ArrayF32:
        """Give the first-order distance: the implicit function over the length of its gradient."""
        x, y, z = plane.seen_from(self.centre)
        rx, ry, rz = (np.float32(radius) for radius in self.radii)
        # The small terms keep the centre, where both roots vanish, from dividing by zero: the least radius comes out there.
        tiny = np.float32(1e-6)
        level = np.sqrt((x / rx) ** 2 + ((y / ry) ** 2 + ((z / rz) ** 2 + tiny)))
        slope = np.sqrt((x / rx**2) ** 2 + ((y / ry**2) ** 2 + ((z / rz**2) ** 2 + tiny / min(rx, ry, rz) ** 2)))
        return np.asarray(level * (level - 1) / slope, np.float32)


@dataclass(frozen=True)
class Cone:
    """A rod with round ends whose radius runs evenly from `start_radius` to `end_radius`."""

    start: Point
    end: Point
    start_radius: float
    end_radius: float

    @cached_property
    def box(self) -> Box:
        """The box that holds both end spheres."""
        return _box([self.start, self.end], [(self.start_radius,) * 3, (self.end_radius,) * 3])

    def distance(self, plane: Plane) -> ArrayF32:
        """Give the distance to the axis less the radius there."""
        x, y, z = plane.seen_from(self.start)
        ax, ay, az = (np.float32(b - a) for a, b in zip(self.start, self.end, strict=True))
        length2 = max(ax * ax + ay * ay + az * az, np.float32(1e-6))
        along: ArrayF32 = np.clip((x * ax + (y * ay + z * az)) / length2, 0, 1)
        away2 = (x - along * ax) ** 2 + (y - along * ay) ** 2 + (z - along * az) ** 2
        radius = np.float32(self.start_radius) + along * np.float32(self.end_radius - self.start_radius)
        distance: ArrayF32 = np.sqrt(away2) - radius
        return distance


@dataclass(frozen=True)
class Tube:
    """An upright tube of elliptic section, whose centre and half-axes are tabled over the height.

    Args:
        rows: each (z, x, y, half-axis along x, half-axis along y), mm, by rising z; between rows the values run evenly.
    """

    rows: tuple[tuple[float, float, float, float, float], ...]

    @cached_property
    def box(self) -> Box:
        """The box that holds every section."""
        return _box([(x, y, z) for z, x, y, _, _ in self.rows], [(a, b, 0.0) for *_, a, b in self.rows])

    def distance(self, plane: Plane) -> ArrayF32:
        """Give the distance within the plane; beyond the first and last row the distance grows with the height."""
        table = np.array(self.rows)
        x, y, a, b = (float(np.interp(plane.z_mm, table[:, 0], column)) for column in table[:, 1:].T)
        flat = Ellipsoid((x, y, plane.z_mm), (a, b, FAR_MM)).distance(plane)
        beyond = max(self.rows[0][0] - plane.z_mm, plane.z_mm - self.rows[-1][0])
        return np.maximum(flat, np.float32(beyond)) if beyond > 0 else flat


@dataclass(frozen=True)
class Ribbon:
    """A curved upright plate: at each height a polyline with a half-thickness at each of its points, tabled over the height.

    Args:
        heights_mm: z of each row, rising.
        rows: for each height the same number of points (x, y, half-thickness), mm.
    """

    heights_mm: tuple[float, ...]
    rows: tuple[tuple[Point, ...], ...]

    @cached_property
    def box(self) -> Box:
        """The box that holds every section."""
        points = [(x, y, z) for z, row in zip(self.heights_mm, self.rows, strict=True) for x, y, _ in row]
        return _box(points, [(r, r, 0.0) for row in self.rows for *_, r in row])

    def distance(self, plane: Plane) -> ArrayF32:
        """Give the distance within the plane; FAR_MM above and below the table."""
        distance = np.full(plane.shape, FAR_MM, np.float32)
        z_mm = plane.z_mm
        if not self.heights_mm[0] <= z_mm <= self.heights_mm[-1]:
            return distance
        points = self._section(z_mm)
        for (x0, y0, r0), (x1, y1, r1) in itertools.pairwise(points):
            piece = Cone((x0, y0, z_mm), (x1, y1, z_mm), r0, r1)
            _lay(distance, piece, plane, 4 * EDGE_MM, np.minimum)
        return distance

    def _section(self, z_mm: float) -> list[Point]:
        table = np.array(self.rows)
        flat = table.reshape(len(table), -1)
        row = np.array([np.interp(z_mm, self.heights_mm, column) for column in flat.T]).reshape(-1, 3)
        return [(float(x), float(y), float(r)) for x, y, r in _rounded(row)]


@dataclass(frozen=True)
class Cup:
    """A hollow ball with one side cut open.

    Args:
        centre: of the ball.
        inner_radius, outer_radius: of the wall, mm.
        opening: unit vector out of the cup.
        depth_mm: the plane of the opening lies this far from the centre along `opening`; negative makes a shallow cup.
    """

    centre: Point
    inner_radius: float
    outer_radius: float
    opening: Point
    depth_mm: float

    @cached_property
    def box(self) -> Box:
        """The box of the whole ball."""
        return _box([self.centre], [(self.outer_radius,) * 3])

    def distance(self, plane: Plane) -> ArrayF32:
        """Give the distance to wall and rim."""
        x, y, z = plane.seen_from(self.centre)
        radius = np.sqrt(x**2 + (y**2 + z**2))
        nx, ny, nz = (np.float32(part) for part in self.opening)
        rim = x * nx + (y * ny + (z * nz - np.float32(self.depth_mm)))
        wall = np.maximum(radius - np.float32(self.outer_radius), np.float32(self.inner_radius) - radius)
        distance: ArrayF32 = np.maximum(wall, rim)
        return distance


@dataclass(frozen=True)
class Sheet:
    """The space between two concentric spheres, within a ball: a thin curved sheet such as a growth plate.

    Args:
        focus: centre of the spheres.
        radius: of the sheet's middle, mm.
        thickness_mm: of the sheet.
        within: the ball that bounds it.
    """

    focus: Point
    radius: float
    thickness_mm: float
    within: Ellipsoid

    @property
    def box(self) -> Box:
        """The box of the ball."""
        return self.within.box

    def distance(self, plane: Plane) -> ArrayF32:
        """Give the distance to the sheet's faces and to the ball."""
        x, y, z = plane.seen_from(self.focus)
        off = np.abs(np.sqrt(x**2 + (y**2 + z**2)) - np.float32(self.radius))
        distance: ArrayF32 = np.maximum(off - np.float32(self.thickness_mm / 2), self.within.distance(plane))
        return distance


@dataclass(frozen=True)
class Grown:
    """A solid with every surface moved outwards."""

    solid: Solid
    by_mm: float

    @cached_property
    def box(self) -> Box:
        """The solid's box, as much larger."""
        box = self.solid.box
        return _box([box.low, box.high], [(self.by_mm,) * 3] * 2)

    def distance(self, plane: Plane) -> ArrayF32:
        """Give the solid's distance less the growth."""
        return self.solid.distance(plane) - np.float32(self.by_mm)


@dataclass(frozen=True)
class Compound:
    """Solids melted into one, less other solids.

    Args:
        parts: what is joined; at least one.
        blend_mm: width over which joined surfaces are rounded into each other; 0 joins them sharply.
        cuts: what is taken away.
        reach_mm: how deep under a cut's surface the distance still tells of it.
    """

    parts: tuple[Solid, ...]
    blend_mm: float = 0.0
    cuts: tuple[Solid, ...] = ()
    reach_mm: float = 2 * EDGE_MM

    @cached_property
    def box(self) -> Box:
        """The box of all parts; melting swells them by a quarter of the blend at most."""
        swell = (self.blend_mm / 4,) * 3
        corners = [corner for part in self.parts for corner in (part.box.low, part.box.high)]
        return _box(corners, [swell] * len(corners))

    def distance(self, plane: Plane) -> ArrayF32:
        """Give the distance to what is left."""
        distance = np.full(plane.shape, FAR_MM, np.float32)
        for part in self.parts:
            _lay(distance, part, plane, self.blend_mm + EDGE_MM, self._melt)
        for cut in self.cuts:
            _lay(distance, cut, plane, self.reach_mm, _take_away)
        return distance

    def _melt(self, a: ArrayF32, b: ArrayF32) -> ArrayF32:
        if self.blend_mm <= 0:
            lower: ArrayF32 = np.minimum(a, b)
            return lower
        blend = np.float32(self.blend_mm)
        near = np.maximum(blend - np.abs(a - b), 0)
        melted: ArrayF32 = np.minimum(a, b) - near * near * (np.float32(0.25) / blend)
        return melted


def find_window(box: Box, plane: Plane, margin_mm: float) -> Window | None:
    """Find the rows and columns that a box covers on a plane, or None where it covers none.

    Args:
        box: the box.
        plane: the pixels to choose from.
        margin_mm: the box is grown by this on every side.
    """
    if not box.low[2] - margin_mm <= plane.z_mm <= box.high[2] + margin_mm:
        return None
    left, right = np.searchsorted(plane.x_mm, (box.low[0] - margin_mm, box.high[0] + margin_mm))
    top, bottom = np.searchsorted(plane.y_mm, (box.low[1] - margin_mm, box.high[1] + margin_mm))
    if left >= right or top >= bottom:
        return None
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def measure(solid: Solid, plane: Plane, margin_mm: float = EDGE_MM) -> tuple[Window, ArrayF32] | None:
    """Give a solid's distance on the part of a plane that it touches, or None where it touches none."""
    window = find_window(solid.box, plane, margin_mm)
    return None if window is None else (window, solid.distance(plane.part(window)))


def share_inside(distance: ArrayF32, pixel_mm: float) -> ArrayF32:
    """Give the share of each pixel that lies inside, 0..1: half on the surface, graded over one pixel across it."""
    share: ArrayF32 = np.clip(np.float32(0.5) - distance * np.float32(1 / pixel_mm), 0, 1)
    return share


def _lay(canvas: ArrayF32, solid: Solid, plane: Plane, margin_mm: float, join: Callable[[ArrayF32, ArrayF32], ArrayF32]) -> None:
    measured = measure(solid, plane, margin_mm)
    if measured is not None:
        window, distance = measured
        canvas[window] = join(canvas[window], distance)


def _take_away(a: ArrayF32, b: ArrayF32) -> ArrayF32:
    left: ArrayF32 = np.maximum(a, -b)
    return left


def _rounded(row: NDArray[np.float64]) -> NDArray[np.float64]:
    # Chaikin's corner cutting, twice, keeps the ends and turns the few tabled points into a smooth line.
    for _ in range(2):
        inner = np.stack([0.75 * row[:-1] + 0.25 * row[1:], 0.25 * row[:-1] + 0.75 * row[1:]], axis=1).reshape(-1, row.shape[1])
        row = np.concatenate([row[:1], inner[1:-1], row[-1:]])
    return row


def _box(points: Sequence[Point], reach: Sequence[Point]) -> Box:
    middle, radius = np.array(points), np.array(reach)
    low, high = (middle - radius).min(axis=0), (middle + radius).max(axis=0)
    return Box((float(low[0]), float(low[1]), float(low[2])), (float(high[0]), float(high[1]), float(high[2])))
