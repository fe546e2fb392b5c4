"""ZIP archives: their members as read-only files that are unpacked one at a time, and bombs refused before any is."""

import io
import os
import stat
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PosixPath, PurePosixPath
from typing import IO, Any, TypeVar

from hipseg.ingest.ahead import open_held

ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
"""First bytes of an archive with members, and of an empty one. Source: PKWARE APPNOTE 4.3.7 and 4.3.16."""
SUFFIX = ".zip"
LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Signature, then the lengths of name and extra field, behind which the bytes of a member begin. Source: APPNOTE 4.3.7."""
END_RECORD = struct.Struct("<4s6xHIIH")
"""Signature; number of entries, size and offset of the table of contents; length of the comment. Source: APPNOTE 4.3.16."""
END_64_LOCATOR = struct.Struct("<4s16x")
"""Stands before the end record where another one with larger fields does. Source: APPNOTE 4.3.15."""
LARGER = (0xFFFF, 0xFFFFFFFF)
"""What a field holds whose value stands in the larger record."""
MAX_COMMENT_BYTES = 1 << 16
IS_ENCRYPTED = 0x1
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
MAX_DIRECTORY_BYTES = 8 << 20
"""Of an archive's table of contents: room for 50,000 members and more, and a bound to the memory that it takes."""
MAX_MEMBER_BYTES = 2 << 30
MAX_RATIO = 100
"""Unpacked over packed, of an archive beyond FREE_BYTES. CT deflates to a half or a fifth, only a bomb to a hundredth."""
FREE_BYTES = 1 << 30
MAX_IN_MEMORY_BYTES = 16 << 20
"""A member above it is unpacked into an unnamed temporary file instead."""
BLOCK_BYTES = 1 << 20
TIMES = ("st_atime", "st_mtime", "st_ctime", "st_atime_ns", "st_mtime_ns", "st_ctime_ns")
"""Fields of a file's status that are left out where it is taken as a list."""
COPY_AGAIN = "copy the archive again"
Target = TypeVar("Target", io.FileIO, io.BytesIO)


class ArchiveError(OSError):
    """An archive, or a member of it, cannot or must not be unpacked; the message says why, in our own words."""


@dataclass(frozen=True)
class Entry:
    """Where a member lies in its archive.

    Args:
        archive: the ZIP file.
        offset: of its local header, bytes.
        packed_bytes, bytes: its size in the archive, and unpacked.
        is_deflated: whether it is compressed.
        crc: CRC-32 of the unpacked bytes.
    """

    archive: Path
    offset: int
    packed_bytes: int
    bytes: int
    is_deflated: bool
    crc: int


class ZipMember(PosixPath):
    """A member of an archive where a path is expected: it can be opened for reading and asked for its size."""

    __slots__ = ("entry",)
    entry: Entry

    def __eq__(self, other: object) -> bool:
        """Two members of one name are two files; neither is a file on the disk."""
        return isinstance(other, ZipMember) and str(self) == str(other) and self.entry == other.entry

    def __hash__(self) -> int:
        return hash((str(self), self.entry))

    def __reduce__(self) -> tuple[Any, ...]:
        """Take the entry along to another process."""
        return _make_member, (self.entry, str(self))

    def open(self, mode: str = "rb", buffering: int = -1, **_: Any) -> IO[bytes]:  # type: ignore[override]  # bytes alone
        """Give the unpacked bytes as a file without a name, checked against their CRC.

        Args:
            mode: only reading is possible.
            buffering: 0 for a file without buffer, as for any path.
        Raises:
            ArchiveError: the member is damaged.
        """
        if mode not in ("r", "rb"):
            raise ArchiveError("members of a ZIP archive can only be read")
        raw = _open_entry(self.entry)
        return raw if buffering == 0 else io.BufferedReader(raw)

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:  # noqa: ARG002 - there is no link to follow
        """Give the archive's status with the member's unpacked size."""
        status = self.entry.archive.stat()
        values = list(status)
        values[stat.ST_SIZE] = self.entry.bytes
        return os.stat_result(values, {name: getattr(status, name) for name in TIMES})

    def lstat(self) -> os.stat_result:
        """Give what `stat` does."""
        return self.stat()


def is_archive(path: Path, head: bytes) -> bool:
    """Say whether a file is a ZIP archive, by its name: office documents and others are archives by their content, too.

    What follows the last point of an identifier, by which archives are called, too, is no suffix. A file that merely begins like
    an archive is none; one of the name that does not begin so is a damaged one, and none if it is hidden: some systems leave a
    file of their own under the hidden name of each other one.
    """
    begins_so = head[:4] in ZIP_STARTS
    return (path.suffix.lower() == SUFFIX and (begins_so or not path.name.startswith("."))) or (
        begins_so and (not path.suffix or path.suffix[1:].isdigit())
    )


