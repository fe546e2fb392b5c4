"""Contours traced from pixel to pixel give back the pixels that they were traced around."""

import numpy as np
import pytest

from hipseg.ingest.polygons import fill_closed
from hipseg.ingest.tracing import find_edge_pixels, snap_traced

SHAPE = (9, 9)


def drawn(text):
    return np.array([[mark == "#" for mark in line.strip()] for line in text.strip().splitlines()])


def corners(*xy):
    return np.array(xy, dtype=float)


SQUARE = corners((2, 2), (2, 6), (6, 6), (6, 2))
# As OpenCV traces the hole of a ring: along the ring's own pixels, in the other direction, its corners cut.
HOLE = corners((2, 3), (3, 2), (5, 2), (6, 3), (6, 5), (5, 6), (3, 6), (2, 5))


def test_a_disc_has_the_pixels_on_its_edge():
    expected = drawn("""
        .........
        ...###...
        ..#####..
        ..#####..
        ..#####..
        ...###...
        .........
        .........
        .........
    """)
    octagon = corners((3, 1), (2, 2), (2, 4), (3, 5), (5, 5), (6, 4), (6, 2), (5, 1))
    assert np.array_equal(fill_closed([octagon], SHAPE), expected)


@pytest.mark.parametrize("island", [[], [corners((4, 4), (4, 4), (4, 4))]])
def test_a_ring_of_one_pixel_and_an_island_in_it_are_whole(island):
    expected = drawn("""
        .........
        .........
        ..#####..
        ..#...#..
        ..#...#..
        ..#...#..
        ..#####..
        .........
        .........
    """)
    expected[4, 4] = bool(island)
    assert np.array_equal(fill_closed([SQUARE, HOLE, *island], SHAPE), expected)


def test_a_slanting_ring_is_traced_twice_along_the_same_pixels():
    diamond = corners((4, 2), (2, 4), (4, 6), (6, 4))
    assert fill_closed([diamond, np.roll(diamond, 1, axis=0)], SHAPE).sum() == 13
    assert fill_closed([diamond, diamond[::-1]], SHAPE).sum() == 8


def test_a_line_of_one_pixel_comes_back():
    there_and_back = corners((1, 1), (1, 7), (6, 7), (1, 7))
    assert fill_closed([there_and_back], SHAPE).sum() == 7 + 5


def test_millimetres_with_two_decimals_are_near_enough():
    assert fill_closed([SQUARE + np.array([0.01, -0.02])], SHAPE).sum() == 25
    # Half-open, as any other contour.
    assert fill_closed([SQUARE + np.array([0.1, 0.1])], SHAPE).sum() == 16


def test_one_corner_beside_a_centre_makes_all_contours_areas():
    assert snap_traced([SQUARE, corners((7, 7), (7, 8), (8.5, 8))]) is None
    assert snap_traced([]) is None


def test_an_outline_around_pixels_is_an_area_wherever_it_lies():
    outline = corners((1, 1), (5, 1), (5, 3), (3, 3), (3, 5), (1, 5))
    assert snap_traced([outline]) is None
    assert fill_closed([outline], SHAPE).sum() == 4 * 2 + 2 * 2


def test_edges_beside_the_image_are_left_out():
    assert find_edge_pixels([corners((-3, 4), (4, -3), (20, 13))], (6, 6)).sum() == len([(0, 1), (1, 0)])
    assert not find_edge_pixels([corners((-5, -5), (-9, -9))], (6, 6)).any()
