import numpy as np
import pytest
from blake3 import blake3

from hipseg.errors import ConfigError
from hipseg.shards.storage import (
    BLOCK_BYTES,
    Storage,
    hu_of_stored,
    image_dtype,
    shard_digest,
    slice_digest,
    stored_of_hu,
    to_hu,
    to_stored,
    volume_digest,
)

EVERY_HU = np.arange(-32768, 32768, dtype=np.int16).reshape(256, 256)


@pytest.mark.parametrize("window", [(-200, 1300), (-1024, 3071), (-32768, 32767), (0, 1), (40, 295)])
def test_every_hu_comes_back_within_half_a_step_and_half_a_unit(window):
    low, high = window
    stored = to_stored(EVERY_HU, window)
    assert stored.dtype == np.uint8
    off = np.abs(to_hu(stored, window).astype(np.int64) - np.clip(EVERY_HU.astype(np.int64), low, high))
    assert off.max() <= (high - low) / 510 + 0.5


def test_the_ends_of_the_window_are_0_and_255():
    table = stored_of_hu((-200, 1300))
    found = table[np.array([-1000, -200, -197, 1300, 3000], dtype=np.int16).view(np.uint16)]
    # 3 HU are 0.51 steps of 1500 / 255 HU.
    assert found.tolist() == [0, 0, 1, 255, 255]
    assert hu_of_stored((-200, 1300))[[0, 1, 255]].tolist() == [-200, -194, 1300]


@pytest.mark.parametrize(
    ("window", "hu", "stored"),
    [
        # 650 · 255 / 1500 is 110.5; the float64 nearest to 255 / 1500 is 1.2e-17 more than 0.17, which rounds the product up.
        ((-200, 1300), [450, 1050, 1250], [111, 213, 247]),
        # 200 · 255 / 400 is 127.5; 255 / 400 is 0.6375, of which the nearest float64 is a little less.
        ((-160, 240), [40, 200], [127, 229]),
    ],
)
def test_values_halfway_between_two_go_where_the_format_says(window, hu, stored):
    assert to_stored(np.array([hu], np.int16), window).tolist() == [stored]


def test_a_window_of_255_units_loses_nothing_inside():
    inside = np.arange(40, 296, dtype=np.int16)
    np.testing.assert_array_equal(to_hu(to_stored(inside, (40, 295)), (40, 295)), inside)


def test_without_a_window_nothing_is_touched():
    assert to_stored(EVERY_HU, None) is EVERY_HU
    assert to_hu(EVERY_HU, None) is EVERY_HU
    assert (image_dtype(None), image_dtype((0, 1))) == (np.dtype("<i2"), np.dtype("u1"))


@pytest.mark.parametrize("window", [(0, 0), (10, -10), (-32769, 0), (0, 32768)])
def test_impossible_windows_are_refused(window):
    with pytest.raises(ConfigError, match=r"impossible window .* HU; the first must be lower, both within -32768 to 32767"):
        Storage("lz4", window)


def test_the_digest_of_a_volume_is_that_of_its_slices_digests():
    slices = [np.full((2, 3), z, dtype=np.int16) for z in range(3)]
    joined = b"".join(blake3(one.tobytes()).digest() for one in slices)
    assert volume_digest(map(slice_digest, slices)) == blake3(joined).hexdigest()
    # Of no bytes at all. Source: test_vectors.json of the BLAKE3 reference implementation.
    assert volume_digest(()) == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


def test_the_digest_of_a_shard_is_that_of_its_bytes_whatever_their_number(tmp_path):
    content = bytes(range(256)) * (BLOCK_BYTES // 256 + 3)
    (tmp_path / "c1.h5").write_bytes(content)
    assert shard_digest(tmp_path / "c1.h5") == blake3(content).hexdigest()