def list_members(archive: Path) -> tuple[tuple[PurePosixPath, ZipMember], ...]:
    """List the files of an archive, nothing of it unpacked.

    Args:
        archive: the ZIP file.
    Returns:
        Name inside the archive and member, by rising name. Folders are left out.
    Raises:
        ArchiveError: the archive is damaged, encrypted, packed by another method than deflate, holds archives, links or names
            that lead out of it, or announces more than any archive of images would.
        OSError: it cannot be opened.
    """
    if isinstance(archive, ZipMember):
        raise ArchiveError("a ZIP archive inside a ZIP archive is not looked into; unpack the outer one")
    infos = [one for one in _with_folders(_read_directory(archive)) if not one.filename.endswith("/")]
    _check_infos(infos, archive.stat().st_size)
    members = []
    for info in infos:
        entry = Entry(
            archive, info.header_offset, info.compress_size, info.file_size, info.compress_type == zipfile.ZIP_DEFLATED, info.CRC
        )
        name = PurePosixPath(info.filename)
        members.append((name, _make_member(entry, str(archive / name))))
    return tuple(sorted(members))


def find_beside(path: Path, name: str) -> Path | None:
    """Find the file of a name in the folder of another one, in the same archive where that is a member; None where there is none.

    Raises:
        OSError: the folder or the archive cannot be read any more.
    """
    if not isinstance(path, ZipMember):
        beside = path.with_name(name)
        return beside if beside.is_file() or beside.is_symlink() else None
    wanted = Path(path.parent, name)
    return next((member for _, member in list_members(path.entry.archive) if Path(member) == wanted), None)


def open_descriptor(path: Path) -> int:
    """Open a file, or a member of an archive, for reading by its descriptor; the caller closes it.

    Raises:
        OSError: it cannot be opened, or is a damaged member.
    """
    if not isinstance(path, ZipMember):
        held = open_held(path)
        return os.open(path, os.O_RDONLY) if held is None else held
    with path.open(buffering=0) as raw:
        return os.dup(raw.fileno())


def _make_member(entry: Entry, path: str) -> ZipMember:
    member = ZipMember(path)
    member.entry = entry
    return member


