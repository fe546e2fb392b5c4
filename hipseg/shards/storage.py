"""How the image of a case is stored: int16 without loss, or uint8 over a window; and the digests of pixels and shards."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from hipseg.errors import ConfigError
from hipseg.shards.codec import Codec
from hipseg.shards.schema import WindowHu

STORED_MAX = 255
"""Highest stored value; it stands for the upper end of the window."""
INT16 = np.iinfo(np.int16)
INT16_IMAGE: np.dtype[Any] = np.dtype("<i2")
UINT8_IMAGE: np.dtype[Any] = np.dtype("u1")
BLOCK_BYTES = 1 << 20
"""Of a file that is digested; two of them fit a processor's own cache."""


@dataclass(frozen=True)
class Storage:
    """How images are stored.

    Args:
        codec: Blosc's compressor.
        window_hu: HU that become 0 and 255; what lies beyond is clamped. None stores int16 without loss.
    Raises:
        ConfigError: the window is empty, reversed or beyond int16.
    """

    codec: Codec = "lz4"
    window_hu: WindowHu | None = None

    def __post_init__(self) -> None:
        """Refuse a window that holds nothing."""
        if self.window_hu is None:
            return
        low_hu, high_hu = self.window_hu
        if not INT16.min <= low_hu < high_hu <= INT16.max:
            raise ConfigError(
                f"impossible window {low_hu} to {high_hu} HU; the first must be lower, both within {INT16.min} to {INT16.max}"
            )


LOSSLESS = Storage()


def image_dtype(window_hu: WindowHu | None) -> np.dtype[Any]:
    """Give the type that an image is stored as."""
    return INT16_IMAGE if window_hu is None else UINT8_IMAGE


@lru_cache(maxsize=8)
def stored_of_hu(window_hu: WindowHu) -> NDArray[np.uint8]:
    """Give the stored value of every int16, by its bits read as uint16.

    Args:
        window_hu: HU of stored values 0 and 255; values between go to the nearest. Which way a half goes is part of the format:
            the rounded quotient below decides it (FORMAT.md).
    """
    low_hu, high_hu = window_hu
    hu = np.arange(INT16.max * 2 + 2, dtype=np.uint16).view(np.int16).astype(np.float64)
    scaled = (np.clip(hu, low_hu, high_hu) - low_hu) * (STORED_MAX / (high_hu - low_hu))
    table: NDArray[np.uint8] = np.rint(scaled).astype(np.uint8)
    return table


@lru_cache(maxsize=8)
def hu_of_stored(window_hu: WindowHu) -> NDArray[np.int16]:
    """Give the HU of each of the 256 stored values; within the window they are off by half a step at most.

    A step is (high - low) / 255 HU; rounding to whole HU adds half of one.
    """
    low_hu, high_hu = window_hu
    table: NDArray[np.int16] = np.rint(low_hu + np.arange(STORED_MAX + 1) * ((high_hu - low_hu) / STORED_MAX)).astype(np.int16)
    return table


def to_hu(stored: NDArray[Any], window_hu: WindowHu | None) -> NDArray[np.int16]:
    """Give Hounsfield units out of stored values; int16 ones are returned as they are."""
    return stored if window_hu is None else np.take(hu_of_stored(window_hu), stored)


def to_stored(image_hu: NDArray[np.int16], window_hu: WindowHu | None) -> NDArray[Any]:
    """Give what is stored for Hounsfield units; without a window they are returned as they are."""
    if window_hu is None:
        return image_hu
    return np.take(stored_of_hu(window_hu), np.ascontiguousarray(image_hu).view(np.uint16))


def slice_digest(stored: NDArray[Any]) -> bytes:
    """Give the BLAKE3 digest of one slice's plain bytes in C order, 32 bytes."""
    return blake3(stored.data.cast("B")).digest()


def volume_digest(slice_digests: Iterable[bytes]) -> str:
    """Give the BLAKE3 digest, in hexadecimal, of the slices' digests one after another: slices are digested in parallel."""
    return blake3(b"".join(slice_digests)).hexdigest()


def shard_digest(path: Path) -> str:
    """Give the BLAKE3 digest of a file's bytes, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    digest, block = blake3(), memoryview(bytearray(BLOCK_BYTES))
    with path.open("rb", buffering=0) as handle:
        while found := handle.readinto(block):
            digest.update(block[:found])
    return digest.hexdigest()
