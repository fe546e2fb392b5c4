"""One slice <-> the bytes of its HDF5 chunk: Blosc (lz4, byte shuffle), then Fletcher-32."""

from typing import Any

import hdf5plugin
import numpy as np
from numcodecs import Fletcher32, blosc
from numpy.typing import NDArray

BLOSC_LEVEL = 5
BLOSC_HEADER_BYTES = 16
CHECKSUM_BYTES = 4

# Blosc's own threads append compressed blocks in the order they finish, so the bytes would differ from run to run.
blosc.use_threads = False
_CHECKSUM = Fletcher32()


def filter_options() -> dict[str, Any]:
    """Give the keyword arguments with which h5py declares the filters that `encode_slice` applies."""
    return {"fletcher32": True, **hdf5plugin.Blosc(cname="lz4", clevel=BLOSC_LEVEL, shuffle=hdf5plugin.Blosc.SHUFFLE)}


def encode_slice(pixels: NDArray[Any]) -> bytes:
    """Turn a slice into the bytes of its chunk.

    Args:
        pixels: (y, x) in C order, little-endian.
    Returns:
        What HDF5's filter 32001 followed by its Fletcher-32 filter would have written.
    """
    compressed = blosc.compress(pixels, b"lz4", BLOSC_LEVEL, shuffle=blosc.SHUFFLE)
    encoded: bytes = _CHECKSUM.encode(compressed)
    return encoded


def decode_slice(stored: bytes, pixels: NDArray[Any]) -> None:
    """Turn the bytes of a chunk back into its slice.

    Args:
        stored: the chunk as it lies in the file.
        pixels: (y, x) in C order; overwritten.
    Raises:
        ValueError: the bytes are damaged or hold another number of bytes.
    """
    if len(stored) < BLOSC_HEADER_BYTES + CHECKSUM_BYTES:
        raise ValueError(f"chunk of {len(stored)} bytes is too short")
    try:
        _CHECKSUM.decode(stored)
    except RuntimeError as error:
        raise ValueError("its Fletcher-32 checksum does not match") from error
    compressed = memoryview(stored)[:-CHECKSUM_BYTES]
    # Blosc trusts the sizes in its header: a foreign writer's mistake must not reach memory that is not ours.
    plain_bytes, _, compressed_bytes = np.frombuffer(compressed, "<u4", count=3, offset=4)
    if plain_bytes != pixels.nbytes or compressed_bytes != len(compressed):
        raise ValueError(f"its header speaks of {plain_bytes} bytes in {compressed_bytes}, needed are {pixels.nbytes}")
    try:
        blosc.decompress(compressed, pixels)
    except RuntimeError as error:
        raise ValueError("Blosc cannot decompress it") from error
