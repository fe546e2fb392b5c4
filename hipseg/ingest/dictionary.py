"""The elements and identifiers of DICOM that are asked for by name.

pydicom, which knows all of them, is imported inside the functions that need it: most series are read without it, and loading it
takes as long as reading one.

Source: DICOM PS3.6, tables 6-1 and A-1.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

IMPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
MEDIA_DIRECTORY: Final = "1.2.840.10008.1.3.10"
"""A list of other files (DICOMDIR)."""
CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2.1"
CONVERTED_ENHANCED_CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2.2"

ELEMENTS: Final[Mapping[str, tuple[int, str]]] = MappingProxyType(
    {
        "SpecificCharacterSet": (0x00080005, "CS"),
        "ImageType": (0x00080008, "CS"),
        "SOPClassUID": (0x00080016, "UI"),
        "SOPInstanceUID": (0x00080018, "UI"),
        "Modality": (0x00080060, "CS"),
        "PatientID": (0x00100020, "LO"),
        "SliceThickness": (0x00180050, "DS"),
        "SpacingBetweenSlices": (0x00180088, "DS"),
        "StudyInstanceUID": (0x0020000D, "UI"),
        "SeriesInstanceUID": (0x0020000E, "UI"),
        "AcquisitionNumber": (0x00200012, "IS"),
        "InstanceNumber": (0x00200013, "IS"),
        "ImagePositionPatient": (0x00200032, "DS"),
        "ImageOrientationPatient": (0x00200037, "DS"),
        "FrameOfReferenceUID": (0x00200052, "UI"),
        "TemporalPositionIdentifier": (0x00200100, "IS"),
        "SamplesPerPixel": (0x00280002, "US"),
        "PhotometricInterpretation": (0x00280004, "CS"),
        "PlanarConfiguration": (0x00280006, "US"),
        "NumberOfFrames": (0x00280008, "IS"),
        "Rows": (0x00280010, "US"),
        "Columns": (0x00280011, "US"),
        "PixelSpacing": (0x00280030, "DS"),
        "BitsAllocated": (0x00280100, "US"),
        "BitsStored": (0x00280101, "US"),
        "HighBit": (0x00280102, "US"),
        "PixelRepresentation": (0x00280103, "US"),
        "PixelPaddingValue": (0x00280120, "US or SS"),
        "PixelPaddingRangeLimit": (0x00280121, "US or SS"),
        "RescaleIntercept": (0x00281052, "DS"),
        "RescaleSlope": (0x00281053, "DS"),
        "RescaleType": (0x00281054, "LO"),
        "PixelData": (0x7FE00010, "OB or OW"),
    }
)
"""Tag and value representation by keyword."""
OVERLAY_ELEMENTS: Final[Mapping[int, str]] = MappingProxyType(
    {
        0x0010: "US",
        0x0011: "US",
        0x0015: "IS",
        0x0022: "LO",
        0x0040: "CS",
        0x0050: "SS",
        0x0051: "US",
        0x0100: "US",
        0x0102: "US",
        0x1500: "LO",
        0x3000: "OB or OW",
    }
)
"""Value representation by element, for every overlay group."""
OVERLAY_GROUPS: Final = range(0x6000, 0x6100, 2)
"""The standard has repeating groups 6000 to 601E (DICOM PS3.5 7.6); exports of more than sixteen structures go on after them."""

_REPRESENTATIONS = dict(ELEMENTS.values()) | {
    group << 16 | element: representation for group in OVERLAY_GROUPS for element, representation in OVERLAY_ELEMENTS.items()
}


def tag_of(keyword: str) -> int:
    """Give the tag of an element listed here.

    Raises:
        KeyError: it is not listed here.
    """
    return ELEMENTS[keyword][0]


def representation_of(tag: int) -> str | None:
    """Give the value representation of an element listed here, as `US or SS` where the standard leaves it open; else None."""
    return _REPRESENTATIONS.get(tag)
