"""Distances between two surfaces in mm, and what they are where there is no surface."""

import math
from dataclasses import dataclass

from hipseg.errors import ReportError
from hipseg.score.overlap import Counts

DISTANCES = ("hd95_mm", "assd_mm", "nsd_1mm", "nsd_2mm", "hd95_or_diagonal_mm", "assd_or_diagonal_mm")
"""Names of the surface scores, as fields of `CaseScore` and as keys of scores.jsonl."""
MILLIMETRES = ("hd95_mm", "assd_mm")
SHARES = ("nsd_1mm", "nsd_2mm")
DIAGONAL_SLACK = 1e-9
"""Relative; a distance may be the image's diagonal itself, reckoned in another order."""


@dataclass(frozen=True)
class Distances:
    """How far two surfaces lie apart; `hipseg.score.surface` defines each.

    Args:
        hd95_mm: 95th percentile of the distances from surface to surface, mm.
        assd_mm: mean of these distances, mm.
        nsd_1mm, nsd_2mm: share of both surfaces that lies within 1 and 2 mm of the other, 0..1.
    """

    hd95_mm: float
    assd_mm: float
    nsd_1mm: float
    nsd_2mm: float


def is_measurable(counts: Counts) -> bool:
    """Say whether both masks have a surface."""
    return counts.truth > 0 and counts.predicted > 0


def without_surface(counts: Counts) -> Distances:
    """Give the surface scores of a case where truth, prediction or both are empty.

    Distances are undefined then. NSD is a share as Dice is, and follows its rule: 0 where exactly one mask is empty, since all of
    the surface that there is has no counterpart; undefined where both are.
    """
    share = 0.0 if counts.truth or counts.predicted else math.nan
    return Distances(math.nan, math.nan, share, share)


def or_diagonal(value_mm: float, counts: Counts, diagonal_mm: float) -> float:
    """Put the image's diagonal, which no distance exceeds, in the place of a distance where exactly one mask is empty.

    A miss that is left out of a mean flatters it. Where both masks are empty the distance stays undefined.
    """
    return diagonal_mm if (counts.truth == 0) != (counts.predicted == 0) else value_mm


def check_distances(case: str, distances: Distances, counts: Counts, diagonal_mm: float) -> None:
    """Hold the surface scores of a case against its counts and its size.

    Raises:
        ReportError: a score is there without two surfaces, lacks with them, or is out of its range.
    """
    if not is_measurable(counts):
        wanted = without_surface(counts)
        if str(vars(distances)) != str(vars(wanted)):
            raise ReportError(f"surface scores of case {case} are {distances} with an empty mask; must be {wanted}")
        return
    for names, most in ((MILLIMETRES, diagonal_mm * (1 + DIAGONAL_SLACK)), (SHARES, 1.0)):
        for name in names:
            if not 0 <= getattr(distances, name) <= most:
                value = getattr(distances, name)
                raise ReportError(f"{name} of case {case} is {value}; between 0 and {most:.6g} is possible")
    if distances.nsd_1mm > distances.nsd_2mm:
        raise ReportError(
            f"nsd_1mm of case {case} is {distances.nsd_1mm}, nsd_2mm is {distances.nsd_2mm}; the second cannot be smaller"
        )
