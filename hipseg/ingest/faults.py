"""What a tree lacks without any slice showing it: archives that cannot be looked into, files that a DICOMDIR lists."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from hipseg.ingest.dicomdir import ListedSeries, has_listed_file, read_directory
from hipseg.ingest.dicomfile import UnreadableFileError
from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.pairing import SeriesKey, SeriesMap
from hipseg.ingest.scan import FoundFile, Scan


@dataclass(frozen=True, repr=False)
class Fault:
    """Why a series cannot be packed whole, in our own words; and the folder concerned, which is private."""

    reason: str
    folder: str


def find_faults(scan: Scan, series: SeriesMap) -> dict[SeriesKey, Fault]:
    """Find the series that are known to be incomplete.

    Args:
        scan: what the tree holds.
        series: its series.
    Returns:
        The first fault of each. One that belongs to none of the series has a key of its own, made of the archive's place or of
        what the DICOMDIR says, so that it is refused by name and not passed over.
    """
    faults: dict[SeriesKey, Fault] = {}
    for archive in scan.faults:
        inside = [key for key, images in series.items() if any(_lies_in(header.folder, archive.folder) for header in images)]
        for key in inside or [(archive.folder, archive.folder)]:
            faults.setdefault(key, Fault(archive.reason, archive.folder))
    if scan.directories:
        present = {_place(header.folder, header.path.name) for images in series.values() for header in images}
        for directory in scan.directories:
            for listed, missing in _find_missing(directory, present):
                reason = (
                    f"incomplete series: {missing} of the {len(listed.files)} images that a DICOMDIR lists for it are missing; "
                    "copy the medium again"
                )
                for key in _find_keys(listed, series) or [_make_key(listed, directory)]:
                    faults.setdefault(key, Fault(reason, directory.folder))
    return faults


def _lies_in(folder: str, archive: str) -> bool:
    return folder == archive or folder.startswith(f"{archive}/")


def _place(folder: str, name: str | PurePosixPath) -> str:
    # Media are often mounted with small letters, whatever their DICOMDIR says.
    return (PurePosixPath(folder) / name).as_posix().lower()


def _find_missing(directory: FoundFile, present: set[str]) -> Iterator[tuple[ListedSeries, int]]:
    """Give the listed series of which files are missing; an image that is set aside is there, too."""
    try:
        found = read_directory(directory.path)
    except (OSError, UnreadableFileError):
        # What it lists cannot be told; the series are judged by their slices alone, as without a DICOMDIR.
        return
    for listed in found:
        unseen = [file for file in listed.files if _place(directory.folder, file) not in present]
        missing = sum(not has_listed_file(directory.path, file) for file in unseen)
        if missing:
            yield listed, missing


def _find_keys(listed: ListedSeries, series: Mapping[SeriesKey, Sequence[ImageHeader]]) -> list[SeriesKey]:
    return [key for key, images in series.items() if images[0].series_uid == listed.series_uid != ""]


def _make_key(listed: ListedSeries, directory: FoundFile) -> SeriesKey:
    return listed.patient_id or directory.folder, listed.series_uid or directory.folder
