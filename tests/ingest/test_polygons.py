"""Even-odd fill against hand-drawn masks and a point-in-polygon test written another way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hipseg.errors import MaskError
from hipseg.ingest.polygons import fill_closed, fill_even_odd


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


def box(x0, x1, y0, y1):
    """Give corners around the pixels x0 to x1 - 1 of the rows y0 to y1 - 1."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=float) - 0.5


SHAPE = (12, 12)


def counted(*polygons):
    return int(fill_closed(polygons, SHAPE).sum())


@pytest.mark.parametrize("turn", [lambda p: p, lambda p: p[::-1], lambda p: np.roll(p, 2, axis=0)])
def test_a_contour_that_is_there_twice_counts_once(turn):
    assert counted(box(1, 5, 1, 5), turn(box(1, 5, 1, 5)), box(7, 9, 7, 9)) == 16 + 4


@pytest.mark.parametrize(
    "again",
    [
        lambda p: np.vstack([p, p[:1]]),
        lambda p: np.vstack([p[:1], (p[:1] + p[1:2]) / 2, p[1:]]),
        lambda p: p + 0.01,
    ],
)
def test_a_contour_that_is_there_again_in_other_words_counts_once(again):
    assert counted(box(1, 5, 1, 5), again(box(1, 5, 1, 5))) == 16


def test_two_versions_of_a_contour_are_refused_with_the_counts():
    # Three sides are common, one lies a pixel farther: 8 x 9 of 9 x 9 pixels.
    with pytest.raises(MaskError, match="are nearly the same: 72 pixels lie in both, they have 81 and 72"):
        fill_closed([box(1, 9, 1, 10), box(1, 10, 1, 10)], SHAPE)


def test_a_hole_with_a_rim_of_a_pixel_is_one():
    shape = (60, 60)
    assert fill_closed([box(2, 52, 2, 52), box(3, 51, 3, 51)], shape).sum() == 50 * 50 - 48 * 48


def test_holes_that_overlap_by_rounding_are_one_hole():
    # Of the second hole's 14 pixels one lies in the first.
    assert counted(box(0, 12, 0, 12), box(2, 5, 2, 8), box(4, 11, 7, 9)) == 144 - (18 + 14 - 1)
    # The same beside each other on an island.
    assert counted(box(0, 12, 0, 12), box(1, 12, 1, 10), box(2, 5, 2, 8), box(4, 11, 7, 9)) == 144 - 99 + 31


def test_many_holes_and_islands_lie_in_one_contour():
    holes = [box(x, x + 4, y, y + 4) for x in range(2, 118, 6) for y in range(2, 118, 6)]
    islands = [one * 0.5 + (one.mean(axis=0) * 0.5) for one in holes]
    assert fill_closed([*holes, box(0, 120, 0, 120), *islands], (120, 120)).sum() == 120 * 120 - 400 * (16 - 4)


def test_contours_inside_others_are_holes_and_islands_in_them():
    # 100 pixels, a hole of 36 in them, an island of 4 in it.
    assert counted(box(1, 11, 1, 11), box(3, 9, 3, 9), box(5, 7, 5, 7)) == 100 - 36 + 4


def test_a_hole_that_touches_the_edge_is_one():
    assert counted(box(1, 11, 1, 11), box(1, 5, 3, 9)) == 100 - 24
    # One of its ten columns lies outside: 90 % of it are inside.
    assert counted(box(1, 12, 1, 11), box(0, 10, 5, 7)) == 110 - 18 + 2


def test_neighbours_that_overlap_by_rounding_lose_nothing():
    # One of the smaller one's 12 pixels in both: less than a tenth.
    assert counted(box(0, 4, 0, 10), box(3, 7, 9, 12)) == 40 + 12 - 1


@pytest.mark.parametrize(("start", "count"), [(3, 8), (2, 12), (1, 16)])
def test_contours_that_cross_are_refused_with_the_count(start, count):
    with pytest.raises(MaskError, match=f"two contours of a structure cross: {count} pixels lie in both, the smaller one has 20"):
        fill_closed([box(0, 5, 0, 5), box(start, start + 5, 1, 5)], SHAPE)


def test_contours_partly_or_wholly_beside_the_image_are_cut_off():
    assert counted(box(-4, 2, -4, 3), box(10, 20, 5, 6), box(-9, -5, 30, 40)) == 6 + 2


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 14), st.integers(1, 5), st.integers(-3, 14), st.integers(1, 5)), max_size=5))
def test_contours_that_do_not_overlap_are_filled_as_by_even_and_odd(boxes):
    polygons = [box(x, x + width, y, y + height) for x, width, y, height in boxes]
    claims = sum((fill_even_odd([one], SHAPE).astype(int) for one in polygons), np.zeros(SHAPE, int))
    if claims.max() <= 1:
        assert np.array_equal(fill_closed(polygons, SHAPE), fill_even_odd(polygons, SHAPE))
