"""The pixels of a DICOM SEG: compared with what its header says of them, then decoded frame by frame.

A byte too few or too many before a frame moves its mask, and a single bit of a mask looks like any other. So what lies around
the frames is checked before one of them is decoded: their size, the table of their places, and the end of the file.
"""

import io
import logging
import os
import struct
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from hipseg.errors import MaskError
from hipseg.ingest.dicomfile import integer, read_opened
from hipseg.ingest.dictionary import tag_of
from hipseg.ingest.elements import PIXEL_DATA, OddLayoutError, find_element, find_pixels
from hipseg.ingest.segmentation import WHAT, Decoder

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

BITS_A_BYTE: Final = 8
MAX_OPEN: Final = 128
"""Files, of the 256 that systems allow a process at the least; those of single frames are used one after another."""
EXTENDED_OFFSETS: Final = 0x7FE00001
"""Extended Offset Table, 8 bytes a frame. Source: DICOM PS3.3 C.7.6.3."""
LAYOUT_TAGS: Final = (
    *map(tag_of, ("NumberOfFrames", "Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "PixelRepresentation")),
    EXTENDED_OFFSETS,
)
"""What says how many bytes the pixels take, and where their frames begin."""
PIXEL_START_BYTES: Final = 12
MAX_REST_BYTES: Final = 1 << 20
"""Of elements behind the pixels: room for signatures (FFFA,FFFA) and padding (FFFC,FFFC)."""
ITEM_BYTES: Final = 8
"""Tag and length of an item, 4 bytes each."""
ITEMS_END: Final = b"\xfe\xff\xdd\xe0\0\0\0\0"
BROKEN: Final = f"{WHAT} breaks off inside its pixels (7FE0,0010); copy it or export the segments again"
SHIFTED: Final = (
    f"{WHAT} with other bytes behind its pixels (7FE0,0010) than further elements, so that its frames may have moved; copy it or "
    "export the segments again"
)
_SILENT = SimpleNamespace(stderr=SimpleNamespace(write=lambda _: None))


class _Handle(io.BufferedReader):
    """A file that highdicom can open: it takes the name of any for a path, and that of an archive's member is a number."""

    name = ""


class Decoders:
    """The SEG files of a case. Some have a file for each frame, more than a process may have open: only the last ones stay so."""

    def __init__(self) -> None:
        self._opened: dict[Path, _FileDecoder] = {}

    def open(self, path: Path) -> Decoder:
        """Open a file, and give a function that decodes its frames by number, for which it is opened again where it must be.

        Raises:
            MaskError: the pixels are not those that the header describes, or highdicom does not take the file for a segmentation;
                so does the function where a frame is damaged.
        """
        self._take(path)
        return lambda number: self._take(path).decode(number)

    def _take(self, path: Path) -> "_FileDecoder":
        # The last one used stands last.
        decoder = self._opened.pop(path) if path in self._opened else _FileDecoder(path)
        self._opened[path] = decoder
        if len(self._opened) > MAX_OPEN:
            self._opened.pop(next(iter(self._opened))).close()
        return decoder


class _FileDecoder:
    """An open file; the last frame decoded stays, since the segments of a label map share it."""

    def __init__(self, path: Path) -> None:
        self._handle, self._image = _open(path)
        self._last: tuple[int, NDArray[Any]] | None = None

    def decode(self, number: int) -> NDArray[Any]:
        if self._last is None or self._last[0] != number:
            try:
                self._last = number, self._image.get_stored_frame(number)
            except Exception as error:  # the decoders behind raise nearly anything on damaged bytes
                raise MaskError(f"frame {number} of {WHAT} cannot be decoded; export the segments again") from error
        return self._last[1]

    def close(self) -> None:
        self._handle.close()


def _open(path: Path) -> tuple[_Handle, Any]:
    try:
        handle = _Handle(path.open("rb", buffering=0))
        try:
            return handle, _open_checked(handle)
        except BaseException:
            handle.close()
            raise
    except MaskError:
        raise
    except OSError as error:
        raise MaskError(f"{WHAT} can no longer be opened; pack the folder again") from error
    except Exception as error:  # highdicom raises nearly anything on what it does not take for a segmentation
        raise MaskError(f"{WHAT} lacks what the standard asks of it; export the segments again") from error


def _open_checked(handle: _Handle) -> Any:
    header = read_opened(handle, LAYOUT_TAGS, has_pixels=False)
    is_deflated = header.file_meta.TransferSyntaxUID.is_deflated
    _check_format(header)
    if not is_deflated:
        _check_pixels(handle, header)
    handle.seek(0)
    image = _open_with_highdicom(handle, is_lazy=_can_be_read_by_frames(header))
    if is_deflated:
        # Only now is it unpacked.
        _check_length(len(image.PixelData), header)
    return image


def _open_with_highdicom(handle: _Handle, *, is_lazy: bool) -> Any:
    import highdicom.io  # noqa: PLC0415 - half a second, which only a case with a SEG has to pay
    import highdicom.seg  # noqa: PLC0415 - as above

    # When reading fails it writes the path and a traceback to the terminal itself, past every logger.
    vars(highdicom.io)["sys"] = _SILENT
    # Its warnings quote the file.
    warnings.filterwarnings("ignore", module=r"highdicom(\.|$)")
    logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)
    return highdicom.seg.segread(handle, lazy_frame_retrieval=is_lazy)


def _can_be_read_by_frames(header: "FileDataset") -> bool:
    """Say whether highdicom finds single frames in the file.

    Its lazy reader takes frames of single bits to begin on whole bytes, which they need not (PS3.5 8.1.1), and gives other bits
    where they do not; deflated files it refuses. Such files are read whole: a bit a voxel, or as deflated.
    """
    pixels = (integer(header, "Rows") or 0) * (integer(header, "Columns") or 0)
    syntax = header.file_meta.TransferSyntaxUID
    is_packed = integer(header, "BitsAllocated") == 1 and not syntax.is_encapsulated
    return not (syntax.is_deflated or (is_packed and pixels % BITS_A_BYTE))


def _check_format(header: "FileDataset") -> None:
    """Refuse pixels of a kind that no SEG has. Source: DICOM PS3.3 C.8.20.2."""
    samples, sign = integer(header, "SamplesPerPixel"), integer(header, "PixelRepresentation")
    if (samples, sign) != (1, 0):
        raise MaskError(
            f"{WHAT} with {samples} samples a pixel (0028,0002) of representation {sign} (0028,0103); 1 and 0 (unsigned) are "
            "expected: export the segments again"
        )


def _check_pixels(handle: BinaryIO, header: "FileDataset") -> None:
    """Refuse pixels that are not those that the header describes.

    Args:
        handle: the file, standing where its pixel data begin.
        header: with LAYOUT_TAGS.
    """
    is_implicit = bool(header.original_encoding[0])
    begin = handle.tell()
    try:
        place = find_pixels(handle.read(PIXEL_START_BYTES), 0, is_explicit=not is_implicit)
    except OddLayoutError:
        place = None
    if place is None:
        raise MaskError(f"{WHAT} without pixels (7FE0,0010) behind its header; export the segments again")
    handle.seek(begin + place.first)
    if header.file_meta.TransferSyntaxUID.is_encapsulated:
        _check_items(handle, header)
    else:
        _check_length(place.length, header)
        handle.seek(place.length, os.SEEK_CUR)
    _check_end(handle, is_explicit=not is_implicit)


def _check_length(found: int, header: "FileDataset") -> None:
    """Refuse uncompressed pixels of another size than the header's; one byte more is the padding of an odd number."""
    frames, rows, columns, bits = (
        integer(header, keyword) or 0 for keyword in ("NumberOfFrames", "Rows", "Columns", "BitsAllocated")
    )
    expected = -(-max(frames, 1) * rows * columns * bits // BITS_A_BYTE)
    if not expected <= found <= expected + expected % 2:
        raise MaskError(
            f"{WHAT} with {found} bytes of pixels (7FE0,0010), {expected} are expected of its frames ({max(frames, 1)} of {rows} "
            f"x {columns} pixels of {bits} bits); export the segments again"
        )


def _check_items(handle: BinaryIO, header: "FileDataset") -> None:
    """Walk over compressed pixels, and refuse a table of offsets that does not point to one frame after another.

    Source: DICOM PS3.5 A.4, an item that begins a frame by each offset; without a table, the items are counted off.
    """
    from pydicom.encaps import parse_basic_offsets, parse_fragments  # noqa: PLC0415 - see `dictionary`

    basic = parse_basic_offsets(handle)
    begin = handle.tell()
    _, places = parse_fragments(handle)
    starts = [place - begin for place in places]
    extended = header[EXTENDED_OFFSETS].value if EXTENDED_OFFSETS in header else b""
    offsets = np.frombuffer(extended, "<u8").tolist() if extended else basic
    frames = integer(header, "NumberOfFrames") or 1
    is_rising = offsets[:1] == [0] and offsets == sorted(set(offsets)) and set(offsets) <= set(starts)
    if offsets and not (is_rising and len(offsets) == frames):
        raise MaskError(
            f"{WHAT} with a table of {len(offsets)} offsets (7FE0,0010 or 0001) that does not point to its frames ({frames}) one "
            "after another; export the segments again"
        )
    handle.seek(places[-1] + ITEM_BYTES // 2)
    (length,) = struct.unpack("<L", handle.read(ITEM_BYTES // 2))
    handle.seek(length, os.SEEK_CUR)
    if handle.read(ITEM_BYTES) != ITEMS_END:
        raise MaskError(BROKEN)


def _check_end(handle: BinaryIO, *, is_explicit: bool) -> None:
    """Refuse a file whose pixels do not end where it does, or where a further element begins."""
    end = handle.tell()
    if end > handle.seek(0, os.SEEK_END):
        raise MaskError(BROKEN)
    handle.seek(end)
    rest = handle.read(MAX_REST_BYTES + 1)
    position, last = 0, PIXEL_DATA
    try:
        while position < len(rest):
            tag, _, position = find_element(rest, position, is_explicit=is_explicit)
            if tag <= last:
                raise OddLayoutError
            last = tag
    except OddLayoutError as error:
        raise MaskError(SHIFTED) from error
    if position > len(rest) or len(rest) > MAX_REST_BYTES:
        raise MaskError(SHIFTED)
