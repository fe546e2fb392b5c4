"""The images of a tree by the series that they name, and what has to be known of a series while its headers are on disk."""

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, overload

from hipseg.ingest import spill as bounds
from hipseg.ingest.headers import ImageHeader, has_regions
from hipseg.ingest.register import Register
from hipseg.ingest.spill import Spill, SpillList, restore_list
from hipseg.ingest.stacks import round_geometry

SeriesKey = tuple[str, str]
"""Patient and series identifier; private."""
Marks = tuple[str, int | None, int | None, tuple[float, ...] | None]
"""Stack, time point, acquisition number and orientation of an image."""
MAX_KEPT = 8
"""Folders and frames of reference of a series that are kept in memory; of one that has more, be it a folder an image, they are
read out of its headers again."""


class SeriesImages(Sequence[ImageHeader]):
    """The images of one series in the order in which they were found.

    What is asked of every series of a tree is an attribute, so that no header is read for it.

    Args:
        spill: what bounds their memory.
    Attributes:
        patient_id, series_uid, frame_uid: of the first image.
        likeness: hash of the study and the geometry of the first image, and of the frame of reference in which it lies, or its
            folder where it names none: positions can be compared within one of them. Where it names no series, its folder tells
            as little as a study that may be lost, too: there, of the geometry and the frame of reference.
        has_regions: whether any has overlay planes that are no graphics.
        is_alike: whether all have the same stack, time point, acquisition number and, to the last bit, orientation.
        has_bare: whether any has no rescale slope.
    """

    __slots__ = (
        *("_folders", "_frame_uids", "_headers", "_marks", "_spill", "frame_uid", "has_bare", "has_regions", "is_alike"),
        *("likeness", "patient_id", "series_uid"),
    )

    def __init__(self, spill: Spill) -> None:
        self._spill = spill
        self._headers = SpillList[ImageHeader](spill)
        self._folders: tuple[str, ...] = ()
        self._frame_uids: tuple[str, ...] = ()
        self.patient_id = self.series_uid = self.frame_uid = ""
        self.has_regions, self.is_alike, self.has_bare = False, True, False
        self.likeness = 0

    @property
    def is_spilled(self) -> bool:
        """Say whether some of the headers are on disk."""
        return self._headers.is_spilled

    @property
    def folders(self) -> Collection[str]:
        """The folders that the images lie in."""
        return self._folders if len(self._folders) <= MAX_KEPT else {header.folder for header in self}

    @property
    def frame_uids(self) -> Collection[str]:
        """The frames of reference that the images name."""
        return self._frame_uids if len(self._frame_uids) <= MAX_KEPT else {header.frame_uid for header in self}

    def append(self, header: ImageHeader) -> None:
        """Add an image; the caller tells the spill."""
        marks = header.stack_id, header.time_point, header.acquisition_number, header.orientation
        if not self._headers:
            self.patient_id, self.series_uid, self.frame_uid = header.patient_id, header.series_uid, header.frame_uid
            self._marks = _share(marks)
            study = (header.study_uid, header.frame_uid or header.folder) if header.series_uid else ("", header.frame_uid)
            self.likeness = hash((*study, round_geometry(header)))
        elif self.is_alike and marks != self._marks:
            self.is_alike = False
        if header.folder not in self._folders and len(self._folders) <= MAX_KEPT:
            self._folders += (header.folder,)
        if header.frame_uid not in self._frame_uids and len(self._frame_uids) <= MAX_KEPT:
            self._frame_uids += (header.frame_uid,)
        if header.overlays and not self.has_regions:
            self.has_regions = has_regions(header)
        if header.slope is None:
            self.has_bare = True
        self._headers.append(header)

    def extend(self, headers: Iterable[ImageHeader]) -> None:
        """Add images in one go.

        Raises:
            NoRoomError: there are too many for the memory, and they cannot be written to disk.
        """
        before = len(self._headers)
        for header in headers:
            self.append(header)
        self._spill.relieve(len(self._headers) - before)

    def __reduce__(self) -> tuple[Any, ...]:
        """Be put on a shelf in a fraction of the usual time; the headers are written out for it."""
        return _restore, (self._spill, self._headers.put_away(), _values_of(self))

    def settled(self) -> Sequence[ImageHeader]:
        """Give the headers alone, in as little memory as they need."""
        return self._headers.settled()

    def __len__(self) -> int:
        return len(self._headers)

    def __iter__(self) -> Iterator[ImageHeader]:
        return iter(self._headers)

    @overload
    def __getitem__(self, index: int) -> ImageHeader: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ImageHeader]: ...
    def __getitem__(self, index: int | slice) -> ImageHeader | Sequence[ImageHeader]:
        return self._headers[index]


