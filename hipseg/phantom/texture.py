"""A smooth random field in space: what makes muscle, fat and marrow uneven."""

from dataclasses import dataclass

import numpy as np

from hipseg.phantom.shapes import ArrayF32, Plane


@dataclass(frozen=True)
class Texture:
    """Random values on a coarse grid that repeats itself, run evenly between its knots.

    Args:
        knots: float32 (z, y, x), mean 0, standard deviation 1.
        step_mm: distance between knots.
    """

    knots: ArrayF32
    step_mm: float

    def values(self, plane: Plane) -> ArrayF32:
        """Give the field on a plane: float32 (rows, columns), no unit."""
        step = np.float32(self.step_mm)
        level = _between(self.knots, np.array([plane.z_mm], np.float32) / step, axis=0)[0]
        return _between(_between(level, plane.y_mm / step, axis=0), plane.x_mm / step, axis=1)


def make_texture(random: np.random.Generator, step_mm: float, knots: int = 48) -> Texture:
    """Draw a field whose lumps are about `step_mm` wide."""
    return Texture(random.standard_normal((knots, knots, knots), dtype=np.float32), step_mm)


def _between(values: ArrayF32, places: ArrayF32, axis: int) -> ArrayF32:
    lower = np.floor(places)
    shape = [1] * values.ndim
    shape[axis] = len(places)
    part = (places - lower).reshape(shape)
    index = lower.astype(np.int64)
    count = values.shape[axis]
    below, above = np.take(values, index % count, axis=axis), np.take(values, (index + 1) % count, axis=axis)
    between: ArrayF32 = below + (above - below) * part
    return between
