"""NIfTI volumes: labels read and turned onto a grid, volumes written."""

import gzip
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hipseg.axes import VolumeI16, VolumeU8
from hipseg.errors import ConfigError, MaskError
from hipseg.fsio import replacing
from hipseg.geometry import Grid, affine_ras, grid_distance_mm, grid_from_affine_ras
from hipseg.ingest.labels import LabelVolume, VoxelLayout, check_size, find_values, read_layer
from hipseg.ingest.scratch import Scratch

if TYPE_CHECKING:
    import nibabel

GZIP_START = b"\x1f\x8b"
HEADERS = {348: ("Nifti1Header", 344, b"n+1\0"), 540: ("Nifti2Header", 4, b"n+2\0")}
"""By size of the header: nibabel's class, where its magic word stands, that of a volume in one file.

Source: nifti1.h, nifti2.h.
"""
EXTENDER_BYTES = 4
"""Behind the header, before the voxels at the earliest. Source: nifti1.h and nifti2.h, vox_offset: 352 and 544."""
SNIFF_BYTES = 348
SNIFF_BLOCK_BYTES = 1 << 16
MM_BY_UNIT = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
COMPRESSION_LEVEL = 1
"""Higher levels cost up to three times as long for 2 % less, on CT."""
FORMS_TOLERANCE = 0.5
"""Of the finest voxel side, between the corners that qform and sform give: quaternions in float32 are off by up to 0.2 mm."""
WHAT = "a NIfTI mask"


def _header_class(name: str) -> "type[nibabel.Nifti1Header]":
    import nibabel  # noqa: PLC0415 - packing DICOM starts a fifth sooner without it

    # Its warnings quote the header; they must not reach a terminal.
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)
    found: type[nibabel.Nifti1Header] = getattr(nibabel, name)
    return found


def is_nifti(path: Path) -> bool:
    """Say whether a file, compressed or not, begins like a NIfTI volume in one file.

    Raises:
        OSError: the file cannot be opened.
    """
    return _find_header(_read_head(path)) is not None


