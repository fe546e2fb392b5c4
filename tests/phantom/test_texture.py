import numpy as np

from hipseg.phantom.shapes import Plane
from hipseg.phantom.texture import Texture, make_texture

KNOTS = np.arange(8, dtype=np.float32).reshape(2, 2, 2)


def values_at(texture, x, y, z) -> float:
    return float(texture.values(Plane(np.array([x], np.float32), np.array([y], np.float32), z))[0, 0])


def test_knots_are_met_and_the_middle_is_their_mean():
    texture = Texture(KNOTS, step_mm=2.0)
    assert values_at(texture, 0, 0, 0) == 0
    assert values_at(texture, 2, 0, 2) == 5
    assert values_at(texture, 1, 1, 1) == 3.5


def test_field_repeats_itself_on_both_sides():
    texture = Texture(KNOTS, step_mm=2.0)
    assert values_at(texture, -4, 8, 12) == values_at(texture, 0, 0, 0)
    assert values_at(texture, -2, 0, 0) == values_at(texture, 2, 0, 0)


def test_same_generator_gives_the_same_field():
    one, two = (make_texture(np.random.default_rng(3), 2.0).knots for _ in range(2))
    assert np.array_equal(one, two)
    assert abs(one.mean()) < 0.02
    assert abs(one.std() - 1) < 0.02
