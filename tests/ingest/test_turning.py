"""A volume counted along other axes: what lies on the same voxels comes together, and nothing else does."""

import itertools

import numpy as np
import pytest

from hipseg.errors import MaskError
from hipseg.geometry import affine_lps, make_grid
from hipseg.ingest.turning import match_axes, place_volume, turn_volume

GRID = make_grid((2, 3, 4), (3.0, 0.75, 0.5), (-10.0, -20.0, 100.0), ((0.8, 0.6, 0), (-0.6, 0.8, 0), (0, 0, 1)))


def turned(order, flips):
    """Count the grid's voxels along its axes in another order and direction: that grid, and the numbers on it."""
    values = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    xyz = values.transpose(2, 1, 0).transpose(order)
    corner = affine_lps(GRID) @ [*(np.array(GRID.shape_zyx[::-1]) - 1) * _by_axis(order, flips), 1]
    directions = np.array(GRID.directions_xyz)[list(order)] * np.where(flips, -1, 1)[:, np.newaxis]
    xyz = xyz[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    spacing = np.array(GRID.spacing_mm_zyx[::-1])[list(order)]
    return make_grid(xyz.shape[::-1], spacing[::-1], corner[:3], directions), xyz.transpose(2, 1, 0), values


def _by_axis(order, flips):
    placed = np.zeros(3)
    placed[list(order)] = flips
    return placed


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product((False, True), repeat=3)))
def test_every_order_and_direction_of_axes_comes_back(order, flips):
    own, volume, expected = turned(order, flips)
    assert np.array_equal(turn_volume(volume, match_axes(own, GRID, "a mask")), expected)


def test_an_angle_and_another_place_are_refused_with_what_it_is():
    tipped = make_grid(GRID.shape_zyx, GRID.spacing_mm_zyx, GRID.origin_mm_xyz, np.eye(3))
    with pytest.raises(MaskError, match="a mask does not fit: its axes run at an angle"):
        match_axes(tipped, GRID, "a mask")
    moved = make_grid(GRID.shape_zyx, GRID.spacing_mm_zyx, (-10.0, -20.0, 100.2), GRID.directions_xyz)
    with pytest.raises(MaskError, match=r"a mask does not fit: .* first voxel 0\.20 mm from the series'"):
        match_axes(moved, GRID, "a mask")


def part(first_xyz, shape_zyx, **change):
    """Give the grid of some of the grid's voxels."""
    origin = (affine_lps(GRID) @ [*first_xyz, 1])[:3]
    return make_grid(shape_zyx, change.get("spacing", GRID.spacing_mm_zyx), origin + change.get("by_mm", 0), GRID.directions_xyz)


@pytest.mark.parametrize(("first_xyz", "shape_zyx"), [((1, 2, 1), (1, 1, 3)), ((0, 0, 0), (2, 3, 4)), ((3, 0, 0), (2, 2, 1))])
def test_a_part_of_the_voxels_lies_where_its_first_voxel_does(first_xyz, shape_zyx):
    placement = place_volume(part(first_xyz, shape_zyx), GRID, "a mask")
    assert placement.first_zyx == first_xyz[::-1]
    assert placement.axes == match_axes(GRID, GRID, "a mask")


def test_a_part_that_is_counted_otherwise_lies_where_its_lowest_voxel_does():
    own = part((3, 1, 0), (2, 1, 3))
    backwards = make_grid(own.shape_zyx, own.spacing_mm_zyx, own.origin_mm_xyz, np.array(own.directions_xyz) * [[-1], [1], [1]])
    placement = place_volume(backwards, GRID, "a mask")
    assert (placement.first_zyx, placement.axes.are_flipped_xyz) == ((0, 1, 1), (True, False, False))


@pytest.mark.parametrize(
    "own",
    [
        part((-1, 0, 0), (2, 3, 4)),
        part((1, 0, 0), (2, 3, 4)),
        part((0, 0, 1), (2, 1, 1)),
        part((1, 1, 0), (1, 1, 1), by_mm=0.1),
        part((0, 0, 0), (2, 3, 3), spacing=(3.0, 0.75, 0.53)),
    ],
)
def test_voxels_outside_or_between_those_of_the_grid_are_refused(own):
    with pytest.raises(MaskError, match="a mask does not fit"):
        place_volume(own, GRID, "a mask")
