"""A volume counted along other axes: found out from the grids, done without moving a voxel."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hipseg.errors import MaskError
from hipseg.geometry import Grid, affine_lps, grid_distance_mm, is_same_grid, make_grid, points_to_indices

Voxel = TypeVar("Voxel", np.int16, np.uint8, np.bool_)
ALIGNED = 0.999
"""Cosine above which two axes run along each other; whether the voxels meet, the corners of the grids decide."""

RESAMPLE = "resample the mask onto the series"
BEYOND = "the mask reaches beyond the series: export the series again if it lacks slices, else cut the mask to it"
"""A lost slice at the end of a series shows in nothing else."""


@dataclass(frozen=True)
class AxisMatch:
    """Which axis of a volume becomes x, y and z, and which of them are counted backwards then."""

    sources_xyz: tuple[int, ...]
    are_flipped_xyz: tuple[bool, ...]


@dataclass(frozen=True)
class Placement:
    """Where a volume lies on a grid: how it is counted there, and the number of its first voxel then."""

    axes: AxisMatch
    first_zyx: tuple[int, int, int] = (0, 0, 0)


def match_axes(own: Grid, grid: Grid, what: str) -> AxisMatch:
    """Find the order and direction of axes that bring the voxels of one grid onto another.

    Args:
        own: grid of the volume to turn.
        grid: the grid wanted.
        what: what the volume is, for messages.
    Returns:
        The turn; no voxel is moved by it, only counted differently.
    Raises:
        MaskError: no turn brings them together; the message says how the grids differ.
    """
    axes = _find_axes(own, grid, what)
    turned = turn_grid(own, axes)
    if not is_same_grid(turned, grid):
        raise _misfit(turned, grid, what)
    return axes


def place_volume(own: Grid, grid: Grid, what: str) -> Placement:
    """Find where the voxels of one grid lie on another; they may be a part of its voxels, as of a mask cropped to its structure.

    Args:
        own, grid, what: see `match_axes`.
    Raises:
        MaskError: its voxels are not voxels of the grid, or some lie outside.
    """
    axes = _find_axes(own, grid, what)
    turned = turn_grid(own, axes)
    first_xyz = np.rint(points_to_indices(np.array([turned.origin_mm_xyz]), grid)[0])
    origin = (affine_lps(grid) @ [*first_xyz, 1.0])[:3]
    part = make_grid(turned.shape_zyx, grid.spacing_mm_zyx, origin, grid.directions_xyz)
    last_xyz = first_xyz + turned.shape_zyx[::-1]
    if not is_same_grid(turned, part):
        raise _misfit(turned, grid, what)
    if (first_xyz < 0).any() or (last_xyz > grid.shape_zyx[::-1]).any():
        raise _misfit(turned, grid, what, BEYOND)
    x, y, z = first_xyz.astype(int).tolist()
    return Placement(axes, (z, y, x))


def turn_volume(volume: NDArray[Voxel], axes: AxisMatch) -> NDArray[Voxel]:
    """Count a volume (z, y, x) along other axes; the result is a view."""
    turned = volume.transpose([2 - axis for axis in reversed(axes.sources_xyz)])
    return turned[tuple(slice(None, None, -1 if is_flipped else 1) for is_flipped in reversed(axes.are_flipped_xyz))]


def turn_grid(own: Grid, axes: AxisMatch) -> Grid:
    """Give the grid of a volume that is counted along other axes; its voxels lie where they lay."""
    order, is_flipped = list(axes.sources_xyz), np.array(axes.are_flipped_xyz)
    shape_xyz = np.array(own.shape_zyx[::-1])[order]
    spacing_xyz = np.array(own.spacing_mm_zyx[::-1])[order]
    directions = np.array(own.directions_xyz)[order]
    last = np.where(is_flipped, shape_xyz - 1, 0)
    origin = np.array(own.origin_mm_xyz) + (last * spacing_xyz) @ directions
    directions = np.where(is_flipped[:, np.newaxis], -directions, directions)
    return make_grid(shape_xyz[::-1], spacing_xyz[::-1], origin, directions)


def _find_axes(own: Grid, grid: Grid, what: str) -> AxisMatch:
    cosines = np.array(grid.directions_xyz) @ np.array(own.directions_xyz).T
    sources = [int(axis) for axis in np.abs(cosines).argmax(axis=1)]
    along = cosines[range(3), sources]
    if sorted(sources) != [0, 1, 2] or np.abs(along).min() < ALIGNED:
        raise MaskError(f"{what} does not fit: its axes run at an angle to those of the series; resample it onto the series")
    return AxisMatch(tuple(sources), tuple(bool(cosine < 0) for cosine in along))


def _misfit(found: Grid, grid: Grid, what: str, cure: str = RESAMPLE) -> MaskError:
    offset = np.linalg.norm(np.subtract(found.origin_mm_xyz, grid.origin_mm_xyz))
    apart = f", corners up to {grid_distance_mm(found, grid):.2f} mm apart" if found.shape_zyx == grid.shape_zyx else ""
    return MaskError(
        f"{what} does not fit: {_words(found)}, first voxel {offset:.2f} mm from the series'{apart}; "
        f"the series has {_words(grid)}; {cure}"
    )


def _words(grid: Grid) -> str:
    shape = " x ".join(str(n) for n in grid.shape_zyx)
    return f"{shape} voxels (z, y, x) of {' x '.join(f'{mm:.3f}' for mm in grid.spacing_mm_zyx)} mm"
