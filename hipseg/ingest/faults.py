"""What a tree lacks without any slice showing it: files that cannot be read, archives, files that a DICOMDIR lists."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath
from types import MappingProxyType

from hipseg.ingest.continuing import find_parts
from hipseg.ingest.dicomdir import ListedSeries, find_absent, read_directory
from hipseg.ingest.dicomfile import UnreadableFileError
from hipseg.ingest.grouping import common_folder, find_contradictions
from hipseg.ingest.images import SeriesImages, SeriesKey, SeriesMap
from hipseg.ingest.layout import LINKS, UNOPENED
from hipseg.ingest.register import Register
from hipseg.ingest.scan import FaultyArchive, FoundFile, Scan
from hipseg.ingest.unknown import CUT_SHORT, DAMAGED, PACKED, POINTER, ZEROS, shape_of

UNREAD_REASONS = frozenset((DAMAGED, CUT_SHORT))
"""Reasons of files that `open_case` words, by their number alone."""
CALLED_ALIKE = "file called like slices beside it"
OTHER_KIND = "call themselves another kind of object: a series has one modality; export it again, or move them elsewhere"
"""Source: DICOM PS3.3 C.7.3.1.1.1."""
WORDS: Mapping[str, str] = MappingProxyType(
    {
        UNOPENED: "cannot be opened; make them readable, or move them elsewhere if they are none of its slices",
        **dict.fromkeys(
            LINKS,
            "are symbolic links, which are not followed; put the files themselves in their place, or move the links elsewhere",
        ),
        PACKED: "are compressed files called DICOM (.dcm.gz and the like); unpack them in their place, or move them elsewhere if "
        "they are none of its slices",
        ZEROS: "begin with zeros alone, as a copy that broke off leaves them; copy them again, or move them elsewhere if they "
        "are none of its slices",
        POINTER: "are pointers of git-lfs or git-annex in the place of files; fetch these (git lfs pull, git annex get), or move "
        "them elsewhere if they are none of its slices",
        CALLED_ALIKE: "are called like its slices and are no DICOM; copy or export them again, or move them elsewhere if they "
        "are none of its slices",
    }
)
"""What is wrong with files that may be slices, and what to do, by reason."""


@dataclass(frozen=True, repr=False)
class Fault:
    """Why a series cannot be packed whole, in our own words; and the folder concerned, which is private."""

    reason: str
    folder: str


@dataclass(frozen=True, repr=False)
class Losses:
    """What is known to be wrong with series.

    Args:
        faults: the first fault of each. One that belongs to none of the series has a key of its own, made of the archive's place
            or of what the DICOMDIR says, so that it is refused by name and not passed over.
        damaged: number of damaged files that may be its slices, by series.
        warnings: what is odd about a series that is taken, in our own words.
    """

    faults: Mapping[SeriesKey, Fault]
    damaged: Mapping[SeriesKey, int]
    warnings: Mapping[SeriesKey, str]

    @property
    def lacking(self) -> frozenset[SeriesKey]:
        """The series of which something is, or may be, lost."""
        return frozenset(self.faults) | {key for key, count in self.damaged.items() if count}


def find_lacking(scan: Scan, captures: SeriesMap, series: SeriesMap) -> frozenset[SeriesKey]:
    """Find the series of captures of which something is, or may be, lost: a plane that is missing shows in nothing.

    Args:
        scan: what the tree holds.
        captures: series of captures.
        series: those of CT, whose damaged files are no captures.
    """
    known = {images.series_uid for images in series.values()} - {""} if captures and scan.damaged else set()
    unread = [file for file in scan.damaged if captures and file.series_uid not in known]
    folders, uids = {file.folder for file in unread}, {file.series_uid for file in unread} - {""}
    return frozenset(
        key
        for key, images in captures.items()
        if images.series_uid in uids
        or not folders.isdisjoint(images.folders)
        or any(_has_part(images, archive) for archive in scan.faults)
    )


def find_losses(scan: Scan, series: SeriesMap, set_aside: Counter[str]) -> Losses:
    """Find the series that are known to be incomplete, or may be.

    Args:
        scan: what the tree holds.
        series: its series, each of them whole.
        set_aside: gets the files that are no slices of any series.
    """
    faults: dict[SeriesKey, Fault] = {}
    for archive in scan.faults:
        inside = [key for key, images in series.items() if _has_part(images, archive)]
        for key in inside or [(archive.folder, archive.folder)]:
            faults.setdefault(key, Fault(archive.reason, archive.folder))
    _find_unlisted(scan, series, faults)
    unread = _place_unread(scan, series, set_aside)
    for key, counts in unread.items():
        for reason in counts.keys() - UNREAD_REASONS:
            words = f"incomplete series: {counts[reason]} of {len(series[key]) + counts[reason]} files beside each other "
            faults.setdefault(key, Fault(words + WORDS.get(reason, OTHER_KIND), common_folder(series[key])))
    parts = find_parts(series)
    for key, words in (*find_contradictions(series).items(), *parts.faults.items()):
        faults.setdefault(key, Fault(words, common_folder(series[key])))
    damaged = {key: sum(counts[reason] for reason in UNREAD_REASONS) for key, counts in unread.items()}
    return Losses(faults, damaged, parts.warnings)


def _find_unlisted(scan: Scan, series: SeriesMap, faults: dict[SeriesKey, Fault]) -> None:
    """Add the series that a DICOMDIR lists and that are not whole."""
    for directory in scan.directories:
        for listed, missing in _find_missing(directory, scan, series):
            reason = (
                f"incomplete series: {missing} of the {len(listed.files)} images that a DICOMDIR lists for it are missing; "
                "copy the medium again, or remove the DICOMDIR if images were left out or changed on purpose"
            )
            for key in _find_keys(listed, series) or [_make_key(listed, directory)]:
                faults.setdefault(key, Fault(reason, directory.folder))


def _place_unread(scan: Scan, series: SeriesMap, set_aside: Counter[str]) -> Mapping[SeriesKey, Counter[str]]:
    """Give files that may be slices to every series that they may be of, by reason; the others are set aside.

    What a header still tells of its series decides, else the folder. Lone images in one folder are a collection and no stacks, of
    which one could lack its end.
    """
    by_uid, by_folder = _find_beside(scan, series)
    unread: dict[SeriesKey, Counter[str]] = defaultdict(Counter)

    def place(keys: Collection[SeriesKey], reason: str, count: int) -> None:
        set_aside.update({} if keys else {reason: count})
        for key in keys:
            unread[key][reason] += count

    for file in scan.damaged:
        beside = by_folder.get(file.folder, set())
        named = by_uid.get(file.series_uid) if file.series_uid else None
        place(named or (set() if _is_collection(beside, series) else beside), file.reason, 1)
    for (reason, series_uid), count in scan.others.items():
        place(by_uid.get(series_uid, set()) if series_uid else set(), reason, count)
    alike = _find_alike(scan, series)
    for (folder, shape, reason), count in scan.unknown.items():
        if like := alike.get((folder, shape)):
            set_aside -= Counter({reason: count})
            place(set() if _is_collection(like, series) else like, CALLED_ALIKE, count)
    return unread


def _find_beside(scan: Scan, series: SeriesMap) -> tuple[Mapping[str, set[SeriesKey]], Mapping[str, set[SeriesKey]]]:
    """Give the series of which unread files may be, by the identifier that they name and by their folder."""
    by_uid: dict[str, set[SeriesKey]] = defaultdict(set)
    by_folder: dict[str, set[SeriesKey]] = defaultdict(set)
    folders, uids = {file.folder for file in scan.damaged}, Register[str, None]()
    for uid in chain((file.series_uid for file in scan.damaged), (uid for _, uid in scan.others)):
        uids[uid] = None
    for key, images in series.items() if uids else ():
        if images.series_uid in uids:
            by_uid[images.series_uid].add(key)
        for folder in folders.intersection(images.folders):
            by_folder[folder].add(key)
    return by_uid, by_folder


def _is_collection(beside: Collection[SeriesKey], series: SeriesMap) -> bool:
    return len(beside) > 1 and all(len(series[key]) == 1 for key in beside)


def _find_alike(scan: Scan, series: SeriesMap) -> Mapping[tuple[str, str], Collection[SeriesKey]]:
    """Find the series beside files that are nothing and are called like its slices, by folder and shape of the name."""
    shapes = {(folder, shape) for folder, shape, _ in scan.unknown}
    folders = {folder for folder, _ in shapes}
    alike: dict[tuple[str, str], set[SeriesKey]] = defaultdict(set)
    for key, images in series.items() if shapes else ():
        if not folders.isdisjoint(images.folders):
            for shape in shapes.intersection((header.folder, shape_of(header.path.name)) for header in images):
                alike[shape].add(key)
    return alike


def _has_part(images: SeriesImages, archive: FaultyArchive) -> bool:
    """Say whether slices of a series lie in an archive, read or not."""
    return images.series_uid in archive.series_uids or any(_lies_in(folder, archive.folder) for folder in images.folders)


def _lies_in(folder: str, archive: str) -> bool:
    return folder == archive or folder.startswith(f"{archive}/")


def _place(folder: str, name: str | PurePosixPath) -> str:
    # Media are often mounted with small letters, whatever their DICOMDIR says.
    return (PurePosixPath(folder) / name).as_posix().lower()


def _find_missing(directory: FoundFile, scan: Scan, series: SeriesMap) -> Iterator[tuple[ListedSeries, int]]:
    """Give the listed series of which images are missing; one that is set aside is there, too, and one by another name."""
    try:
        listing = read_directory(directory.path)
        present = _find_present(directory, listing, scan, series)
        unseen = [
            {file for file, uid in zip(one.files, one.image_uids, strict=True) if not _is_seen(directory, file, uid, present)}
            for one in listing
        ]
        absent = find_absent(directory.path, set().union(*unseen))
        for listed, files in zip(listing, unseen, strict=True):
            if missing := len(files & absent):
                yield listed, missing
    except (OSError, UnreadableFileError):
        # What it lists cannot be told; the series are judged by their slices alone, as without a DICOMDIR.
        return


@dataclass(frozen=True, repr=False)
class _Present:
    """Images that a DICOMDIR lists and that were found: by their place, and by their identifier, whatever they are called now."""

    places: Collection[str]
    uids: Collection[str]


def _is_seen(directory: FoundFile, file: PurePosixPath, uid: str, present: _Present) -> bool:
    return uid in present.uids or _place(directory.folder, file) in present.places


def _find_present(directory: FoundFile, listing: Sequence[ListedSeries], scan: Scan, series: SeriesMap) -> _Present:
    """Look for listed images among those of the series in the DICOMDIR's folder, and among those set aside."""
    inside = "" if directory.folder == "." else f"{directory.folder}/".lower()
    listed = {_place(directory.folder, file) for one in listing for file in one.files}
    listed_uids = {uid for one in listing for uid in one.image_uids if uid}
    seen = chain(scan.aside_uids, (header.instance_uid for header in scan.captures))
    places, uids = set(), listed_uids.intersection(seen)
    for images in series.values():
        if any(f"{folder}/".lower().startswith(inside) for folder in images.folders):
            for header in images:
                if header.instance_uid in listed_uids:
                    uids.add(header.instance_uid)
                if (place := _place(header.folder, header.path.name)) in listed:
                    places.add(place)
    return _Present(places, uids)


def _find_keys(listed: ListedSeries, series: SeriesMap) -> list[SeriesKey]:
    return [key for key, images in series.items() if images.series_uid == listed.series_uid != ""]


def _make_key(listed: ListedSeries, directory: FoundFile) -> SeriesKey:
    return listed.patient_id or directory.folder, listed.series_uid or directory.folder
