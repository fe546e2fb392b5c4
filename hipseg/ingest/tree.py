"""A tree of folders with DICOM files -> cases: which images are a series, and which other files belong to it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, groupby
from pathlib import Path
from types import MappingProxyType

from hipseg.errors import SeriesError
from hipseg.ingest.cutouts import find_cutouts
from hipseg.ingest.faults import Losses, find_lacking, find_losses
from hipseg.ingest.grouping import Group, common_folder, group_images
from hipseg.ingest.images import SeriesImages, SeriesKey, SeriesMap, make_group
from hipseg.ingest.index import SeriesIndex
from hipseg.ingest.layout import say_near_miss
from hipseg.ingest.owners import Carried, pair_carriers
from hipseg.ingest.placing import PlacedMasks, place_masks
from hipseg.ingest.register import Register
from hipseg.ingest.scan import Scan, scan_tree
from hipseg.ingest.shelf import Picked, Shelf
from hipseg.ingest.sorting import sort_apart
from hipseg.ingest.source import FoundCases, SourceCase
from hipseg.ingest.spill import Spill
from hipseg.ingest.stacks import split_stacks

UNPAIRED_PLANES = "image with overlay planes of no CT series here"
BARE_CAPTURE = "capture without overlay plane"
MANY_STUDIES = 3
"""Of one patient, beside whom there is no other: more than a follow-up, and perhaps one name for all."""
COPIED = "copy of a CT image with overlay planes, read for them alone"


def find_dicom_cases(root: Path) -> FoundCases:
    """Find the CT series below a folder, and the mask sources that belong to each.

    Args:
        root: the folder; links below it are not followed.
    Returns:
        The cases, and what was left aside. A series that cannot be packed is a case here and refused when it is opened.
    Raises:
        SeriesError: it holds no CT series.
        NoRoomError: there are too many images for the memory, and their headers cannot be written to disk.
    """
    scan = scan_tree(root)
    set_aside = Counter(scan.set_aside)
    _drop_captures(scan, set_aside)
    whole = group_images(scan.images)
    losses = find_losses(scan, whole, set_aside)
    series, stacks = _split(whole, losses, scan.spill)
    if not series and not losses.faults:
        raise SeriesError(_say_none(scan, set_aside))
    captures = group_images(scan.captures)
    lacking = losses.lacking | find_lacking(scan, captures, whole)
    cutouts = find_cutouts(series)
    cut = {key: series.pop(key) for key in cutouts}
    carried = pair_carriers(captures, SeriesIndex(series), scan.spill, lacking)
    set_aside.update({UNPAIRED_PLANES: carried.unpaired} if carried.unpaired else {})
    for key in carried.copies:
        set_aside[COPIED] += len(series.pop(key))
    masks = place_masks(scan, SeriesIndex(series, scan.find_other_uids()), set_aside)
    reasons = cutouts | {key: fault.reason for key, fault in losses.faults.items()}
    images = chain(series.items(), cut.items())
    cases = Shelf(_make_cases(images, stacks, reasons, losses, masks=masks, carried=carried))
    for key, fault in losses.faults.items():
        if key not in whole:
            cases.append(SourceCase(*key, fault.folder, fault=fault.reason))
    named = sort_apart((one.patient_id, one.series_uid, number) for number, one in enumerate(cases))
    found = Picked(cases, (number for *_, number in named))
    aside = MappingProxyType(dict(sorted(set_aside.items())))
    return FoundCases(found, scan.files_seen, aside, remarks=tuple(_remark_on_patients(series)))


def _make_cases(
    series: Iterable[tuple[SeriesKey, SeriesImages]],
    stacks: Mapping[SeriesKey, int],
    reasons: Mapping[SeriesKey, str],
    losses: Losses,
    *,
    masks: PlacedMasks,
    carried: Carried,
) -> Iterator[SourceCase]:
    for key, images in series:
        made = _make_case(key, images, losses, masks=masks, carried=carried)
        yield replace(made, stacks=stacks.get(key, 1), fault=reasons.get(key, ""))


def _make_case(key: SeriesKey, images: SeriesImages, losses: Losses, *, masks: PlacedMasks, carried: Carried) -> SourceCase:
    return SourceCase(
        *key,
        common_folder(images),
        images.settled(),
        tuple(masks.rtstructs.get(key, ())),
        tuple(masks.niftis.get(key, ())),
        losses.damaged.get(key, 0),
        segmentations=tuple(masks.segmentations.get(key, ())),
        nrrds=tuple(masks.nrrds.get(key, ())),
        carriers=carried.by_case.get(key, ()),
        strangers=masks.strangers.get(key, 0) + carried.strangers.get(key, 0),
        warning="; ".join(filter(None, (losses.warnings.get(key, ""), _warn_of_planes(key, carried)))),
    )


def _warn_of_planes(key: SeriesKey, carried: Carried) -> str:
    if key not in carried.coarser or key in carried.by_case:
        return ""
    return (
        f"overlay planes of another series lie {carried.coarser[key]} slices apart, so that the slices between would be "
        "empty; they are not taken"
    )


def _remark_on_patients(series: SeriesMap) -> Iterator[str]:
    """Say where the patients, whom folds keep apart, are a guess: none is named, or one in many studies, as some exports do."""
    unnamed = sum(not images.patient_id for images in series.values())
    if unnamed and len(series) > 1:
        yield (
            f"{unnamed} of {len(series)} series name no patient (0010,0020); each study, or folder, counts as a patient of its "
            "own, so that folds may part one person's: give each person an identifier"
        )
    only, _ = next(iter(series), ("", ""))
    if unnamed or any(patient != only for patient, _ in series):
        return
    studies = {images[0].study_uid for images in series.values()}
    if len(studies) >= MANY_STUDIES:
        yield (
            f"all {len(series)} series, of {len(studies)} studies, are of one patient (0010,0020), so that there are no folds to "
            "deal; where they are of several persons, give each an identifier"
        )


def _drop_captures(scan: Scan, set_aside: Counter[str]) -> None:
    """Leave aside captures that call themselves CT and lie in a series of overlay planes; they are no slices."""
    captured: Register[SeriesKey, None] = Register()
    for key, _ in groupby((header.patient_id, header.series_uid) for header in scan.captures):
        captured[key] = None
    dropped = scan.images.drop_bare(captured) if captured else 0
    if dropped:
        set_aside[BARE_CAPTURE] += dropped


def _split(whole: SeriesMap, losses: Losses, spill: Spill) -> tuple[Group, Mapping[SeriesKey, int]]:
    """Split series into stacks where the headers do; one that is known to lack something stays whole and is refused.

    Returns:
        The stacks; and by stack, how many there are of its series where those are several.
    """
    split = make_group()
    stacks: Register[SeriesKey, int] = Register()
    for key, images in whole.items():
        is_lacking = key in losses.faults or losses.damaged.get(key)
        parts = {} if is_lacking or images.is_alike else split_stacks(tuple(images))
        if len(parts) <= 1:
            split[key] = images
            continue
        for name, stack in parts.items():
            part = SeriesImages(spill)
            part.extend(stack)
            split[key[0], key[1] + name] = part
            stacks[key[0], key[1] + name] = len(parts)
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
        f"data set, or CT-ORG{say_near_miss([found.path for found in scan.niftis])}"
    )
