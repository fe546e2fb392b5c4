"""Which layout a folder has: a DICOM tree, an nnU-Net data set or CT-ORG."""

import os
import re
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Literal, NamedTuple

from hipseg.errors import ConfigError
from hipseg.ingest.archive import is_archive, list_members
from hipseg.ingest.dicomfile import SNIFF_BYTES, has_dicom_prefix
from hipseg.ingest.unknown import may_be_called

Layout = Literal["dicom", "nnunet", "ctorg"]
LAYOUTS: Mapping[Layout, str] = MappingProxyType({"dicom": "DICOM tree", "nnunet": "nnU-Net data set", "ctorg": "CT-ORG"})
DESCRIPTION = "dataset.json"
IMAGE_FOLDERS = ("imagesTr", "imagesTs")
CTORG_NAME = re.compile(r"(volume|labels)-(\d{1,4})\.nii(\.gz)?")
SYMBOLIC_LINK = "symbolic link, not followed"
LINK_OUT = "symbolic link to data elsewhere, not followed: put the files themselves in its place"
"""One that may lead to a patient whom nothing else in the folder leads to."""
LINKS = (SYMBOLIC_LINK, LINK_OUT)
MEMBERS_TRIED = 8
"""Of an archive: more than what exports put before the first image, as a DICOMDIR and a viewer's files."""
VOLUME_SUFFIXES = (".zip", ".nii", ".nii.gz", ".nrrd")
TRASH = re.compile(r"\.Trash(es|-\d+)?|\$RECYCLE\.BIN|RECYCLER|#recycle|@Recycle|@eaDir", re.IGNORECASE)
"""Folders in which Linux, macOS, Windows and network drives keep what was deleted, a withdrawn patient perhaps, or thumbnails.
Source: freedesktop.org Trash specification 1.0; the systems' own names."""
IN_TRASH = "folder of deleted files or thumbnails, not looked into"
STORE = re.compile(r"\.(git|hg|svn|dvc|stversions|zfs|snapshots?)|[~#]snapshot|@Recently-Snapshot", re.IGNORECASE)
"""Folders in which git and its like (DataLad, git-lfs, DVC), Syncthing and file servers (NetApp, Synology, QNAP, ZFS) keep other
versions of files, a mask that was corrected perhaps. Source: the systems' own names."""
IN_STORE = "folder of other versions of files, not looked into"
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
    home = os.path.realpath(root)
    for place, subfolders, names in os.walk(root, onerror=unlisted.append):
        folder = Path(place)
        relative = folder.relative_to(root).as_posix()
        yield from _unlisted(unlisted, root)
        yield from (TreeEntry(folder / name, relative, _find_hoard(name), is_folder=True) for name in _drop_hoards(subfolders))
        subfolders.sort()
        links = {name for name in subfolders if (folder / name).is_symlink()}
        for name in sorted([*names, *links]):
            yield _look_at(folder / name, relative, home, is_folder=name in links)
    yield from _unlisted(unlisted, root)


def _drop_hoards(subfolders: list[str]) -> list[str]:
    """Take the folders that are not looked into out of those of a walk, in sorted order."""
    dropped = sorted(filter(_find_hoard, subfolders))
    subfolders[:] = [name for name in subfolders if name not in dropped]
    return dropped


def _find_hoard(name: str) -> str:
    """Say why a folder of a name is not looked into; empty where it is."""
    if TRASH.fullmatch(name):
        return IN_TRASH
    return IN_STORE if STORE.fullmatch(name) else ""


def _unlisted(errors: list[OSError], root: Path) -> Iterator[TreeEntry]:
    """Give the folders that could not be listed since the last call."""
    while errors:
        path = Path(errors.pop().filename or root)
        yield TreeEntry(path, path.parent.relative_to(root).as_posix() if path != root else ".", UNOPENED, is_folder=True)


