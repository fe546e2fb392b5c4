"""NRRD label volumes, with the segments and layers that 3D Slicer writes into their headers."""

import bz2
import gzip
import re
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hipseg.errors import ConfigError, MaskError
from hipseg.geometry import Grid, grid_from_affine_ras
from hipseg.ingest.archive import find_beside
from hipseg.ingest.labels import (
    LABEL_MAX,
    MAX_BZIP2_RATIO,
    MAX_GZIP_RATIO,
    LabelVolume,
    VoxelLayout,
    check_size,
    find_values,
    read_layer,
)
from hipseg.ingest.nrrdsegments import NrrdSegment, parse_segments
from hipseg.ingest.scratch import Scratch

MAGIC = b"NRRD000"
"""Source: nrrd.org, NRRD file format, section 2: NRRD0001 to NRRD0005."""
WHAT = "an NRRD mask"
HEADER_MAX_BYTES = 1 << 20
"""A header is read whole before it is understood; those of 3D Slicer take some kilobytes."""
TO_RAS = {
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
}
"""Signs that bring a space onto NIfTI's. Source: nrrd.org, section 5.1 (space)."""
SHORT_SPACES = {"ras": "right-anterior-superior", "las": "left-anterior-superior", "lps": "left-posterior-superior"}
ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
SKIPS = (("line skip", "lineskip"), ("byte skip", "byteskip"))
TO_THE_END = -1
"""In place of a number of bytes to skip: all but those of the voxels. Source: nrrd.org, section 5 (byte skip)."""
LAYER_KINDS = ("list", "vector", "none", "???")
EXTENSIONS = (".seg.nrrd", ".seg.nhdr", ".nrrd", ".nhdr")
DATA_FILE_NAME = re.compile(r"[^/\\%\0]+")
"""A file beside the header: nothing that leaves its folder, and no pattern for several files."""


@dataclass(frozen=True, repr=False)
class NrrdHeader:
    """What a header says.

    Args:
        segments: as 3D Slicer lists them; empty where the file lists none.
        data_path: the file that holds the voxels: the header's own where they follow it, None where there is no such file.
        encoding: raw, gzip or bzip2.
    """

    layout: VoxelLayout
    segments: tuple[NrrdSegment, ...]
    data_path: Path | None
    encoding: str


def is_nrrd(head: bytes) -> bool:
    """Say whether a file's first bytes are those of an NRRD file or header."""
    return head.startswith(MAGIC)


def nrrd_stem(path: Path) -> str:
    """Give the name by which an NRRD file is chosen: without .nrrd, .nhdr, .seg.nrrd or .seg.nhdr."""
    return next((path.name.removesuffix(end) for end in EXTENSIONS if path.name.endswith(end)), path.name)


def read_nrrd_header(path: Path) -> NrrdHeader:
    """Read the header of an NRRD file.

    Raises:
        MaskError: it cannot be read, does not say where the voxels lie, or describes no label volume.
    Source: nrrd.org, NRRD file format; 3D Slicer's manual, segmentation file format.
    """
    import nrrd  # noqa: PLC0415 - packing DICOM starts sooner without it

    # Its warnings quote the header. The filter stays: what was there before cannot be put back while other threads run.
    warnings.filterwarnings("ignore", module=r"nrrd(\.|$)")
    try:
        with path.open("rb") as stream:
            head = stream.read(HEADER_MAX_BYTES)
            end = _find_end(head)
            return _parse(nrrd.read_header(head[:end].decode("utf-8", "replace").split("\n")), path, end)
    except OSError as error:
        raise MaskError(f"{WHAT} can no longer be opened; pack the folder again") from error
    except MaskError:
        raise
    except ConfigError as error:
        raise MaskError(f"{WHAT} has a header that cannot be used: {error}") from error
    except Exception as error:  # pynrrd raises nearly anything on a damaged header
        raise MaskError(f"{WHAT} has a damaged header; write it again") from error


def find_voxel_file(path: Path) -> Path | None:
    """Find the file that holds the voxels of a header; None where they follow it, or where it says nothing that can be used."""
    try:
        found = read_nrrd_header(path).data_path
    except MaskError:
        return None
    return None if found == path else found


def open_nrrd_on(path: Path, grid: Grid, scratch: Scratch, layer: int = 0) -> LabelVolume:
    """Read one layer of an NRRD label volume to its end, and turn its axes onto a grid.

    Args:
        path: the file.
        grid: the grid that its voxels must lie on, in whatever order and direction of axes; all of it or a part.
        scratch: where the turned volume is kept.
        layer: which of the values of a voxel, counted from 0.
    Returns:
        Its slices on that grid; nothing is resampled.
    Raises:
        MaskError: see `read_nrrd_header`; or it lies elsewhere, is cut short or damaged, or holds no labels.
        ConfigError: the disk of the temporary files is full.
    """
    header = read_nrrd_header(path)
    if header.segments and header.layout.grid.shape_zyx == (1, 1, 1):
        raise MaskError(
            f"{WHAT} lists segments and has a single voxel, as 3D Slicer saves it where nothing is drawn; draw them, or move the "
            "file elsewhere"
        )
    return LabelVolume(scratch, _read_images(header, layer), header.layout, grid, WHAT)


def read_nrrd_values(path: Path) -> tuple[int, ...]:
    """Give the label numbers above 0 that occur in the first layer of an NRRD label volume, rising.

    Raises:
        MaskError: no readable NRRD volume, cut short, or not labels.
    """
    return tuple(sorted(find_values(_read_images(read_nrrd_header(path), 0))))


