"""Distances between the surfaces of truth and prediction, by DeepMind's surface-distance.

A surface is the marching-cubes surface of the mask, in elements (surfels): one in each 2x2x2 neighbourhood of voxels that has
both kinds, placed in its middle, with its area in mm2 from the library's table. The distance of a surfel is the Euclidean
distance in mm to the nearest surfel of the other surface. What lies outside the image counts as background, so that a mask has a
surface where it is cut by the image's edge.

- HD95 is the larger of two directed percentiles: for each surface the distance within which 95 % of its area lies.
- ASSD is the mean of the distances of all surfels of both surfaces, each weighted by its area; so the larger surface weighs more.
- NSD at a tolerance is the area of both surfaces that lies within it (inclusive), over the area of both.

Source: Nikolov et al., Deep learning to achieve clinically applicable segmentation of head and neck anatomy, arXiv 1809.04430,
and its code, https://github.com/google-deepmind/surface-distance.
"""

import numpy as np
import surface_distance
from numpy.typing import NDArray
from scipy import ndimage
from surface_distance import lookup_tables

from hipseg.axes import VolumeBool, VolumeU8
from hipseg.errors import MaskError
from hipseg.score.distances import Distances
from hipseg.score.space import SpacingMm, find_box

PERCENT = 95.0
ALL_IN_MASK = 255
"""Code of a neighbourhood of which every voxel is in the mask; 0 where none is."""

Surfels = NDArray[np.int32]
"""int32 (3, n), places (z, y, x) of surfels; in voxels, from the outer corner of the box's first one."""


def measure_surfaces(truth: VolumeBool, prediction: VolumeBool, spacing_mm_zyx: SpacingMm) -> Distances:
    """Measure how far the surfaces of two masks lie apart.

    Args:
        truth: bool (z, y, x), the reference.
        prediction: bool, the same shape.
        spacing_mm_zyx: mm between voxel centres.
    Returns:
        Distances in mm, shares from 0 to 1.
    Raises:
        MaskError: the shapes differ, or one of the masks is empty and has no surface.
    """
    if truth.shape != prediction.shape:
        raise MaskError(f"prediction has shape {prediction.shape}, the truth {truth.shape}; they must be on one grid")
    box = find_box([truth, prediction])
    codes = [encode_neighbourhoods(mask[box]) for mask in (truth, prediction)]
    surfels = [_find_surfels(one) for one in codes]
    if not all(places.size for places in surfels):
        raise MaskError("a mask without voxels has no surface to measure; both masks need some")
    area_mm2 = lookup_tables.create_table_neighbour_code_to_surface_area(spacing_mm_zyx)
    areas = [area_mm2[code[tuple(places)]] for code, places in zip(codes, surfels, strict=True)]
    shape = codes[0].shape
    del codes
    return _summarise(
        _sort(_distances_mm(surfels[0], surfels[1], shape, spacing_mm_zyx), areas[0]),
        _sort(_distances_mm(surfels[1], surfels[0], shape, spacing_mm_zyx), areas[1]),
    )


def encode_neighbourhoods(mask: VolumeBool) -> VolumeU8:
    """Number the 2x2x2 neighbourhoods of a mask as the library's tables do.

    Args:
        mask: bool (z, y, x); what surrounds it is background.
    Returns:
        uint8, one longer along each axis: bit k is set where voxel k of the neighbourhood is in the mask.
    """
    padded = np.pad(mask.view(np.uint8), 1)
    codes = np.zeros([length + 1 for length in mask.shape], np.uint8)
    for offset, bit in np.ndenumerate(lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL):
        window = tuple(slice(start, start + length) for start, length in zip(offset, codes.shape, strict=True))
        codes |= padded[window] * np.uint8(bit)
    return codes


def _find_surfels(codes: VolumeU8) -> Surfels:
    return np.array(np.nonzero((codes != 0) & (codes != ALL_IN_MASK)), np.int32)


def _distances_mm(surfels: Surfels, others: Surfels, shape: tuple[int, ...], spacing_mm_zyx: SpacingMm) -> NDArray[np.float64]:
    """Give the distance of each surfel to the nearest of the others, mm.

    The library asks for the distances everywhere and then takes those on the surface: 65 bytes a voxel of the box, 10 GB where
    a wrong voxel lies at the far end of a large scan. With the places of the nearest surfels it is 15, for the same distances
    (tools/bench/surface.py).
    """
    elsewhere = np.ones(shape, np.bool_)
    elsewhere[tuple(others)] = False
    nearest = ndimage.distance_transform_edt(elsewhere, spacing_mm_zyx, return_distances=False, return_indices=True)
    squared = np.zeros(surfels.shape[1], np.float64)
    for axis, side_mm in enumerate(spacing_mm_zyx):
        squared += ((nearest[axis][tuple(surfels)] - surfels[axis]) * side_mm) ** 2
    distances: NDArray[np.float64] = np.sqrt(squared, out=squared)
    return distances


def _sort(distances_mm: NDArray[np.float64], areas_mm2: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Order the surfels of a surface by distance, as the library's percentiles need them."""
    order = np.lexsort((areas_mm2, distances_mm))
    return distances_mm[order], areas_mm2[order]


def _summarise(
    truth: tuple[NDArray[np.float64], NDArray[np.float64]], prediction: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> Distances:
    surfaces = {
        "distances_gt_to_pred": truth[0],
        "surfel_areas_gt": truth[1],
        "distances_pred_to_gt": prediction[0],
        "surfel_areas_pred": prediction[1],
    }
    weighted = sum(float(np.sum(distances * areas)) for distances, areas in (truth, prediction))
    return Distances(
        hd95_mm=float(surface_distance.compute_robust_hausdorff(surfaces, PERCENT)),
        assd_mm=weighted / sum(float(np.sum(areas)) for _, areas in (truth, prediction)),
        nsd_1mm=float(surface_distance.compute_surface_dice_at_tolerance(surfaces, 1.0)),
        nsd_2mm=float(surface_distance.compute_surface_dice_at_tolerance(surfaces, 2.0)),
    )
