"""The voxels of many series at once: which of them have one at a point."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from hipseg.geometry import Grid
from hipseg.ingest.images import SeriesKey

LATTICE_TOLERANCE_MM = 0.1
"""Twice that of two grids, which are compared only where this is met."""


class Lattices:
    """The grids of some series side by side, since to compare each with each label file takes long in a large tree.

    `broken` are those of the series that have none.
    """

    def __init__(self, grids: Iterable[tuple[SeriesKey, Grid | None]]) -> None:
        found = [(key, grid) for key, grid in grids]
        self.broken = tuple(key for key, grid in found if grid is None)
        self._keys = [key for key, grid in found if grid is not None]
        whole = [grid for _, grid in found if grid is not None]
        self._origins = _stack([grid.origin_mm_xyz for grid in whole], (3,))
        self._directions = _stack([grid.directions_xyz for grid in whole], (3, 3))
        self._spacings = _stack([grid.spacing_mm_zyx[::-1] for grid in whole], (3,))
        self._shapes = _stack([grid.shape_zyx[::-1] for grid in whole], (3,))

    def find_at(self, point_mm_xyz: tuple[float, float, float]) -> list[SeriesKey]:
        """Give the series of which the centre of a voxel lies at a point, to within the tolerance."""
        offsets = np.array(point_mm_xyz) - self._origins
        indices = np.einsum("nij,nj->ni", self._directions, offsets) / self._spacings
        voxels = np.rint(indices)
        is_near = np.abs(indices - voxels) * self._spacings <= LATTICE_TOLERANCE_MM
        is_there = (is_near & (voxels >= 0) & (voxels < self._shapes)).all(axis=1)
        return [self._keys[number] for number in np.flatnonzero(is_there)]


def _stack(values: list[tuple[object, ...]], shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.array(values, dtype=np.float64).reshape(-1, *shape)