def _read_images(header: NrrdHeader, layer: int) -> Iterator[NDArray[np.uint8]]:
    with _opened(header) as stream:
        yield from read_layer(stream, header.layout, WHAT, layer)


@contextmanager
def _opened(header: NrrdHeader) -> Iterator[IO[bytes]]:
    """Open the voxels, unpacked; every fault of the file inside the block is a MaskError."""
    layout = header.layout
    try:
        if header.data_path is None:
            raise FileNotFoundError
        if header.data_path.is_symlink():
            raise MaskError(f"{WHAT} has its voxels behind a symbolic link, which is not followed; copy the file beside it")
        check_size(layout, header.data_path, WHAT, MAX_BZIP2_RATIO if header.encoding == "bzip2" else MAX_GZIP_RATIO)
        with header.data_path.open("rb") as raw:
            raw.seek(layout.offset_bytes)
            if header.encoding == "gzip":
                yield gzip.GzipFile(fileobj=raw)  # type: ignore[misc]  # has all of IO[bytes] but its base
            else:
                yield bz2.BZ2File(raw) if header.encoding == "bzip2" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise MaskError(f"{WHAT} is damaged, or the file of its voxels is not beside it; copy it again") from error


def _find_end(head: bytes) -> int:
    """Find where the header ends: after the first empty line, or with the file where the voxels lie in another one."""
    ends = [match.end() for match in (re.search(rb"\r?\n\r?\n", head),) if match]
    if not ends and len(head) == HEADER_MAX_BYTES:
        raise MaskError(f"{WHAT} has a header without end; write it again")
    return ends[0] if ends else len(head)


def _parse(fields: Mapping[str, Any], path: Path, end: int) -> NrrdHeader:
    data_file = fields.get("data file", fields.get("datafile"))
    if data_file is not None and not (isinstance(data_file, str) and DATA_FILE_NAME.fullmatch(data_file) and data_file != ".."):
        raise MaskError(f"{WHAT} has its voxels in several files or in another folder; write it as one .nrrd file")
    encoding = ENCODINGS.get(fields["encoding"].lower())
    lines, skipped = (next((fields[key] for key in keys if key in fields), 0) for keys in SKIPS)
    is_at_end = skipped == TO_THE_END and encoding == "raw"
    if encoding is None or lines or (skipped and not is_at_end):
        raise MaskError(f"{WHAT} is written as text or with bytes to skip; save it as raw, gzip or bzip2")
    data_path = find_beside(path, data_file) if data_file else path
    layers = _count_layers(fields)
    layout = VoxelLayout(_parse_grid(fields), _parse_dtype(fields), 0 if data_file else end, layers=layers)
    if is_at_end and data_path is not None:
        layout = _move_to_end(layout, data_path)
    return NrrdHeader(layout, parse_segments(fields, layers, WHAT), data_path, encoding)


def _move_to_end(layout: VoxelLayout, data_path: Path) -> VoxelLayout:
    """Put the voxels to the end of their file, behind however many other bytes."""
    offset = data_path.stat().st_size - layout.grid.shape_zyx[0] * layout.slice_bytes
    if offset < layout.offset_bytes:
        raise MaskError(f"{WHAT} is cut short: {layout.offset_bytes - offset} of its bytes are missing; copy it again")
    return replace(layout, offset_bytes=offset)


def _count_layers(fields: Mapping[str, Any]) -> int:
    """Give the number of values a voxel: 1, or the length of a first axis that is none of space."""
    sizes = [int(size) for size in fields["sizes"]]
    if len(sizes) == 3:
        return 1
    directions = fields.get("space directions")
    kind = (fields.get("kinds") or ["?"])[0]
    if (
        len(sizes) != 4
        or directions is None
        or not np.isnan(np.asarray(directions[0], dtype=float)).all()
        or kind not in LAYER_KINDS
    ):
        raise MaskError(f"{WHAT} has axes of {len(sizes)} sizes; three of space, after at most one of layers, are expected")
    return sizes[0]


def _parse_grid(fields: Mapping[str, Any]) -> Grid:
    # The format takes its words in any case.
    said = fields.get("space", "").lower()
    space = SHORT_SPACES.get(said, said)
    directions, origin = fields.get("space directions"), fields.get("space origin")
    if space not in TO_RAS or directions is None or origin is None:
        raise MaskError(
            f"{WHAT} does not say where it lies (space of {', '.join(SHORT_SPACES).upper()}, space directions, space origin); "
            "write it with its position"
        )
    x, y, z = (int(size) for size in fields["sizes"][-3:])
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(list(directions[-3:]), dtype=np.float64).T
    affine[:3, 3] = origin
    return grid_from_affine_ras(np.diag([*TO_RAS[space], 1.0]) @ affine, (z, y, x))


def _parse_dtype(fields: Mapping[str, Any]) -> np.dtype[Any]:
    names = {
        "int8": ("signed char", "int8", "int8_t"),
        "uint8": ("uchar", "unsigned char", "uint8", "uint8_t"),
        "int16": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
        "uint16": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
        "int32": ("int", "signed int", "int32", "int32_t"),
        "uint32": ("uint", "unsigned int", "uint32", "uint32_t"),
        "int64": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
        "uint64": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
        "float32": ("float",),
        "float64": ("double",),
    }
    name = next((name for name, words in names.items() if fields["type"].lower() in words), None)
    endian = str(fields.get("endian")).lower()
    if name is None or (np.dtype(name).itemsize > 1 and endian not in ("little", "big")):
        raise MaskError(f"{WHAT} holds values of no known type; whole numbers 0 to {LABEL_MAX} and their endian are expected")
    return np.dtype(name).newbyteorder(">" if endian == "big" else "<")
