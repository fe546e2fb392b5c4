"""Scores of made-up cases, for tests of what comes after the masks."""

from hipseg.score.distances import Distances, is_measurable, without_surface
from hipseg.score.overlap import Counts
from hipseg.score.record import CaseScore, Measured, score_case
from hipseg.score.slicewise import sum_slices

FAR = Distances(hd95_mm=2.0, assd_mm=0.5, nsd_1mm=0.75, nsd_2mm=0.875)
NEAR = Distances(hd95_mm=0.0, assd_mm=0.0, nsd_1mm=1.0, nsd_2mm=1.0)


def made_score(case: str, patient: str, arm: str, fold: int, counts: Counts, **changes: object) -> CaseScore:
    """Score a case of one slice and one row of 2 mm wide voxels, from its counts.

    Args:
        counts: of the case; its surfaces lie apart as `NEAR` says where nothing is wrong, else as `FAR`.
        changes: other fields of `CaseScore`, and `distances` in the place of those above.
    """
    apart = NEAR if counts.fp == counts.fn == 0 else FAR
    distances = changes.pop("distances", apart if is_measurable(counts) else without_surface(counts))
    origin = {"shape_zyx": (1, 1, counts.total), "spacing_mm_zyx": (5.0, 1.0, 2.0), "image_digest": f"{case:0>64}"}
    names = {"case": case, "patient": patient, "arm": arm, "fold": fold}
    return score_case(Measured(counts, distances, sum_slices([counts])), **{**names, **origin, **changes})
