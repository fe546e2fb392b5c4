"""Values that a header scales to fractions of a Hounsfield unit -> whole ones, and what was done to the values of a case."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FRACTION_TOLERANCE_HU = 2e-3
"""What float32 leaves of a whole number near the ends of int16 (a step of 2 to the -9), once scaled."""


class Rounding:
    """Rounds the values of one case, and counts those that were no whole numbers.

    A rescaled value is a real number, and int16 keeps the nearest whole one: at most half a unit off, where the noise of a CT
    is ten units and more. Source: DICOM PS3.3 C.11.1.1.2; NIfTI-1, scl_slope.
    """

    def __init__(self) -> None:
        """Begin with nothing rounded."""
        self._values = 0
        self._most_hu = 0.0
        self._bright_padding = 0
        self._dropped_bits = 0

    @property
    def has_rounded(self) -> bool:
        """Say whether any value was no whole number."""
        return self._values > 0

    def round(self, exact_hu: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Round to the nearest whole numbers, halves to the even one; any shape."""
        whole: NDArray[np.floating[Any]] = np.rint(exact_hu)
        off = np.abs(exact_hu - whole)
        values = int(np.count_nonzero(off > FRACTION_TOLERANCE_HU))
        if values:
            self._values += values
            self._most_hu = max(self._most_hu, float(off.max()))
        return whole

    def count_bright_padding(self, pixels: int) -> None:
        """Count padding above all measured values that was taken as air."""
        self._bright_padding += pixels

    def count_dropped_bits(self, pixels: int) -> None:
        """Count pixels whose bits above those stored were set, and dropped."""
        self._dropped_bits += pixels

    def warnings(self) -> tuple[str, ...]:
        """Give what was done to values; to be asked when all slices have passed."""
        said = []
        if self._values:
            said.append(
                f"{self._values} values with fractions of a Hounsfield unit, rounded to whole ones: up to {self._most_hu:.3f} HU "
                "off"
            )
        if self._bright_padding:
            said.append(
                f"{self._bright_padding} pixels declared as padding (0028,0120) brighter than any measured, taken as air around "
                "the patient"
            )
        if self._dropped_bits:
            said.append(
                f"{self._dropped_bits} pixels have bits set above those stored (0028,0101), which are dropped: where a program "
                "wrote larger values than these hold, as of metal, they are wrong; look at the images"
            )
        return tuple(said)
