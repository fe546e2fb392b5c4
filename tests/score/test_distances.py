import math
from dataclasses import replace

import pytest

from hipseg.errors import ReportError
from hipseg.score.distances import Distances, check_distances, is_measurable, or_diagonal, without_surface
from hipseg.score.overlap import Counts

BOTH, MISSED, FALSE_ALARM, NOTHING = Counts(1, 1, 1, 7), Counts(0, 0, 5, 5), Counts(0, 5, 0, 5), Counts(0, 0, 0, 10)
POSSIBLE = Distances(hd95_mm=3.0, assd_mm=1.0, nsd_1mm=0.5, nsd_2mm=0.75)


def test_only_two_masks_with_voxels_can_be_measured():
    assert [is_measurable(counts) for counts in (BOTH, MISSED, FALSE_ALARM, NOTHING)] == [True, False, False, False]


@pytest.mark.parametrize(("counts", "share"), [(MISSED, "0.0"), (FALSE_ALARM, "0.0"), (NOTHING, "nan")])
def test_without_two_surfaces_distances_are_undefined_and_shares_follow_the_rule_of_dice(counts, share):
    distances = without_surface(counts)
    assert math.isnan(distances.hd95_mm)
    assert math.isnan(distances.assd_mm)
    assert (str(distances.nsd_1mm), str(distances.nsd_2mm)) == (share, share)
    check_distances("c1", distances, counts, 20.0)


def test_the_diagonal_stands_for_a_distance_where_exactly_one_mask_is_empty():
    assert [or_diagonal(3.0, BOTH, 20.0), *(or_diagonal(math.nan, one, 20.0) for one in (MISSED, FALSE_ALARM))] == [3, 20, 20]
    assert math.isnan(or_diagonal(math.nan, NOTHING, 20.0))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"hd95_mm": 20.1}, "hd95_mm of case c1 is 20.1; between 0 and 20 is possible"),
        ({"assd_mm": -0.1}, "assd_mm of case c1 is -0.1"),
        ({"hd95_mm": math.nan}, "hd95_mm of case c1 is nan"),
        ({"nsd_2mm": 1.1}, "nsd_2mm of case c1 is 1.1; between 0 and 1 is possible"),
        ({"nsd_1mm": 0.8}, "nsd_1mm of case c1 is 0.8, nsd_2mm is 0.75"),
    ],
)
def test_impossible_surface_scores_are_refused(changes, complaint):
    check_distances("c1", POSSIBLE, BOTH, 20.0)
    with pytest.raises(ReportError, match=complaint):
        check_distances("c1", replace(POSSIBLE, **changes), BOTH, 20.0)


@pytest.mark.parametrize("counts", [MISSED, NOTHING])
def test_a_distance_with_an_empty_mask_is_refused(counts):
    with pytest.raises(ReportError, match=r"case c1.*with an empty mask"):
        check_distances("c1", POSSIBLE, counts, 20.0)
