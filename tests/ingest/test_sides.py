"""Coded sides of chosen structures: measured with their counterparts, chosen or not, and only where both sides are there."""

import numpy as np
import pytest

from hipseg.errors import MaskError
from hipseg.geometry import make_grid
from hipseg.ingest.laterality import Anatomy
from hipseg.ingest.sides import check_chosen_sides

GRID = make_grid((2, 3, 40), (3.0, 2.0, 2.0), (-40.0, 0.0, 0.0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
"""40 columns of 2 mm: x grows to the patient's left."""
FEMUR, HIP = ("SCT:71341001",), ("SCT:29836001",)


def column(x):
    """Give a mask of one column on the second slice; none on the first."""
    mask = np.zeros((3, 40), bool)
    mask[:, x] = True
    return lambda z: mask if z else None


def check(anatomies, chosen, columns):
    opened = []

    def open_mask(key):
        opened.append(key)
        return column(columns[key])

    check_chosen_sides(anatomies, chosen, open_mask, GRID)
    return sorted(opened)


SIDES = {"l": Anatomy(FEMUR, "left"), "r": Anatomy(FEMUR, "right"), "h": Anatomy(HIP, "left"), "free": None}


def test_one_chosen_alone_is_measured_with_its_counterpart():
    assert check(SIDES, {"l"}, {"l": 35, "r": 5}) == ["l", "r"]
    with pytest.raises(MaskError, match=r"laterality contradicts geometry: .* 60\.0 mm to the patient's right"):
        check(SIDES, {"l"}, {"l": 5, "r": 35})


@pytest.mark.parametrize("chosen", [set(), {"h"}, {"free"}, {"h", "free"}])
def test_what_has_no_counterpart_or_no_code_is_not_opened(chosen):
    assert check(SIDES, chosen, {}) == []


def test_an_empty_mask_says_nothing():
    check_chosen_sides(SIDES, {"l", "r"}, lambda _: lambda _: None, GRID)


def test_parts_of_an_anatomy_on_another_side_are_all_measured():
    several = SIDES | {"l2": Anatomy(FEMUR, "left")}
    assert check(several, {"r"}, {"l": 35, "l2": 30, "r": 5}) == ["l", "l2", "r"]
