"""Label numbers out of a file's voxels: what no scan has is refused before memory or disk is taken for it."""

import io
import os

import numpy as np
import pytest

from hipseg.errors import MaskError
from hipseg.geometry import make_grid
from hipseg.ingest.labels import MAX_TRAILING_BYTES, VoxelLayout, check_size, find_values, read_layer

AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def layout(shape_zyx, dtype=np.uint8, **options):
    return VoxelLayout(make_grid(shape_zyx, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), AXES), np.dtype(dtype), 0, **options)


def read(stored, **options):
    shape = stored.shape[:3]
    return np.stack(list(read_layer(io.BytesIO(stored.tobytes()), layout(shape, stored.dtype, **options), "a mask")))


@pytest.fixture
def large(tmp_path):
    """A file of so many zeros, none of which is on the disk, that its header may announce anything here."""
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 1 << 32)
    return path


def test_no_more_voxels_than_a_body_has_are_taken(large):
    check_size(layout((2048, 1024, 1024)), large, "a mask")
    with pytest.raises(
        MaskError, match="a mask is too large: its header announces 2049 x 1024 x 1024 voxels; at most 2147483648"
    ):
        check_size(layout((2049, 1024, 1024)), large, "a mask")


def test_no_larger_slice_than_a_scanner_makes_is_taken(large):
    check_size(layout((2, 4096, 4096), np.float64), large, "a mask")
    with pytest.raises(MaskError, match="and at most 134217728 bytes for each slice"):
        check_size(layout((2, 4097, 4096), np.float64), large, "a mask")
    with pytest.raises(MaskError, match="and at most 134217728 bytes for each slice"):
        check_size(layout((2, 4096, 4096), layers=9), large, "a mask")


def test_a_file_too_small_for_its_header_is_cut_short(tmp_path):
    path = tmp_path / "small"
    path.write_bytes(bytes(100))
    check_size(layout((1, 100, 100)), path, "a mask", max_ratio=100)
    with pytest.raises(MaskError, match="a mask is cut short: its header announces 1 x 100 x 101 voxels"):
        check_size(layout((1, 100, 101)), path, "a mask", max_ratio=100)


def test_one_layer_is_read_out_of_several():
    stored = np.arange(2 * 3 * 4 * 2, dtype=np.uint8).reshape(2, 3, 4, 2)
    found = list(read_layer(io.BytesIO(stored.tobytes()), layout((2, 3, 4), layers=2), "a mask", layer=1))
    np.testing.assert_array_equal(found, stored[..., 1])


def test_what_a_slope_leaves_beside_whole_numbers_is_rounded():
    slope = float(np.float32(1 / 255))
    assert read(np.array([[[0, 255, 510]]], np.uint16), slope=slope).ravel().tolist() == [0, 1, 2]
    with pytest.raises(MaskError, match="an image, not labels"):
        read(np.array([[[1]]], np.uint16), slope=slope)


def test_a_stream_that_goes_on_is_refused_and_a_little_more_is_not():
    taken = layout((1, 2, 2))
    assert len(list(read_layer(io.BytesIO(bytes(4 + MAX_TRAILING_BYTES)), taken, "a mask"))) == 1
    with pytest.raises(MaskError, match="goes on for more than 1048576 bytes behind its last voxel"):
        list(read_layer(io.BytesIO(bytes(5 + MAX_TRAILING_BYTES)), taken, "a mask"))


def test_the_numbers_that_occur_are_found():
    assert find_values([np.array([[0, 3]], np.uint8), np.array([[255, 3]], np.uint8)]) == {3, 255}
    assert find_values([np.zeros((2, 2), np.uint8)]) == frozenset()
