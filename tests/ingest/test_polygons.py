"""Even-odd fill against hand-drawn masks and a point-in-polygon test written another way."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hipseg.ingest.polygons import fill_even_odd


def square(low, high):
    return np.array([[low, low], [high, low], [high, high], [low, high]], dtype=float)


def drawn(text):
    return np.array([[mark == "#" for mark in line.strip()] for line in text.strip().splitlines()])


def winding_parity(polygon, x, y):
    """Count crossings of a ray to the left, one edge and one point at a time."""
    inside = False
    for (xa, ya), (xb, yb) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if (ya <= y) != (yb <= y) and xa + (y - ya) * (xb - xa) / (yb - ya) < x:
            inside = not inside
    return inside


def test_pixels_whose_centres_lie_inside_are_filled():
    expected = drawn("""
        .....
        .###.
        .###.
        .###.
        .....
    """)
    assert np.array_equal(fill_even_odd([square(0.5, 3.5)], (5, 5)), expected)


def test_a_polygon_inside_another_is_a_hole():
    expected = drawn("""
        #####
        #...#
        #...#
        #...#
        #####
    """)
    assert np.array_equal(fill_even_odd([square(-0.5, 4.5), square(0.5, 3.5)], (5, 5)), expected)


def test_a_triangle_takes_its_slope_row_by_row():
    expected = drawn("""
        #...
        ##..
        ###.
        ####
    """)
    assert np.array_equal(fill_even_odd([np.array([[-0.5, -0.7], [-0.5, 3.9], [4.1, 3.9]])], (4, 4)), expected)


def test_neighbours_with_a_common_edge_through_pixel_centres_share_and_lose_no_pixel():
    left = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 4.0], [0.0, 4.0]])
    right = left + np.array([2.0, 0.0])
    both = fill_even_odd([left], (6, 6)).astype(int) + fill_even_odd([right], (6, 6))
    assert both.max() == 1
    assert both.sum() == 4 * 4


def test_noise_of_a_millionth_of_a_millionth_moves_no_pixel():
    on_centres = square(1.0, 4.0)
    noisy = on_centres + np.array([[1e-12, -1e-12], [-1e-12, 1e-12], [1e-12, 1e-12], [-1e-12, -1e-12]])
    assert np.array_equal(fill_even_odd([on_centres], (6, 6)), fill_even_odd([noisy], (6, 6)))


def test_what_lies_beside_the_image_is_cut_off():
    assert fill_even_odd([square(-100.0, 100.0)], (3, 4)).all()
    assert not fill_even_odd([square(10.0, 20.0)], (3, 4)).any()
    assert np.array_equal(fill_even_odd([square(1.5, 90.0)], (3, 4)), drawn("....\n....\n..##"))


def test_nothing_and_degenerate_polygons_fill_nothing():
    assert not fill_even_odd([], (3, 3)).any()
    assert not fill_even_odd([np.array([[1.0, 1.0]]), np.array([[0.0, 0.0], [2.0, 2.0]]), np.zeros((0, 2))], (3, 3)).any()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-8, 40), st.integers(-8, 40)), min_size=3, max_size=9))
def test_any_polygon_gives_what_counting_edges_point_by_point_gives(corners):
    # Quarters of a pixel, so that corners and edges often meet pixel centres exactly.
    polygon = np.array(corners) / 4.0
    expected = [[winding_parity(polygon, x, y) for x in range(9)] for y in range(8)]
    assert np.array_equal(fill_even_odd([polygon], (8, 9)), np.array(expected))
