"""Overlay planes of one CT image -> masks on its pixels."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset

from hipseg.axes import SliceBool
from hipseg.errors import MaskError
from hipseg.ingest.dicomfile import UnreadableFileError, integer, numbers, read_dataset
from hipseg.ingest.headers import OVERLAY_ROWS

OVERLAY_COLUMNS, OVERLAY_FRAMES, OVERLAY_ORIGIN, OVERLAY_FRAME_ORIGIN = 0x0011, 0x0015, 0x0050, 0x0051
OVERLAY_BITS_ALLOCATED, OVERLAY_DATA = 0x0100, 0x3000
ELEMENTS = (
    OVERLAY_ROWS,
    OVERLAY_COLUMNS,
    OVERLAY_FRAMES,
    OVERLAY_ORIGIN,
    OVERLAY_FRAME_ORIGIN,
    OVERLAY_BITS_ALLOCATED,
    OVERLAY_DATA,
)
IMAGE_FRAME = 1
"""A CT image of one frame is frame 1 to an overlay of several. Source: DICOM PS3.3 C.9.2.1.4."""


@dataclass(frozen=True)
class PlaneLayout:
    """How the bits of one overlay plane lie.

    Args:
        shape_yx: rows and columns of the overlay, which may differ from the image's.
        origin_yx: row and column of the image on which the overlay's first pixel lies, counted from 0; may be negative.
        frames: number of frames, one after another without a gap.
        first_frame: frame of the image on which the overlay's first frame lies, counted from 1.
    """

    shape_yx: tuple[int, int]
    origin_yx: tuple[int, int]
    frames: int
    first_frame: int


def read_overlay_masks(path: Path, groups: Collection[int], shape_yx: tuple[int, int]) -> dict[int, SliceBool]:
    """Read overlay planes of one image and lay them onto its pixels.

    Type G (graphics) and type R (region) are read alike: which of them is a mask, the one who chooses it knows.

    Args:
        path: the image.
        groups: groups wanted, 0x6000 to 0x601E, each of which the image has.
        shape_yx: rows and columns of the image.
    Returns:
        bool (y, x) by group. What lies beside the image is cut off, what the overlay does not reach is False.
    Raises:
        MaskError: a plane is incomplete, cut short, or stored in the pixels' high bits; the caller adds where.
    Source: DICOM PS3.3 C.9.2.
    """
    tags = [group << 16 | element for group in groups for element in ELEMENTS]
    try:
        dataset = read_dataset(path, tags, has_pixels=False)
    except (OSError, UnreadableFileError) as error:
        raise MaskError("the file can no longer be read; pack the folder again") from error
    return {group: lay_onto_image(*_read_plane(dataset, group), shape_yx) for group in sorted(groups)}


def lay_onto_image(bits: bytes, layout: PlaneLayout, shape_yx: tuple[int, int]) -> SliceBool:
    """Lay the bits of one plane onto the pixels of an image of one frame.

    Args:
        bits: first pixel in the lowest bit of the first byte, rows and frames without a gap.
        layout: how they lie.
        shape_yx: rows and columns of the image.
    Returns:
        bool (y, x); all False where no frame of the overlay belongs to the image's only frame.
    Raises:
        MaskError: there are fewer bits than the layout needs.
    Source: DICOM PS3.5 8.1.2.
    """
    mask = np.zeros(shape_yx, dtype=np.bool_)
    pixels = layout.shape_yx[0] * layout.shape_yx[1]
    expected = (pixels * layout.frames + 7) // 8
    if len(bits) < expected:
        raise MaskError(f"{len(bits)} bytes of overlay, expected {expected}; export the masks again")
    frame = IMAGE_FRAME - layout.first_frame
    if not 0 <= frame < layout.frames:
        return mask
    first_byte = frame * pixels // 8
    some = np.frombuffer(bits, np.uint8)[first_byte : ((frame + 1) * pixels + 7) // 8]
    start = frame * pixels - first_byte * 8
    plane = np.unpackbits(some, bitorder="little")[start : start + pixels].reshape(layout.shape_yx).astype(np.bool_)
    image_y, plane_y = _overlap(layout.origin_yx[0], layout.shape_yx[0], shape_yx[0])
    image_x, plane_x = _overlap(layout.origin_yx[1], layout.shape_yx[1], shape_yx[1])
    mask[image_y, image_x] = plane[plane_y, plane_x]
    return mask


def _overlap(origin: int, length: int, image_length: int) -> tuple[slice, slice]:
    """Give the part of one image axis that an overlay covers, and the part of the overlay that covers it."""
    start, stop = max(origin, 0), min(origin + length, image_length)
    if stop <= start:
        return slice(0, 0), slice(0, 0)
    return slice(start, stop), slice(start - origin, stop - origin)


def _read_plane(dataset: FileDataset, group: int) -> tuple[bytes, PlaneLayout]:
    base = group << 16
    if integer(dataset, base | OVERLAY_BITS_ALLOCATED) not in (None, 1):
        raise MaskError(
            f"overlay group {group:04X} lies in the high bits of the pixels (a form retired in 2004); "
            "one bit a pixel in Overlay Data (60xx,3000) is needed: export the masks again"
        )
    rows, columns = integer(dataset, base | OVERLAY_ROWS), integer(dataset, base | OVERLAY_COLUMNS)
    origin = numbers(dataset, base | OVERLAY_ORIGIN, 2)
    if not rows or not columns or min(rows, columns) < 1 or origin is None:
        raise MaskError(
            f"overlay group {group:04X} without rows, columns or origin (60xx,0010, 0011, 0050); export the masks again"
        )
    if (base | OVERLAY_DATA) not in dataset:
        raise MaskError(f"overlay group {group:04X} without Overlay Data (60xx,3000); export the masks again")
    frames, first_frame = integer(dataset, base | OVERLAY_FRAMES), integer(dataset, base | OVERLAY_FRAME_ORIGIN)
    layout = PlaneLayout((rows, columns), (int(origin[0]) - 1, int(origin[1]) - 1), frames or 1, first_frame or 1)
    return _read_bits(dataset, base | OVERLAY_DATA), layout


def _read_bits(dataset: FileDataset, tag: int) -> bytes:
    element = dataset[tag]
    bits = bytes(element.value or b"")
    _, is_little_endian = dataset.original_encoding
    if element.VR == "OW" and not is_little_endian:
        # Words of 16 bits are written high byte first there; the first pixel is the lowest bit of the word.
        return np.frombuffer(bits, ">u2").astype("<u2").tobytes()
    return bits
