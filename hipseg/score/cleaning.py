"""Post-processing of a predicted mask: what was refined by hand in 3-matic in the thesis, as lengths in mm and volumes in ml.

The boundary is smoothed, pieces that are too small are removed with the connections that held them, and cavities are filled; in
this order, so that what smoothing cuts off or uncovers is taken care of as well.
Source: thesis section 4.3, "local smoothing and removal of false connections"; it gives no sizes.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from hipseg.axes import VolumeBool
from hipseg.config import CleanSettings
from hipseg.score.space import MM3_PER_ML, SpacingMm, find_box

TRUNCATE_SD = 4.0
"""Where the Gaussian ends, in standard deviations."""
BACKGROUND_CONNECTIVITY = {6: 26, 18: 6, 26: 6}
"""Neighbours in the background by neighbours in the mask, so that a closed surface parts an inside from an outside.

Source: Kong, Rosenfeld, Digital topology: introduction and survey, CVGIP 48 (1989) 357.
"""
Pieces = NDArray[np.int32 | np.int64]
"""(z, y, x), numbers of pieces; 0 is none."""
FILLED = 0.5
"""Of the Gaussian's weight that must lie in the mask; at one half, plane boundaries stay where they are."""


def clean_mask(mask: VolumeBool, spacing_mm_zyx: SpacingMm, settings: CleanSettings) -> VolumeBool:
    """Smooth a mask, remove its small pieces and fill its cavities.

    Args:
        mask: bool (z, y, x).
        spacing_mm_zyx: mm between voxel centres.
        settings: how much of each.
    Returns:
        A new mask; empty where `mask` is.
    """
    cleaned = np.zeros_like(mask)
    box = find_box([mask], [1 + math.ceil(TRUNCATE_SD * settings.smooth_mm / side) for side in spacing_mm_zyx])
    part = mask[box]
    if part.size:
        part = smooth_boundary(part, spacing_mm_zyx, settings.smooth_mm)
        part = remove_pieces(part, spacing_mm_zyx, settings)
        most = _to_voxels(settings.max_hole_ml, spacing_mm_zyx)
        cleaned[box] = fill_holes(part, most, BACKGROUND_CONNECTIVITY[settings.connectivity])
    return cleaned


def smooth_boundary(mask: VolumeBool, spacing_mm_zyx: SpacingMm, sd_mm: float) -> VolumeBool:
    """Round a mask's boundary off: a voxel stays, or comes in, where more than half of a Gaussian around it is in the mask.

    What is thinner than about one and a third standard deviations vanishes. At the image's edge the mask is taken to go on.

    Args:
        mask: bool (z, y, x).
        spacing_mm_zyx: mm between voxel centres.
        sd_mm: standard deviation of the Gaussian, mm; 0 gives the mask back.
    """
    if not sd_mm:
        return mask
    sd_voxels = [sd_mm / side for side in spacing_mm_zyx]
    weight = ndimage.gaussian_filter(mask.astype(np.float32), sd_voxels, mode="nearest", truncate=TRUNCATE_SD)
    smooth: VolumeBool = weight > FILLED
    return smooth


def remove_pieces(mask: VolumeBool, spacing_mm_zyx: SpacingMm, settings: CleanSettings) -> VolumeBool:
    """Remove the pieces of a mask that are smaller than `min_piece_ml`; the largest stays in any case.

    Pieces are what hangs together once connections up to `bridge_mm` thick, to within a voxel, are cut. Cutting alone removes
    nothing: each voxel of a connection goes with the piece that it is nearest to.

    Args:
        mask: bool (z, y, x).
        spacing_mm_zyx: mm between voxel centres.
        settings: sizes and connectivity.
    """
    pieces = _find_pieces(mask, spacing_mm_zyx, settings)[mask]
    sizes = np.bincount(pieces, minlength=1)
    stays = sizes >= min(_to_voxels(settings.min_piece_ml, spacing_mm_zyx), sizes.max())
    kept = np.zeros_like(mask)
    kept[mask] = stays[pieces]
    return kept


