"""NIfTI volumes: labels read and turned onto a grid, volumes written."""

import gzip
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import nibabel
import numpy as np

from hipseg.axes import VolumeI16, VolumeU8
from hipseg.errors import ConfigError, MaskError
from hipseg.fsio import replacing
from hipseg.geometry import Grid, affine_ras, grid_distance_mm, grid_from_affine_ras, is_same_grid, make_grid

GZIP_START = b"\x1f\x8b"
HEADERS = {348: (nibabel.Nifti1Header, 344, b"n+1\0"), 540: (nibabel.Nifti2Header, 4, b"n+2\0")}
"""By size of the header: its class, where its magic word stands, the word of a volume in one file. Source: nifti1.h, nifti2.h."""
SNIFF_BYTES = 348
SNIFF_BLOCK_BYTES = 1 << 16
MM_BY_UNIT = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}
MAX_GZIP_RATIO = 1100
"""Deflate makes nothing smaller than 1032:1, so that a header which announces more than this cannot be true. Source: RFC 1951."""
ALIGNED = 0.999
"""Cosine above which two axes run along each other; whether the voxels meet, the corners of the grids decide."""
COMPRESSION_LEVEL = 1
"""Higher levels cost up to three times as long for 2 % less, on CT."""
LABEL_MAX = 255

# Its warnings quote the header; they must not reach a terminal.
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True)
class _Layout:
    """Where the voxels of a NIfTI file lie, in the file and in the patient."""

    grid: Grid
    dtype: np.dtype[Any]
    offset_bytes: int
    slope: float
    intercept: float


@dataclass(frozen=True)
class AxisMatch:
    """Which axis of a volume becomes x, y and z, and which of them are counted backwards then."""

    sources_xyz: tuple[int, ...]
    are_flipped_xyz: tuple[bool, ...]


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
    """Read the grid of a NIfTI volume from its header; see `read_labels`."""
    return _read_layout(path).grid


def read_labels(path: Path) -> tuple[VolumeU8, Grid]:
    """Read a NIfTI label volume as it lies in the file.

    Args:
        path: the file, compressed or not.
    Returns:
        uint8 (z, y, x) with the file's first axis as x, and its grid.
    Raises:
        MaskError: no readable NIfTI volume in one file, without position, cut short, or not labels.
    Source: NIfTI-1 (nifti1.h), data scaling and 'orientation'.
    """
    layout = _read_layout(path)
    slices, rows, columns = layout.grid.shape_zyx
    voxels = rows * columns
    if slices * voxels * layout.dtype.itemsize > path.stat().st_size * MAX_GZIP_RATIO:
        raise MaskError(f"a NIfTI file is cut short: its header announces {slices} x {rows} x {columns} voxels; copy it again")
    labels = np.zeros(layout.grid.shape_zyx, dtype=np.uint8)
    with _opened(path) as stream:
        stream.seek(layout.offset_bytes)
        for z in range(slices):
            data = stream.read(voxels * layout.dtype.itemsize)
            if len(data) < voxels * layout.dtype.itemsize:
                raise MaskError(f"a NIfTI file is cut short: it ends in slice {z + 1} of {slices}; copy it again")
            labels[z] = _to_labels(np.frombuffer(data, layout.dtype), layout).reshape(rows, columns)
    return labels, layout.grid


def read_label_values(path: Path) -> tuple[int, ...]:
    """Give the label numbers above 0 that occur in a NIfTI label volume, rising; see `read_labels`."""
    labels, _ = read_labels(path)
    return tuple(int(value) for value in np.flatnonzero(np.bincount(labels.ravel(), minlength=1)) if value)


def read_labels_on(path: Path, grid: Grid) -> VolumeU8:
    """Read a NIfTI label volume and turn its axes onto a grid.

    Args:
        path: the file.
        grid: the grid that its voxels must lie on, in whatever order and direction of axes.
    Returns:
        uint8 (z, y, x) of that grid; nothing is resampled.
    Raises:
        MaskError: see `read_labels`; or the voxels lie elsewhere.
    """
    # The header is enough to refuse, before anything is unpacked.
    axes = match_axes(read_grid(path), grid)
    labels, _ = read_labels(path)
    turned = labels.transpose([2 - axis for axis in reversed(axes.sources_xyz)])
    return turned[tuple(slice(None, None, -1 if is_flipped else 1) for is_flipped in reversed(axes.are_flipped_xyz))]


def match_axes(own: Grid, grid: Grid) -> AxisMatch:
    """Find the order and direction of axes that bring the voxels of one grid onto another.

    Args:
        own: grid of the volume to turn.
        grid: the grid wanted.
    Returns:
        The turn; no voxel is moved by it, only counted differently.
    Raises:
        MaskError: no turn brings them together; the message says how the grids differ.
    """
    cosines = np.array(grid.directions_xyz) @ np.array(own.directions_xyz).T
    sources = [int(axis) for axis in np.abs(cosines).argmax(axis=1)]
    along = cosines[range(3), sources]
    if sorted(sources) != [0, 1, 2] or np.abs(along).min() < ALIGNED:
        raise MaskError("a NIfTI mask does not fit: its axes run at an angle to those of the series; resample it onto the series")
    axes = AxisMatch(tuple(sources), tuple(bool(cosine < 0) for cosine in along))
    _check_same(_turn_grid(own, axes), grid)
    return axes


