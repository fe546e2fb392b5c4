"""Scores slice by slice, as the thesis reckoned with images: kept as sums, apart from those of whole cases.

The thesis counts "512x512 image patches" and leaves open what a patch without any hip scores. Both readings
that are in use are kept apart: left out, or counted as 1 where nothing was found either. Neither weighs patients equally, and the
second rises with every empty slice that a scan has above and below the hip.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from hipseg.errors import ReportError
from hipseg.score import overlap
from hipseg.score.overlap import Counts

Reading = Literal["skipping", "empty_as_one"]
"""Slices where truth and prediction are both empty: left out, or counted as 1."""
SLICE_METRICS = ("dice", "iou", "mean_iou", "accuracy", "precision", "recall", "f1")
"""Names of the scores, as functions of `overlap`. `mean_iou` averages over hip and background."""
_NAMES = frozenset(SLICE_METRICS)


@dataclass(frozen=True, slots=True)
class SliceSums:
    """Scores of single slices, summed up over a case, or over several.

    Args:
        slices: number of slices.
        both_empty: those where truth and prediction are empty.
        sums: metric -> sum over the other slices; where only one mask is empty its overlap is 0.
    Raises:
        ReportError: the numbers contradict each other.
    """

    slices: int
    both_empty: int
    sums: Mapping[str, float]

    def __post_init__(self) -> None:
        """Refuse what no slices can add up to."""
        if not 0 <= self.both_empty <= self.slices or self.sums.keys() != _NAMES:
            raise ReportError(
                f"impossible sums of slices: {self.both_empty} of {self.slices} are empty, with sums of {sorted(self.sums)}; "
                f"needed are sums of {', '.join(SLICE_METRICS)}"
            )
        most = self.slices - self.both_empty
        for name, value in self.sums.items():
            # Each addition may round up.
            if not 0 <= value <= most * (1 + 1e-12):
                raise ReportError(f"impossible sum of {name} over {most} slices: {value}; each slice scores between 0 and 1")

    def __add__(self, other: "SliceSums") -> "SliceSums":
        """Pool the slices of two cases."""
        return SliceSums(
            self.slices + other.slices,
            self.both_empty + other.both_empty,
            {name: self.sums[name] + other.sums[name] for name in SLICE_METRICS},
        )

    def mean(self, metric: str, reading: Reading) -> float:
        """Average a metric over slices; NaN where the reading leaves none."""
        left_out, as_one = (self.both_empty, 0) if reading == "skipping" else (0, self.both_empty)
        counted = self.slices - left_out
        return (self.sums[metric] + as_one) / counted if counted else math.nan


def sum_slices(slices: Iterable[Counts]) -> SliceSums:
    """Score each slice and add up.

    Args:
        slices: pixels of each slice of a case.
    Returns:
        The sums; all 0 without slices.
    """
    everything = list(slices)
    found = [one for one in everything if one.truth or one.predicted]
    sums = {name: math.fsum(getattr(overlap, name)(one) for one in found) for name in SLICE_METRICS}
    return SliceSums(len(everything), len(everything) - len(found), sums)
