"""Stored values of files that no plain reader takes, and what is refused before it is decoded."""

import errno
from dataclasses import replace

import numpy as np
import pytest

from hipseg.errors import SeriesError
from hipseg.ingest.headers import FileStamp
from hipseg.ingest.rounding import Rounding
from hipseg.ingest.scan import scan_tree
from hipseg.ingest.stored import check_unchanged, decode_encapsulated, expected_bytes, out_of_reach, pixel_format, read_stored
from tests.ingest.builders import volume_hu, write_ct_series


@pytest.fixture
def header(tmp_path):
    write_ct_series(tmp_path, volume_hu(1))
    (found,) = scan_tree(tmp_path).images
    return found


def test_stored_values_are_those_before_rescaling(header):
    assert np.array_equal(read_stored(header.path, header, Rounding()), volume_hu(1)[0] + 1024)


def test_bytes_are_counted_from_the_header(header):
    assert expected_bytes(header) == 10 * 12 * 2
    assert expected_bytes(replace(header, bits_allocated=None)) == 0


def test_a_header_tells_the_format_of_its_pixels(header):
    found = pixel_format(header)
    assert (found.shape_yx, found.bits_allocated, found.bits_stored, found.is_signed) == ((10, 12), 16, 16, True)


@pytest.mark.parametrize(
    "values",
    [{"bits_allocated": 12}, {"bits_stored": None}, {"bits_stored": 17}, {"bits_stored": 0}, {"pixel_representation": 2}],
)
def test_a_format_that_cannot_be_is_refused_with_what_was_found(header, values):
    with pytest.raises(SeriesError, match=rf"pixels of .*{next(iter(values.values()))}.*8, 16 or 32"):
        pixel_format(replace(header, **values))


def test_items_that_are_none_are_refused(header):
    with pytest.raises(SeriesError, match="compressed pixels that break off"):
        decode_encapsulated(b"no item of compressed pixels", replace(header, transfer_syntax="1.2.840.10008.1.2.4.90"))


def test_an_unchanged_file_passes_and_one_without_a_stamp_is_not_looked_at(header, tmp_path):
    check_unchanged(header.path, header.stamp)
    check_unchanged(tmp_path / "nowhere", None)
    with pytest.raises(SeriesError, match="no longer be opened"):
        check_unchanged(tmp_path / "nowhere", FileStamp(1, 1))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EIO, "the disk fails to read the file; check it, and copy the file again from where it came"),
        (errno.ENOENT, "the file can no longer be opened; pack the folder again"),
    ],
)
def test_a_failing_disk_is_told_from_a_file_that_is_gone(number, words):
    assert str(out_of_reach(OSError(number, "words of the system"))) == words
