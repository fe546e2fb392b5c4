"""What the header of one CT image says, as plain values; a value that is missing or unreadable is None, never a guess."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hipseg.ingest.dicomfile import Header, Source, integer, number, numbers, text, texts, transfer_syntax
from hipseg.ingest.dictionary import (
    CONVERTED_ENHANCED_CT_IMAGE,
    CT_IMAGE,
    ENHANCED_CT_IMAGE,
    OVERLAY_ELEMENTS,
    OVERLAY_GROUPS,
    tag_of,
)
from hipseg.ingest.elements import Place
from hipseg.ingest.plain import CHARACTER_SET, IMAGE_TYPE, PlainHeader

ENHANCED_CT = (ENHANCED_CT_IMAGE, CONVERTED_ENHANCED_CT_IMAGE)
CT_CLASSES = (CT_IMAGE, *ENHANCED_CT, "")
"""Object classes that are CT images by name; an export that empties the class is believed by its modality."""
LOCALIZER_WORDS = ("LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW")
"""Parts of Image Type that mark a localizer. Source: DICOM PS3.3 C.8.2.1.1.1, and vendors' words for the same."""
OVERLAY_DESCRIPTION, OVERLAY_TYPE, OVERLAY_LABEL = 0x0022, 0x0040, 0x1500
OVERLAY_DATA = 0x3000
_OVERLAY_TAGS = tuple(
    group << 16 | element for group in OVERLAY_GROUPS for element in OVERLAY_ELEMENTS if element != OVERLAY_DATA
)
_OVERLAY_WORDS = tuple(
    group << 16 | element for group in OVERLAY_GROUPS for element in (OVERLAY_DESCRIPTION, OVERLAY_TYPE, OVERLAY_LABEL)
)
OVERLAY_DATA_TAGS = tuple(group << 16 | OVERLAY_DATA for group in OVERLAY_GROUPS)
"""Elements that count by being there; a plain header tells without their values."""
GRAPHICS = "G"
"""Overlay Type of annotations; R is a region. Source: DICOM PS3.3 C.9.2.1.1."""
HOUNSFIELD_TYPES = ("", "HU", "US", "HOUNSFIELD UNIT", "HOUNSFIELD UNITS", "HOUNSFIELD", "UNSPECIFIED")
"""Rescale Type in capitals. It may be left out for Hounsfield units (DICOM PS3.3 C.8.2.1); scanners also write US, unspecified,
and other programs what the two stand for (C.11.1.1.2)."""
GREY = ("MONOCHROME1", "MONOCHROME2")
"""Photometric interpretations whose stored values are what was measured; which end is shown white changes no value."""


@dataclass(frozen=True, slots=True)
class OverlayName:
    """One overlay plane as its header names it; label and description are free text of the source."""

    group: int
    label: str
    description: str
    is_graphics: bool = False


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What shows that a file has changed since it was looked at: its size, and when it was written last."""

    size_bytes: int
    changed_ns: int

    def __reduce__(self) -> tuple[Any, ...]:
        """Be pickled in a fraction of the usual time, as there may be millions."""
        return FileStamp, (self.size_bytes, self.changed_ns)


@dataclass(frozen=True, slots=True, repr=False)
class ImageHeader:
    """One CT image, nothing of it decoded.

    Args:
        path, folder: the file, and its folder relative to the scanned root.
        position_mm: Image Position (Patient), centre of the first pixel, LPS mm.
        orientation: Image Orientation (Patient), direction of a row, then of a column.
        pixel_spacing_mm: distance between rows, then between columns.
        bits_stored, high_bit, pixel_representation: of each pixel's bits those that count, and whether they have a sign (1).
        padding: lowest and highest stored value that stand for no measurement.
        acquisition_number, time_point, stack_id: what tells several stacks of one series apart.
        frame: number of the frame in an enhanced multi-frame file, counted from 0; None for a file of one image.
        flaw: why the image cannot be part of a volume, in our own words; empty where nothing is wrong.
        pixels: where the pixel data of a plainly written file lie; None where only pydicom can tell.
        stamp: of the file, from before its header was read; None where it is not known, and then not compared.
    """

    path: Path
    folder: str
    patient_id: str
    study_uid: str
    series_uid: str
    instance_uid: str
    frame_uid: str
    instance_number: int | None
    is_multiframe: bool
    rows: int | None
    columns: int | None
    samples: int | None
    position_mm: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    slice_thickness_mm: float | None
    spacing_between_slices_mm: float | None
    photometric: str
    bits_allocated: int | None
    bits_stored: int | None
    high_bit: int | None
    pixel_representation: int | None
    slope: float | None
    intercept: float | None
    is_hounsfield: bool
    padding: tuple[int, int] | None
    transfer_syntax: str
    overlays: tuple[OverlayName, ...]
    acquisition_number: int | None = None
    time_point: int | None = None
    stack_id: str = ""
    frame: int | None = None
    flaw: str = ""
    pixels: Place | None = None
    stamp: FileStamp | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Be pickled in a fraction of the usual time, as there may be millions."""
        return ImageHeader, _values_of(self)


