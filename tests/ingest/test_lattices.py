"""Which of many series have a voxel at a point."""

import pytest

from hipseg.geometry import make_grid
from hipseg.ingest.lattices import Lattices

AXES = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
# Rows run to the head, columns to the back.
UPRIGHT = ((0, 0, 1), (0, 1, 0), (1, 0, 0))
SERIES = {
    "low": make_grid((3, 10, 12), (3.0, 0.75, 0.5), (-10, -20, 100), AXES),
    "high": make_grid((3, 10, 12), (3.0, 0.75, 0.5), (-10, -20, 200), AXES),
    "upright": make_grid((4, 5, 6), (0.5, 0.75, 3.0), (-10, -20, 100), UPRIGHT),
    "broken": None,
}


@pytest.mark.parametrize(
    ("point_mm", "expected"),
    [
        ((-10, -20, 100), ["low", "upright"]),
        ((-10, -20, 103.09), ["low", "upright"]),
        ((-10, -20, 103.11), []),
        ((-9.75, -20, 100), []),
        ((-8.5, -17, 106), ["low", "upright"]),
        ((-8, -17, 106), ["low"]),
        ((-8.5, -17, 109), ["upright"]),
        ((-10, -20, 206), ["high"]),
        ((-10.5, -20, 100), []),
    ],
)
def test_a_point_at_the_centre_of_a_voxel_finds_its_series(point_mm, expected):
    lattices = Lattices((("p", name), grid) for name, grid in SERIES.items())
    assert lattices.find_at(point_mm) == [("p", name) for name in expected]
    assert lattices.broken == (("p", "broken"),)


def test_no_series_have_no_voxel():
    assert Lattices(()).find_at((0, 0, 0)) == []
