import dataclasses

import numpy as np
import pytest

from hipseg.learn.ranks import ALONE
from hipseg.learn.tally import begin_tally, join_tallies, own_part
from hipseg.score.overlap import Counts


class Two:
    """Rank 0 of two, of which the other brings what it is made with."""

    leads = True

    def __init__(self, other):
        self._other = other

    def gather(self, vector):
        return np.stack([vector, np.asarray(self._other, np.float64)])


def test_each_slice_counts_the_same_whatever_its_batch():
    tally = begin_tally(1).add(1.0, 3, [(1, 0, 0, 2)]).add(5.0, 1, [(0, 1, 1, 1)])
    assert tally.measure().loss == pytest.approx((3 * 1.0 + 5.0) / 4)
    assert tally.measure().counts == (Counts(1, 1, 1, 3),)
    assert tally.measure().pooled == Counts(1, 1, 1, 3)


def test_ranks_join_pixels_and_not_the_loss_which_is_of_the_whole_batch_already():
    tally = begin_tally(2).add(0.5, 4, [(1, 2, 3, 4), (0, 0, 0, 2**52)])
    joint = join_tallies(tally, Two([10, 20, 30, 40, 0, 0, 0, 1]))
    assert joint.counts == (Counts(11, 22, 33, 44), Counts(0, 0, 0, 2**52 + 1))
    assert (joint.slices, joint.loss_sum) == (4, 2.0)


def test_split_sums_join_to_the_same_again():
    class Second:
        leads = False

    tally = begin_tally(1).add(0.5, 4, [(1, 2, 3, 4)])
    parts = [own_part(tally, ALONE), own_part(tally, Second())]
    joint = join_tallies(parts[0], Two([*dataclasses.astuple(parts[1].counts[0])]))
    assert joint == tally


def test_one_process_alone_joins_to_itself():
    tally = begin_tally(1).add(0.1, 7, [(1, 2, 3, 4)])
    assert join_tallies(tally, ALONE) == tally