def _look_at(path: Path, folder: str, home: str, *, is_folder: bool) -> TreeEntry:
    try:
        status = path.lstat()
    except OSError:
        # It is gone since the folder was listed.
        return TreeEntry(path, folder, UNOPENED)
    if stat.S_ISLNK(status.st_mode):
        is_lost = (is_folder or _may_be_data(path)) and _leads_out(path, home)
        return TreeEntry(path, folder, LINK_OUT if is_lost else SYMBOLIC_LINK, status, is_folder)
    return TreeEntry(path, folder, "" if stat.S_ISREG(status.st_mode) else NOT_A_FILE, status)


def _may_be_data(path: Path) -> bool:
    """Say whether a name may be that of an image, a mask, an archive or, where it has no suffix, of a patient's folder."""
    return path.name.endswith(VOLUME_SUFFIXES) or may_be_called(path)


def _leads_out(link: Path, home: str) -> bool:
    """Say whether what a link leads to is not found without it: it lies elsewhere, in a folder not looked into, or is gone."""
    target = Path(os.path.realpath(link))
    return not (target.is_relative_to(home) and target.exists()) or any(map(_find_hoard, target.relative_to(home).parts))


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


def say_links(listing: Listing) -> str:
    """Say what may be missing for being a link; empty where there is none."""
    links = sum(listing.set_aside[reason] for reason in LINKS)
    return f" ({links} symbolic links in the data set are not followed; put the files themselves in their place)" if links else ""


def say_near_miss(volumes: Collection[Path]) -> str:
    """Say what NIfTI volumes of no known layout lack to be of one; empty where their names show none."""
    folders = {path.parent.name for path in volumes}.intersection(IMAGE_FOLDERS)
    if folders:
        return f": {' and '.join(sorted(folders))} are there, but no {DESCRIPTION} beside"
    kinds = [match[1] for path in volumes if (match := CTORG_NAME.fullmatch(path.name))]
    if kinds:
        counts = f"{kinds.count('volume')} volume-N.nii.gz and {kinds.count('labels')} labels-N.nii.gz"
        return f": {counts} are there, but none of both of one number"
    return ""


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
    if len(found) > 1 and datasets and "." not in datasets:
        others = " and ".join(LAYOUTS[one] for one in found[1:])
        raise ConfigError(
            f"{root} is no nnU-Net data set itself, {len(datasets)} of the folders below it are, beside what looks like "
            f"{others}; pack the folders one at a time"
        )
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
        _drop_hoards(subfolders)
        if DESCRIPTION in names and any(name in subfolders for name in IMAGE_FOLDERS):
            datasets.add(Path(folder).relative_to(root).as_posix())
        for match in filter(None, map(CTORG_NAME.fullmatch, names)):
            numbers[match[1]].add(int(match[2]))
    return datasets, numbers


def _has_dicom(root: Path) -> bool:
    """Say whether a folder holds a DICOM file, or a ZIP archive of some; it stops at the first."""
    for folder, subfolders, names in os.walk(root):
        _drop_hoards(subfolders)
        for path in (Path(folder) / name for name in names):
            if not path.name.endswith((".nii", ".nii.gz", ".json")) and _is_dicom(path):
                return True
    return False


def _is_dicom(path: Path) -> bool:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        head = _read_start(path)
    except OSError:
        return False
    return has_dicom_prefix(head) or (is_archive(path, head) and _holds_dicom(path))


def _holds_dicom(archive: Path) -> bool:
    """Say whether one of the first members is DICOM that are no volumes: CT-ORG and others are delivered as archives, too."""
    try:
        members = [member for name, member in list_members(archive) if not name.name.endswith(VOLUME_SUFFIXES)]
        return any(has_dicom_prefix(_read_start(member)) for member in members[:MEMBERS_TRIED])
    except OSError:
        return False


def _read_start(path: Path) -> bytes:
    with path.open("rb") as handle:
        return handle.read(SNIFF_BYTES)