_values_of: Callable[[ImageHeader], tuple[Any, ...]] = attrgetter(*(one.name for one in fields(ImageHeader)))


def parse_header(dataset: Header, path: Path, folder: str, stamp: FileStamp | None = None) -> ImageHeader:
    """Read the values of one CT image's header.

    Args:
        dataset: read with HEADER_TAGS.
        path, folder, stamp: of the file.
    """
    if not isinstance(dataset, PlainHeader):
        values = {name: parse(dataset) for name, (_, parse) in _FIELDS.items()}
        return ImageHeader(path, folder, transfer_syntax=transfer_syntax(dataset), stamp=stamp, **values)
    # What the image has in common with the others of its series has been parsed with the first of them.
    common, own = dataset.memory, dataset.own
    if not common:
        common |= {name: parse(dataset) for name, (tags, parse) in _FIELDS.items() if tags.isdisjoint(own)}
    values = common | {name: parse(dataset) for name, (_, parse) in _FIELDS.items() if name not in common}
    return ImageHeader(path, folder, transfer_syntax=dataset.syntax, pixels=dataset.pixels, stamp=stamp, **values)


def has_regions(header: ImageHeader) -> bool:
    """Say whether an image has an overlay plane that is no graphics."""
    return any(not plane.is_graphics for plane in header.overlays)


def is_localizer(dataset: Source) -> bool:
    """Say whether an image is a localizer, which belongs to no volume."""
    return _mark_localizer(texts(dataset, "ImageType"))


@lru_cache(maxsize=256)
def _mark_localizer(image_type: tuple[str, ...]) -> bool:
    return any(word in value.upper() for value in image_type for word in LOCALIZER_WORDS)


def has_place(dataset: Source) -> bool:
    """Say whether an image says where in the patient it lies."""
    return numbers(dataset, "ImagePositionPatient", 3) is not None and numbers(dataset, "ImageOrientationPatient", 6) is not None


def is_hounsfield(dataset: Source) -> bool:
    """Say whether rescaled values are Hounsfield units; Rescale Type is free text to many programs."""
    return text(dataset, "RescaleType").upper() in HOUNSFIELD_TYPES


def _parse_padding(dataset: Source) -> tuple[int, int] | None:
    """Read the padding range. Source: DICOM PS3.3 C.7.5.1.1.2; a range limit stands for the other end."""
    value, limit = integer(dataset, "PixelPaddingValue"), integer(dataset, "PixelPaddingRangeLimit")
    if value is None:
        return None
    ends = [_as_stored(end, dataset) for end in (value, value if limit is None else limit)]
    return min(ends), max(ends)


def _as_stored(value: int, dataset: Source) -> int:
    # Some exports write the padding of signed pixels as the unsigned number with the same bits.
    is_signed = integer(dataset, "PixelRepresentation") == 1
    return value - 0x10000 if is_signed and value > 0x7FFF else value


