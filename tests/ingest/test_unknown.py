"""What files that are nothing are called, and which of them may be slices whose bytes are lost."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from hipseg.ingest.unknown import (
    CUT_SHORT,
    DAMAGED,
    NOT_OURS,
    OTHER_ARCHIVE,
    OTHER_VOLUME,
    PACKED,
    POINTER,
    ZEROS,
    judge_unknown,
    may_be_called,
    shape_of,
)

NOISE = bytes(range(1, 200))
POINTERS = (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n", b"/annex/objects/MD5E-s12--abc\n")


def make_tar():
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("p1"))
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "head", "reason"),
    [
        *((name, bytes(132), ZEROS) for name in ("IM000001", "1.2.840.7", "x.CT", "x.0001", "x.dic")),
        *((name, bytes(132), DAMAGED) for name in ("x.dcm", "x.IMA", "x.dicom")),
        *((name, head, POINTER) for name in ("IM000001", "x.dcm") for head in POINTERS),
        ("IM000001", b"", CUT_SHORT),
        ("IM000001", bytes(128), CUT_SHORT),
        ("x.dcm", NOISE, DAMAGED),
        ("x.jpg", bytes(60) + b"\x02\x00\x10\x00UI" + NOISE, DAMAGED),
        ("x.DCM.gz", gzip.compress(NOISE), PACKED),
    ],
)
def test_what_may_be_a_slice_is_told_with_what_happened_to_it(name, head, reason):
    assert judge_unknown(Path("folder", name), head) == (reason, True)


@pytest.mark.parametrize(
    ("name", "head", "reason"),
    [
        *((name, bytes(1000), NOT_OURS) for name in ("voxels.raw", "voxels.img", "disc.iso", ".hidden", "notes.txt", "Icon\r")),
        *((name, b"", NOT_OURS) for name in ("notes.txt", ".hidden", "_SUCCESS")),
        *((name, head, NOT_OURS) for name in (".IM1", "table.csv", "mask.pt") for head in POINTERS),
        ("IM000001", NOISE, NOT_OURS),
        ("log.gz", gzip.compress(NOISE), NOT_OURS),
        ("mask.mhd", NOISE, OTHER_VOLUME),
        *((f"p1.{end}", NOISE, OTHER_ARCHIVE) for end in ("tar", "tar.gz", "TGZ", "7z", "rar", "z01", "zip.001", "zip.part")),
        *((name, head, OTHER_ARCHIVE) for name in ("1.2.840.7", "p1") for head in (make_tar(), gzip.compress(NOISE))),
    ],
)
def test_what_is_no_slice_is_named(name, head, reason):
    assert judge_unknown(Path("folder", name), head) == (reason, False)


def test_names_of_one_export_have_one_shape():
    assert shape_of("IM000001") == shape_of("IM12") != shape_of("IM1.jpg")
    assert shape_of("1.2.840.55.1") == shape_of("1.3.12.2.1107") != shape_of("RS.1.2.840")
    assert [may_be_called(Path(name)) for name in ("IM1", "1.2.3", "a.IMA", "a.png", ".a", "a.json")] == [True] * 3 + [False] * 3