def write_volume(path: Path, volume: VolumeI16 | VolumeU8, grid: Grid) -> None:
    """Write a volume as NIfTI, whole or not at all, the same bytes each time.

    Args:
        path: the file; compressed where it ends with .gz.
        volume: (z, y, x), of the grid's shape.
        grid: where it lies.
    Raises:
        ConfigError: the file cannot be written, or the shapes differ.
    """
    if volume.shape != grid.shape_zyx:
        raise ConfigError(f"volume of shape {volume.shape} on a grid of shape {grid.shape_zyx}; the same shape is needed")
    header = nibabel.Nifti1Header()
    header.set_data_dtype(volume.dtype.newbyteorder("<"))
    header.set_data_shape(volume.shape[::-1])
    header.set_xyzt_units("mm")
    header.set_qform(affine_ras(grid), code=1)
    header.set_sform(affine_ras(grid), code=1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    with replacing(path) as temporary, temporary.open("wb") as raw, _compressing(raw, path) as stream:
        # Four zero bytes after the header: no extension follows.
        stream.write(header.binaryblock + bytes(4))
        for image in volume:
            stream.write(np.ascontiguousarray(image, dtype=header.get_data_dtype()).tobytes())


@contextmanager
def _compressing(raw: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    if path.suffix != ".gz":
        yield raw
        return
    # Neither name nor time goes into the head, so that the same volume gives the same bytes.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=COMPRESSION_LEVEL, fileobj=raw, mtime=0) as stream:
        yield stream  # type: ignore[misc]


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a NIfTI file for reading, unpacked; every fault of the file inside the block is a MaskError."""
    try:
        with path.open("rb") as raw:
            is_packed = raw.read(2) == GZIP_START
            raw.seek(0)
            yield gzip.GzipFile(fileobj=raw) if is_packed else raw  # type: ignore[misc]
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


def _find_header(head: bytes) -> Any:
    """Give nibabel's class for the header that these bytes begin; None where they begin none."""
    for size, (header, offset, magic) in HEADERS.items():
        sizes = (size.to_bytes(4, "little"), size.to_bytes(4, "big"))
        if head[:4] in sizes and head[offset : offset + len(magic)] == magic:
            return header
    return None


def _read_layout(path: Path) -> _Layout:
    with _opened(path) as stream:
        header_class = _find_header(_read_head(path))
        if header_class is None:
            raise MaskError("a NIfTI file has lost its header; copy it again")
        try:
            header = header_class.from_fileobj(stream, check=False)
            return _parse_layout(header)
        except MaskError:
            raise
        except ConfigError as error:
            raise MaskError(f"a NIfTI header cannot be used: {error}") from error
        except Exception as error:  # nibabel raises nearly anything on a damaged header
            raise MaskError("a NIfTI header is damaged; a volume of numbers with its position is expected") from error


def _parse_layout(header: nibabel.Nifti1Header) -> _Layout:
    shape = tuple(int(n) for n in header.get_data_shape())
    if len(shape) < 2 or max(shape[3:], default=1) > 1:
        raise MaskError(f"a NIfTI mask has shape {shape}; one volume (x, y, z) is expected")
    if not header["sform_code"] and not header["qform_code"]:
        raise MaskError("a NIfTI mask does not say where it lies (qform and sform codes are 0); write it with its position")
    x, y, z = (*shape, 1)[:3]
    affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    affine[:3] *= MM_BY_UNIT.get(header.get_xyzt_units()[0], 1.0)
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise MaskError(f"a NIfTI mask holds values of type {dtype}; whole numbers 0 to {LABEL_MAX} are expected")
    slope, intercept = header.get_slope_inter()
    grid = grid_from_affine_ras(affine, (z, y, x))
    return _Layout(grid, dtype, int(header["vox_offset"]), 1.0 if slope is None else slope, intercept or 0.0)


def _to_labels(stored: np.ndarray[Any, Any], layout: _Layout) -> VolumeU8:
    """Scale stored values, and refuse an image in place of labels."""
    is_scaled = layout.slope != 1.0 or layout.intercept != 0.0
    values = stored * layout.slope + layout.intercept if is_scaled else stored
    low, high = values.min(), values.max()
    # The comparison is written so that not-a-number fails it.
    if not (low >= 0 and high <= LABEL_MAX) or (values.dtype.kind == "f" and np.any(values != np.rint(values))):
        raise MaskError(
            f"a NIfTI file chosen as mask is an image, not labels: values from {low:g} to {high:g} in one slice; "
            f"whole numbers 0 to {LABEL_MAX} are expected"
        )
    return values.astype(np.uint8)


def _turn_grid(own: Grid, axes: AxisMatch) -> Grid:
    order, is_flipped = list(axes.sources_xyz), np.array(axes.are_flipped_xyz)
    shape_xyz = np.array(own.shape_zyx[::-1])[order]
    spacing_xyz = np.array(own.spacing_mm_zyx[::-1])[order]
    directions = np.array(own.directions_xyz)[order]
    last = np.where(is_flipped, shape_xyz - 1, 0)
    origin = np.array(own.origin_mm_xyz) + (last * spacing_xyz) @ directions
    directions = np.where(is_flipped[:, np.newaxis], -directions, directions)
    return make_grid(shape_xyz[::-1], spacing_xyz[::-1], origin, directions)


def _check_same(found: Grid, grid: Grid) -> None:
    if is_same_grid(found, grid):
        return
    offset = np.linalg.norm(np.subtract(found.origin_mm_xyz, grid.origin_mm_xyz))
    apart = f", corners up to {grid_distance_mm(found, grid):.2f} mm apart" if found.shape_zyx == grid.shape_zyx else ""
    raise MaskError(
        f"a NIfTI mask does not fit: {_words(found)}, first voxel {offset:.2f} mm from the series'{apart}; "
        f"the series has {_words(grid)}; resample the mask onto the series"
    )


def _words(grid: Grid) -> str:
    shape = " x ".join(str(n) for n in grid.shape_zyx)
    return f"{shape} voxels (z, y, x) of {' x '.join(f'{mm:.3f}' for mm in grid.spacing_mm_zyx)} mm"
