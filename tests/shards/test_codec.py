import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hipseg.shards.codec import LEVELS, check_slice, decode_slice, encode_slice, filter_options

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)


@settings(max_examples=60, deadline=None)
@given(st.one_of(hnp.arrays(np.int16, SHAPES), hnp.arrays(np.uint8, SHAPES)), st.sampled_from(sorted(LEVELS)))
def test_a_slice_comes_back_as_it_went_in(pixels, codec):
    out = np.empty_like(pixels)
    stored = encode_slice(pixels, codec)
    check_slice(stored)
    decode_slice(stored, out)
    np.testing.assert_array_equal(out, pixels)


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.int16, SHAPES), st.sampled_from(sorted(LEVELS)))
def test_hdf5_reads_our_chunks_through_its_own_filters(pixels, codec):
    with h5py.File("memory", "w", driver="core", backing_store=False) as file:
        dataset = file.create_dataset("d", shape=pixels.shape, dtype="<i2", chunks=pixels.shape, **filter_options(codec))
        dataset.id.write_direct_chunk((0, 0), encode_slice(pixels, codec))
        np.testing.assert_array_equal(dataset[:], pixels)


@pytest.mark.parametrize("codec", sorted(LEVELS))
def test_the_filters_are_declared_as_the_plugin_for_h5py_declares_them(codec):
    theirs = hdf5plugin.Blosc(cname=codec, clevel=LEVELS[codec], shuffle=hdf5plugin.Blosc.SHUFFLE)
    ours = filter_options(codec)
    assert (ours["compression"], ours["compression_opts"]) == (theirs.filter_id, theirs.filter_options)


def test_every_flipped_byte_is_noticed():
    pixels = np.arange(130, dtype=np.int16).reshape(10, 13) ** 2
    stored = encode_slice(pixels)
    for position in range(len(stored)):
        damaged = bytearray(stored)
        damaged[position] ^= 0x10
        with pytest.raises(ValueError, match="Fletcher-32"):
            check_slice(bytes(damaged))


@pytest.mark.parametrize("kept_bytes", [0, 5, 19, 40])
def test_a_cut_chunk_is_refused(kept_bytes):
    pixels = np.arange(130, dtype=np.int16).reshape(10, 13)
    stored = encode_slice(pixels)[:kept_bytes]
    with pytest.raises(ValueError, match=r"too short|Fletcher-32"):
        check_slice(stored)
    with pytest.raises(ValueError, match=r"too short|needed are 260"):
        decode_slice(stored, np.empty_like(pixels))


def test_a_chunk_of_another_size_never_reaches_the_array():
    stored = encode_slice(np.zeros((20, 20), dtype=np.int16))
    with pytest.raises(ValueError, match=r"speaks of 800 bytes in .* needed are 200"):
        decode_slice(stored, np.empty((10, 10), dtype=np.int16))
