"""Sums over the slices of a pass, kept so that a pass can be left and taken up again in the middle."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hipseg.learn.ranks import Ranks
from hipseg.score.overlap import NO_COUNTS, Counts

PIXEL_KINDS = 4
"""True and false positives and negatives."""


@dataclass(frozen=True)
class Pass:
    """What one pass over some slices measured.

    Args:
        loss: mean over all pixels.
        counts: pixels of each output.
    """

    loss: float
    counts: tuple[Counts, ...]

    @property
    def pooled(self) -> Counts:
        """Pixels of all outputs."""
        return sum(self.counts, NO_COUNTS)


@dataclass(frozen=True)
class Tally:
    """Sums over a part of a pass: slices and loss of whole batches, pixels of this rank's parts of them.

    Args:
        slices: how many.
        loss_sum: of the slices.
        counts: pixels of each output.
    """

    slices: int
    loss_sum: float
    counts: tuple[Counts, ...]

    def add(self, loss: float, slices: int, pixels: Sequence[Sequence[int]]) -> "Tally":
        """Add a batch; each slice counts the same, whatever the size of its batch.

        Args:
            loss: mean over the batch.
            slices: in the batch.
            pixels: counts of each output in this rank's part.
        """
        counts = tuple(known + Counts(*row) for known, row in zip(self.counts, pixels, strict=True))
        return Tally(self.slices + slices, self.loss_sum + loss * slices, counts)

    def measure(self) -> Pass:
        """Give what a pass over at least one slice measured."""
        return Pass(self.loss_sum / self.slices, self.counts)


def begin_tally(outputs: int) -> Tally:
    """Give the sums of nothing."""
    return Tally(0, 0.0, (NO_COUNTS,) * outputs)


def join_tallies(tally: Tally, ranks: Ranks) -> Tally:
    """Give the sums of all ranks together; pixels are exact below 2**53."""
    own = np.array([[one.tp, one.fp, one.fn, one.tn] for one in tally.counts], np.float64)
    joint = ranks.gather(own.ravel()).sum(axis=0).reshape(-1, PIXEL_KINDS)
    return replace(tally, counts=tuple(Counts(*map(int, row)) for row in joint))


def own_part(tally: Tally, ranks: Ranks) -> Tally:
    """Split joint sums so that those of all ranks join to them again: rank 0 takes the pixels."""
    return tally if ranks.leads else replace(tally, counts=(NO_COUNTS,) * len(tally.counts))
