"""Slices of a tilted gantry -> slices that lie straight above each other."""

import math
from dataclasses import dataclass, replace

import numpy as np

from hipseg.axes import SliceF32, SliceI16, SliceU8
from hipseg.geometry import make_grid
from hipseg.ingest.pixels import OUTSIDE_HU
from hipseg.ingest.series import SIDEWAYS_WARNING_MM, OrderedSeries

WHOLE_PIXEL = 1e-6
"""Pixels; a shift that misses a whole number by less is one, and copies values instead of mixing them."""


@dataclass(frozen=True)
class Straightening:
    """How tilted slices are moved onto a straight grid.

    Args:
        series: the series on its straight grid, which has more rows and columns than the images: nothing is cut off.
        shape_yx: rows and columns of the images.
        shifts_yx: by slice, where the first pixel of its image lies on the straight grid, in rows and columns; at least 0.
    """

    series: OrderedSeries
    shape_yx: tuple[int, int]
    shifts_yx: tuple[tuple[float, float], ...]


def plan_straightening(tilted: OrderedSeries) -> Straightening:
    """Work out the straight grid that holds every pixel of a tilted series.

    Args:
        tilted: a series with `shifts_mm_yx`.
    Returns:
        The plan; its series has a warning that says what is done.
    """
    grid = tilted.grid
    spacing_yx = np.array(grid.spacing_mm_zyx[1:])
    aside_mm = np.array(tilted.shifts_mm_yx)
    # Rounded positions drift beside the tilt by as much as untilted ones may in silence; rows or columns for it would be empty.
    aside_mm[:, np.abs(aside_mm).max(axis=0) <= SIDEWAYS_WARNING_MM] = 0.0
    shifts = aside_mm / spacing_yx
    # The first slice keeps whole pixels, so that its values are copied.
    low, high = np.floor(shifts.min(axis=0) + WHOLE_PIXEL), np.ceil(shifts.max(axis=0) - WHOLE_PIXEL)
    rows, columns = (int(n) for n in np.array(grid.shape_zyx[1:]) + high - low)
    row, column, normal = (np.array(one) for one in grid.directions_xyz)
    origin = np.array(grid.origin_mm_xyz) + low[0] * spacing_yx[0] * column + low[1] * spacing_yx[1] * row
    straight = make_grid((grid.shape_zyx[0], rows, columns), grid.spacing_mm_zyx, origin, (row, column, normal))
    y_mm, x_mm = tilted.shifts_mm_yx[-1]
    height_mm = grid.spacing_mm_zyx[0] * (grid.shape_zyx[0] - 1)
    warning = (
        f"gantry tilt of {math.degrees(math.atan2(math.hypot(y_mm, x_mm), height_mm)):.2f} degrees sheared back: values "
        f"interpolated linearly within each slice, {grid.shape_zyx[1]} x {grid.shape_zyx[2]} pixels grown to {rows} x {columns}"
    )
    series = replace(tilted, grid=straight, warnings=(*tilted.warnings, warning), shifts_mm_yx=())
    return Straightening(series, (grid.shape_zyx[1], grid.shape_zyx[2]), tuple((float(y), float(x)) for y, x in shifts - low))


def straighten_image(image_hu: SliceI16, plan: Straightening, z: int) -> SliceI16:
    """Move one image onto the straight grid by linear interpolation.

    Args:
        image_hu: int16 (y, x), HU.
        plan: from `plan_straightening`.
        z: number of the slice.
    Returns:
        int16 (y, x) on the straight grid, HU; OUTSIDE_HU where the image does not reach.
    """
    values = image_hu.astype(np.float32)
    for axis, shift in enumerate(plan.shifts_yx[z]):
        values = _shift_linear(values, axis, shift, plan.series.grid.shape_zyx[1 + axis])
    return np.rint(values).astype(np.int16)


def straighten_labels(labels: SliceU8, plan: Straightening, z: int) -> SliceU8:
    """Move one label slice onto the straight grid, each pixel to the nearest; uint8 (y, x), background where none reaches."""
    moved = np.zeros(plan.series.grid.shape_zyx[1:], dtype=np.uint8)
    # Half a pixel goes up, for all slices alike.
    y, x = (math.floor(shift + 0.5) for shift in plan.shifts_yx[z])
    moved[y : y + labels.shape[0], x : x + labels.shape[1]] = labels
    return moved


def _shift_linear(values: SliceF32, axis: int, shift: float, length: int) -> SliceF32:
    """Move values along an axis by a number of pixels of at least 0; each result lies between two of the values."""
    whole = round(shift) if abs(shift - round(shift)) < WHOLE_PIXEL else math.floor(shift)
    part = np.float32(max(shift - whole, 0.0) if abs(shift - whole) >= WHOLE_PIXEL else 0.0)
    lines = np.moveaxis(values, axis, 0)
    moved = np.full((length, *lines.shape[1:]), OUTSIDE_HU, dtype=np.float32)
    if part:
        # A result beyond the image's first or last line would mix it with what lies outside; it stays outside.
        moved[whole + 1 : whole + len(lines)] = (1 - part) * lines[1:] + part * lines[:-1]
    else:
        moved[whole : whole + len(lines)] = lines
    return np.moveaxis(moved, 0, axis)
