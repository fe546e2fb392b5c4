"""Images of a tree -> series by their identifiers, and where those contradict each other: a slice may be in the wrong one."""

import os
from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, MutableMapping
from itertools import groupby
from operator import itemgetter

from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.images import FoundImages, SeriesImages, SeriesKey, SeriesMap, make_group
from hipseg.ingest.scattered import find_scattered
from hipseg.ingest.sorting import find_repeated, sort_apart
from hipseg.ingest.stacks import is_volume, round_geometry

MIN_VOLUME = 2
"""Images that a series needs so that another one can be seen to continue it."""

ASKED, NEIGHBOUR = True, False
Group = MutableMapping[SeriesKey, SeriesImages]


def group_images(images: FoundImages) -> Group:
    """Put the images of one series together, wherever they lie.

    The series identifier decides, or the folder where that is empty. Images of it that lost their patient are the patient's whom
    the others name.

    Args:
        images: those of a tree, which are taken out.
    Raises:
        NoRoomError: there are too many for the memory, and they cannot be written to disk.
    """
    series = make_group()
    for name, patients in _by_name(images.take()):
        named = [one for one in patients if one.patient_id]
        if len(named) == 1 < len(patients):
            for lost in (one for one in patients if not one.patient_id):
                named[0].extend(lost)
        for found in named if len(named) == 1 else patients:
            key = (found.patient_id or _stand_in(found), name)
            whole = series.get(key, found)
            if whole is not found:
                whole.extend(found)
            series[key] = whole
    return series


def _by_name(found: Mapping[tuple[str, str], SeriesImages]) -> Iterator[tuple[str, list[SeriesImages]]]:
    """Give the images of each name, by patient; all those of few names are in memory at the same time."""
    repeated = find_repeated(hash(name) for name, _ in found)
    shared: dict[str, list[SeriesImages]] = {}
    for (name, _), images in found.items() if repeated else ():
        if hash(name) in repeated:
            shared.setdefault(name, []).append(images)
    for (name, _), images in found.items():
        if hash(name) not in repeated:
            yield name, [images]
        elif name in shared:
            yield name, shared.pop(name)


def common_folder(images: SeriesImages) -> str:
    """Give the deepest folder that holds all of the images."""
    return os.path.commonpath(images.folders) or "."


def find_contradictions(series: SeriesMap) -> dict[SeriesKey, str]:
    """Find the series of which slices may lie in another one, by damaged or emptied identifiers.

    No geometry shows that a stack lacks its last slice, so both are refused. Source: DICOM PS3.3 C.7.3.1, a series is of one
    patient and has an identifier.

    Returns:
        What is wrong and what to do, by series, in our own words.
    """
    hashes, is_any_unnamed, is_any_single = array("q"), False, False
    for images in series.values():
        hashes.append(hash(images.series_uid))
        is_any_unnamed |= not images.series_uid
        is_any_single |= len(images) == 1
    found: dict[SeriesKey, str] = {}
    for keys, words in (
        *_several_patients(series, find_repeated(hashes)),
        *(_without_identifier(series) if is_any_unnamed else ()),
        *(_single_images(series) if is_any_single else ()),
    ):
        for key in keys:
            found.setdefault(key, words)
    return find_scattered(series) | found if is_any_single else found


def _stand_in(images: SeriesImages) -> str:
    """Name the patient of a series without Patient ID: by its study, else by its folder."""
    return min((header.study_uid for header in images if header.study_uid), default=common_folder(images))


def _several_patients(series: SeriesMap, repeated: Collection[int]) -> Iterator[tuple[list[SeriesKey], str]]:
    by_uid: dict[str, list[SeriesKey]] = defaultdict(list)
    for key, images in series.items() if repeated else ():
        if images.series_uid and hash(images.series_uid) in repeated:
            by_uid[images.series_uid].append(key)
    for keys in by_uid.values():
        if len(keys) > 1:
            yield (
                keys,
                f"contradictory identifiers: {len(keys)} patients (0010,0020) under one series identifier (0020,000E), 1 is "
                "expected; export the series again, each under an identifier of its own",
            )


def _without_identifier(series: SeriesMap) -> Iterator[tuple[list[SeriesKey], str]]:
    for key, other in _neighbours(series, lambda images: not images.series_uid, lambda _: True):
        # Where a folder's images have none at all, the patients alone tell its series apart; else folders do.
        if not series[other].series_uid and series[key].patient_id:
            continue
        if set(series[key].folders).isdisjoint(series[other].folders):
            continue
        yield (
            [key, other],
            f"contradictory identifiers: {len(series[key])} images without series identifier (0020,000E) or patient (0010,0020) "
            f"beside {len(series[other])} of the same geometry; they may be of one series: export it again, or move the "
            "others to a folder of their own",
        )


def _single_images(series: SeriesMap) -> Iterator[tuple[list[SeriesKey], str]]:
    for key, other in _neighbours(series, lambda images: len(images) == 1, lambda images: len(images) >= MIN_VOLUME):
        if is_volume((*series[other], *series[key])):
            yield (
                [key, other],
                f"contradictory identifiers: a single image with others of its own lies in line with {len(series[other])} "
                "beside it, slice by slice; they may be of one series: export it again, or move the image elsewhere",
            )


def _neighbours(
    series: SeriesMap, is_asked: Callable[[SeriesImages], bool], is_neighbour: Callable[[SeriesImages], bool]
) -> Iterator[tuple[SeriesKey, SeriesKey]]:
    """Give each series that is asked for with each neighbour of the same geometry: in its folder, or its study and frame."""
    marks = frozenset(hash(mark) for images in series.values() if is_asked(images) for mark in _marks(images))
    if not marks:
        return

    def gather() -> Iterator[tuple[str, bool, SeriesKey]]:
        for key, images in series.items():
            is_near = is_neighbour(images) and not marks.isdisjoint(map(hash, _marks(images)))
            roles = [role for role, has_role in ((ASKED, is_asked(images)), (NEIGHBOUR, is_near)) if has_role]
            for likeness in set(_likenesses(images)) if roles else ():
                yield from ((repr(likeness), role, key) for role in roles)

    def pair() -> Iterator[tuple[SeriesKey, SeriesKey]]:
        for _, alike in groupby(sort_apart(gather()), key=itemgetter(0)):
            members = [(role, key) for _, role, key in alike]
            asked, near = ([key for one, key in members if one is role] for role in (ASKED, NEIGHBOUR))
            yield from ((key, other) for key in asked for other in near if other != key)

    yield from (one for one, _ in groupby(sort_apart(pair())))


def _marks(images: SeriesImages) -> Iterator[str]:
    """Give the folders and frames of reference of images; who shares none of them is no neighbour."""
    yield from images.folders
    yield from (uid for uid in images.frame_uids if uid)


def _likenesses(images: Iterable[ImageHeader]) -> Iterator[Hashable]:
    """Give what images have in common with their neighbours; many programs give each series a folder of its own."""
    for header in images:
        geometry = round_geometry(header)
        yield "folder", header.folder, header.frame_uid, geometry
        if header.frame_uid and header.study_uid:
            yield "frame", header.study_uid, header.frame_uid, geometry
