"""Voxel counts of a prediction against the truth, and the overlap scores that follow from them.

The rules for empty masks are the same for Dice, IoU, precision, recall and F1: both masks empty gives NaN, since there was
nothing to find and nothing was found; exactly one of them empty gives 0, since everything marked or everything sought is wrong.
"""

import math
from dataclasses import dataclass

import numpy as np

from hipseg.axes import VolumeBool
from hipseg.errors import MaskError


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of voxels, or of pixels: true and false positives and negatives."""

    tp: int
    fp: int
    fn: int
    tn: int

    def __post_init__(self) -> None:
        """Refuse what no count can be."""
        if min(self.tp, self.fp, self.fn, self.tn) < 0:
            raise MaskError(f"impossible voxel counts {self}; none may be negative")

    def __add__(self, other: "Counts") -> "Counts":
        """Pool two sets of counts."""
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def total(self) -> int:
        """Number of voxels looked at."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def truth(self) -> int:
        """Number of voxels in the truth."""
        return self.tp + self.fn

    @property
    def predicted(self) -> int:
        """Number of voxels in the prediction."""
        return self.tp + self.fp


NO_COUNTS = Counts(0, 0, 0, 0)
"""What pooling starts from."""


def count(truth: VolumeBool, prediction: VolumeBool) -> Counts:
    """Count agreement and disagreement.

    Args:
        truth: bool, any axes; the reference.
        prediction: bool, the same shape.
    Returns:
        The counts; all 0 for arrays without elements.
    Raises:
        MaskError: the shapes differ.
    """
    if truth.shape != prediction.shape:
        raise MaskError(f"prediction has shape {prediction.shape}, the truth {truth.shape}; they must be on one grid")
    tp = int(np.count_nonzero(truth & prediction))
    in_truth, in_prediction = int(np.count_nonzero(truth)), int(np.count_nonzero(prediction))
    fp, fn = in_prediction - tp, in_truth - tp
    return Counts(tp, fp, fn, truth.size - tp - fp - fn)


def dice(counts: Counts) -> float:
    """Give 2 TP / (2 TP + FP + FN); NaN where both masks are empty. Source: Dice, Ecology 26 (1945) 297."""
    return _overlap_ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn, counts)


def iou(counts: Counts) -> float:
    """Give TP / (TP + FP + FN); NaN where both masks are empty. Source: Jaccard, Bull. Soc. Vaud. Sci. Nat. 37 (1901) 547."""
    return _overlap_ratio(counts.tp, counts.tp + counts.fp + counts.fn, counts)


def precision(counts: Counts) -> float:
    """Give TP / (TP + FP); 0 where only the prediction is empty, NaN where both masks are."""
    return _overlap_ratio(counts.tp, counts.predicted, counts)


def recall(counts: Counts) -> float:
    """Give TP / (TP + FN); 0 where only the truth is empty, NaN where both masks are."""
    return _overlap_ratio(counts.tp, counts.truth, counts)


def specificity(counts: Counts) -> float:
    """Give TN / (TN + FP), the share of the background that is answered as such; NaN where the truth leaves no background."""
    return _share(counts.tn, counts.tn + counts.fp)


def f1(counts: Counts) -> float:
    """Give the harmonic mean of precision and recall, by way of these two; 0 where both are 0, NaN where both masks are empty."""
    p, r = precision(counts), recall(counts)
    if p == 0 and r == 0:
        return 0.0
    return 2 * p * r / (p + r)


def accuracy(counts: Counts) -> float:
    """Give the share of voxels answered rightly, background included; NaN without voxels."""
    return _share(counts.tp + counts.tn, counts.total)


def background_accuracy(counts: Counts) -> float:
    """Give the accuracy that an answer of nothing but background would have; NaN without voxels."""
    return _share(counts.tn + counts.fp, counts.total)


def mean_iou(counts: Counts) -> float:
    """Give the mean of the IoU of the structure and the IoU of the background, TN / (TN + FP + FN).

    Returns:
        NaN where both masks are empty; the structure's IoU alone where both fill everything.
    Source: the thesis, section 2.2.7: "the average IoU for every class".
    """
    of_structure, background = iou(counts), counts.tn + counts.fp + counts.fn
    return (of_structure + counts.tn / background) / 2 if background else of_structure


def _overlap_ratio(numerator: int, denominator: int, counts: Counts) -> float:
    if counts.truth == 0 and counts.predicted == 0:
        return math.nan
    return numerator / denominator if denominator else 0.0


def _share(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else math.nan
