"""Overlay planes of one CT image -> masks on its pixels."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hipseg.axes import SliceBool
from hipseg.errors import MaskError
from hipseg.ingest.dicomfile import (
    NATIVE_SYNTAXES,
    Header,
    UnreadableFileError,
    bit_data,
    integer,
    numbers,
    read_dataset,
    read_header,
)
from hipseg.ingest.dictionary import tag_of
from hipseg.ingest.headers import OVERLAY_DATA
from hipseg.ingest.plain import HeaderReader
from hipseg.ingest.stored import PIXEL_TAGS

OVERLAY_ROWS, OVERLAY_COLUMNS, OVERLAY_FRAMES, OVERLAY_ORIGIN, OVERLAY_FRAME_ORIGIN = 0x0010, 0x0011, 0x0015, 0x0050, 0x0051
OVERLAY_BITS_ALLOCATED, OVERLAY_BIT_POSITION = 0x0100, 0x0102
ELEMENTS = (
    OVERLAY_ROWS,
    OVERLAY_COLUMNS,
    OVERLAY_FRAMES,
    OVERLAY_ORIGIN,
    OVERLAY_FRAME_ORIGIN,
    OVERLAY_BITS_ALLOCATED,
    OVERLAY_BIT_POSITION,
    OVERLAY_DATA,
)
FIRST_FRAME = 1
"""Frames of an image, and of an overlay, are counted from 1. Source: DICOM PS3.3 C.9.3."""
IMAGE_FRAMES = tag_of("NumberOfFrames")


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


class OverlayReader:
    """Reads overlay planes, those of one series after another in a fraction of the first one's time.

    Attributes:
        beside: number of bits set that lie beside the image and were cut off, by image, frame and group; those of frames that the
            image does not have count as of frame 0.
        moved: planes with something drawn, by image, frame and group, that have the image's own size and begin elsewhere than it,
            though none of their bits lies beside it.
    """

    def __init__(self, groups: Iterable[int]) -> None:
        """Begin without any image.

        Args:
            groups: those that will be asked for, 0x6000 to 0x60FE.
        """
        self._headers = HeaderReader([IMAGE_FRAMES, *(group << 16 | element for group in groups for element in ELEMENTS)])
        self.beside: dict[tuple[Path, int, int], int] = {}
        self.moved: set[tuple[Path, int, int]] = set()
        self._last: tuple[Path, Header] | None = None

    def read(
        self, path: Path, groups: Collection[int], shape_yx: tuple[int, int], frame: int = FIRST_FRAME
    ) -> dict[int, SliceBool | None]:
        """Read overlay planes of one image and lay them onto its pixels.

        Type G (graphics) and type R (region) are read alike: which of them is a mask, the one who chooses it knows.

        Args:
            path: the image.
            groups: groups wanted, each of which the image has.
            shape_yx: rows and columns of the image.
            frame: the frame of the image, counted from 1.
        Returns:
            bool (y, x) by group, or None where nothing is drawn. What lies beside the image is cut off, what the overlay does
            not reach is False.
        Raises:
            MaskError: a plane is incomplete or cut short, lies in pixels that are compressed, or wholly beside the image or its
                frames; the caller adds where.
        Source: DICOM PS3.3 C.9.2 and C.9.3.
        """
        try:
            dataset = self._read_header(path)
            return {group: self._read_mask(path, dataset, group, shape_yx, frame) for group in sorted(groups)}
        except (OSError, UnreadableFileError) as error:
            raise MaskError("the file can no longer be read; pack the folder again") from error

    def _read_mask(self, path: Path, dataset: Header, group: int, shape_yx: tuple[int, int], frame: int) -> SliceBool | None:
        layout = _read_layout(dataset, group)
        plane = _read_plane(path, dataset, group, layout, frame)
        if layout.frames > 1 and (path, 0, group) not in self.beside:
            beyond = _count_beyond(dataset, group, layout)
            self.beside |= {(path, 0, group): beyond} if beyond else {}
        if plane is None:
            return None
        mask, beside = _lay_onto_image(plane, layout.origin_yx, shape_yx)
        if beside:
            self.beside[path, frame, group] = beside
        elif plane.shape == shape_yx and layout.origin_yx != (0, 0):
            self.moved.add((path, frame, group))
        return mask

    def _read_header(self, path: Path) -> Header:
        """Read the planes of a file; those of one with several frames, which lie in one element, once for all of them."""
        # Not by its name, which two members of an archive can have in common.
        if self._last is not None and self._last[0] is path:
            return self._last[1]
        self._last = None
        dataset = read_header(path, self._headers)
        if _count_frames(dataset) > 1:
            self._last = path, dataset
        return dataset


def take_frame(bits: bytes, layout: PlaneLayout, frame: int = FIRST_FRAME) -> SliceBool | None:
    """Take the plane of one frame of an image out of the bits of an overlay.

    Args:
        bits: first pixel in the lowest bit of the first byte, rows and frames without a gap. Bits after the last, and a byte that
            makes their number even, are padding.
        layout: how they lie.
        frame: the frame of the image, counted from 1.
    Returns:
        bool (y, x), rows and columns of the overlay; None where no bit of the frame is set, or no frame of the overlay belongs to
        the image's.
    Raises:
        MaskError: there are fewer bits than the layout needs, or more, as where its rows or columns are damaged.
    Source: DICOM PS3.5 8.1.2.
    """
    pixels = layout.shape_yx[0] * layout.shape_yx[1]
    expected = (pixels * layout.frames + 7) // 8
    if not expected <= len(bits) <= expected + expected % 2:
        raise MaskError(f"{len(bits)} bytes of overlay, expected {expected}; export the masks again")
    index = frame - layout.first_frame
    if not 0 <= index < layout.frames:
        return None
    first_byte = index * pixels // 8
    some = np.frombuffer(bits, np.uint8)[first_byte : ((index + 1) * pixels + 7) // 8]
    if not some.any():
        return None
    start = index * pixels - first_byte * 8
    return np.unpackbits(some, bitorder="little")[start : start + pixels].view(np.bool_).reshape(layout.shape_yx)


def _lay_onto_image(plane: SliceBool, origin_yx: tuple[int, int], shape_yx: tuple[int, int]) -> tuple[SliceBool, int]:
    """Lay a plane onto the pixels of an image, and count the bits set that lie beside it."""
    if plane.shape == shape_yx and origin_yx == (0, 0):
        return plane, 0
    mask = np.zeros(shape_yx, dtype=np.bool_)
    image_y, plane_y = _overlap(origin_yx[0], plane.shape[0], shape_yx[0])
    image_x, plane_x = _overlap(origin_yx[1], plane.shape[1], shape_yx[1])
    mask[image_y, image_x] = plane[plane_y, plane_x]
    beside = int(np.count_nonzero(plane)) - int(np.count_nonzero(mask))
    if beside and not mask.any():
        raise MaskError(
            f"what is drawn on an overlay of {plane.shape[0]} x {plane.shape[1]} pixels with its origin at row "
            f"{origin_yx[0] + 1}, column {origin_yx[1] + 1} lies wholly beside the image of {shape_yx[0]} x "
            f"{shape_yx[1]}; export the masks again"
        )
    return mask, beside


def _overlap(origin: int, length: int, image_length: int) -> tuple[slice, slice]:
    """Give the part of one image axis that an overlay covers, and the part of the overlay that covers it."""
    start, stop = max(origin, 0), min(origin + length, image_length)
    if stop <= start:
        return slice(0, 0), slice(0, 0)
    return slice(start, stop), slice(start - origin, stop - origin)


def _read_plane(path: Path, dataset: Header, group: int, layout: PlaneLayout, frame: int) -> SliceBool | None:
    base = group << 16
    has_frame = 0 <= frame - layout.first_frame < layout.frames
    if (base | OVERLAY_DATA) in dataset:
        # Overlay Bits Allocated is not asked: archives that move a plane out of the pixels leave in it how many bits those had.
        # The number of bytes says whether there is one bit a pixel.
        bits = bit_data(dataset, base | OVERLAY_DATA)
        if bits is None:
            raise MaskError(
                f"overlay group {group:04X} with Overlay Data (60xx,3000) that are no bits; OB or OW is expected: export the "
                "masks again"
            )
        if not has_frame and bits.count(0) < len(bits):
            _check_frames(dataset, layout, group)
        return take_frame(bits, layout, frame)
    position = integer(dataset, base | OVERLAY_BIT_POSITION)
    if integer(dataset, base | OVERLAY_BITS_ALLOCATED) in (None, 1) or position is None:
        raise MaskError(f"overlay group {group:04X} without Overlay Data (60xx,3000); export the masks again")
    if not has_frame:
        _check_frames(dataset, layout, group)
        return None
    return _read_embedded(path, group, position, layout.shape_yx, frame)


def _read_embedded(path: Path, group: int, position: int, shape_yx: tuple[int, int], frame: int) -> SliceBool:
    """Read a plane out of one of the pixels' bits that hold no grey value, a form retired in 2004.

    Source: DICOM PS3.3-2004 C.9.2.1.3 and PS3.5 8.1.2.
    """
    pixels = read_dataset(path, PIXEL_TAGS, has_pixels=True)
    allocated, stored, high, rows, columns = (
        integer(pixels, keyword) or 0 for keyword in ("BitsAllocated", "BitsStored", "HighBit", "Rows", "Columns")
    )
    is_little = pixels.original_encoding[1]
    count = rows * columns
    if (
        pixels.file_meta.TransferSyntaxUID not in NATIVE_SYNTAXES
        or allocated not in (8, 16, 32)
        or not 0 <= position < allocated
        or high - stored < position <= high
        or shape_yx != (rows, columns)
    ):
        raise MaskError(
            f"overlay group {group:04X} lies in the bits of the pixels (a form retired in 2004), and not in a free bit of "
            "uncompressed pixels, where alone it could be read; export the masks again"
        )
    data = pixels.get("PixelData") or b""
    offset = (frame - FIRST_FRAME) * count * allocated // 8
    if len(data) < offset + count * allocated // 8:
        raise MaskError(f"{len(data)} bytes of pixels that hold an overlay, {offset + count * allocated // 8} expected")
    values = np.frombuffer(data, f"{'<' if is_little else '>'}u{allocated // 8}", count, offset)
    plane: SliceBool = (values.reshape(rows, columns) >> position & 1).astype(np.bool_)
    return plane


def _read_layout(dataset: Header, group: int) -> PlaneLayout:
    base = group << 16
    rows, columns = integer(dataset, base | OVERLAY_ROWS), integer(dataset, base | OVERLAY_COLUMNS)
    origin = numbers(dataset, base | OVERLAY_ORIGIN, 2)
    if not rows or not columns or min(rows, columns) < 1 or origin is None:
        raise MaskError(
            f"overlay group {group:04X} without rows, columns or origin (60xx,0010, 0011, 0050); export the masks again"
        )
    frames, first_frame = integer(dataset, base | OVERLAY_FRAMES), integer(dataset, base | OVERLAY_FRAME_ORIGIN)
    if frames is None and first_frame is None and _count_frames(dataset) > 1:
        # By the standard it would belong to all frames; which one was meant, a mask should say.
        raise MaskError(
            f"overlay group {group:04X} of an image of {_count_frames(dataset)} frames without Number of Frames in Overlay or "
            "Image Frame Origin (60xx,0015, 0051), so that it says no frame; export the masks again"
        )
    if frames is not None and frames < 1:
        raise MaskError(
            f"overlay group {group:04X} with {frames} frames (60xx,0015); 1 or more are expected: export the masks again"
        )
    return PlaneLayout((rows, columns), (int(origin[0]) - 1, int(origin[1]) - 1), frames or 1, first_frame or FIRST_FRAME)


def _count_frames(dataset: Header) -> int:
    return integer(dataset, IMAGE_FRAMES) or 1


def _count_beyond(dataset: Header, group: int, layout: PlaneLayout) -> int:
    """Count the bits set on frames that the image does not have."""
    numbers = layout.first_frame + np.arange(layout.frames)
    is_beyond = (numbers < FIRST_FRAME) | (numbers > _count_frames(dataset))
    tag = group << 16 | OVERLAY_DATA
    bits = bit_data(dataset, tag) if is_beyond.any() and tag in dataset else None
    if bits is None:
        return 0
    pixels = layout.shape_yx[0] * layout.shape_yx[1]
    frames = np.unpackbits(np.frombuffer(bits, np.uint8), count=pixels * layout.frames, bitorder="little")
    return int(np.count_nonzero(frames.reshape(layout.frames, pixels)[is_beyond]))


def _check_frames(dataset: Header, layout: PlaneLayout, group: int) -> None:
    """Refuse an overlay none of whose frames is one of the image's."""
    last, frames = layout.first_frame + layout.frames - 1, _count_frames(dataset)
    if layout.first_frame > frames or last < FIRST_FRAME:
        raise MaskError(
            f"overlay group {group:04X} lies on frames {layout.first_frame} to {last} (60xx,0051) of an image that has {frames}; "
            "export the masks again"
        )
