"""Faults of ZIP archives."""

from pathlib import Path

from tests.faults.good import Good, read_right, refused
from tests.ingest.builders import cut
from tests.ingest.media import zip_folder


def _zip(good: Good) -> Path:
    """Put the series into an archive in its place."""
    archive = zip_folder(good.folder, good.folder.parent / "patient.zip")
    for path in good.paths:
        path.unlink()
    return archive.rename(good.folder / "patient.zip")


@read_right
def series_in_an_archive(good: Good) -> None:
    _zip(good)


@read_right
def series_in_an_archive_beside_the_file_that_a_mac_leaves(good: Good) -> None:
    archive = _zip(good)
    (archive.parent / f"._{archive.name}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X" + bytes(200))


@refused(r"damaged ZIP archive: it has no readable table of contents; copy the archive again")
def archive_cut(good: Good) -> None:
    cut(_zip(good), -40)


@refused(r"damaged ZIP archive: a member (is not what its checksum says|cannot be unpacked); copy the archive again")
def archive_with_a_byte_changed(good: Good) -> None:
    archive = _zip(good)
    raw = bytearray(archive.read_bytes())
    raw[len(raw) // 2] ^= 1
    archive.write_bytes(raw)


@refused(r"refused ZIP archive: 1 of its 6 members: each leads out of the archive; unpack it into a folder")
def archive_that_leads_out_of_itself(good: Good) -> None:
    archive = _zip(good)
    raw, name = archive.read_bytes(), good.paths[2].name.encode()
    archive.write_bytes(raw.replace(name, b"../" + name[3:]))
