"""Enhanced multi-frame CT: one file -> one header a frame, and frames decoded one at a time."""

import struct
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from hipseg.axes import SliceI16, StoredI
from hipseg.errors import SeriesError
from hipseg.ingest.compressed import DECODERS, decode_frame
from hipseg.ingest.dicomfile import (
    NATIVE_SYNTAXES,
    UnreadableFileError,
    integer,
    is_cut,
    items,
    number,
    numbers,
    read_dataset,
    text,
    texts,
)
from hipseg.ingest.dictionary import DEFLATED_LITTLE_ENDIAN, tag_of
from hipseg.ingest.elements import UNDEFINED_LENGTH
from hipseg.ingest.headers import LOCALIZER_WORDS, FileStamp, ImageHeader, is_hounsfield, parse_header
from hipseg.ingest.pixels import read_slice_hu, to_hu
from hipseg.ingest.rounding import Rounding
from hipseg.ingest.stored import EXPORT_AGAIN, check_length, check_unchanged, expected_bytes, out_of_reach, pixel_format
from hipseg.ingest.unusedbits import count_dropped

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement, RawDataElement
    from pydicom.dataset import Dataset, FileDataset

MAX_FRAMES = 20_000
"""More than any CT has slices; a file that announces more is damaged, and one header a frame would fill the memory."""
DEFERRED_BYTES = 1024
"""Elements larger than this stay in the file while its header is read: the pixels, of which one frame is taken at a time."""
NO_FRAMES = "its frames are not described one by one (5200,9230)"
CONCATENATION = "it is a part of a concatenation (0020,9161), which is not read"
LOCALIZER_FRAMES = "localizers lie among its frames (0008,9007)"


def parse_frames(dataset: "FileDataset", path: Path, folder: str, stamp: FileStamp | None = None) -> tuple[ImageHeader, ...]:
    """Read the header of each frame of an enhanced multi-frame CT file.

    What a frame's own functional groups say goes before what all frames share.

    Args:
        dataset: its header, read without a choice of elements.
        path, folder: where it lies.
        stamp: of the file, from before it was read.
    Returns:
        One header a frame, in the order of the frames. A file whose frames cannot be told apart gives a single header with a
        flaw, for which its series is refused.
    Source: DICOM PS3.3 A.38 and C.7.6.16.
    """
    from pydicom.dataset import Dataset  # noqa: PLC0415 - see `dictionary`

    whole = parse_header(dataset, path, folder, stamp)
    described = items(dataset, "PerFrameFunctionalGroupsSequence")
    frames = integer(dataset, "NumberOfFrames") or 1
    if text(dataset, "ConcatenationUID"):
        return (replace(whole, flaw=CONCATENATION),)
    if len(described) != frames or not 1 <= frames <= MAX_FRAMES:
        return (replace(whole, flaw=NO_FRAMES),)
    shared = next(iter(items(dataset, "SharedFunctionalGroupsSequence")), Dataset())
    return tuple(_parse_frame(whole, n, own, shared) for n, own in enumerate(described))


def _parse_frame(whole: ImageHeader, frame: int, own: "Dataset", shared: "Dataset") -> ImageHeader:
    measures = _group("PixelMeasuresSequence", own, shared)
    values = _group("PixelValueTransformationSequence", own, shared)
    content = _group("FrameContentSequence", own, shared)
    kinds = texts(_group("CTImageFrameTypeSequence", own, shared), "FrameType")
    is_localizer = any(word in kind.upper() for kind in kinds for word in LOCALIZER_WORDS)
    return replace(
        whole,
        is_multiframe=False,
        frame=frame,
        flaw=LOCALIZER_FRAMES if is_localizer else "",
        position_mm=numbers(_group("PlanePositionSequence", own, shared), "ImagePositionPatient", 3),
        orientation=numbers(_group("PlaneOrientationSequence", own, shared), "ImageOrientationPatient", 6),
        pixel_spacing_mm=numbers(measures, "PixelSpacing", 2),
        slice_thickness_mm=number(measures, "SliceThickness"),
        spacing_between_slices_mm=number(measures, "SpacingBetweenSlices"),
        slope=number(values, "RescaleSlope"),
        intercept=number(values, "RescaleIntercept"),
        is_hounsfield=is_hounsfield(values),
        acquisition_number=integer(content, "FrameAcquisitionNumber"),
        time_point=integer(content, "TemporalPositionIndex"),
        stack_id=text(content, "StackID"),
    )


