"""The series of a tree by what mask files name them by: identifiers, frames of reference, folders and grids."""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import PurePosixPath
from typing import TypeVar

from hipseg.errors import SeriesError
from hipseg.geometry import Grid
from hipseg.ingest.finder import ImageFinder
from hipseg.ingest.images import SeriesImages, SeriesKey, SeriesMap
from hipseg.ingest.lattices import Lattices
from hipseg.ingest.register import Register
from hipseg.ingest.series import OrderedSeries, order_series
from hipseg.ingest.shelf import Shelf
from hipseg.ingest.sorting import sort_apart

Word = TypeVar("Word", str, int)

MAX_ORDERED = 8
"""Series whose headers are on disk that are kept in order at the same time."""


class SeriesIndex:
    """The series of a tree; what is asked for is worked out once.

    It must not be added to meanwhile. What it looks things up in lies sorted on disk where there are many series.
    `other_uids` are the identifiers of series of other modalities in the tree.
    """

    def __init__(self, series: SeriesMap, other_uids: Collection[str] = ()) -> None:
        self.series = series
        self.other_uids = frozenset(other_uids)
        self._ordered: dict[SeriesKey, OrderedSeries | None] = {}
        self._grids: Register[SeriesKey, Grid | None] = Register()
        self._lattices: tuple[tuple[SeriesKey, ...], Lattices] | None = None

    def find_patient(self, patient_id: str) -> Sequence[SeriesKey]:
        """Give the series of a patient, sorted."""
        return self._keys[bisect_left(self._keys, (patient_id,)) : bisect_left(self._keys, (f"{patient_id}\0",))]

    def find_alike(self, likeness: int) -> Sequence[SeriesKey]:
        """Give the series of one study, frame of reference and geometry, whoever their patients are."""
        return _find(self._by_likeness, (likeness,))

    def find_below(self, folder: str) -> tuple[SeriesKey, ...]:
        """Give the series in or below the first folder that has some, going up from one."""
        start = PurePosixPath(folder)
        for up in (start, *start.parents):
            begin = _begin(up.as_posix())
            # What begins with "a/" comes before "a0", and all comes after "".
            end = bisect_left(self._by_folder, (f"{begin[:-1]}0",)) if begin else len(self._by_folder)
            found = self._by_folder[bisect_left(self._by_folder, (begin,)) : end]
            if found:
                return tuple(sorted({key for _, key in found}))
        return ()

    def lattices(self, keys: tuple[SeriesKey, ...]) -> Lattices:
        """Give the grids of some series side by side; those of the last ones asked for stay, as label files of one folder ask."""
        if self._lattices is None or self._lattices[0] != keys:
            self._lattices = keys, Lattices((key, self.grid(key)) for key in keys)
        return self._lattices[1]

    def find_in(self, folder: str) -> tuple[SeriesKey, ...]:
        """Give the series of which images lie in a folder itself."""
        return _find(self._by_folder, (_begin(folder),))

    def find_named(self, series_uids: Collection[str]) -> tuple[SeriesKey, ...]:
        """Give the series of some identifiers."""
        return _find(self._by_series_uid, series_uids)

    def find_framed(self, frame_uids: Collection[str]) -> tuple[SeriesKey, ...]:
        """Give the series of which images lie in some frames of reference."""
        return _find(self._by_frame_uid, frame_uids)

    def find_imaged(self, image_uids: Collection[str]) -> tuple[SeriesKey, ...]:
        """Give the series that have an image of some identifiers.

        Raises:
            NoRoomError: the identifiers of all images cannot be written to disk.
        """
        if not image_uids:
            return ()
        in_memory = (key for key, images in self.series.items() if not images.is_spilled)
        candidates = {*in_memory, *self._finder.find(image_uids)}
        return tuple(sorted(key for key in candidates if self.has_image(key, image_uids)))

    def has_image(self, key: SeriesKey, image_uids: Collection[str]) -> bool:
        """Say whether a series has an image of some identifiers."""
        return any(header.instance_uid in image_uids for header in self.series[key])

    def grid(self, key: SeriesKey) -> Grid | None:
        """Give the grid of a series; None where its slices lie on none, be it that they are tilted."""
        if key not in self._grids:
            ordered = self.ordered(key)
            self._grids[key] = None if ordered is None or ordered.shifts_mm_yx else ordered.grid
        return self._grids[key]

    def ordered(self, key: SeriesKey) -> OrderedSeries | None:
        """Give a series in order, tilted or not; None where it is no volume, which is refused when it is opened."""
        if key not in self._ordered:
            self._ordered[key] = _order(self.series[key])
            if self.series[key].is_spilled and len(self._ordered) > MAX_ORDERED:
                del self._ordered[next(iter(self._ordered))]
        return self._ordered[key]

    @cached_property
    def _keys(self) -> Shelf[SeriesKey]:
        return Shelf(sort_apart(self.series))

    @cached_property
    def _by_folder(self) -> Shelf[tuple[str, SeriesKey]]:
        return Shelf(sort_apart((_begin(folder), key) for key, images in self.series.items() for folder in images.folders))

    @cached_property
    def _by_likeness(self) -> Shelf[tuple[int, SeriesKey]]:
        return Shelf(sort_apart((images.likeness, key) for key, images in self.series.items()))

    @cached_property
    def _by_series_uid(self) -> Shelf[tuple[str, SeriesKey]]:
        return Shelf(sort_apart((images.series_uid, key) for key, images in self.series.items()))

    @cached_property
    def _by_frame_uid(self) -> Shelf[tuple[str, SeriesKey]]:
        return Shelf(sort_apart((frame_uid, key) for key, images in self.series.items() for frame_uid in images.frame_uids))

    @cached_property
    def _finder(self) -> ImageFinder:
        return ImageFinder((key, images) for key, images in self.series.items() if images.is_spilled)


def _begin(folder: str) -> str:
    """Give what the paths in a folder begin with."""
    return "" if folder == "." else f"{folder}/"


def _find(pairs: Sequence[tuple[Word, SeriesKey]], words: Iterable[Word]) -> tuple[SeriesKey, ...]:
    """Give the keys of some words out of a sorted list."""
    found = set()
    for word in words:
        place = bisect_left(pairs, (word,))
        while place < len(pairs) and pairs[place][0] == word:
            found.add(pairs[place][1])
            place += 1
    return tuple(sorted(found))


def _order(images: SeriesImages) -> OrderedSeries | None:
    try:
        return order_series(tuple(images), "", takes_tilt=True)
    except SeriesError:
        return None