def _parse_overlays(dataset: Source) -> tuple[OverlayName, ...]:
    # A plane that lacks an element, be it its rows, is still one, and refused when its bits are read.
    tags = dataset.tags if isinstance(dataset, PlainHeader) else dataset.keys()
    groups = sorted({tag >> 16 for tag in tags if tag & 0xFFFF in OVERLAY_ELEMENTS} & set(OVERLAY_GROUPS))
    return tuple(
        OverlayName(
            group,
            _parse_words(dataset, group << 16 | OVERLAY_LABEL),
            _parse_words(dataset, group << 16 | OVERLAY_DESCRIPTION),
            text(dataset, group << 16 | OVERLAY_TYPE) == GRAPHICS,
        )
        for group in groups
    )


def _parse_words(dataset: Source, tag: int) -> str:
    """Read a label as it was typed, also where a backslash in it makes it several values."""
    return "\\".join(texts(dataset, tag)).strip(" \0")


def _is_multiframe(dataset: Source) -> bool:
    return (integer(dataset, "NumberOfFrames") or 1) > 1 or text(dataset, "SOPClassUID") in ENHANCED_CT


_Parse = Callable[[Source], Any]


def _by(parse: Callable[..., Any], keyword: str, *more: int) -> tuple[frozenset[int], _Parse]:
    return _of((keyword,), lambda dataset: parse(dataset, keyword, *more))


def _of(keywords: Iterable[str], parse: _Parse) -> tuple[frozenset[int], _Parse]:
    return frozenset(tag_of(keyword) for keyword in keywords), parse


_FIELDS: Mapping[str, tuple[frozenset[int], _Parse]] = MappingProxyType(
    {
        "patient_id": _by(text, "PatientID"),
        "study_uid": _by(text, "StudyInstanceUID"),
        "series_uid": _by(text, "SeriesInstanceUID"),
        "instance_uid": _by(text, "SOPInstanceUID"),
        "frame_uid": _by(text, "FrameOfReferenceUID"),
        "instance_number": _by(integer, "InstanceNumber"),
        "is_multiframe": _of(("NumberOfFrames", "SOPClassUID"), _is_multiframe),
        "rows": _by(integer, "Rows"),
        "columns": _by(integer, "Columns"),
        "samples": _by(integer, "SamplesPerPixel"),
        "position_mm": _by(numbers, "ImagePositionPatient", 3),
        "orientation": _by(numbers, "ImageOrientationPatient", 6),
        "pixel_spacing_mm": _by(numbers, "PixelSpacing", 2),
        "slice_thickness_mm": _by(number, "SliceThickness"),
        "spacing_between_slices_mm": _by(number, "SpacingBetweenSlices"),
        "photometric": _by(text, "PhotometricInterpretation"),
        "bits_allocated": _by(integer, "BitsAllocated"),
        "bits_stored": _by(integer, "BitsStored"),
        "high_bit": _by(integer, "HighBit"),
        "pixel_representation": _by(integer, "PixelRepresentation"),
        "slope": _by(number, "RescaleSlope"),
        "intercept": _by(number, "RescaleIntercept"),
        "is_hounsfield": _of(("RescaleType",), is_hounsfield),
        "padding": _of(("PixelPaddingValue", "PixelPaddingRangeLimit", "PixelRepresentation"), _parse_padding),
        "overlays": (frozenset(_OVERLAY_WORDS), _parse_overlays),
        "acquisition_number": _by(integer, "AcquisitionNumber"),
        "time_point": _by(integer, "TemporalPositionIdentifier"),
    }
)
"""Fields of an ImageHeader: the elements that each is made of, and how."""
HEADER_TAGS = tuple(
    sorted({CHARACTER_SET, IMAGE_TYPE, tag_of("Modality")}.union(_OVERLAY_TAGS, *(tags for tags, _ in _FIELDS.values())))
)
"""The elements of an image that are read while a folder is looked through."""
