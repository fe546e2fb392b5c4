"""CT-ORG as it is published: volumes and labels by number, its own split kept."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from hipseg.errors import SeriesError
from hipseg.ingest.layout import CTORG_NAME, LAYOUTS, Listing, list_files, say_links
from hipseg.ingest.pairing import NiftiFile
from hipseg.ingest.source import FoundCases, SourceCase
from hipseg.labels import ORGAN_LABELS, Subset

LAST_TEST, LAST = 20, 139
"""The 21 volumes of the lowest numbers are for testing, the other 119 for training. Source: CT-ORG's own README ("Test and train
splits"); Rister et al., Scientific Data 7 (2020) 381."""
OTHER_FILE = "no volume-N.nii.gz or labels-N.nii.gz of CT-ORG"


def find_ctorg_cases(root: Path) -> FoundCases:
    """Find the volumes of CT-ORG, wherever below the folder they lie.

    Each volume counts as a patient of its own; the publisher names none. Its masks keep the published numbers, which the names
    in `hipseg.labels.ORGAN_LABELS` choose; the mask of an organ that a volume does not show is empty.

    Args:
        root: the folder; not all of the 140 volumes need be there.
    Returns:
        The cases. A volume that is there twice, without its labels, or out of number is a case here and refused when it is
        opened; so are labels without a volume.
    Raises:
        SeriesError: no file is named as in CT-ORG.
    """
    listing = list_files(root)
    set_aside = Counter(listing.set_aside)
    numbered: dict[int, dict[str, list[PurePosixPath]]] = defaultdict(lambda: {"volume": [], "labels": []})
    for relative in listing.files:
        match = CTORG_NAME.fullmatch(relative.name)
        if match:
            numbered[int(match[2])][match[1]].append(relative)
        else:
            set_aside[OTHER_FILE] += 1
    if not numbered:
        raise SeriesError(
            f"no CT-ORG in the folder given: none of {listing.files_seen} files is named volume-N.nii.gz or labels-N.nii.gz"
            f"{say_links(listing)}"
        )
    cases = sorted(
        (_make_case(number, found["volume"], found["labels"], listing) for number, found in numbered.items()), key=_order
    )
    layout = f"{LAYOUTS['ctorg']}, {sum(not one.fault for one in cases)} volumes with labels"
    return FoundCases(tuple(cases), listing.files_seen, MappingProxyType(dict(sorted(set_aside.items()))), layout)


def _order(case: SourceCase) -> tuple[str, str]:
    return case.patient_id, case.series_uid


def _make_case(number: int, volumes: Sequence[PurePosixPath], labels: Sequence[PurePosixPath], listing: Listing) -> SourceCase:
    name = f"CT-ORG/volume-{number}"
    first = [*volumes, *labels][0].as_posix()
    if number > LAST:
        return SourceCase(name, "CT-ORG", first, fault=f"its number is above {LAST}, the last one of CT-ORG; rename or remove it")
    if (len(volumes), len(labels)) != (1, 1):
        return SourceCase(
            name,
            "CT-ORG",
            first,
            fault=f"{len(volumes)} files named as its volume and {len(labels)} as its labels; 1 of each is expected: complete "
            f"the download, and keep one copy{say_links(listing)}",
        )
    mask = NiftiFile(listing.files[labels[0]], names=tuple(ORGAN_LABELS.items()))
    subset: Subset = "test" if number <= LAST_TEST else "train"
    return SourceCase(name, "CT-ORG", first, niftis=(mask,), volume=listing.files[volumes[0]], subset=subset)