class _Bounded:
    """A file that gives no more bytes at once than a table of contents may have, however many its size field announces."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self.seek, self.tell, self.seekable, self.close = handle.seek, handle.tell, handle.seekable, handle.close

    def read(self, size: int = -1) -> bytes:
        if size > MAX_DIRECTORY_BYTES:
            raise ArchiveError(f"the table of contents of a ZIP archive has {size} bytes, at most {MAX_DIRECTORY_BYTES} accepted")
        return self._handle.read(size)


def _read_directory(archive: Path) -> list[zipfile.ZipInfo]:
    with archive.open("rb") as handle:
        try:
            with zipfile.ZipFile(_Bounded(handle)) as opened:
                infos: list[zipfile.ZipInfo] = opened.infolist()
            is_whole = _is_whole(archive, len(infos))
        except ArchiveError:
            raise
        except Exception as error:  # zipfile raises struct errors, ValueErrors and others on damaged bytes
            raise ArchiveError(f"damaged ZIP archive: it has no readable table of contents; {COPY_AGAIN}") from error
    if not is_whole or any(one.header_offset < 0 for one in infos):
        raise ArchiveError(f"damaged ZIP archive: its table of contents is not what the record behind it says; {COPY_AGAIN}")
    return infos


def _with_folders(infos: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    """Read names as they are meant where an archive parts all of their folders by backslashes, as older programs of Windows do.

    Source: APPNOTE 4.4.17.1 wants slashes.
    """
    if not any("/" in one.filename for one in infos):
        for one in infos:
            one.filename = one.filename.replace("\\", "/")
    return infos


def _is_whole(archive: Path, found: int) -> bool:
    """Compare the table of contents with the record behind it, which zipfile does not: an entry less would be a slice less."""
    with archive.open("rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, size - MAX_COMMENT_BYTES - END_RECORD.size))
        tail = handle.read()
    at = tail.rfind(ZIP_STARTS[1])
    _, entries, directory_bytes, offset, comment_bytes = END_RECORD.unpack_from(tail, at)
    ends = at + END_RECORD.size + comment_bytes == len(tail)
    has_larger = tail[max(0, at - END_64_LOCATOR.size) : at].startswith(b"PK\x06\x07")
    follows = has_larger or offset + directory_bytes == size - len(tail) + at
    return ends and follows and (entries == found or (has_larger and entries in LARGER))


def _check_infos(infos: list[zipfile.ZipInfo], archive_bytes: int) -> None:
    """Refuse an archive by its table of contents."""
    unpacked, packed = sum(one.file_size for one in infos), sum(one.compress_size for one in infos)
    names = Counter(PurePosixPath(one.filename) for one in infos)
    faults: dict[str, Callable[[zipfile.ZipInfo], object]] = {
        "has no name": lambda one: not one.filename,
        "has the name of another one": lambda one: names[PurePosixPath(one.filename)] > 1,
        "is encrypted": lambda one: one.flag_bits & IS_ENCRYPTED,
        "is packed by another method than deflate": lambda one: one.compress_type not in METHODS,
        "leads out of the archive": lambda one: one.filename.startswith("/") or ".." in PurePosixPath(one.filename).parts,
        "is a link": lambda one: stat.S_ISLNK(one.external_attr >> 16),
        "is itself a ZIP archive": lambda one: one.filename.lower().endswith(SUFFIX) and not _is_hidden(one),
        f"has more than {MAX_MEMBER_BYTES} bytes": lambda one: one.file_size > MAX_MEMBER_BYTES,
    }
    for words, is_faulty in faults.items():
        found = sum(bool(is_faulty(one)) for one in infos)
        if found:
            raise ArchiveError(f"refused ZIP archive: {found} of its {len(infos)} members: each {words}; unpack it into a folder")
    ordered = sorted(infos, key=lambda one: one.header_offset)
    ends = [one.header_offset + LOCAL_HEADER.size + one.compress_size for one in ordered]
    if any(following.header_offset < end for end, following in zip(ends, ordered[1:], strict=False)):
        raise ArchiveError("refused ZIP archive: its members overlap: it is damaged, or a bomb; unpack it into a folder")
    if packed > archive_bytes or (unpacked > FREE_BYTES and unpacked > MAX_RATIO * archive_bytes):
        raise ArchiveError(
            f"refused ZIP archive: its members announce {packed} packed and {unpacked} unpacked bytes in a file of "
            f"{archive_bytes}; at most {MAX_RATIO} times its size is accepted: it is damaged, or a bomb"
        )


def _is_hidden(info: zipfile.ZipInfo) -> bool:
    return PurePosixPath(info.filename).name.startswith(".")


def _open_entry(entry: Entry) -> io.FileIO:
    if entry.bytes > MAX_IN_MEMORY_BYTES:
        return _unpack_to(tempfile.TemporaryFile(buffering=0), entry)
    # A file of its own in memory, not a BytesIO: readers may ask for its descriptor.
    raw = io.FileIO(os.memfd_create("member"), "r+")
    raw.write(_unpack_small(entry, entry.archive.stat().st_mtime_ns))
    raw.seek(0)
    return raw


@lru_cache(maxsize=1)
def _unpack_small(entry: Entry, changed_ns: int) -> bytes:  # noqa: ARG001 - another time is another member to the cache
    """Unpack into memory; kept until the next member, since a file is looked at more than once in a row."""
    with _unpack_to(io.BytesIO(), entry) as handle:
        return handle.read()


def _unpack_to(target: Target, entry: Entry) -> Target:
    """Unpack a member into a file, and turn that to its begin; never more bytes than announced."""
    try:
        with entry.archive.open("rb") as handle:
            _copy(handle, target, entry)
    except BaseException:
        target.close()
        raise
    target.seek(0)
    return target


def _copy(handle: IO[bytes], target: io.FileIO | io.BytesIO, entry: Entry) -> None:
    handle.seek(entry.offset)
    head = handle.read(LOCAL_HEADER.size)
    if len(head) < LOCAL_HEADER.size or head[:4] != ZIP_STARTS[0]:
        raise ArchiveError(f"damaged ZIP archive: a member does not begin where the table of contents says; {COPY_AGAIN}")
    _, name_bytes, extra_bytes = LOCAL_HEADER.unpack(head)
    handle.seek(name_bytes + extra_bytes, os.SEEK_CUR)
    crc, written = 0, 0
    for block in _unpack_blocks(handle, entry):
        crc, written = zlib.crc32(block, crc), written + len(block)
        if written > entry.bytes:
            break
        target.write(block)
    if written != entry.bytes or crc != entry.crc:
        raise ArchiveError(f"damaged ZIP archive: a member is not what its checksum says; {COPY_AGAIN}")


def _unpack_blocks(handle: IO[bytes], entry: Entry) -> Iterator[bytes]:
    """Give the bytes of a member in blocks, so that a bomb is noticed before it grows."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    left = entry.packed_bytes
    while left and (packed := handle.read(min(left, BLOCK_BYTES))):
        left -= len(packed)
        if not entry.is_deflated:
            yield packed
            continue
        while packed:
            try:
                yield unpacker.decompress(packed, BLOCK_BYTES)
            except zlib.error as error:
                raise ArchiveError(f"damaged ZIP archive: a member cannot be unpacked; {COPY_AGAIN}") from error
            packed = unpacker.unconsumed_tail
    yield unpacker.flush()
