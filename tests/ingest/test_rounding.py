"""Fractions of a Hounsfield unit are rounded to the nearest and counted; what floating point leaves of whole numbers is not."""

import numpy as np

from hipseg.ingest.rounding import FRACTION_TOLERANCE_HU, Rounding


def test_the_nearest_whole_number_is_taken_and_the_worst_is_told():
    rounding = Rounding()
    assert rounding.round(np.array([[0.4, -0.4], [1.75, -1000.0]])).tolist() == [[0, 0], [2, -1000]]
    assert rounding.round(np.array([-3.5])).tolist() == [-4]
    assert rounding.round(np.array([7.25])).tolist() == [7]
    assert rounding.has_rounded
    assert rounding.warnings() == ("5 values with fractions of a Hounsfield unit, rounded to whole ones: up to 0.500 HU off",)


def test_whole_numbers_and_what_float32_leaves_of_them_are_no_fractions():
    rounding = Rounding()
    rounding.round(np.array([1.0, 2 + FRACTION_TOLERANCE_HU / 2, float(np.float32(0.1)) * 10]))
    assert not rounding.has_rounded
    assert rounding.warnings() == ()