def name_stem(path: Path) -> str:
    """Give the name by which a NIfTI file is chosen: without .nii or .nii.gz."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


def read_grid(path: Path) -> Grid:
    """Read the grid of a NIfTI volume from its header.

    Raises:
        MaskError: no readable NIfTI volume in one file, or without position.
    """
    return read_layout(path).grid


def read_labels(path: Path) -> tuple[VolumeU8, Grid]:
    """Read a NIfTI label volume as it lies in the file, whole.

    Args:
        path: the file, compressed or not.
    Returns:
        uint8 (z, y, x) with the file's first axis as x, and its grid.
    Raises:
        MaskError: no readable NIfTI volume in one file, without position, cut short, or not labels.
    Source: NIfTI-1 (nifti1.h), data scaling and 'orientation'.
    """
    layout = read_layout(path)
    return np.stack(list(_read_images(path, layout))), layout.grid


def read_label_values(path: Path) -> tuple[int, ...]:
    """Give the label numbers above 0 that occur in a NIfTI label volume, rising.

    Raises:
        MaskError: see `read_labels`.
    """
    return tuple(sorted(find_values(_read_images(path, read_layout(path)))))


def open_labels_on(path: Path, grid: Grid, scratch: Scratch) -> LabelVolume:
    """Read a NIfTI label volume to its end, and turn its axes onto a grid.

    Args:
        path: the file.
        grid: the grid that its voxels must lie on, in whatever order and direction of axes; all of it or a part.
        scratch: where the turned volume is kept.
    Returns:
        Its slices on that grid; nothing is resampled.
    Raises:
        MaskError: see `read_labels`; or the voxels lie elsewhere.
        ConfigError: the disk of the temporary files is full.
    """
    layout = read_layout(path)
    return LabelVolume(scratch, _read_images(path, layout), layout, grid, WHAT)


def _read_images(path: Path, layout: VoxelLayout) -> Iterator[NDArray[np.uint8]]:
    check_size(layout, path, WHAT)
    with open_unpacked(path) as stream:
        stream.seek(layout.offset_bytes)
        yield from read_layer(stream, layout, WHAT)


def write_volume(path: Path, volume: VolumeI16 | VolumeU8, grid: Grid) -> None:
    """Write a volume as NIfTI, whole or not at all, the same bytes each time.

    Args:
        path: the file; compressed where it ends with .gz.
        volume: (z, y, x), of the grid's shape.
        grid: where it lies.
    Raises:
        ConfigError: the file cannot be written, or the shapes differ.
    """
    with replacing(path) as temporary, temporary.open("wb") as raw, _compressing(raw, path) as stream:
        for piece in _list_pieces(volume, grid):
            stream.write(piece)


def holds_volume(path: Path, volume: VolumeI16 | VolumeU8, grid: Grid) -> bool:
    """Say whether a file is one that `write_volume` would write of this volume, but for how it is compressed.

    Raises:
        ConfigError: the shapes differ.
    """
    try:
        with open_unpacked(path) as stream:
            return all(stream.read(len(piece)) == piece for piece in _list_pieces(volume, grid)) and not stream.read(1)
    except MaskError:
        return False


def _list_pieces(volume: VolumeI16 | VolumeU8, grid: Grid) -> Iterator[bytes]:
    """Give a volume as the plain bytes of a NIfTI file: the header, then slice by slice."""
    if volume.shape != grid.shape_zyx:
        raise ConfigError(f"volume of shape {volume.shape} on a grid of shape {grid.shape_zyx}; the same shape is needed")
    header = _header_class("Nifti1Header")()
    header.set_data_dtype(volume.dtype.newbyteorder("<"))
    header.set_data_shape(volume.shape[::-1])
    header.set_xyzt_units("mm")
    header.set_qform(affine_ras(grid), code=1)
    header.set_sform(affine_ras(grid), code=1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    # Four zero bytes after the header: no extension follows.
    yield header.binaryblock + bytes(4)
    for image in volume:
        yield np.ascontiguousarray(image, dtype=header.get_data_dtype()).tobytes()


@contextmanager
def _compressing(raw: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    if path.suffix != ".gz":
        yield raw
        return
    # Neither name nor time goes into the head, so that the same volume gives the same bytes.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=COMPRESSION_LEVEL, fileobj=raw, mtime=0) as stream:
        yield stream  # type: ignore[misc]  # has all of IO[bytes] but its base


@contextmanager
def open_unpacked(path: Path) -> Iterator[IO[bytes]]:
    """Open a NIfTI file for reading, unpacked; every fault of the file inside the block is a MaskError."""
    try:
        with path.open("rb") as raw:
            is_packed = raw.read(2) == GZIP_START
            raw.seek(0)
            yield gzip.GzipFile(fileobj=raw) if is_packed else raw  # type: ignore[misc]  # as above
    except (OSError, EOFError, zlib.error) as error:
        raise MaskError("a NIfTI file is damaged or can no longer be opened; copy it again") from error


def _read_head(path: Path) -> bytes:
    """Read the first bytes of a file, unpacked if they are packed; fewer where they cannot be unpacked."""
    with path.open("rb") as handle:
        head = handle.read(SNIFF_BYTES)
        if head[:2] != GZIP_START:
            return head
        block = head + handle.read(SNIFF_BLOCK_BYTES)
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(block, SNIFF_BYTES)
    except zlib.error:
        return b""


def _find_header(head: bytes) -> str | None:
    """Name nibabel's class for the header that these bytes begin; None where they begin none."""
    for size, (header, offset, magic) in HEADERS.items():
        sizes = (size.to_bytes(4, "little"), size.to_bytes(4, "big"))
        if head[:4] in sizes and head[offset : offset + len(magic)] == magic:
            return header
    return None


