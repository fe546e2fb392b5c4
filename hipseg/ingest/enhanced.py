"""Enhanced multi-frame CT: one file -> one header a frame, and frames decoded one at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hipseg.errors import SeriesError
from hipseg.ingest.compressed import DECODERS, decode_frame
from hipseg.ingest.dicomfile import UnreadableFileError, integer, is_cut, items, number, numbers, read_dataset, text, texts
from hipseg.ingest.dictionary import DEFLATED_LITTLE_ENDIAN, tag_of
from hipseg.ingest.headers import HOUNSFIELD_TYPES, LOCALIZER_WORDS, FileStamp, ImageHeader, parse_header
from hipseg.ingest.pixels import SliceI16, to_hu
from hipseg.ingest.rounding import Rounding
from hipseg.ingest.stored import EXPORT_AGAIN, GONE, StoredI, check_unchanged, pixel_format

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement, RawDataElement
    from pydicom.dataset import Dataset, FileDataset

MAX_FRAMES = 20_000
"""More than any CT has slices; a file that announces more is damaged, and one header a frame would fill the memory."""
DEFERRED_BYTES = 1024
"""Elements larger than this stay in the file while its header is read: the pixels, of which one frame is taken at a time."""
NO_FRAMES = "its frames are not described one by one (5200,9230)"
CONCATENATION = "it is a part of a concatenation (0020,9161), which is not read"
LOCALIZER_FRAMES = "planning views lie among its frames (0008,9007)"


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
        is_hounsfield=text(values, "RescaleType") in HOUNSFIELD_TYPES,
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
    """Where the pixels of a multi-frame file begin, and how they are stored."""

    path: Path
    offset: int
    syntax: str
    options: Mapping[str, Any]


class FrameReader:
    """Reads frames of enhanced files; of the file read last it remembers where the pixels lie."""

    def __init__(self) -> None:
        """Begin without any file."""
        self._last: _FrameFile | None = None

    def read_hu(self, header: ImageHeader, rounding: Rounding) -> SliceI16:
        """Read one frame as Hounsfield units.

        Args:
            header: of the frame.
            rounding: of its case, told of values that are no whole HU.
        Returns:
            int16 (y, x), HU. No other frame is decoded, nor held in memory.
        Raises:
            SeriesError: the file is gone or has changed, is cut short or not decodable here; the caller adds where.
        """
        try:
            check_unchanged(header.path, header.stamp)
            if self._last is None or self._last.path != header.path:
                self._last = _locate(header.path)
            stored = _decode_frame(self._last, header)
            check_unchanged(header.path, header.stamp)
        except OSError as error:
            raise SeriesError(GONE) from error
        if stored.shape != (header.rows, header.columns) or not np.issubdtype(stored.dtype, np.integer):
            raise SeriesError(
                f"a frame of shape {stored.shape}, type {stored.dtype}; whole numbers of shape "
                f"{(header.rows, header.columns)} are expected: {EXPORT_AGAIN}"
            )
        return to_hu(stored, header, rounding)


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


def _locate(path: Path) -> _FrameFile:
    """Find the pixels of a multi-frame file without reading them."""
    from pydicom.filereader import dcmread  # noqa: PLC0415 - see `dictionary`
    from pydicom.pixels.utils import as_pixel_options  # noqa: PLC0415 - see `dictionary`

    pixel_tag = tag_of("PixelData")
    try:
        header = read_dataset(path, has_pixels=False)
        syntax = header.file_meta.TransferSyntaxUID
        if syntax == DEFLATED_LITTLE_ENDIAN:
            raise SeriesError(f"a deflated multi-frame file, of which no single frame can be read; {EXPORT_AGAIN} uncompressed")
        with path.open("rb") as handle:
            # Asked for by its tag, the element would be read whole.
            elements = list(dcmread(handle, force=True, defer_size=DEFERRED_BYTES, specific_tags=[pixel_tag]).values())
        offset = _offset(next((one for one in elements if one.tag == pixel_tag), None))
        options = {"transfer_syntax_uid": syntax, "pixel_keyword": "PixelData", "pixel_vr": "OW"}
        return _FrameFile(path, offset, syntax, as_pixel_options(header, **options))
    except OSError as error:
        raise SeriesError(GONE) from error
    except SeriesError:
        raise
    except Exception as error:  # pydicom raises nearly anything on damaged bytes
        raise SeriesError(f"the file breaks off inside an element; {EXPORT_AGAIN}") from error


def _offset(element: "DataElement | RawDataElement | None") -> int:
    from pydicom.dataelem import RawDataElement  # noqa: PLC0415 - see `dictionary`

    offset = element.value_tell if isinstance(element, RawDataElement) else getattr(element, "file_tell", None)
    if not offset:
        raise SeriesError(f"no pixels: the file breaks off before them; {EXPORT_AGAIN}")
    return int(offset)


def _decode_frame(file: _FrameFile, header: ImageHeader) -> StoredI:
    """Give the stored values of one frame, int (y, x)."""
    from pydicom.encaps import get_frame  # noqa: PLC0415 - see `dictionary`
    from pydicom.pixels.decoders.base import get_decoder  # noqa: PLC0415 - see `dictionary`

    frame = header.frame or 0
    try:
        with file.path.open("rb") as handle:
            handle.seek(file.offset)
            if file.syntax in DECODERS:
                compressed = get_frame(handle, frame, number_of_frames=file.options["number_of_frames"])
            else:
                stored, _ = get_decoder(file.syntax).as_array(handle, index=frame, raw=True, **file.options)
                return stored
    except OSError as error:
        raise SeriesError(GONE) from error
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise SeriesError(f"frame {frame + 1} cannot be decoded; {EXPORT_AGAIN} uncompressed") from error
    return decode_frame(compressed, file.syntax, pixel_format(header))
