"""Which of many series may hold an image of a given identifier, found without the identifiers in memory."""

from array import array
from collections.abc import Collection, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from hipseg.ingest.images import SeriesImages, SeriesKey
from hipseg.ingest.shelf import Shelf
from hipseg.ingest.spill import Spill

BLOCK_HASHES = 1 << 17
"""Looked through at once: 1 MiB."""
HASH_BYTES = 8


class ImageFinder:
    """The hashes of all image identifiers of some series, on disk in the order of the series.

    Looking through them all takes less than a tenth of the time that reading the headers again takes.
    """

    def __init__(self, series: Iterable[tuple[SeriesKey, SeriesImages]]) -> None:
        """Read the headers of all series once.

        Raises:
            NoRoomError: the hashes cannot be written.
        """
        self._keys: Shelf[SeriesKey] = Shelf()
        self._ends = array("q")
        self._spill = Spill()
        self._size = 0
        waiting: list[str] = []
        for key, images in series:
            self._keys.append(key)
            waiting.extend(header.instance_uid for header in images)
            self._ends.append(self._size + len(waiting))
            if len(waiting) >= BLOCK_HASHES:
                self._write(waiting)
        self._write(waiting)

    def find(self, image_uids: Collection[str]) -> Iterator[SeriesKey]:
        """Give the series that may have one of the images; hashes of two identifiers may be equal."""
        wanted = np.sort(_hash(image_uids))
        found: set[int] = set()
        for start in range(0, self._size if wanted.size else 0, BLOCK_HASHES):
            count = min(BLOCK_HASHES, self._size - start)
            hashes = np.frombuffer(self._spill.read(start * HASH_BYTES, count * HASH_BYTES), np.int64)
            nearest = wanted[np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)]
            places = start + np.flatnonzero(nearest == hashes)
            found.update(np.searchsorted(self._ends, places, side="right").tolist())
        return (self._keys[number] for number in sorted(found))

    def _write(self, image_uids: list[str]) -> None:
        """Put the hashes of identifiers on disk, and forget them."""
        if image_uids:
            self._spill.write(_hash(image_uids).tobytes())
        self._size += len(image_uids)
        image_uids.clear()


def _hash(image_uids: Collection[str]) -> NDArray[np.int64]:
    return np.fromiter(map(hash, image_uids), np.int64, len(image_uids))
