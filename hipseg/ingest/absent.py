"""Labels that were asked for and of which a case has no voxel: its structures are there, and empty."""

from collections.abc import Iterable

import numpy as np

from hipseg.axes import SliceU8
from hipseg.ingest.joining import LabelSlices


class LabelWatch:
    """Looks at the label slices of a case as they pass, and says which labels none of them has.

    A file or segment that holds nothing looks like a structure that is there: what segments many organs writes one for each, also
    for those outside the scan, and a file may have lost its voxels.
    """

    def __init__(self, labels: LabelSlices, expected: Iterable[int]) -> None:
        """Begin before the first slice; `expected` are the labels of the structures chosen."""
        self._labels, self._pending = labels, set(expected)

    def read(self, z: int) -> SliceU8:
        """Read one slice; what reading raises goes through."""
        labels = self._labels(z)
        if self._pending and labels.any():
            self._pending -= set(np.flatnonzero(np.bincount(labels.ravel())).tolist())
        return labels

    def warnings(self) -> tuple[str, ...]:
        """Give a warning for each label that did not pass; to be asked when all slices have."""
        return tuple(
            f"no voxel of label {label}: what was chosen for it is empty in this case" for label in sorted(self._pending)
        )
