"""Mask files of a tree -> the series that they belong to; what belongs to none is counted with a reason."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from hipseg.ingest.images import SeriesKey
from hipseg.ingest.index import SeriesIndex
from hipseg.ingest.pairing import (
    NiftiFile,
    NrrdFile,
    OtherModalityError,
    pair_nifti,
    pair_nrrd,
    pair_rtstruct,
    pair_segmentation,
)
from hipseg.ingest.register import Register
from hipseg.ingest.scan import FoundFile, Scan
from hipseg.ingest.scratch import NoRoomError

UNPAIRED_RTSTRUCT, DAMAGED_RTSTRUCT = "RTSTRUCT of no CT series here", "damaged RTSTRUCT"
UNPAIRED_SEGMENTATION, DAMAGED_SEGMENTATION = "DICOM SEG of no CT series here", "damaged DICOM SEG"
OTHER_MODALITY = "RTSTRUCT or DICOM SEG drawn on a series here that is no CT"
UNPAIRED_NIFTI = "NIfTI on the grid of no CT series here"
UNPAIRED_NRRD = "NRRD on the grid of no CT series here"

LabelFile = TypeVar("LabelFile", NiftiFile, NrrdFile)


@dataclass(frozen=True, repr=False)
class PlacedMasks:
    """Mask files by series; a series without any is missing.

    `strangers` counts those that lie in the folder of a single series, and name another one in every way.
    """

    rtstructs: Mapping[SeriesKey, Sequence[Path]]
    segmentations: Mapping[SeriesKey, Sequence[Path]]
    niftis: Mapping[SeriesKey, Sequence[NiftiFile]]
    nrrds: Mapping[SeriesKey, Sequence[NrrdFile]]
    strangers: Mapping[SeriesKey, int]


def place_masks(scan: Scan, index: SeriesIndex, set_aside: Counter[str]) -> PlacedMasks:
    """Give every mask file of a scan to its series, or count it in `set_aside`.

    Raises:
        NoRoomError: what is needed to find images by their identifiers cannot be written to disk.
    """
    strangers: Counter[SeriesKey] = Counter()
    by_references = partial(_by_references, index=index, set_aside=set_aside, strangers=strangers)
    return PlacedMasks(
        by_references(scan.rtstructs, pair=pair_rtstruct, reasons=(UNPAIRED_RTSTRUCT, DAMAGED_RTSTRUCT)),
        by_references(scan.segmentations, pair=pair_segmentation, reasons=(UNPAIRED_SEGMENTATION, DAMAGED_SEGMENTATION)),
        _by_grid(scan.niftis, index, set_aside, pair_nifti, UNPAIRED_NIFTI),
        _by_grid(scan.nrrds, index, set_aside, pair_nrrd, UNPAIRED_NRRD),
        strangers,
    )


def _by_references(
    found: Sequence[FoundFile],
    *,
    index: SeriesIndex,
    set_aside: Counter[str],
    strangers: Counter[SeriesKey],
    pair: Callable[[FoundFile, SeriesIndex], tuple[SeriesKey, ...]],
    reasons: tuple[str, str],
) -> Mapping[SeriesKey, Sequence[Path]]:
    """Place files that say what they were drawn on; the reasons are for one of no series here, and for a damaged one."""
    placed: Register[SeriesKey, tuple[Path, ...]] = Register()
    for file in found:
        reason, damaged = reasons
        try:
            keys = pair(file, index)
        except NoRoomError:
            raise
        except OtherModalityError:
            # The CT beside, as of a PET/CT, has nothing to do with it.
            set_aside[OTHER_MODALITY] += 1
            continue
        except Exception:  # a MaskError, or what nobody foresaw in this one file: the others must still be placed
            # What it was drawn on cannot be read; beside a single series it is that series' and refused with it.
            keys, reason = _only(index.find_below(file.folder)), damaged
        if not keys:
            set_aside[reason] += 1
            strangers.update(_only(index.find_in(file.folder)))
        for key in keys:
            placed[key] = (*placed.get(key, ()), file.path)
    return placed


def _only(keys: tuple[SeriesKey, ...]) -> tuple[SeriesKey, ...]:
    return keys if len(keys) == 1 else ()


def _by_grid(
    found: Sequence[FoundFile],
    index: SeriesIndex,
    set_aside: Counter[str],
    pair: Callable[[FoundFile, SeriesIndex], Mapping[SeriesKey, LabelFile]],
    reason: str,
) -> Mapping[SeriesKey, Sequence[LabelFile]]:
    placed: Register[SeriesKey, list[LabelFile]] = Register()
    for file in found:
        pairs = pair(file, index)
        if not pairs:
            set_aside[reason] += 1
        for key, label_file in pairs.items():
            known = placed.get(key, [])
            known.append(label_file)
            placed[key] = known
    return placed