@lru_cache(maxsize=64)
def _share(marks: Marks) -> Marks:
    """Give marks as they were given before: most series have the same."""
    return marks


_KNOWN = (
    *("_folders", "_frame_uids", "_marks", "frame_uid", "has_bare", "has_regions", "is_alike", "likeness"),
    *("patient_id", "series_uid"),
)
_values_of: Callable[[SeriesImages], tuple[Any, ...]] = attrgetter(*_KNOWN)


def _restore(spill: Spill, headers: tuple[int, int], values: tuple[Any, ...]) -> SeriesImages:
    images = SeriesImages.__new__(SeriesImages)
    images._spill, images._headers = spill, restore_list(spill, *headers)
    for name, value in zip(_KNOWN, values, strict=True):
        setattr(images, name, value)
    return images


SeriesMap = Mapping[SeriesKey, SeriesImages]


def make_group() -> Register[SeriesKey, SeriesImages]:
    """Make an empty map of series, of which no more are in memory than there may be headers."""
    return Register(bounds.ITEMS_IN_MEMORY)


class FoundImages(Collection[ImageHeader]):
    """Images as a walk finds them, put together at once by what they name: a series, or where they do not, their folder.

    It is walked through by series and patient, in the order in which those appeared. When the spill writes headers out, what is
    known of their series is put away, too.
    """

    def __init__(self, spill: Spill) -> None:
        self.spill = spill
        self._growing: dict[tuple[str, str], SeriesImages] = {}
        self._by_names = make_group()
        self._count = 0
        self._flushes = spill.flushes

    def extend(self, headers: Iterable[ImageHeader]) -> None:
        """Add the images of one file.

        Raises:
            NoRoomError: there are too many for the memory, and they cannot be written to disk.
        """
        before = self._count
        for header in headers:
            names = header.series_uid or header.folder, header.patient_id
            images = self._growing.get(names)
            if images is None:
                images = self._growing[names] = self._by_names.get(names) or SeriesImages(self.spill)
            images.append(header)
            self._count += 1
        self.spill.relieve(self._count - before)
        if self.spill.flushes != self._flushes:
            self._settle()

    def take(self) -> Register[tuple[str, str], SeriesImages]:
        """Hand over the images by the series, or folder, and patient that they name; none are left."""
        self._settle()
        taken, self._by_names, self._count = self._by_names, make_group(), 0
        return taken

    def _settle(self) -> None:
        """Put away what is known of series."""
        for names, images in self._growing.items():
            self._by_names[names] = images
        self._growing.clear()
        self._flushes = self.spill.flushes

    def drop_bare(self, series: Container[SeriesKey]) -> int:
        """Take out the images without a rescale slope that are of certain series.

        Returns:
            Their number.
        Raises:
            NoRoomError: the others cannot be written to disk again.
        """
        before = self._count
        self._settle()
        for names in [names for names, images in self._by_names.items() if images.has_bare]:
            images = self._by_names[names]
            kept = [one for one in images if one.slope is not None or (one.patient_id, one.series_uid) not in series]
            self._count -= len(images) - len(kept)
            if not kept:
                del self._by_names[names]
            elif len(kept) < len(images):
                fewer = SeriesImages(self.spill)
                fewer.extend(kept)
                self._by_names[names] = fewer
        return before - self._count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[ImageHeader]:
        self._settle()
        for images in self._by_names.values():
            yield from images

    def __contains__(self, header: object) -> bool:
        return any(header == one for one in self)
