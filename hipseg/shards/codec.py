"""One slice <-> the bytes of its HDF5 chunk: Blosc (lz4 or zstd, byte shuffle), then Fletcher-32."""

import struct
import threading
from typing import Any, Final, Literal

import imagecodecs
from numpy.typing import NDArray

Stored = bytes | memoryview
"""A chunk as it lies in the file."""
Codec = Literal["lz4", "zstd"]
LEVELS: dict[Codec, int] = {"lz4": 5, "zstd": 1}
"""Higher levels cost several times the time for a few per cent of the size."""
BLOSC_FILTER: Final = 32001
"""Source: the HDF Group's list of registered filters."""
FLETCHER32_FILTER: Final = 3
"""Source: HDF5 file format specification 3.0, section IV.A.2.l."""
BLOSC_HEADER_BYTES = 16
CHECKSUM_BYTES = 4

_codecs: Any = imagecodecs
"""Its type hints leave out arrays and memory views, which it takes as it takes bytes."""
_ONE_THREAD: Final = 1
"""Blosc's own threads append compressed blocks in the order they finish, so the bytes would differ from run to run."""
_BYTE_SHUFFLE: Final = 1
_CODEC_NUMBERS: Final[dict[Codec, int]] = {"lz4": 1, "zstd": 5}
"""As filter 32001 knows them. Source: hdf5-blosc's README, and blosc.h of Blosc 1."""
_SIZES = struct.Struct("<3I")
"""Plain bytes, bytes of a block, compressed bytes. Source: Blosc 1's README_CHUNK_FORMAT."""
_CHECKSUM = struct.Struct("<I")
_local = threading.local()


def filter_options(codec: Codec = "lz4") -> dict[str, Any]:
    """Give the keyword arguments with which h5py declares the filters that `encode_slice` applies.

    HDF5 need not know them, since chunks are written as they are; loading hdf5plugin would take a twentieth of a small packing.
    """
    # The first four values are the filter's own to fill.
    values = (0, 0, 0, 0, LEVELS[codec], _BYTE_SHUFFLE, _CODEC_NUMBERS[codec])
    return {"fletcher32": True, "compression": BLOSC_FILTER, "compression_opts": values, "allow_unknown_filter": True}


def encode_slice(pixels: NDArray[Any], codec: Codec = "lz4") -> bytes:
    """Turn a slice into the bytes of its chunk; several threads may at once.

    Args:
        pixels: (y, x) in C order, little-endian.
        codec: Blosc's compressor.
    Returns:
        What HDF5's filter 32001 followed by its Fletcher-32 filter would have written.
    """
    compressed = _codecs.blosc_encode(
        pixels,
        level=LEVELS[codec],
        compressor=codec,
        shuffle=_BYTE_SHUFFLE,
        typesize=pixels.dtype.itemsize,
        numthreads=_ONE_THREAD,
        out=_room(pixels.nbytes + BLOSC_HEADER_BYTES),
    )
    return b"".join((compressed, _CHECKSUM.pack(_codecs.h5checksum_fletcher32(compressed))))


def _room(size: int) -> memoryview:
    """Give so many bytes, which this thread uses again for its next slice: fresh memory costs more than filling it."""
    room: bytearray | None = getattr(_local, "room", None)
    if room is None or len(room) < size:
        room = _local.room = bytearray(size)
    # No byte more: what Blosc gives up as incompressible depends on the room it has.
    return memoryview(room)[:size]


def check_slice(stored: Stored) -> None:
    """Compare the bytes of a chunk with their checksum.

    Raises:
        ValueError: the bytes are damaged.
    """
    if len(stored) < BLOSC_HEADER_BYTES + CHECKSUM_BYTES:
        raise ValueError(f"chunk of {len(stored)} bytes is too short")
    summed = memoryview(stored)
    if _CHECKSUM.unpack(summed[-CHECKSUM_BYTES:]) != (_codecs.h5checksum_fletcher32(summed[:-CHECKSUM_BYTES]),):
        raise ValueError("its Fletcher-32 checksum does not match")


def decode_slice(stored: Stored, pixels: NDArray[Any]) -> None:
    """Turn the bytes of a chunk back into its slice.

    Args:
        stored: the chunk as it lies in the file; `check_slice` says whether it is damaged.
        pixels: (y, x) in C order; overwritten.
    Raises:
        ValueError: the bytes hold another number of bytes, or Blosc cannot read them.
    """
    if len(stored) < BLOSC_HEADER_BYTES + CHECKSUM_BYTES:
        raise ValueError(f"chunk of {len(stored)} bytes is too short")
    compressed = memoryview(stored)[:-CHECKSUM_BYTES]
    # Blosc trusts the sizes in its header: a foreign writer's mistake must not reach memory that is not ours.
    plain_bytes, _, compressed_bytes = _SIZES.unpack_from(compressed, 4)
    if plain_bytes != pixels.nbytes or compressed_bytes != len(compressed):
        raise ValueError(f"its header speaks of {plain_bytes} bytes in {compressed_bytes}, needed are {pixels.nbytes}")
    try:
        _codecs.blosc_decode(compressed, out=pixels.data.cast("B"), numthreads=_ONE_THREAD)
    except _codecs.BloscError as error:
        raise ValueError("Blosc cannot decompress it") from error
