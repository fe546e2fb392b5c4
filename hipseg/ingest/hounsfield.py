"""Which Hounsfield units a CT image can hold at all, and which every CT holds."""

from collections.abc import Iterable, Iterator

import numpy as np

from hipseg.axes import SliceI16, SliceU8
from hipseg.errors import SeriesError
from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.pixels import INT16
from hipseg.ingest.rounding import Rounding

LOWEST_HU = -10240
"""Where the widest scale of CT scanners begins: extended CT, 12 bits with slope 10. Vacuum is -1000 HU; artefacts and undeclared
padding (-2000, -3024, -8192, -10240) lie above this number, a wrong intercept or byte order mostly below. The highest value is
that of int16: beside metal and in it scanners write up to 30710 HU on that scale. Source: DICOM PS3.3 C.11.1.1.2."""
MASK_VALUES = 2
"""Inside a structure and outside, in a mask that was written as images."""
NEAR_AIR_HU = -500
"""Halfway between water and air. Around every patient, and in lung and bowel, there is air; a series without any is cut out of a
larger one, or its values are no Hounsfield units, whatever its header says."""


class ValueWatch:
    """Looks at all slices of a case as they pass, and says what only all of them show.

    Where none holds air, their values may be no Hounsfield units; where values had fractions besides, they are none: a program
    has scaled them to numbers of its own, 0 to 1 say. Where there are two values in all, they may be a mask.
    """

    def __init__(self) -> None:
        """Begin before the first slice."""
        self.rounding = Rounding()
        self._lowest_hu: int | None = None
        self._values: set[int] = set()
        self._is_of_two = True

    def watch(self, slices: Iterable[tuple[SliceI16, SliceU8 | None]], case: str) -> Iterator[tuple[SliceI16, SliceU8 | None]]:
        """Hand slices on.

        Raises:
            SeriesError: all have passed, and their values cannot be Hounsfield units.
        """
        for image_hu, labels in slices:
            if self._lowest_hu is None or not self._has_air:
                # One slice with air is enough to know; the lowest value is told only where there is none.
                lowest = int(image_hu.min())
                self._lowest_hu = lowest if self._lowest_hu is None else min(lowest, self._lowest_hu)
            self._is_of_two = self._is_of_two and is_of_two(image_hu, self._values)
            yield image_hu, labels
        if self.rounding.has_rounded and not self._has_air:
            raise SeriesError(
                f"case {case}: values with fractions, the lowest of them {self._lowest_hu} HU: no Hounsfield units, "
                "in which air is -1000; export the images as scanned, without scaling; values without air must be whole"
            )

    def warnings(self) -> tuple[str, ...]:
        """Give what is odd about the values; to be asked when all slices have passed."""
        said = self.rounding.warnings()
        if self._values and self._is_of_two:
            said = ("no more than two different values in all slices, as a mask has that was written as images: no scan", *said)
        if self._has_air:
            return said
        return (f"no air: the lowest value is {self._lowest_hu} HU; the values may be no Hounsfield units", *said)

    @property
    def _has_air(self) -> bool:
        return self._lowest_hu is None or self._lowest_hu < NEAR_AIR_HU


def is_of_two(image_hu: SliceI16, values: set[int]) -> bool:
    """Say whether an image and those before it have no more than two different values; its own are added to theirs."""
    low, high = int(image_hu.min()), int(image_hu.max())
    values |= {low, high}
    return len(values) <= MASK_VALUES and bool(((image_hu == low) | (image_hu == high)).all())


def check_hu(image_hu: SliceI16, header: ImageHeader) -> None:
    """Refuse an image with values that no CT can measure and that the header does not declare as padding.

    Args:
        image_hu: int16 (y, x), HU.
        header: slope, intercept and padding.
    Raises:
        SeriesError: a value is impossible; the caller adds where.
    """
    slope, intercept = header.slope or 0, header.intercept or 0
    if header.pixel_representation == 0 and slope > 0 and intercept >= LOWEST_HU:
        # Values without a sign cannot lie below the intercept.
        return
    if image_hu.min() >= LOWEST_HU:
        return
    ends = [end * slope + intercept for end in header.padding or ()]
    low, high = (np.clip((min(ends), max(ends)), INT16.min, INT16.max)) if ends else (1, 0)
    impossible = image_hu[(image_hu < LOWEST_HU) & ~((image_hu >= low) & (image_hu <= high))]
    if impossible.size:
        raise SeriesError(
            f"{impossible.size} pixels of impossible density ({int(impossible.min())} HU and above, slope {slope:g}, "
            f"intercept {intercept:g}); {LOWEST_HU} HU or more is expected, but for declared padding (0028,0120): "
            "export the series again"
        )