def _group(keyword: str, own: "Dataset", shared: "Dataset") -> "Dataset":
    """Give a functional group of a frame; empty where neither the frame nor the file has it."""
    from pydicom.dataset import Dataset  # noqa: PLC0415 - see `dictionary`

    return next((one for groups in (own, shared) for one in items(groups, keyword)), Dataset())


@dataclass(frozen=True, repr=False)
class _FrameFile:
    """An opened multi-frame file: where its pixels begin, and how they are stored.

    Opened once, as a member of a ZIP archive is unpacked whole each time. `fragments` are the places of compressed frames, one
    fragment each, where no table tells them; empty otherwise.
    """

    path: Path
    handle: BinaryIO
    offset: int
    length: int
    syntax: str
    options: Mapping[str, Any]
    fragments: tuple[int, ...] = ()


class FrameReader:
    """Reads frames of enhanced files, of which the one read last stays open until `close`."""

    def __init__(self) -> None:
        """Begin without any file."""
        self._last: _FrameFile | None = None

    def close(self) -> None:
        """Close the file read last."""
        if self._last is not None:
            self._last.handle.close()
            self._last = None

    def read_hu(self, header: ImageHeader, rounding: Rounding) -> SliceI16:
        """Read one frame as Hounsfield units.

        Args:
            header: of the frame.
            rounding: of its case, told of values that are no whole HU and of bits above those stored.
        Returns:
            int16 (y, x), HU. No other frame is decoded, nor held in memory.
        Raises:
            SeriesError: the file is gone or has changed, is cut short or not decodable here; the caller adds where.
        """
        try:
            check_unchanged(header.path, header.stamp)
            if self._last is None or self._last.path != header.path:
                self.close()
                self._last = _open_frames(header)
            stored = _decode_frame(self._last, header)
            _check_shape(stored, header)
            rounding.count_dropped_bits(_count_dropped(self._last, stored, header))
            check_unchanged(header.path, header.stamp)
        except OSError as error:
            raise out_of_reach(error) from error
        return to_hu(stored, header, rounding)


def read_image_hu(header: ImageHeader) -> SliceI16:
    """Read one image as Hounsfield units, a file or a frame of one, beside the reading of its case.

    Returns:
        int16 (y, x), HU.
    Raises:
        SeriesError: it cannot be read.
    """
    if header.frame is None:
        return read_slice_hu(header.path, header, Rounding())
    with closing(FrameReader()) as frames:
        return frames.read_hu(header, Rounding())


def read_frame_headers(path: Path, folder: str, stamp: FileStamp | None = None) -> tuple[ImageHeader, ...] | None:
    """Read the headers of all frames of an enhanced CT file; None where its header breaks off.

    Raises:
        OSError: the file cannot be opened.
    """
    try:
        dataset = read_dataset(path, has_pixels=False)
        return None if is_cut(dataset) else parse_frames(dataset, path, folder, stamp)
    except UnreadableFileError:
        return None


def _open_frames(header: ImageHeader) -> _FrameFile:
    """Open a multi-frame file and find its pixels without reading them."""
    handle = cast("BinaryIO", header.path.open("rb"))
    try:
        found = _locate(header.path, handle)
        _check_frames(found, header)
        found = replace(found, fragments=_list_fragments(found))
    except BaseException:
        handle.close()
        raise
    return found


def _locate(path: Path, handle: BinaryIO) -> _FrameFile:
    from pydicom.filereader import dcmread  # noqa: PLC0415 - see `dictionary`
    from pydicom.pixels.utils import as_pixel_options  # noqa: PLC0415 - see `dictionary`

    pixel_tag = tag_of("PixelData")
    try:
        header = read_dataset(path, has_pixels=False)
        syntax = header.file_meta.TransferSyntaxUID
        if syntax == DEFLATED_LITTLE_ENDIAN:
            raise SeriesError(f"a deflated multi-frame file, of which no single frame can be read; {EXPORT_AGAIN} uncompressed")
        # Asked for by its tag, the element would be read whole.
        elements = list(dcmread(handle, force=True, defer_size=DEFERRED_BYTES, specific_tags=[pixel_tag]).values())
        offset, length = _place(next((one for one in elements if one.tag == pixel_tag), None))
        options = {"transfer_syntax_uid": syntax, "pixel_keyword": "PixelData", "pixel_vr": "OW"}
        return _FrameFile(path, handle, offset, length, syntax, as_pixel_options(header, **options))
    except (OSError, SeriesError):
        raise
    except Exception as error:  # pydicom raises nearly anything on damaged bytes
        raise SeriesError(f"the file breaks off inside an element; {EXPORT_AGAIN}") from error


