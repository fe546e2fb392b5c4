"""Post-processing of a predicted mask: what was refined by hand in 3-matic in the thesis, as lengths in mm and volumes in ml.

The boundary is smoothed, pieces that are too small are removed with the connections that held them, and cavities are filled; in
this order, so that what smoothing cuts off or uncovers is taken care of as well.
Source: thesis section 4.3, "local smoothing and removal of false connections"; it gives no sizes.
"""

import math

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
    pieces = _find_pieces(mask, spacing_mm_zyx, settings)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    stays = sizes >= min(_to_voxels(settings.min_piece_ml, spacing_mm_zyx), sizes.max())
    stays[0] = False
    kept: VolumeBool = stays[pieces]
    return kept


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
    if not settings.bridge_mm or mask.all():
        return _label(mask, settings.connectivity)
    # The middle of what is t thick lies t / 2 from the nearest voxel outside, or half a voxel more.
    depth_mm = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"), spacing_mm_zyx)[1:-1, 1:-1, 1:-1]
    cores = _label(2 * depth_mm > settings.bridge_mm, settings.connectivity)
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
