"""Names and attributes of the shard format, as FORMAT.md writes them down."""

import h5py
import numpy as np
import pytest

from hipseg.errors import ConfigError, ShardError
from hipseg.shards.layout import (
    check_version,
    chunk_shape,
    read_grid,
    read_text_attribute,
    read_window,
    shard_name,
    write_grid,
    write_text_attribute,
    write_window,
)
from tests.shards.builders import make_grid_of

GRID = make_grid_of((5, 12, 14))


@pytest.fixture
def attributes(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        yield file.attrs


def test_a_shard_is_named_by_its_case_and_by_twelve_digits_of_its_digest():
    assert shard_name("c0", "0123456789abcdef" * 4) == "c0-0123456789ab.h5"


def test_a_chunk_is_one_whole_slice():
    assert chunk_shape(GRID) == (1, 12, 14)


def test_a_grid_comes_back_to_the_last_bit(attributes):
    write_grid(attributes, GRID)
    assert {name: attributes[name].dtype.str for name in attributes} == dict.fromkeys(
        ("spacing_mm_zyx", "origin_mm_xyz", "directions_xyz"), "<f8"
    )
    assert read_grid(attributes, (5, 12, 14)) == GRID


def test_numbers_that_are_no_grid_are_refused(attributes):
    write_grid(attributes, GRID)
    attributes["spacing_mm_zyx"] = np.zeros(3)
    with pytest.raises(ConfigError):
        read_grid(attributes, (5, 12, 14))
    del attributes["spacing_mm_zyx"]
    with pytest.raises(KeyError):
        read_grid(attributes, (5, 12, 14))


def test_text_is_written_with_a_fixed_length_and_read_with_any(attributes):
    write_text_attribute(attributes, "patient", "p1")
    assert attributes.get_id("patient").dtype == np.dtype("S2")
    attributes["foreign"] = "p2"
    assert (read_text_attribute(attributes, "patient"), read_text_attribute(attributes, "foreign")) == ("p1", "p2")


@pytest.mark.parametrize("window_hu", [None, (-200, 1300)])
def test_a_window_comes_back_and_is_missing_where_there_is_none(attributes, window_hu):
    write_window(attributes, window_hu)
    assert ("window_hu" in attributes) == (window_hu is not None)
    assert read_window(attributes) == window_hu


def test_another_version_is_refused_by_both_numbers():
    check_version(np.int64(2), 2, "shard a.h5")
    with pytest.raises(ShardError, match=r"shard a\.h5 has format version 3, this hipseg reads version 2; pack again"):
        check_version(np.int64(3), 2, "shard a.h5")
