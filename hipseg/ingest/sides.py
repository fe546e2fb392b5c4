"""The coded sides of chosen structures, held against where they and their counterparts in the same file lie."""

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

import numpy as np

from hipseg.geometry import Grid, affine_lps
from hipseg.ingest.joining import ReadMask
from hipseg.ingest.laterality import Anatomy, check_sides

Key = TypeVar("Key", int, str)


def check_chosen_sides(
    anatomies: Mapping[Key, Anatomy | None], chosen: Collection[Key], open_mask: Callable[[Key], ReadMask], grid: Grid
) -> None:
    """Refuse chosen structures whose coded sides are exchanged; see `check_sides`.

    A chosen structure is measured, together with all of the same anatomy in its file, only where both sides of it are there.

    Args:
        anatomies: of the structures of one file, None where no side is coded.
        chosen: which of them are chosen.
        open_mask: gives the mask of a structure, slice by slice.
        grid: the series' grid.
    Raises:
        MaskError: laterality contradicts geometry, or a mask cannot be read.
    """
    coded = {key: anatomy for key, anatomy in anatomies.items() if anatomy is not None}
    wanted = {coded[key].codes for key in chosen if key in coded}
    sides = {codes: {one.side for one in coded.values() if one.codes == codes} for codes in wanted}
    measured = {key: anatomy for key, anatomy in coded.items() if len(sides.get(anatomy.codes, ())) == len(("left", "right"))}
    centres = [(anatomy, _centre_x_mm(open_mask(key), grid)) for key, anatomy in measured.items()]
    check_sides([(anatomy, x_mm) for anatomy, x_mm in centres if x_mm is not None])


def _centre_x_mm(read: ReadMask, grid: Grid) -> float | None:
    """Give the x of a mask's centre in the patient, mm; None where the mask is empty."""
    count, total = 0, np.zeros(3)
    for z in range(grid.shape_zyx[0]):
        mask = read(z)
        if mask is not None:
            rows, columns = np.nonzero(mask)
            count += len(rows)
            total += columns.sum(), rows.sum(), z * len(rows)
    return float((affine_lps(grid) @ [*(total / count), 1.0])[0]) if count else None
