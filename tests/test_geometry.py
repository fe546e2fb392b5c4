import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hipseg.errors import ConfigError
from hipseg.geometry import (
    affine_lps,
    affine_ras,
    grid_distance_mm,
    grid_from_affine_ras,
    is_same_grid,
    make_grid,
    points_to_indices,
)

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def axial_grid(shape=(4, 5, 6), spacing=(3.0, 0.5, 0.25), origin=(-10.0, -20.0, 30.0)):
    return make_grid(shape, spacing, origin, AXIAL)


def test_last_voxel_of_an_axial_grid_lies_where_spacing_says():
    # x: -10 + 5 * 0.25, y: -20 + 4 * 0.5, z: 30 + 3 * 3
    assert (affine_lps(axial_grid()) @ [5, 4, 3, 1]).tolist() == [-8.75, -18.0, 39.0, 1.0]


def test_ras_turns_x_and_y_round():
    assert (affine_ras(axial_grid()) @ [5, 4, 3, 1]).tolist() == [8.75, 18.0, 39.0, 1.0]


def test_index_of_origin_is_zero_and_half_a_spacing_is_half_an_index():
    indices = points_to_indices(np.array([[-10.0, -20.0, 30.0], [-9.875, -19.75, 31.5]]), axial_grid())
    assert indices.tolist() == [[0, 0, 0], [0.5, 0.5, 0.5]]


def test_no_points_give_no_indices():
    assert points_to_indices(np.empty((0, 3)), axial_grid()).shape == (0, 3)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.floats(-500, 500)] * 3),
    st.tuples(*[st.floats(0.2, 8)] * 3),
    st.floats(-3, 3),
    st.floats(-1, 1),
)
def test_affine_and_grid_turn_into_each_other(origin, spacing, yaw, pitch):
    rotation = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    rotation = rotation @ np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    grid = make_grid((7, 8, 9), spacing, origin, rotation.T)
    back = grid_from_affine_ras(affine_ras(grid), (7, 8, 9))
    assert grid_distance_mm(grid, back) < 1e-9
    point = affine_lps(grid) @ [8, 7, 6, 1]
    assert np.allclose(points_to_indices(point[None, :3], grid), [[8, 7, 6]], atol=1e-9)


def test_a_shift_of_a_fifth_of_a_millimetre_is_another_grid():
    shifted = axial_grid(origin=(-10.0, -20.0, 30.2))
    assert grid_distance_mm(axial_grid(), shifted) == pytest.approx(0.2)
    assert not is_same_grid(axial_grid(), shifted)


def test_a_spacing_error_counts_at_the_far_corner():
    # 0.01 mm a slice adds up to 0.09 mm over nine steps
    assert grid_distance_mm(
        axial_grid(shape=(10, 2, 2)), axial_grid(shape=(10, 2, 2), spacing=(3.01, 0.5, 0.25))
    ) == pytest.approx(0.09)


def test_another_shape_is_another_grid():
    assert not is_same_grid(axial_grid(), axial_grid(shape=(4, 6, 5)))


def test_a_sheared_affine_is_refused():
    affine = np.eye(4)
    affine[0, 2] = 0.3
    with pytest.raises(ConfigError, match="shears the grid"):
        grid_from_affine_ras(affine, (2, 2, 2))


@pytest.mark.parametrize("spacing", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, float("nan"))])
def test_a_spacing_that_is_not_positive_is_refused(spacing):
    with pytest.raises(ConfigError, match="impossible grid"):
        axial_grid(spacing=spacing)


def test_an_affine_axis_without_length_is_refused():
    with pytest.raises(ConfigError, match="without length"):
        grid_from_affine_ras(np.diag([1.0, 0.0, 1.0, 1.0]), (2, 2, 2))
