"""Millimetres, millilitres and boxes: where masks lie on a grid."""

from collections.abc import Sequence

import numpy as np

from hipseg.axes import VolumeBool

SpacingMm = tuple[float, float, float]
"""Between voxel centres along (z, y, x)."""
MM3_PER_ML = 1000.0


def find_box(masks: Sequence[VolumeBool], margin_zyx: Sequence[int] = (0, 0, 0)) -> tuple[slice, ...]:
    """Find the box around masks with a margin, inside the image.

    Args:
        masks: bool (z, y, x), at least one, all of one shape.
        margin_zyx: voxels to either side.
    Returns:
        A slice along each axis; of no extent where every mask is empty.
    """
    box = []
    for axis, margin in enumerate(margin_zyx):
        others = tuple(other for other in range(len(margin_zyx)) if other != axis)
        occupied = np.flatnonzero(np.any([mask.any(axis=others) for mask in masks], axis=0))
        box.append(slice(max(0, int(occupied[0]) - margin), int(occupied[-1]) + 1 + margin) if occupied.size else slice(0, 0))
    return tuple(box)