def find_cores(mask: VolumeBool, spacing_mm_zyx: SpacingMm, thickness_mm: float) -> VolumeBool:
    """Find the middle of what is thicker than `thickness_mm`: what is t thick has it t / 2, or half a voxel more, from outside.

    A ball of that radius is laid around each voxel outside, row by row: what is outside is widened along x, and lies that wide
    over the rows around it. For balls of up to some ten voxels that takes less time than a distance transform, and a tenth of
    its memory.

    Args:
        mask: bool (z, y, x); at the image's edge it is taken to go on.
        spacing_mm_zyx: mm between voxel centres.
        thickness_mm: of what has no middle.
    """
    reach_z, reach_y, reach_x = (math.ceil(thickness_mm / 2 / side) for side in spacing_mm_zyx)
    z, y, x = np.ogrid[-reach_z : reach_z + 1, -reach_y : reach_y + 1, : reach_x + 1]
    side_z, side_y, side_x = spacing_mm_zyx
    # The sum in the order in which SciPy's distance transform adds.
    is_near = 2 * np.sqrt((z * side_z) ** 2 + (y * side_y) ** 2 + (x * side_x) ** 2) <= thickness_mm
    widths = is_near.sum(axis=2)
    outside = ~mask
    wide, covered = outside.copy(), outside.copy()
    for width in range(1, int(widths.max()) + 1):
        if width > 1:
            _cover(wide, outside, (0, 0, width - 1))
            _cover(wide, outside, (0, 0, 1 - width))
        for row in np.argwhere(widths == width):
            _cover(covered, wide, (row[0] - reach_z, row[1] - reach_y, 0))
    return ~covered


def _cover(target: VolumeBool, mask: VolumeBool, offset_zyx: Sequence[int]) -> None:
    """Lay a mask over another one, so many voxels aside; what comes to lie beyond the image is cut off."""
    to = tuple(slice(max(0, offset), max(0, size + min(0, offset))) for offset, size in zip(offset_zyx, mask.shape, strict=True))
    of = tuple(slice(max(0, -offset), max(0, size - max(0, offset))) for offset, size in zip(offset_zyx, mask.shape, strict=True))
    target[to] |= mask[of]


def fill_holes(mask: VolumeBool, max_voxels: float, connectivity: int) -> VolumeBool:
    """Fill the cavities of a mask; what opens to the edge of the image is none.

    Args:
        mask: bool (z, y, x).
        max_voxels: larger cavities stay.
        connectivity: of the background: 6, 18 or 26 neighbours.
    """
    holes = _label(~mask, connectivity)
    sizes = np.bincount(holes.ravel())
    is_filled = sizes <= max_voxels
    for axis in range(holes.ndim):
        for end in (0, -1):
            is_filled[np.unique(holes.take(end, axis))] = False
    is_filled[0] = False
    filled: VolumeBool = mask | is_filled[holes]
    return filled


def _find_pieces(mask: VolumeBool, spacing_mm_zyx: SpacingMm, settings: CleanSettings) -> Pieces:
    """Number the pieces of a mask from 1."""
    if not settings.bridge_mm:
        return _label(mask, settings.connectivity)
    cores = _label(find_cores(mask, spacing_mm_zyx, settings.bridge_mm), settings.connectivity)
    flat = np.zeros(mask.shape, np.uint8)
    pieces: Pieces = watershed(flat, cores, connectivity=_neighbours(settings.connectivity), mask=mask)
    # What is thin throughout has no core, and is a piece by itself.
    thin = _label(mask & (pieces == 0), settings.connectivity)
    pieces[thin > 0] = thin[thin > 0] + pieces.max()
    return pieces


def _label(mask: VolumeBool, connectivity: int) -> Pieces:
    labels: Pieces = ndimage.label(mask, _neighbours(connectivity))[0]
    return labels


def _neighbours(connectivity: int) -> NDArray[np.bool_]:
    """Give the 3x3x3 neighbourhood with so many neighbours."""
    structure: NDArray[np.bool_] = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    return structure


def _to_voxels(volume_ml: float, spacing_mm_zyx: SpacingMm) -> float:
    return volume_ml * MM3_PER_ML / math.prod(spacing_mm_zyx)
