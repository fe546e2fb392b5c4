"""Walk a folder tree and say of every file what it is, by its content; a file that is not used is counted with a reason."""

import contextlib
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from hipseg.ingest.ahead import fetch_ahead
from hipseg.ingest.archive import ArchiveError, is_archive, list_members, open_descriptor
from hipseg.ingest.dicomfile import (
    Header,
    UnreadableFileError,
    has_dicom_prefix,
    integer,
    is_cut,
    is_directory,
    may_be_bare_dicom,
    read_dataset,
    text,
)
from hipseg.ingest.elements import OddLayoutError
from hipseg.ingest.enhanced import read_frame_headers
from hipseg.ingest.headers import (
    CT_CLASSES,
    ENHANCED_CT,
    HEADER_TAGS,
    OVERLAY_DATA_TAGS,
    FileStamp,
    ImageHeader,
    has_place,
    has_regions,
    is_localizer,
    parse_header,
)
from hipseg.ingest.images import FoundImages
from hipseg.ingest.layout import LINKS, UNOPENED, TreeEntry, walk_tree
from hipseg.ingest.nifti import is_nifti
from hipseg.ingest.nrrd import EXTENSIONS as NRRD_EXTENSIONS
from hipseg.ingest.nrrd import find_voxel_file, is_nrrd
from hipseg.ingest.plain import HeaderReader
from hipseg.ingest.register import Register
from hipseg.ingest.remains import find_series
from hipseg.ingest.scratch import NoRoomError
from hipseg.ingest.segmentation import SEGMENTATION_CLASSES
from hipseg.ingest.shelf import Shelf
from hipseg.ingest.spill import Spill
from hipseg.ingest.stored import load_decoder
from hipseg.ingest.unknown import DAMAGED, NOT_OURS, Judgement, is_called_dicom, judge_unknown, may_be_called, shape_of

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

KNOWN_MODALITIES = frozenset(
    {"CR", "DOC", "DX", "ECG", "IO", "KO", "MG", "MR", "NM", "OT", "PR", "PT"}
    | {"REG", "RF", "RTDOSE", "RTIMAGE", "RTPLAN", "SC", "SM", "SR", "US", "XA"}
)
"""Modalities that are named when they are set aside; another text in that place is not repeated. Source: PS3.3 C.7.3.1.1.1."""

STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
"""RT Structure Set Storage. Source: DICOM PS3.4 B.5."""
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""Secondary Capture Image Storage; those of several frames begin likewise. Source: DICOM PS3.4 B.5."""
MODALITY = "modality "
UNKNOWN_MODALITY = "another modality"
NO_MODALITY = "DICOM object without a modality"
UNREAD_PLANES = "capture whose overlay planes are graphics or lie in several frames, not read"
ARCHIVE = "ZIP archive, looked into"
UNREAD_ARCHIVE = "a ZIP archive cannot be read to its end; copy it again"
NIFTI_EXTENSIONS = (".nii", ".nii.gz")
DIRECTORY = "DICOM directory"
DIRECTORY_NAME = "DICOMDIR"
"""Source: DICOM PS3.10 8.6."""
NO_PLACE = "CT object without a place in the patient (screenshot, report or raw data)"
LOCALIZER = "localizer"


@dataclass(frozen=True, repr=False)
class FoundFile:
    """A file by its path and its folder relative to the root; both are private.

    `reason` says why a file that may belong to a series cannot be used; `series_uid` is what its header still tells.
    `stamp` is from before it was read.
    """

    path: Path
    folder: str
    reason: str = ""
    series_uid: str = ""
    stamp: FileStamp | None = None


@dataclass(frozen=True, repr=False)
class FaultyArchive:
    """A ZIP archive that cannot be looked into: the folder that its members lie in, why, and the series that it holds some of."""

    folder: str
    reason: str
    series_uids: frozenset[str]


@dataclass(repr=False)
class Scan:
    """What a walk found.

    `damaged` are files that may be slices of a series and cannot be read as such: damaged ones, those that cannot be opened and
    links to files. `others` counts objects of other modalities by reason and series identifier. `faults` are ZIP archives that
    cannot be looked into, `directories` are DICOMDIRs, which are also counted as set aside. `aside_uids` are the identifiers of
    objects of CT that are set aside, which a DICOMDIR lists like its images. `unknown` counts files among `set_aside` that may be
    called as slices are, by folder, shape of the name and reason. `spill` bounds the memory of `images`
    and `captures`, of which there is one for each slice.
    """

    spill: Spill = field(default_factory=Spill)
    images: FoundImages = field(init=False)
    captures: FoundImages = field(init=False)
    rtstructs: Shelf[FoundFile] = field(default_factory=Shelf)
    segmentations: Shelf[FoundFile] = field(default_factory=Shelf)
    niftis: Shelf[FoundFile] = field(default_factory=Shelf)
    nrrds: Shelf[FoundFile] = field(default_factory=Shelf)
    damaged: Shelf[FoundFile] = field(default_factory=Shelf)
    others: Register[tuple[str, str], int] = field(default_factory=Register)
    faults: list[FaultyArchive] = field(default_factory=list)
    directories: Shelf[FoundFile] = field(default_factory=Shelf)
    aside_uids: Shelf[str] = field(default_factory=Shelf)
    set_aside: Counter[str] = field(default_factory=Counter)
    unknown: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    files_seen: int = 0

    def __post_init__(self) -> None:
        """Let images and captures share their room."""
        self.images, self.captures = FoundImages(self.spill), FoundImages(self.spill)

    def find_other_uids(self) -> frozenset[str]:
        """Give the identifiers of series of another modality that is known."""
        return frozenset(series_uid for reason, series_uid in self.others if reason.startswith(MODALITY) and series_uid)


def scan_tree(root: Path) -> Scan:
    """Classify every file below a folder, in sorted order; symbolic links are not followed.

    Args:
        root: the folder; it may itself be a link.
    Returns:
        The finds. Every file seen is an image, a capture, a file of masks (RTSTRUCT, SEG, NIfTI, NRRD), damaged, an object of
        another modality, or counted in `set_aside`. The members of a ZIP archive are files like others, in a folder of the
        archive's name.
    Raises:
        NoRoomError: there are too many images for the memory, and their headers cannot be written to disk.
    """
    scan, headers = Scan(), HeaderReader(HEADER_TAGS)
    for entry in fetch_ahead(walk_tree(root), lambda entry: None if entry.reason else (entry.path, headers.head_bytes)):
        scan.files_seen += 1
        if entry.reason:
            _sort_unread(scan, entry)
        else:
            _sort_file(scan, entry, headers)
    if scan.spill.is_used:
        scan.spill.flush()
    _claim_voxels(scan)
    return scan


def scan_file(path: Path) -> Scan:
    """Classify one file, in a folder that has no name."""
    scan = Scan()
    _sort_file(scan, TreeEntry(path, "", status=path.stat()), HeaderReader(HEADER_TAGS))
    return scan


def _claim_voxels(scan: Scan) -> None:
    """Take files that hold the voxels of an NRRD header out of those that are nothing, or look cut off."""
    voxels = {path: found.folder for found in scan.nrrds if (path := find_voxel_file(found.path)) and not path.is_symlink()}
    for path, folder in voxels.items():
        with contextlib.suppress(OSError):
            alone = Scan()
            scan.set_aside -= Counter([_sort_content(alone, FoundFile(path, folder), HeaderReader(HEADER_TAGS)) or ""])
            scan.unknown -= alone.unknown
    if voxels:
        scan.damaged = Shelf(found for found in scan.damaged if found.path not in voxels)


def _sort_unread(scan: Scan, entry: TreeEntry) -> None:
    """Keep what may be a slice; a folder, or a link to one, a hidden file and what is no file are none."""
    if entry.is_folder or entry.path.name.startswith(".") or entry.reason not in (UNOPENED, *LINKS):
        scan.set_aside[entry.reason] += 1
    else:
        scan.damaged.append(FoundFile(entry.path, entry.folder, entry.reason))


def _sort_file(scan: Scan, entry: TreeEntry, headers: HeaderReader) -> None:
    """Put one file where it belongs, or count it."""
    status = entry.status
    stamp = FileStamp(status.st_size, status.st_mtime_ns) if status else None
    found = FoundFile(entry.path, entry.folder, stamp=stamp)
    try:
        reason = _sort_content(scan, found, headers)
    except NoRoomError:
        raise
    except OSError:
        scan.damaged.append(replace(found, reason=UNOPENED))
    except Exception:  # whatever one file brings about that nobody foresaw, the others must still be packed
        scan.damaged.append(replace(found, reason=DAMAGED))
    else:
        if reason:
            scan.set_aside[reason] += 1


def _sort_content(scan: Scan, found: FoundFile, headers: HeaderReader) -> str | None:
    descriptor = open_descriptor(found.path)
    try:
        head = headers.read_head(descriptor)
        if is_archive(found.path, head):
            return _sort_archive(scan, found, headers)
        if has_dicom_prefix(head):
            return _sort_dicom(scan, found, _read_header(found, headers, descriptor, head), has_prefix=True)
    finally:
        os.close(descriptor)
    if may_be_bare_dicom(head):
        return _sort_dicom(scan, found, _read_odd_header(found), has_prefix=False)
    if is_nifti(found.path) or (head and _is_called(found.path, NIFTI_EXTENSIONS)):
        scan.niftis.append(found)
    elif is_nrrd(head) or (head and _is_called(found.path, NRRD_EXTENSIONS)):
        scan.nrrds.append(found)
    else:
        return _sort_unknown(scan, found, judge_unknown(found.path, head))
    return None


def _sort_archive(scan: Scan, found: FoundFile, headers: HeaderReader) -> str:
    """Sort the members of an archive; one fault refuses all of it, since what it lacks cannot be told."""
    inside = PurePosixPath(found.folder) / found.path.name
    try:
        for name, member in list_members(found.path):
            scan.files_seen += 1
            reason = _sort_content(scan, FoundFile(member, (inside / name.parent).as_posix()), headers)
            if reason:
                scan.set_aside[reason] += 1
    except NoRoomError:
        raise
    except Exception as error:  # whatever a member brings about that nobody foresaw, the others of the tree must still be packed
        reason = str(error) if isinstance(error, ArchiveError) else UNREAD_ARCHIVE
        scan.faults.append(FaultyArchive(inside.as_posix(), reason, find_series(found.path)))
    return ARCHIVE


def _is_called(path: Path, extensions: tuple[str, ...]) -> bool:
    """Say whether a name promises a label volume; one whose first bytes are damaged is refused as a mask, not passed over."""
    return path.name.endswith(extensions) and not path.name.startswith(".")


def _sort_unknown(scan: Scan, found: FoundFile, judgement: Judgement) -> str | None:
    """Keep what may be a slice; one that is only called like slices is counted, and looked at again beside those."""
    if judgement.may_be_slice:
        scan.damaged.append(replace(found, reason=judgement.reason))
        return None
    if may_be_called(found.path):
        scan.unknown[found.folder, shape_of(found.path.name), judgement.reason] += 1
    return judgement.reason


def _read_header(found: FoundFile, headers: HeaderReader, descriptor: int, head: bytes) -> Header | None:
    """Read a header; None where it cannot be walked, or breaks off."""
    try:
        return headers.read(descriptor, head)
    except OddLayoutError:
        return _read_odd_header(found)


def _read_odd_header(found: FoundFile) -> "FileDataset | None":
    """Read a header with pydicom; None where it cannot be walked or breaks off inside a value, which may then read otherwise."""
    try:
        dataset = read_dataset(found.path, (*HEADER_TAGS, *OVERLAY_DATA_TAGS), has_pixels=False)
    except UnreadableFileError:
        return None
    return None if is_cut(dataset) else dataset


def _sort_dicom(scan: Scan, found: FoundFile, dataset: Header | None, *, has_prefix: bool) -> str | None:
    if dataset is None:
        return _doubt(scan, found, has_prefix=has_prefix)
    modality, sop_class = text(dataset, "Modality"), text(dataset, "SOPClassUID")
    if _take_mask(scan, found, dataset, modality, sop_class):
        return None
    if modality == "CT" or (not modality and sop_class in CT_CLASSES and sop_class):
        return _sort_ct(scan, found, dataset)
    if is_directory(dataset):
        scan.directories.append(found)
        return DIRECTORY
    series_uid = text(dataset, "SeriesInstanceUID")
    if not modality and not (sop_class and series_uid):
        return _doubt(scan, found, has_prefix=has_prefix)
    _count_other(scan, found, dataset, series_uid)
    return None


def _count_other(scan: Scan, found: FoundFile, dataset: Header, series_uid: str) -> None:
    """Keep what series an object of another modality says that it is of: that of CT images, if its modality is damaged."""
    modality = text(dataset, "Modality")
    reason = (f"{MODALITY}{modality}" if modality in KNOWN_MODALITIES else UNKNOWN_MODALITY) if modality else NO_MODALITY
    if reason != UNKNOWN_MODALITY and _is_capture(dataset) and parse_header(dataset, found.path, found.folder).overlays:
        # Regions of one frame have been taken as a mask.
        reason = UNREAD_PLANES
    if reason == UNKNOWN_MODALITY and not series_uid:
        scan.damaged.append(replace(found, reason=reason))
    elif _is_capture(dataset) and integer(dataset, "Rows") is None:
        # The header breaks off before the description of the pixels, and before its overlay planes.
        scan.damaged.append(replace(found, reason=DAMAGED, series_uid=series_uid))
    else:
        scan.others[reason, series_uid] = scan.others.get((reason, series_uid), 0) + 1


def _take_mask(scan: Scan, found: FoundFile, dataset: Header, modality: str, sop_class: str) -> bool:
    """Put a file that holds masks where it belongs; say whether it is one."""
    if modality == "RTSTRUCT" or sop_class == STRUCTURE_SET:
        scan.rtstructs.append(found)
        return True
    if modality == "SEG" or sop_class in SEGMENTATION_CLASSES:
        scan.segmentations.append(found)
        return True
    capture = _find_capture(found, dataset)
    if capture is not None:
        scan.captures.extend((capture,))
    return capture is not None


def _is_capture(dataset: Header) -> bool:
    return text(dataset, "SOPClassUID").startswith(SECONDARY_CAPTURE)


def _find_capture(found: FoundFile, dataset: Header) -> ImageHeader | None:
    """Read a secondary capture that holds regions as overlay planes for other images, and is no CT slice itself."""
    if not _is_capture(dataset):
        return None
    header = parse_header(dataset, found.path, found.folder, found.stamp)
    is_slice = text(dataset, "Modality") == "CT" and has_place(dataset) and header.slope is not None
    return header if has_regions(header) and not is_slice and not header.is_multiframe else None


def _sort_ct(scan: Scan, found: FoundFile, dataset: Header) -> str | None:
    reason = _find_reason_aside(dataset)
    if reason is not None:
        scan.aside_uids.append(text(dataset, "SOPInstanceUID"))
        return reason
    header = parse_header(dataset, found.path, found.folder, found.stamp)
    load_decoder(header.transfer_syntax)
    if header.rows is None or header.columns is None:
        # The header breaks off before the description of the pixels; what stands there may itself be cut.
        headers: tuple[ImageHeader, ...] | None = None
    elif text(dataset, "SOPClassUID") in ENHANCED_CT:
        headers = read_frame_headers(found.path, found.folder, found.stamp)
    else:
        headers = (header,)
    if headers is None:
        scan.damaged.append(replace(found, reason=DAMAGED, series_uid=header.series_uid))
    else:
        scan.images.extend(headers)
    return None


def _find_reason_aside(dataset: Header) -> str | None:
    """Say why an object of CT is no image of a volume; None where it may be one."""
    if is_localizer(dataset):
        return LOCALIZER
    return NO_PLACE if text(dataset, "SOPClassUID") not in CT_CLASSES and not has_place(dataset) else None


def _doubt(scan: Scan, found: FoundFile, *, has_prefix: bool) -> str | None:
    """Keep a file that calls itself DICOM and cannot be read; one that only might be DICOM is something else."""
    if not (has_prefix or is_called_dicom(found.path)):
        return _sort_unknown(scan, found, Judgement(NOT_OURS))
    if found.path.name.upper() == DIRECTORY_NAME:
        return f"damaged {DIRECTORY}"
    scan.damaged.append(replace(found, reason=DAMAGED))
    return None
