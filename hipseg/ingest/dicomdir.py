"""DICOMDIR, the table of contents of a medium: which CT series it lists, and which of their files are there."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from hipseg.ingest.archive import ZipMember, list_members
from hipseg.ingest.dicomfile import (
    SNIFF_BYTES,
    UnreadableFileError,
    has_dicom_prefix,
    integer,
    is_cut,
    items,
    may_be_bare_dicom,
    read_dataset,
    text,
    texts,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True, repr=False)
class ListedSeries:
    """One CT series of a DICOMDIR; all of it is private.

    Args:
        patient_id, series_uid: as listed; may be empty.
        files: paths of its images, relative to the DICOMDIR.
        image_uids: SOP Instance UIDs of the same images; may be empty.
    """

    patient_id: str
    series_uid: str
    files: tuple[PurePosixPath, ...]
    image_uids: tuple[str, ...]


def read_directory(path: Path) -> tuple[ListedSeries, ...]:
    """Read the CT series that a DICOMDIR lists.

    Args:
        path: the DICOMDIR.
    Returns:
        Series with at least one image, in the order of the file.
    Raises:
        UnreadableFileError: the file cannot be walked, or breaks off.
        OSError: it cannot be opened.
    Source: DICOM PS3.3 F.3.
    """
    dataset = read_dataset(path, has_pixels=False)
    if is_cut(dataset):
        raise UnreadableFileError
    try:
        by_offset = {int(record.seq_item_tell): record for record in items(dataset, "DirectoryRecordSequence")}
        first = integer(dataset, "OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity") or 0
        # A record is given out once, so that offsets that run in a circle come to an end.
        return tuple(_read_series(by_offset, first))
    except (TypeError, ValueError, AttributeError) as error:
        raise UnreadableFileError from error


def find_absent(directory: Path, files: Collection[PurePosixPath]) -> set[PurePosixPath]:
    """Find listed files that are not there, in small letters neither: media are often mounted with those.

    Nor is one there of which a copy left anything but DICOM; in an archive, whose members have checksums, the name tells.

    Args:
        directory: the DICOMDIR, or a member of a ZIP archive.
        files: relative to it; one that leads out of its folder is never there.
    Raises:
        OSError: the folder or the archive cannot be read any more; ArchiveError, which is one, where the archive is damaged.
    """
    if isinstance(directory, ZipMember) and files:
        names = {str(path).lower() for _, path in list_members(directory.entry.archive)}
        return {file for file in files if not (_is_inside(file) and str(directory.parent / file).lower() in names)}
    return {file for file in files if not (_is_inside(file) and _is_dicom(directory.parent, file))}


def _is_inside(file: PurePosixPath) -> bool:
    return not file.is_absolute() and ".." not in file.parts


def _is_dicom(folder: Path, file: PurePosixPath) -> bool:
    for path in (Path(folder, spelling) for spelling in (file, str(file).lower())):
        if path.is_file():
            try:
                with path.open("rb") as handle:
                    head = handle.read(SNIFF_BYTES)
            except OSError:
                # It is refused for that.
                return True
            return has_dicom_prefix(head) or may_be_bare_dicom(head)
    return False


def _read_series(by_offset: "dict[int, Dataset]", first: int) -> Iterator[ListedSeries]:
    for patient in _follow(by_offset, first):
        for study in _follow(by_offset, _lower(patient)):
            for series in _follow(by_offset, _lower(study)):
                images = {file: image for image in _follow(by_offset, _lower(series)) if (file := _file_of(image))}
                uids = tuple(text(image, "ReferencedSOPInstanceUIDInFile") for image in images.values())
                if images and text(series, "Modality") == "CT":
                    yield ListedSeries(text(patient, "PatientID"), text(series, "SeriesInstanceUID"), tuple(images), uids)


def _follow(by_offset: "dict[int, Dataset]", offset: int) -> Iterator["Dataset"]:
    """Give the records of one level, each of which names the next."""
    while record := by_offset.pop(offset, None):
        yield record
        offset = integer(record, "OffsetOfTheNextDirectoryRecord") or 0


def _lower(record: "Dataset") -> int:
    return integer(record, "OffsetOfReferencedLowerLevelDirectoryEntity") or 0


def _file_of(record: "Dataset") -> PurePosixPath | None:
    parts = [part for part in texts(record, "ReferencedFileID") if part]
    return PurePosixPath(*parts) if parts and text(record, "DirectoryRecordType") == "IMAGE" else None
