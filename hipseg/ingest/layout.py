"""Which layout a folder has: a DICOM tree, an nnU-Net data set or CT-ORG."""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Literal, NamedTuple

from hipseg.errors import ConfigError
from hipseg.ingest.archive import is_archive
from hipseg.ingest.dicomfile import SNIFF_BYTES, has_dicom_prefix

Layout = Literal["dicom", "nnunet", "ctorg"]
LAYOUTS: Mapping[Layout, str] = MappingProxyType({"dicom": "DICOM tree", "nnunet": "nnU-Net data set", "ctorg": "CT-ORG"})
DESCRIPTION = "dataset.json"
IMAGE_FOLDERS = ("imagesTr", "imagesTs")
CTORG_NAME = re.compile(r"(volume|labels)-(\d{1,4})\.nii(\.gz)?")
SYMBOLIC_LINK = "symbolic link, not followed"
TRASH = re.compile(r"\.Trash(es|-\d+)?|\$RECYCLE\.BIN|RECYCLER|#recycle|@Recycle|@eaDir", re.IGNORECASE)
"""Folders in which Linux, macOS, Windows and network drives keep what was deleted, a withdrawn patient perhaps, or thumbnails.
Source: freedesktop.org Trash specification 1.0; the systems' own names."""
IN_TRASH = "folder of deleted files or thumbnails, not looked into"
NOT_A_FILE = "not a regular file"
UNOPENED = "cannot be opened"


class TreeEntry(NamedTuple):
    """One entry below a folder, which is not opened; a tuple, since there is one for each slice. Private.

    Args:
        path: the entry.
        folder: its folder, relative to the root.
        reason: why it is not looked into; empty for a regular file.
        status: of the file, or of the link; None where it cannot be asked.
        is_folder: whether it is a folder, or a link to one.
    """

    path: Path
    folder: str
    reason: str = ""
    status: os.stat_result | None = None
    is_folder: bool = False


def walk_tree(root: Path) -> Iterator[TreeEntry]:
    """Give every file below a folder in sorted order, and what is not followed or cannot be listed; a root may be a link."""
    unlisted: list[OSError] = []
    for place, subfolders, names in os.walk(root, onerror=unlisted.append):
        folder = Path(place)
        relative = folder.relative_to(root).as_posix()
        yield from _unlisted(unlisted, root)
        yield from (TreeEntry(folder / name, relative, IN_TRASH, is_folder=True) for name in _drop_trash(subfolders))
        subfolders.sort()
        links = {name for name in subfolders if (folder / name).is_symlink()}
        for name in sorted([*names, *links]):
            yield _look_at(folder / name, relative, is_folder=name in links)
    yield from _unlisted(unlisted, root)


def _drop_trash(subfolders: list[str]) -> list[str]:
    """Take the folders that are not looked into out of those of a walk, in sorted order."""
    dropped = sorted(name for name in subfolders if TRASH.fullmatch(name))
    subfolders[:] = [name for name in subfolders if name not in dropped]
    return dropped


def _unlisted(errors: list[OSError], root: Path) -> Iterator[TreeEntry]:
    """Give the folders that could not be listed since the last call."""
    while errors:
        path = Path(errors.pop().filename or root)
        yield TreeEntry(path, path.parent.relative_to(root).as_posix() if path != root else ".", UNOPENED, is_folder=True)


def _look_at(path: Path, folder: str, *, is_folder: bool) -> TreeEntry:
    try:
        status = path.lstat()
    except OSError:
        # It is gone since the folder was listed.
        return TreeEntry(path, folder, UNOPENED)
    if stat.S_ISLNK(status.st_mode):
        return TreeEntry(path, folder, SYMBOLIC_LINK, status, is_folder)
    return TreeEntry(path, folder, "" if stat.S_ISREG(status.st_mode) else NOT_A_FILE, status)


@dataclass(frozen=True, repr=False)
class Listing:
    """The files below a folder.

    Args:
        files: regular files by their path relative to the folder, in order.
        set_aside: number of other entries by reason.
    """

    files: Mapping[PurePosixPath, Path]
    set_aside: Counter[str]

    @property
    def files_seen(self) -> int:
        """Number of files and links looked at."""
        return len(self.files) + self.set_aside.total()


def list_files(root: Path) -> Listing:
    """List the regular files below a folder; symbolic links are not followed."""
    files: dict[PurePosixPath, Path] = {}
    set_aside: Counter[str] = Counter()
    for entry in walk_tree(root):
        if entry.reason:
            set_aside[entry.reason] += 1
        else:
            files[PurePosixPath(entry.path.relative_to(root))] = entry.path
    return Listing(MappingProxyType(files), set_aside)


def detect_layout(root: Path) -> Layout:
    """Say which layout a folder has, by the names of its files; only files beside a layout of NIfTI volumes are opened.

    Args:
        root: the folder.
    Returns:
        The layout; a folder that shows none of the others is taken as a DICOM tree.
    Raises:
        ConfigError: it has several, or lies one level too high.
    """
    datasets, numbers = _find_marks(root)
    found: list[Layout] = []
    if datasets:
        found.append("nnunet")
    if numbers["volume"] & numbers["labels"]:
        found.append("ctorg")
    if found and _has_dicom(root):
        found.append("dicom")
    if len(found) > 1:
        names = " and ".join(f"{LAYOUTS[one]} (--layout {one})" for one in found)
        raise ConfigError(f"the layout of {root} is ambiguous: it looks like {names}; choose one, or pack the parts apart")
    if datasets and "." not in datasets:
        raise ConfigError(
            f"{root} is no nnU-Net data set itself, {len(datasets)} of the folders below it are; pack one at a time: "
            "their labels may differ in meaning"
        )
    return found[0] if found else "dicom"


def _find_marks(root: Path) -> tuple[set[str], dict[str, set[int]]]:
    """Find the folders that look like nnU-Net data sets, and the numbers of files named as in CT-ORG."""
    datasets: set[str] = set()
    numbers: dict[str, set[int]] = {"volume": set(), "labels": set()}
    for folder, subfolders, names in os.walk(root):
        _drop_trash(subfolders)
        if DESCRIPTION in names and any(name in subfolders for name in IMAGE_FOLDERS):
            datasets.add(Path(folder).relative_to(root).as_posix())
        for match in filter(None, map(CTORG_NAME.fullmatch, names)):
            numbers[match[1]].add(int(match[2]))
    return datasets, numbers


def _has_dicom(root: Path) -> bool:
    """Say whether a folder holds a DICOM file or a ZIP archive; it stops at the first."""
    for folder, subfolders, names in os.walk(root):
        _drop_trash(subfolders)
        for path in (Path(folder) / name for name in names):
            if not path.name.endswith((".nii", ".nii.gz", ".json")) and _is_dicom(path):
                return True
    return False


def _is_dicom(path: Path) -> bool:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        with path.open("rb") as handle:
            head = handle.read(SNIFF_BYTES)
    except OSError:
        return False
    return has_dicom_prefix(head) or is_archive(path, head)