def read_layout(path: Path, what: str = WHAT) -> VoxelLayout:
    """Read where the voxels of a NIfTI volume lie, from its header.

    Args:
        path: the file, compressed or not.
        what: what the file is, for messages.
    Raises:
        MaskError: no readable header of one volume of numbers with its position.
    """
    with open_unpacked(path) as stream:
        header_name = _find_header(_read_head(path))
        if header_name is None:
            raise MaskError("a NIfTI file has lost its header; copy it again")
        try:
            header = _header_class(header_name).from_fileobj(stream, check=False)
            # numpy would warn of a damaged number on the terminal; what it turns into is refused below.
            with np.errstate(invalid="ignore"):
                return _parse_layout(header, what)
        except MaskError:
            raise
        except ConfigError as error:
            raise MaskError(f"a NIfTI header cannot be used: {error}") from error
        except Exception as error:  # nibabel raises nearly anything on a damaged header
            raise MaskError("a NIfTI header is damaged; a volume of numbers with its position is expected") from error


def _parse_layout(header: "nibabel.Nifti1Header", what: str) -> VoxelLayout:
    shape = tuple(int(n) for n in header.get_data_shape())
    if len(shape) < 2 or max(shape[3:], default=1) > 1:
        raise MaskError(f"{what} has shape {shape}; one volume (x, y, z) is expected")
    if not header["sform_code"] and not header["qform_code"]:
        raise MaskError(f"{what} does not say where it lies (qform and sform codes are 0); write it with its position")
    x, y, z = (*shape, 1)[:3]
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise MaskError(f"{what} holds values of type {dtype}; plain numbers are expected")
    offset, least = int(header["vox_offset"]), int(header["sizeof_hdr"]) + EXTENDER_BYTES
    if offset < least:
        raise MaskError(
            f"{what} has its voxels at byte {offset}, inside the header; at least {least} is expected: write it again"
        )
    slope, intercept = header.get_slope_inter()
    return VoxelLayout(_parse_grid(header, (z, y, x), what), dtype, offset, 1.0 if slope is None else slope, intercept or 0.0)


def _parse_grid(header: "nibabel.Nifti1Header", shape_zyx: tuple[int, int, int], what: str) -> Grid:
    """Give the grid: sform before qform, as NIfTI-1 has it; where the two contradict each other, neither is believed."""
    unit_mm = MM_BY_UNIT.get(header.get_xyzt_units()[0], 1.0)
    grids = [
        _scaled_grid(affine, unit_mm, shape_zyx) for affine in (_read_sform(header), _read_qform(header)) if affine is not None
    ]
    apart_mm = grid_distance_mm(grids[0], grids[-1])
    if apart_mm > FORMS_TOLERANCE * min(grids[0].spacing_mm_zyx):
        raise MaskError(
            f"{what} says in two ways where it lies: the corners that its sform and its qform give are up to "
            f"{apart_mm:.2f} mm apart, at most half a voxel is accepted; write it with one of the two"
        )
    return grids[0]


def _read_sform(header: "nibabel.Nifti1Header") -> NDArray[np.float64] | None:
    affine, code = header.get_sform(coded=True)
    return affine if code else None


def _read_qform(header: "nibabel.Nifti1Header") -> NDArray[np.float64] | None:
    """Give what the quaternion says; nothing where it says nothing that can be used, and a sform says where the volume lies."""
    from nibabel.spatialimages import HeaderDataError  # noqa: PLC0415 - see `_header_class`

    if not header["pixdim"][0]:
        # Source: nifti1.h, method 2: 0 counts as 1.
        header["pixdim"][0] = 1
    try:
        affine, code = header.get_qform(coded=True)
    except (HeaderDataError, ValueError):
        if header["sform_code"]:
            return None
        raise
    is_usable = code and (np.isfinite(affine).all() or not header["sform_code"])
    return affine if is_usable else None


def _scaled_grid(affine: NDArray[np.float64], unit_mm: float, shape_zyx: tuple[int, int, int]) -> Grid:
    scaled = np.array(affine, dtype=np.float64)
    scaled[:3] *= unit_mm
    return grid_from_affine_ras(scaled, shape_zyx)
