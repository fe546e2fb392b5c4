"""Greys of a window, and the slice that shows most."""

import numpy as np

from hipseg.views import CaseView, SliceView, window_grey


def slice_view(z, truth, answer):
    return SliceView(z, np.zeros((1, 4), np.uint8), np.array([truth], bool), {"unet": np.array([answer], bool)})


def test_a_window_maps_its_ends_to_black_and_white_and_clamps_beyond():
    greys = window_grey(np.array([-1000, -200, 400, 1000, 3000], np.int16), -200.0, 1000.0)
    assert greys.dtype == np.uint8
    assert greys.tolist() == [0, 0, 128, 255, 255]


def test_the_largest_slice_is_that_with_most_of_the_truth():
    slices = (slice_view(3, [1, 0, 0, 0], [1, 1, 1, 1]), slice_view(4, [1, 1, 0, 0], [0, 0, 0, 0]))
    assert CaseView("c1", 9, (1.0, 1.0), slices).largest.z == 4


def test_without_truth_the_largest_slice_is_that_with_most_of_the_answers():
    slices = (slice_view(3, [0, 0, 0, 0], [1, 0, 0, 0]), slice_view(4, [0, 0, 0, 0], [1, 1, 0, 0]))
    assert CaseView("c1", 9, (1.0, 1.0), slices).largest.z == 4
