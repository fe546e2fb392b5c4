"""Images of a tree -> series by their identifiers, and where those contradict each other: a slice may be in the wrong one."""

import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator

from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.images import FoundImages, SeriesImages, SeriesKey, SeriesMap
from hipseg.ingest.scattered import find_scattered
from hipseg.ingest.stacks import is_volume, round_geometry

MIN_VOLUME = 2
"""Images that a series needs so that another one can be seen to continue it."""

Group = dict[SeriesKey, SeriesImages]


def group_images(images: FoundImages) -> Group:
    """Put the images of one series together, wherever they lie.

    The series identifier decides, or the folder where that is empty. Images of it that lost their patient are the patient's whom
    the others name.

    Args:
        images: those of a tree, which are taken out.
    Raises:
        NoRoomError: there are too many for the memory, and they cannot be written to disk.
    """
    by_name: dict[str, list[SeriesImages]] = defaultdict(list)
    for (name, _), found in images.take().items():
        by_name[name].append(found)
    series: Group = {}
    for name, patients in by_name.items():
        named = [one for one in patients if one.patient_id]
        if len(named) == 1 < len(patients):
            for lost in (one for one in patients if not one.patient_id):
                named[0].extend(lost)
        for found in named if len(named) == 1 else patients:
            key = (found.patient_id or _stand_in(found), name)
            if key in series:
                series[key].extend(found)
            else:
                series[key] = found
    return series


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
    found: dict[SeriesKey, str] = {}
    for keys, words in (*_several_patients(series), *_without_identifier(series), *_single_images(series)):
        for key in keys:
            found.setdefault(key, words)
    return find_scattered(series) | found


def _stand_in(images: SeriesImages) -> str:
    """Name the patient of a series without Patient ID: by its study, else by its folder."""
    return min((header.study_uid for header in images if header.study_uid), default=common_folder(images))


def _several_patients(series: SeriesMap) -> Iterator[tuple[list[SeriesKey], str]]:
    by_uid: dict[str, list[SeriesKey]] = defaultdict(list)
    for key, images in series.items():
        if images.series_uid:
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
    likenesses = {key: set(_likenesses(images)) for key, images in series.items() if is_asked(images)}
    if not likenesses:
        return
    asked = frozenset[Hashable]().union(*likenesses.values())
    folders = frozenset[str]().union(*(series[key].folders for key in likenesses))
    frame_uids = frozenset[str]().union(*(series[key].frame_uids for key in likenesses)) - {""}
    by_likeness: dict[Hashable, set[SeriesKey]] = defaultdict(set)
    for key, images in series.items():
        if is_neighbour(images) and not (folders.isdisjoint(images.folders) and frame_uids.isdisjoint(images.frame_uids)):
            for likeness in asked.intersection(_likenesses(images)):
                by_likeness[likeness].add(key)
    for key in sorted(likenesses):
        alike = set().union(*(by_likeness.get(likeness, ()) for likeness in likenesses[key]))
        yield from ((key, other) for other in sorted(alike - {key}))


def _likenesses(images: Iterable[ImageHeader]) -> Iterator[Hashable]:
    """Give what images have in common with their neighbours; many programs give each series a folder of its own."""
    for header in images:
        geometry = round_geometry(header)
        yield "folder", header.folder, header.frame_uid, geometry
        if header.frame_uid and header.study_uid:
            yield "frame", header.study_uid, header.frame_uid, geometry
