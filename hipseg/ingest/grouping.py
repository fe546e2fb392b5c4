"""Images of a tree -> series by their identifiers, and where those contradict each other: a slice may be in the wrong one."""

import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence

from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.pairing import SeriesKey, SeriesMap
from hipseg.ingest.stacks import is_volume, round_orientation

SPACING_DIGITS = 3
"""Pixel spacings that agree in so many decimals (mm) are alike."""
MIN_VOLUME = 2
"""Images that a series needs so that another one can be seen to continue it."""

Group = dict[SeriesKey, tuple[ImageHeader, ...]]


def group_images(images: Sequence[ImageHeader]) -> Group:
    """Put the images of one series together, wherever they lie.

    The series identifier decides, or the folder where that is empty. Images of it that lost their patient are the patient's whom
    the others name.
    """
    by_name: dict[str, dict[str, list[ImageHeader]]] = defaultdict(dict)
    for header in images:
        by_name[header.series_uid or header.folder].setdefault(header.patient_id, []).append(header)
    series: Group = {}
    for name, patients in by_name.items():
        named = [patient_id for patient_id in patients if patient_id]
        if len(named) == 1 and "" in patients:
            patients[named[0]] += patients.pop("")
        for patient_id, found in patients.items():
            key = (patient_id or _stand_in(found), name)
            series[key] = (*series.get(key, ()), *found)
    return series


def common_folder(images: Sequence[ImageHeader]) -> str:
    """Give the deepest folder that holds all of the images."""
    return os.path.commonpath({header.folder for header in images}) or "."


def round_spacing(header: ImageHeader) -> Hashable:
    """Give the pixel spacing of an image as far as series are told apart by it."""
    return tuple(round(value, SPACING_DIGITS) for value in header.pixel_spacing_mm or ())


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
    return found


def _stand_in(images: Sequence[ImageHeader]) -> str:
    """Name the patient of a series without Patient ID: by its study, else by its folder."""
    return min((header.study_uid for header in images if header.study_uid), default=common_folder(images))


def _several_patients(series: SeriesMap) -> Iterator[tuple[list[SeriesKey], str]]:
    by_uid: dict[str, list[SeriesKey]] = defaultdict(list)
    for key, images in series.items():
        if images[0].series_uid:
            by_uid[images[0].series_uid].append(key)
    for keys in by_uid.values():
        if len(keys) > 1:
            yield (
                keys,
                f"contradictory identifiers: {len(keys)} patients (0010,0020) under one series identifier (0020,000E), 1 is "
                "expected; export the series again, each under an identifier of its own",
            )


def _without_identifier(series: SeriesMap) -> Iterator[tuple[list[SeriesKey], str]]:
    for key, other in _neighbours(series, lambda images: not images[0].series_uid):
        # Where a folder's images have none at all, the patients alone tell its series apart.
        if not series[other][0].series_uid and series[key][0].patient_id:
            continue
        yield (
            [key, other],
            f"contradictory identifiers: {len(series[key])} images without series identifier (0020,000E) or patient (0010,0020) "
            f"beside {len(series[other])} of the same geometry; they may be of one series: export it again, or move the "
            "others to a folder of their own",
        )


def _single_images(series: SeriesMap) -> Iterator[tuple[list[SeriesKey], str]]:
    for key, other in _neighbours(series, lambda images: len(images) == 1):
        if len(series[other]) >= MIN_VOLUME and is_volume((*series[other], *series[key])):
            yield (
                [key, other],
                f"contradictory identifiers: a single image with others of its own lies in line with {len(series[other])} "
                "beside it, slice by slice; they may be of one series: export it again, or move the image elsewhere",
            )


def _neighbours(series: SeriesMap, is_asked: Callable[[Sequence[ImageHeader]], bool]) -> Iterator[tuple[SeriesKey, SeriesKey]]:
    """Give each series that is asked for with each other one of the same geometry in a folder of its images."""
    asked = {key for key, images in series.items() if is_asked(images)}
    if not asked:
        return
    by_likeness: dict[Hashable, set[SeriesKey]] = defaultdict(set)
    for key, images in series.items():
        for header in images:
            by_likeness[_likeness(header)].add(key)
    for key in sorted(asked):
        alike = set().union(*(by_likeness[_likeness(header)] for header in series[key]))
        yield from ((key, other) for other in sorted(alike - {key}))


def _likeness(header: ImageHeader) -> Hashable:
    return header.folder, header.frame_uid, header.rows, header.columns, round_spacing(header), round_orientation(header)
