"""A tree of folders with DICOM files -> cases: which images are a series, and which other files belong to it."""

from collections import Counter
from pathlib import Path
from types import MappingProxyType

from hipseg.errors import SeriesError
from hipseg.ingest.carriers import Carried, pair_carriers
from hipseg.ingest.faults import Losses, find_losses
from hipseg.ingest.grouping import Group, common_folder, group_images
from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.pairing import SeriesIndex, SeriesKey, SeriesMap
from hipseg.ingest.placing import PlacedMasks, place_masks
from hipseg.ingest.scan import Scan, scan_tree
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
    whole = group_images(_without_captures(scan, set_aside))
    losses = find_losses(scan, whole, set_aside)
    series, stacks = _split(whole, losses)
    if not series and not losses.faults:
        raise SeriesError(_say_none(scan, set_aside))
    carried = pair_carriers(group_images(scan.captures), SeriesIndex(series))
    set_aside.update({UNPAIRED_PLANES: carried.unpaired} if carried.unpaired else {})
    for key in carried.copies:
        set_aside[COPIED] += len(series.pop(key))
    masks = place_masks(scan, SeriesIndex(series), set_aside)
    cases = [_make_case(key, images, stacks[key], losses, masks=masks, carried=carried) for key, images in series.items()]
    cases += [SourceCase(*key, fault.folder, fault=fault.reason) for key, fault in losses.faults.items() if key not in whole]
    cases.sort(key=lambda one: (one.patient_id, one.series_uid))
    return FoundCases(tuple(cases), scan.files_seen, MappingProxyType(dict(sorted(set_aside.items()))))


def _make_case(
    key: SeriesKey, images: tuple[ImageHeader, ...], stacks: int, losses: Losses, *, masks: PlacedMasks, carried: Carried
) -> SourceCase:
    return SourceCase(
        *key,
        common_folder(images),
        images,
        tuple(masks.rtstructs.get(key, ())),
        tuple(masks.niftis.get(key, ())),
        losses.damaged.get(key, 0),
        stacks=stacks,
        segmentations=tuple(masks.segmentations.get(key, ())),
        nrrds=tuple(masks.nrrds.get(key, ())),
        carriers=carried.by_case.get(key, ()),
        strangers=masks.strangers.get(key, 0),
        fault=losses.faults[key].reason if key in losses.faults else "",
        warning=losses.warnings.get(key, ""),
    )


def _without_captures(scan: Scan, set_aside: Counter[str]) -> list[ImageHeader]:
    """Give the CT images; captures that call themselves CT and lie in a series of overlay planes are no slices."""
    captured = {(header.patient_id, header.series_uid) for header in scan.captures}
    images = [one for one in scan.images if one.slope is not None or (one.patient_id, one.series_uid) not in captured]
    if len(images) < len(scan.images):
        set_aside[BARE_CAPTURE] += len(scan.images) - len(images)
    return images


def _split(whole: SeriesMap, losses: Losses) -> tuple[Group, dict[SeriesKey, int]]:
    """Split series into stacks where the headers do; one that is known to lack something stays whole and is refused."""
    split: Group = {}
    stacks: dict[SeriesKey, int] = {}
    for (patient_id, series_uid), images in whole.items():
        is_lacking = (patient_id, series_uid) in losses.faults or losses.damaged.get((patient_id, series_uid))
        parts = {"": tuple(images)} if is_lacking else split_stacks(images)
        for name, stack in parts.items():
            key = (patient_id, series_uid + name)
            split[key], stacks[key] = stack, len(parts)
    return split, stacks


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
