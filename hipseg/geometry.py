"""The frozen grid of a volume, and the only conversions between voxel indices, LPS points and RAS affines."""

from dataclasses import dataclass

import numpy as np

from hipseg.axes import MatrixF64, PointsF64
from hipseg.errors import ConfigError

GRID_TOLERANCE_MM = 0.05
"""Two grids are the same when no corner of theirs lies farther apart; a tenth of the finest clinical CT pixel."""
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM counts towards left and posterior, NIfTI towards right and anterior. Source: NIfTI-1, nifti1.h, section 'orientation'."""


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a volume lie in the patient.

    Args:
        shape_zyx: numbers of slices, rows and columns.
        spacing_mm_zyx: distances between voxel centres, mm.
        origin_mm_xyz: centre of voxel (0, 0, 0), LPS mm.
        directions_xyz: unit vectors along rising x (columns), y (rows) and z (slices), each (x, y, z) in LPS.
    """

    shape_zyx: tuple[int, int, int]
    spacing_mm_zyx: tuple[float, float, float]
    origin_mm_xyz: tuple[float, float, float]
    directions_xyz: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

    def __post_init__(self) -> None:
        """Refuse a grid that no volume can lie on."""
        if min(self.shape_zyx) < 1 or not all(np.isfinite(self.spacing_mm_zyx)) or min(self.spacing_mm_zyx) <= 0:
            raise ConfigError(f"impossible grid: shape {self.shape_zyx}, spacing {self.spacing_mm_zyx} mm; both must be positive")


def affine_lps(grid: Grid) -> MatrixF64:
    """Give the (4, 4) map from voxel index (x, y, z, 1) to LPS millimetres.

    Source: DICOM PS3.3 C.7.6.2.1.1.
    """
    affine = np.eye(4)
    spacing_xyz = np.array(grid.spacing_mm_zyx[::-1])
    affine[:3, :3] = np.array(grid.directions_xyz).T * spacing_xyz
    affine[:3, 3] = grid.origin_mm_xyz
    return affine


def affine_ras(grid: Grid) -> MatrixF64:
    """Give the (4, 4) map from voxel index (x, y, z, 1) to NIfTI's RAS millimetres."""
    affine: MatrixF64 = LPS_TO_RAS @ affine_lps(grid)
    return affine


def grid_from_affine_ras(affine: MatrixF64, shape_zyx: tuple[int, int, int]) -> Grid:
    """Read a grid out of a NIfTI affine.

    Args:
        affine: (4, 4), voxel index (x, y, z, 1) to RAS mm.
        shape_zyx: numbers of voxels along z, y, x.
    Returns:
        The grid; shears are not representable.
    Raises:
        ConfigError: the axes of the affine are not at right angles, or one has no length.
    """
    lps = LPS_TO_RAS @ np.asarray(affine, dtype=np.float64)
    columns = lps[:3, :3]
    spacing_xyz = np.linalg.norm(columns, axis=0)
    if not np.all(np.isfinite(spacing_xyz)) or spacing_xyz.min() <= 0:
        raise ConfigError(f"affine has an axis without length (spacing {spacing_xyz.tolist()} mm); a positive one is needed")
    directions = (columns / spacing_xyz).T
    if np.abs(directions @ directions.T - np.eye(3)).max() > 1e-3:
        raise ConfigError("affine shears the grid (axes not at right angles); resample the image onto a rectangular grid")
    return make_grid(shape_zyx, tuple(spacing_xyz[::-1]), lps[:3, 3], directions)


def make_grid(shape_zyx: object, spacing_mm_zyx: object, origin_mm_xyz: object, directions_xyz: object) -> Grid:
    """Build a grid out of anything array-like, as plain Python numbers."""
    z, y, x = (int(n) for n in np.asarray(shape_zyx))
    return Grid(
        (z, y, x),
        _triple(spacing_mm_zyx),
        _triple(origin_mm_xyz),
        tuple(_triple(row) for row in np.asarray(directions_xyz, dtype=np.float64)),  # type: ignore[arg-type]
    )


def points_to_indices(points_mm_xyz: PointsF64, grid: Grid) -> PointsF64:
    """Convert LPS points into fractional voxel indices.

    Args:
        points_mm_xyz: float64 (n, 3), LPS mm; n may be 0.
        grid: the grid to index.
    Returns:
        float64 (n, 3), indices (x, y, z); a voxel's centre is a whole number.
    """
    points = np.asarray(points_mm_xyz, dtype=np.float64).reshape(-1, 3)
    spacing_xyz = np.array(grid.spacing_mm_zyx[::-1])
    indices: PointsF64 = (points - np.array(grid.origin_mm_xyz)) @ np.array(grid.directions_xyz).T / spacing_xyz
    return indices


def grid_distance_mm(a: Grid, b: Grid) -> float:
    """Give the largest distance between corresponding corners of two grids, mm; infinite where the shapes differ."""
    if a.shape_zyx != b.shape_zyx:
        return float("inf")
    nz, ny, nx = a.shape_zyx
    corners = np.array([[x, y, z, 1.0] for x in (0, nx - 1) for y in (0, ny - 1) for z in (0, nz - 1)])
    difference = corners @ (affine_lps(a) - affine_lps(b)).T
    return float(np.linalg.norm(difference[:, :3], axis=1).max())


def is_same_grid(a: Grid, b: Grid, tolerance_mm: float = GRID_TOLERANCE_MM) -> bool:
    """Say whether two volumes lie on the same voxels, to within a tolerance in mm."""
    return grid_distance_mm(a, b) <= tolerance_mm


def _triple(values: object) -> tuple[float, float, float]:
    a, b, c = (float(v) for v in np.asarray(values, dtype=np.float64))
    return a, b, c