def _check_frames(file: _FrameFile, header: ImageHeader) -> None:
    """Refuse a file that holds more than the frames that its header describes: its rows, columns or frames are wrong."""
    frames = file.options["number_of_frames"]
    if file.syntax in NATIVE_SYNTAXES and file.length != UNDEFINED_LENGTH:
        check_length(file.length, expected_bytes(header) * frames)
    elif file.syntax in DECODERS and _has_frame(file, frames):
        raise SeriesError(f"more compressed frames than the {frames} that the header describes; {EXPORT_AGAIN}")


def _has_frame(file: _FrameFile, frame: int) -> bool:
    """Say whether compressed pixels have a frame of a number, counted from 0."""
    from pydicom.encaps import get_frame  # noqa: PLC0415 - see `dictionary`

    file.handle.seek(file.offset)
    try:
        get_frame(file.handle, frame, number_of_frames=file.options["number_of_frames"])
    except Exception:  # in many ways pydicom says no
        return False
    return True


def _list_fragments(file: _FrameFile) -> tuple[int, ...]:
    """List where compressed frames lie whose table of offsets is empty: looked for one by one, each costs a walk over all before.

    Source: DICOM PS3.5 A.4, the table may be empty.
    """
    from pydicom.encaps import parse_basic_offsets, parse_fragments  # noqa: PLC0415 - see `dictionary`

    if file.syntax not in DECODERS:
        return ()
    file.handle.seek(file.offset)
    try:
        offsets = () if parse_basic_offsets(file.handle) else parse_fragments(file.handle)[1]
    except (ValueError, struct.error):
        # Damaged; it is said when a frame is asked for.
        return ()
    return tuple(offsets) if len(offsets) == file.options["number_of_frames"] else ()


def _place(element: "DataElement | RawDataElement | None") -> tuple[int, int]:
    """Give where the value of the pixel data begins, and its length in bytes, UNDEFINED_LENGTH where it is not known."""
    from pydicom.dataelem import RawDataElement  # noqa: PLC0415 - see `dictionary`

    if isinstance(element, RawDataElement):
        return element.value_tell, element.length
    offset = getattr(element, "file_tell", None)
    if not offset:
        raise SeriesError(f"no pixels: the file breaks off before them; {EXPORT_AGAIN}")
    return int(offset), UNDEFINED_LENGTH


def _decode_frame(file: _FrameFile, header: ImageHeader) -> StoredI:
    """Give the stored values of one frame, int (y, x)."""
    from pydicom.encaps import generate_fragments, get_frame  # noqa: PLC0415 - see `dictionary`
    from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415 - see `dictionary`

    frame = header.frame or 0
    file.handle.seek(file.fragments[frame] if file.fragments else file.offset)
    try:
        if file.fragments:
            compressed = next(generate_fragments(file.handle))
        elif file.syntax in DECODERS:
            compressed = get_frame(file.handle, frame, number_of_frames=file.options["number_of_frames"])
        else:
            stored, _ = get_decoder(file.syntax).as_array(file.handle, index=frame, raw=True, **file.options)
            return stored
    except OSError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise SeriesError(f"frame {frame + 1} cannot be decoded; {EXPORT_AGAIN} uncompressed") from error
    return decode_frame(compressed, file.syntax, pixel_format(header))


def _check_shape(stored: StoredI, header: ImageHeader) -> None:
    if stored.shape != (header.rows, header.columns) or not np.issubdtype(stored.dtype, np.integer):
        raise SeriesError(
            f"a frame of shape {stored.shape}, type {stored.dtype}; whole numbers of shape "
            f"{(header.rows, header.columns)} are expected: {EXPORT_AGAIN}"
        )


def _count_dropped(file: _FrameFile, stored: StoredI, header: ImageHeader) -> int:
    if file.syntax in DECODERS:
        return 0
    frame_bytes = expected_bytes(header)
    file.handle.seek(file.offset + (header.frame or 0) * frame_bytes)
    return count_dropped(file.handle.read(frame_bytes), stored, header)
