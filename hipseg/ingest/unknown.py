"""Files that are nothing that is read -> whether one may be a slice, a mask or more whose bytes are lost, and what to call it."""

import re
from pathlib import Path
from typing import NamedTuple

from hipseg.ingest.dicomfile import PREFIX_OFFSET, SNIFF_BYTES

NOT_OURS = "neither DICOM nor NIfTI nor NRRD"
OTHER_VOLUME = "MetaImage or NIfTI in two files by name, not read: save masks as .nii.gz"
DAMAGED = "damaged DICOM file"
CUT_SHORT = "empty file"
ZEROS = "file that begins with zeros alone"
POINTER = "pointer of git-lfs or git-annex in the place of a file"
PACKED = "compressed file called DICOM"
OTHER_ARCHIVE = "archive of another kind than ZIP, or a part of one, not looked into: unpack it"
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
"""The last one is Siemens'."""
VOXEL_SUFFIX = ".img"
"""Some media call slices so; Analyze calls voxels so, which may begin with zeros."""
SLICE_SUFFIXES = ("", *DICOM_SUFFIXES, ".dic", ".ct", VOXEL_SUFFIX)
"""What media and archives call slices, beside those whose identifier is their name, which ends in a number."""
PACKED_SUFFIXES = (".dcm.gz", ".dcm.bz2", ".dcm.xz", ".dcm.zst")
TEXT_SUFFIXES = (".txt", ".log", ".ini", ".csv", ".json", ".xml", ".html", ".md", ".url")
SYSTEM_NAMES = ("Icon\r", "_SUCCESS")
"""What some systems and programs leave in a folder, empty."""
OTHER_VOLUME_EXTENSIONS = (".mha", ".mhd", ".hdr")
"""Of MetaImage, as Plastimatch and ITK write it, and of NIfTI and Analyze headers whose voxels lie in a second file."""
ARCHIVE_NAME = re.compile(
    r".+\.(7z|rar|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz|zst)|z\d\d|r\d\d|(zip|7z|rar|tar|tar\.gz|tgz)\.(\d{3}|part\d*|partial|crdownload))",
    re.IGNORECASE,
)
"""What packs whole folders; the last ones are parts of archives, and downloads that did not end."""
ARCHIVE_STARTS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x28\xb5\x2f\xfd")
"""Of gzip, bzip2, xz, 7z, RAR and Zstandard."""
TAR_MARK, TAR_MARK_OFFSET = b"ustar", 257
"""Source: POSIX.1-2017, pax, ustar interchange format."""
POINTER_STARTS = (b"version https://git-lfs", b"/annex/objects/")
"""Source: git-lfs, docs/spec.md; git-annex, pointer files of unlocked content."""
META_ELEMENT, META_BYTES = b"\x02\x00\x10\x00UI", 512
"""How the element begins that names the transfer syntax, and within how many bytes of a DICOM file. Source: DICOM PS3.10 7.1."""


class Judgement(NamedTuple):
    """What a file is called that is nothing that is read, and whether it may be a slice of the series beside it."""

    reason: str
    may_be_slice: bool = False


def judge_unknown(path: Path, head: bytes) -> Judgement:
    """Judge a file that is neither DICOM nor a volume nor a ZIP archive, by its name and its first bytes.

    A copy that was cut off at once leaves nothing, or a part of the preamble; one that was interrupted after it took its room
    leaves zeros. Other files are empty for other reasons.

    Args:
        path: the file.
        head: its first bytes, SNIFF_BYTES or more of a larger file.
    """
    doubt = _find_doubt(path, head)
    return Judgement(doubt, may_be_slice=True) if doubt else Judgement(_name_other(path, head))


def _find_doubt(path: Path, head: bytes) -> str:
    """Say what may have happened to a slice; empty where the file is none."""
    is_hidden, may_name_slice = path.name.startswith("."), may_be_called(path)
    is_excused = is_hidden or (not head and _is_called_text(path))
    is_blank = head != b"" and not any(head[:SNIFF_BYTES]) and path.suffix.lower() != VOXEL_SUFFIX
    found = {
        CUT_SHORT: _is_cut_start(head) and not is_excused,
        POINTER: may_name_slice and head.startswith(POINTER_STARTS),
        # The element stands behind a preamble and a prefix that are damaged, too short or too long.
        DAMAGED: is_called_dicom(path) or META_ELEMENT in head[:META_BYTES],
        ZEROS: may_name_slice and is_blank,
        PACKED: not is_hidden and path.name.lower().endswith(PACKED_SUFFIXES),
    }
    return next((reason for reason, holds in found.items() if holds), "")


def _name_other(path: Path, head: bytes) -> str:
    if path.name.startswith("."):
        return NOT_OURS
    if path.name.endswith(OTHER_VOLUME_EXTENSIONS):
        return OTHER_VOLUME
    is_packed = head.startswith(ARCHIVE_STARTS) or head.startswith(TAR_MARK, TAR_MARK_OFFSET)
    return OTHER_ARCHIVE if ARCHIVE_NAME.fullmatch(path.name) or (may_be_called(path) and is_packed) else NOT_OURS


def is_called_dicom(path: Path) -> bool:
    """Say whether a name promises DICOM; where the first bytes are damaged, passing it over would be a slice less."""
    return path.suffix.lower() in DICOM_SUFFIXES and not path.name.startswith(".")


def may_be_called(path: Path) -> bool:
    """Say whether a name may be that of a slice, as far as its suffix tells."""
    suffix = path.suffix.lower()
    is_open = suffix in SLICE_SUFFIXES or suffix[1:].isdigit()
    return is_open and not (path.name.startswith(".") or path.name in SYSTEM_NAMES)


def shape_of(name: str) -> str:
    """Give a name with every number in it as 0: those of the slices of one export are mostly equal then."""
    return re.sub(r"\d+", "0", name)


def _is_called_text(path: Path) -> bool:
    """Say whether a name is that of no slice, whatever program exported it."""
    return path.suffix.lower() in TEXT_SUFFIXES or path.name in SYSTEM_NAMES


def _is_cut_start(head: bytes) -> bool:
    preamble, prefix = head[:PREFIX_OFFSET], head[PREFIX_OFFSET:SNIFF_BYTES]
    return len(head) < SNIFF_BYTES and not any(preamble) and b"DICM".startswith(prefix)
