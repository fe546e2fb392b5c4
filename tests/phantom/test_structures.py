import numpy as np
import pytest

from hipseg.phantom.structures import trace_contours


def fill(polygons, shape) -> np.ndarray:
    """Even-odd, pixel centre inside polygon, as the definition says it: count the edges right of each centre."""
    filled = np.zeros(shape, bool)
    for y, x in np.ndindex(shape):
        crossings = 0
        for polygon in polygons:
            for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
                if (y0 > y) != (y1 > y):
                    crossings += x0 + (y - y0) * (x1 - x0) / (y1 - y0) > x
        filled[y, x] = crossings % 2
    return filled


@pytest.mark.parametrize("seed", range(4))
def test_contours_of_any_mask_give_it_back(seed):
    mask = np.random.default_rng(seed).random((11, 14)) < (0.3, 0.5, 0.7, 0.9)[seed]
    assert np.array_equal(fill(trace_contours(mask), mask.shape), mask)


def test_ring_has_an_outer_and_an_inner_contour():
    mask = np.ones((7, 7), bool)
    mask[2:5, 2:5] = False
    contours = trace_contours(mask)
    assert len(contours) == 2
    assert np.array_equal(fill(contours, mask.shape), mask)


def test_no_contour_passes_near_a_pixel_centre():
    mask = np.random.default_rng(9).random((20, 20)) < 0.5
    corners = np.concatenate(trace_contours(mask))
    assert np.abs(corners - np.rint(corners)).max(axis=1).min() == pytest.approx(0.5)


def test_empty_mask_has_no_contour():
    assert trace_contours(np.zeros((5, 5), bool)) == []
