"""Values that no CT can hold are refused, padding that is declared is not."""

from dataclasses import replace

import numpy as np
import pytest

from hipseg.errors import SeriesError
from hipseg.ingest.hounsfield import LOWEST_HU, NEAR_AIR_HU, ValueWatch, check_hu
from hipseg.ingest.scan import scan_tree
from tests.ingest.builders import volume_hu, write_ct_series


@pytest.fixture
def header(tmp_path):
    write_ct_series(tmp_path, volume_hu(1))
    return next(iter(scan_tree(tmp_path).images))


@pytest.mark.parametrize("value", [LOWEST_HU, -8192, -3024, -1000, 0, 30710, 32767])
def test_what_scanners_write_is_taken(header, value):
    check_hu(np.array([[0, value]], dtype=np.int16), header)


@pytest.mark.parametrize("value", [LOWEST_HU - 1, -32768])
def test_what_lies_below_every_scale_is_refused_with_number_and_value(header, value):
    with pytest.raises(SeriesError, match=rf"2 pixels of impossible density \({value} HU .*intercept -1024\); -10240 HU or more"):
        check_hu(np.array([[0, value], [value, 5]], dtype=np.int16), header)


def test_declared_padding_may_lie_anywhere(header):
    padded = replace(header, padding=(-30000, -29000))
    check_hu(np.array([[0, -30500]], dtype=np.int16), padded)
    with pytest.raises(SeriesError, match="1 pixels of impossible density"):
        check_hu(np.array([[0, -20000]], dtype=np.int16), padded)


def test_padding_that_was_held_to_the_range_of_int16_is_padding(header):
    check_hu(np.array([[-32768]], dtype=np.int16), replace(header, padding=(-32768, -32768)))


@pytest.mark.parametrize(
    ("lowest", "words"),
    [((0, 40), "the lowest value is 0 HU"), ((-499, 0), "-499 HU"), ((NEAR_AIR_HU, 0), "-500 HU"), ((0, -501), "")],
)
def test_a_series_without_air_is_warned_of_once_all_slices_have_passed(lowest, words):
    watch = ValueWatch()
    slices = [(np.array([[value, 900]], dtype=np.int16), None) for value in lowest]
    assert watch.warnings() == ()
    assert list(watch.watch(slices, "c0")) == slices
    assert bool(watch.warnings()) == bool(words)
    assert all(words in warning for warning in watch.warnings())


def test_fractions_without_air_are_no_hounsfield_units_and_with_air_a_warning():
    for lowest in (0, -1000):
        watch = ValueWatch()
        slices = [(watch.rounding.round(np.array([[lowest, value]])).astype(np.int16), None) for value in (0.25, 1)]
        if lowest == 0:
            with pytest.raises(SeriesError, match="case c0: values with fractions, the lowest of them 0 HU: no Hounsfield"):
                list(watch.watch(slices, "c0"))
            continue
        assert list(watch.watch(slices, "c0")) == slices
        assert watch.warnings() == ("1 values with fractions of a Hounsfield unit, rounded to whole ones: up to 0.250 HU off",)


@pytest.mark.parametrize(("values", "is_mask"), [((0, 1), True), ((7, 7), True), ((0, 1, 2), False), ((0, 1, 0, 1), True)])
def test_two_values_in_all_slices_are_warned_of_once_all_have_passed(values, is_mask):
    watch = ValueWatch()
    slices = [(np.array([[value, values[0]]], dtype=np.int16), None) for value in values]
    assert list(watch.watch(slices, "c0")) == slices
    assert any(words.startswith("no more than two different values in all slices") for words in watch.warnings()) == is_mask


def test_a_third_value_within_one_slice_is_seen():
    watch = ValueWatch()
    list(watch.watch([(np.array([[-1000, 1, 2]], dtype=np.int16), None)], "c0"))
    assert watch.warnings() == ()
