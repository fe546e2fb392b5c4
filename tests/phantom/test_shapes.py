import numpy as np
import pytest

from hipseg.phantom.shapes import (
    FAR_MM,
    Box,
    Compound,
    Cone,
    Cup,
    Ellipsoid,
    Grown,
    Plane,
    Ribbon,
    Sheet,
    Tube,
    find_window,
    measure,
    share_inside,
)


def plane_of(xs, ys, z=0.0) -> Plane:
    return Plane(np.array(xs, np.float32), np.array(ys, np.float32), z)


def distance_at(solid, x, y, z) -> float:
    return float(solid.distance(plane_of([x], [y], z))[0, 0])


BALL = Ellipsoid((0.0, 0.0, 0.0), (10.0, 10.0, 10.0))


@pytest.mark.parametrize(
    ("point", "expected"), [((13, 0, 0), 3), ((0, 6, 0), -4), ((0, 0, 10), 0), ((3, 4, 12), 3), ((0, 0, 0), -10)]
)
def test_ball_distance_is_that_to_its_surface(point, expected):
    assert distance_at(BALL, *point) == pytest.approx(expected, abs=0.01)


def test_ellipsoid_surface_lies_at_its_half_axes():
    solid = Ellipsoid((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    for point in ((5, 2, 3), (1, -3, 3), (1, 2, 9)):
        assert distance_at(solid, *point) == pytest.approx(0, abs=0.01)
    assert distance_at(solid, 1, 2, 3) < -1


def test_cone_runs_from_one_radius_to_the_other():
    rod = Cone((0.0, 0.0, 0.0), (0.0, 0.0, 10.0), 2.0, 4.0)
    assert distance_at(rod, 5, 0, 5) == pytest.approx(2)
    assert distance_at(rod, 0, 0, 17) == pytest.approx(3)
    assert distance_at(rod, 0, 3, -4) == pytest.approx(3)


def test_tube_section_runs_evenly_between_rows():
    tube = Tube(((0.0, 0.0, 0.0, 4.0, 8.0), (10.0, 2.0, 0.0, 8.0, 8.0)))
    assert distance_at(tube, 7, 0, 5) == pytest.approx(0, abs=0.01)
    assert distance_at(tube, 0, 0, 13) == pytest.approx(3)


def test_ribbon_is_as_thick_as_tabled_and_ends_with_its_table():
    row = ((0.0, 0.0, 2.0), (10.0, 0.0, 2.0), (20.0, 0.0, 2.0))
    plate = Ribbon((0.0, 10.0), (row, row))
    assert distance_at(plate, 10, 3, 5) == pytest.approx(1)
    assert distance_at(plate, 10, 0, 5) == pytest.approx(-2)
    assert distance_at(plate, 10, 0, 11) == FAR_MM


def test_cup_is_hollow_and_open_on_one_side():
    cup = Cup((0.0, 0.0, 0.0), 10.0, 14.0, (1.0, 0.0, 0.0), 0.0)
    assert distance_at(cup, -12, 0, 0) == pytest.approx(-2)
    assert distance_at(cup, 12, 0, 0) > 0
    assert distance_at(cup, 0, 0, 0) > 0


def test_sheet_is_the_space_between_two_spheres_inside_its_ball():
    sheet = Sheet((0.0, 0.0, -20.0), 22.0, 2.0, BALL)
    assert distance_at(sheet, 0, 0, 2) == pytest.approx(-1)
    assert distance_at(sheet, 0, 0, 4) == pytest.approx(1)
    assert distance_at(sheet, 12, 0, 0) > 0


def test_grown_solid_has_its_surface_moved_and_its_box_too():
    grown = Grown(BALL, 3.0)
    assert distance_at(grown, 13, 0, 0) == pytest.approx(0, abs=0.01)
    assert grown.box == Box((-13.0, -13.0, -13.0), (13.0, 13.0, 13.0))


def test_compound_joins_parts_and_takes_cuts_away():
    other = Ellipsoid((15.0, 0.0, 0.0), (10.0, 10.0, 10.0))
    solid = Compound((BALL, other), 0.0, (Ellipsoid((0.0, 0.0, 0.0), (4.0, 4.0, 4.0)),))
    assert distance_at(solid, 7.5, 0, 0) < 0
    assert distance_at(solid, 20, 0, 0) == pytest.approx(-5, abs=0.01)
    assert distance_at(solid, 0, 0, 0) > 0
    assert distance_at(solid, 0, 6, 0) == pytest.approx(-2, abs=0.01)


def test_blend_fills_the_notch_by_a_quarter_of_its_width():
    other = Ellipsoid((20.0, 0.0, 0.0), (10.0, 10.0, 10.0))
    sharp, soft = Compound((BALL, other)), Compound((BALL, other), 8.0)
    # Midway both parts are equally near: the melted surface lies blend / 4 = 2 mm lower.
    assert distance_at(sharp, 10, 3, 0) - distance_at(soft, 10, 3, 0) == pytest.approx(2, abs=0.01)


def test_solid_measured_in_its_window_equals_the_solid_measured_everywhere():
    solid = Compound((BALL, Cone((5.0, 5.0, 0.0), (25.0, 20.0, 3.0), 4.0, 2.0)), 3.0)
    plane = plane_of(np.arange(-40, 40, 0.7), np.arange(-40, 40, 0.7), 1.0)
    window, distance = measure(solid, plane)
    inside = np.zeros(plane.shape, bool)
    inside[window] = distance < 0
    assert inside.sum() > 400
    assert np.array_equal(inside, solid.distance(plane) < 0)


def test_window_is_none_where_the_plane_misses_the_box():
    xs = np.arange(-40.0, 40.0)
    assert find_window(BALL.box, plane_of(xs, xs, 14.0), 3.0) is None
    assert find_window(BALL.box, plane_of(xs + 100, xs), 3.0) is None
    assert find_window(BALL.box, plane_of(xs, xs, 12.0), 3.0) == (slice(27, 53), slice(27, 53))


def test_share_inside_is_half_on_the_surface_and_graded_over_one_pixel():
    shares = share_inside(np.array([[-0.8, -0.2, 0.0, 0.2, 0.8]], np.float32), 0.8)
    assert shares[0] == pytest.approx([1, 0.75, 0.5, 0.25, 0])
