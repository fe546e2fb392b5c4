"""DICOMDIR, the table of contents of a medium: which CT series it lists, and which of their files are there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from hipseg.ingest.archive import ZipMember, list_members
from hipseg.ingest.dicomfile import UnreadableFileError, integer, is_cut, items, read_dataset, text, texts

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True, repr=False)
class ListedSeries:
    """One CT series of a DICOMDIR; all of it is private.

    Args:
        patient_id, series_uid: as listed; may be empty.
        files: paths of its images, relative to the DICOMDIR.
    """

    patient_id: str
    series_uid: str
    files: tuple[PurePosixPath, ...]


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


def has_listed_file(directory: Path, file: PurePosixPath) -> bool:
    """Say whether a file that a DICOMDIR lists is there, whatever its case: media are often mounted with small letters.

    Args:
        directory: the DICOMDIR, or a member of a ZIP archive.
        file: relative to it; one that leads out of its folder is never there.
    """
    if file.is_absolute() or ".." in file.parts:
        return False
    wanted = str(directory.parent / file)
    if isinstance(directory, ZipMember):
        return wanted.lower() in {str(path).lower() for _, path in list_members(directory.entry.archive)}
    return any(Path(spelling).is_file() for spelling in (wanted, str(directory.parent / str(file).lower())))


def _read_series(by_offset: "dict[int, Dataset]", first: int) -> Iterator[ListedSeries]:
    for patient in _follow(by_offset, first):
        for study in _follow(by_offset, _lower(patient)):
            for series in _follow(by_offset, _lower(study)):
                files = tuple(filter(None, (_file_of(image) for image in _follow(by_offset, _lower(series)))))
                if files and text(series, "Modality") == "CT":
                    yield ListedSeries(text(patient, "PatientID"), text(series, "SeriesInstanceUID"), files)


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
