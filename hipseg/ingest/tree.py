"""A tree of folders with DICOM files -> cases: which images are a series, and which other files belong to it."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from hipseg.errors import SeriesError
from hipseg.ingest.carriers import pair_carriers
from hipseg.ingest.faults import find_faults
from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.pairing import SeriesIndex, SeriesKey
from hipseg.ingest.placing import place_masks
from hipseg.ingest.scan import FoundFile, Scan, scan_tree
from hipseg.ingest.source import FoundCases, SourceCase
from hipseg.ingest.stacks import split_stacks

UNPAIRED_PLANES = "image with overlay planes of no CT series here"
BARE_CAPTURE = "capture without overlay plane"
COPIED = "copy of a CT image with overlay planes, read for them alone"


def find_dicom_cases(root: Path) -> FoundCases:
    """Find the CT series below a folder, and the mask sources that belong to each.

    Args:
        root: the folder; links below it are not followed.
    Returns:
        The cases, and what was left aside. A series that cannot be packed is a case here and refused when it is opened.
    Raises:
        SeriesError: it holds no CT series.
    """
    scan = scan_tree(root)
    set_aside = Counter(scan.set_aside)
    series = _group(_without_captures(scan, set_aside))
    damaged = _place_damaged(scan.damaged, series, set_aside)
    series, stacks = _split(series, damaged)
    faults = find_faults(scan, series)
    if not series and not faults:
        raise SeriesError(_say_none(scan, set_aside))
    carried = pair_carriers(_group(scan.captures), SeriesIndex(series))
    set_aside.update({UNPAIRED_PLANES: carried.unpaired} if carried.unpaired else {})
    for key in carried.copies:
        set_aside[COPIED] += len(series.pop(key))
    masks = place_masks(scan, SeriesIndex(series), set_aside)
    cases = [
        SourceCase(
            *key,
            _common_folder(images),
            images,
            tuple(masks.rtstructs.get(key, ())),
            tuple(masks.niftis.get(key, ())),
            damaged[key],
            stacks=stacks[key],
            segmentations=tuple(masks.segmentations.get(key, ())),
            nrrds=tuple(masks.nrrds.get(key, ())),
            carriers=carried.by_case.get(key, ()),
            strangers=masks.strangers.get(key, 0),
            fault=faults[key].reason if key in faults else "",
        )
        for key, images in series.items()
    ]
    cases += [SourceCase(*key, fault.folder, fault=fault.reason) for key, fault in faults.items() if key not in series]
    cases.sort(key=lambda one: (one.patient_id, one.series_uid))
    return FoundCases(tuple(cases), scan.files_seen, MappingProxyType(dict(sorted(set_aside.items()))))


def _without_captures(scan: Scan, set_aside: Counter[str]) -> list[ImageHeader]:
    """Give the CT images; captures that call themselves CT and lie in a series of overlay planes are no slices."""
    captured = {(header.patient_id, header.series_uid) for header in scan.captures}
    images = [one for one in scan.images if one.slope is not None or (one.patient_id, one.series_uid) not in captured]
    if len(images) < len(scan.images):
        set_aside[BARE_CAPTURE] += len(scan.images) - len(images)
    return images


def _group(images: Sequence[ImageHeader]) -> dict[SeriesKey, tuple[ImageHeader, ...]]:
    """Put images of one patient and one series together, wherever they lie."""
    groups: dict[SeriesKey, list[ImageHeader]] = defaultdict(list)
    for header in images:
        groups[header.patient_id, header.series_uid or header.folder].append(header)
    series: dict[SeriesKey, tuple[ImageHeader, ...]] = {}
    for (patient_id, series_uid), found in groups.items():
        # A stand-in may be the identifier that other images of the series do have: then they are one series.
        key = (patient_id or _stand_in(found), series_uid)
        series[key] = (*series.get(key, ()), *found)
    return series


def _split(
    series: Mapping[SeriesKey, tuple[ImageHeader, ...]], damaged: Mapping[SeriesKey, int]
) -> tuple[dict[SeriesKey, tuple[ImageHeader, ...]], dict[SeriesKey, int]]:
    """Split series into stacks where the headers do; a series with damaged files stays whole and is refused."""
    split: dict[SeriesKey, tuple[ImageHeader, ...]] = {}
    stacks: dict[SeriesKey, int] = {}
    for (patient_id, series_uid), images in series.items():
        parts = {"": images} if damaged.get((patient_id, series_uid)) else split_stacks(images)
        for name, stack in parts.items():
            key = (patient_id, series_uid + name)
            split[key], stacks[key] = stack, len(parts)
    return split, stacks


def _stand_in(images: Sequence[ImageHeader]) -> str:
    """Name the patient of a series without Patient ID: by its study, else by its folder."""
    return min((header.study_uid for header in images if header.study_uid), default=_common_folder(images))


def _place_damaged(
    found: Sequence[FoundFile], series: Mapping[SeriesKey, Sequence[ImageHeader]], set_aside: Counter[str]
) -> Counter[SeriesKey]:
    """Give each damaged file to the series that it must be a slice of; count it as set aside where that cannot be told."""
    by_uid: dict[str, set[SeriesKey]] = defaultdict(set)
    by_folder: dict[str, set[SeriesKey]] = defaultdict(set)
    for key, images in series.items():
        by_uid[images[0].series_uid].add(key)
        for header in images:
            by_folder[header.folder].add(key)
    damaged: Counter[SeriesKey] = Counter()
    for file in found:
        keys = (by_uid.get(file.series_uid) if file.series_uid else None) or by_folder.get(file.folder, set())
        if len(keys) == 1:
            damaged[next(iter(keys))] += 1
        else:
            set_aside[file.reason] += 1
    return damaged


def _common_folder(images: Sequence[ImageHeader]) -> str:
    return os.path.commonpath({header.folder for header in images}) or "."


def _say_none(scan: Scan, set_aside: Counter[str]) -> str:
    """Say what a folder without CT series holds."""
    counts = Counter(set_aside)
    counts.update(
        {
            "RTSTRUCT": len(scan.rtstructs),
            "DICOM SEG": len(scan.segmentations),
            "NIfTI": len(scan.niftis),
            "NRRD": len(scan.nrrds),
            UNPAIRED_PLANES: len(scan.captures),
        }
    )
    found = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()) if count)
    seen = f"{scan.files_seen} files looked at ({found})" if scan.files_seen else "it holds no files"
    return (
        f"no CT series in the folder given: {seen}; a tree of folders with CT images as DICOM is expected, or an nnU-Net "
        "data set, or CT-ORG"
    )
