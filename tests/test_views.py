"""Greys of a window, and the slice that shows most."""

import numpy as np
import pytest

from hipseg.views import CaseView, SliceView, spread_evenly, window_grey


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


@pytest.mark.parametrize(
    ("count", "most", "needed", "chosen"),
    [
        (9, 3, (0,), (0, 4, 8)),
        (9, 3, (3,), (0, 3, 8)),
        (9, 3, (3, 4, 5), (0, 4, 8)),
        (9, 1, (6,), (6,)),
        (3, 5, (1,), (0, 1, 2)),
        (1, 1, (0,), (0,)),
    ],
)
def test_places_are_spread_evenly_with_one_of_those_that_are_needed(count, most, needed, chosen):
    assert spread_evenly(count, most, needed) == chosen
