"""What a layout hands over: cases of which nothing is decoded yet, and the count of what was left aside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hipseg.ingest.carriers import Carrier
from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.layout import LAYOUTS
from hipseg.ingest.pairing import NiftiFile, NrrdFile
from hipseg.labels import Subset


@dataclass(frozen=True, slots=True, repr=False)
class SourceCase:
    """One CT series with the mask sources that belong to it, nothing decoded yet.

    Everything in here is private: it names a patient or was written by somebody. It is not shown when printed.

    Args:
        patient_id: from DICOM; where that is empty, the study identifier, else the folder. In a layout without DICOM, the name
            of the case in its data set.
        series_uid: from DICOM; where that is empty, the folder.
        folder: deepest folder that holds all its images, relative to the scanned root; members of a ZIP lie in a folder of the
            ZIP's name.
        images: headers in no certain order; none where the CT is a NIfTI volume. Those of a large tree, and of its carriers, are
            on disk: see `load_case`.
        rtstructs, niftis, segmentations, nrrds: mask files that belong to it.
        carriers: other series that hold overlay planes for it.
        damaged: number of files that may be slices of it and cannot be read.
        volume: the CT as one NIfTI volume, in place of images.
        fault: why it cannot be packed at all, in our own words; empty where nothing is known to be wrong.
        description: file of its data set that says what its labels mean.
        subset: side of the publisher's own split; None where there is none.
        strangers: number of mask files in its folder that were drawn on something else, by all that they say.
        stacks: number of stacks that its series was split into, of which it is one.
        warning: what is odd about it beside the others, in our own words; empty where nothing is.
    """

    patient_id: str
    series_uid: str
    folder: str
    images: Sequence[ImageHeader] = ()
    rtstructs: tuple[Path, ...] = ()
    niftis: tuple[NiftiFile, ...] = ()
    damaged: int = 0
    volume: Path | None = None
    fault: str = ""
    description: Path | None = None
    subset: Subset | None = None
    stacks: int = 1
    segmentations: tuple[Path, ...] = ()
    nrrds: tuple[NrrdFile, ...] = ()
    carriers: tuple[Carrier, ...] = ()
    strangers: int = 0
    warning: str = ""

    @property
    def has_identifier(self) -> bool:
        """Say whether a series identifier tells it from all others; else the names of its files and folders do."""
        return bool(self.images) and self.images[0].series_uid != ""


@dataclass(frozen=True, repr=False)
class FoundCases:
    """What a folder tree holds.

    Args:
        cases: sorted by patient and series, whatever the order of the folders; of many, those that are not asked for lie on disk.
        files_seen: number of files and links looked at.
        set_aside: number of files by the reason why they belong to no case.
        layout: how the folder is laid out, in words.
        remarks: what is odd about the patients of the cases together, in our own words.
    """

    cases: Sequence[SourceCase]
    files_seen: int
    set_aside: Mapping[str, int]
    layout: str = LAYOUTS["dicom"]
    remarks: tuple[str, ...] = ()


def load_case(source: SourceCase) -> SourceCase:
    """Bring all headers of a case into memory, those of one case at a time; where they are there already, nothing is done."""
    carriers = tuple(replace(one, images=tuple(one.images), planes=tuple(one.planes)) for one in source.carriers)
    return replace(source, images=tuple(source.images), carriers=carriers)
