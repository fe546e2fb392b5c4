"""Sides that a structure declares by code, held against where it lies.

Only codes count: a name is free text. What is compared are two structures of the same anatomy in one file, one coded left and one
coded right, since only they show both sides for certain: a scan of one leg has no midline to measure against. A structure without
a coded counterpart is not checked, nor is one whose code names the side itself (as "left femur" in one code).
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hipseg.errors import MaskError
from hipseg.ingest.dicomfile import items, text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Side = Literal["left", "right"]
SIDE_CODES: dict[tuple[str, str], Side] = {
    ("SCT", "7771000"): "left",
    ("SCT", "24028007"): "right",
    ("SRT", "G-A101"): "left",
    ("SRT", "G-A100"): "right",
    ("SNM3", "G-A101"): "left",
    ("SNM3", "G-A100"): "right",
}
"""Scheme and value of the codes for sides. Source: DICOM PS3.16 CID 244 (Laterality), and its older SNOMED-RT values."""
ANATOMY = (
    ("SegmentedPropertyTypeCodeSequence", "SegmentedPropertyTypeModifierCodeSequence"),
    ("AnatomicRegionSequence", "AnatomicRegionModifierSequence"),
    ("PrimaryAnatomicStructureSequence", "PrimaryAnatomicStructureModifierSequence"),
    ("RTROIIdentificationCodeSequence", "SegmentedPropertyTypeModifierCodeSequence"),
)
"""Sequences that say by code what a structure is, each with the one in its items that says which side.

Source: DICOM PS3.3 C.8.20.4, 10.5 and C.8.8.8."""
CLEAR_MM = 10.0
"""By how much the centre of the left structure must lie to the right of the other's: organs of the midline come closer."""


@dataclass(frozen=True)
class Anatomy:
    """What a structure is, by its codes without their words, and the side that it is coded for."""

    codes: tuple[str, ...]
    side: Side


def read_anatomy(item: "Dataset") -> Anatomy | None:
    """Read the coded side of a segment or an RT ROI observation; None where none is coded, or both are."""
    codes: list[str] = []
    sides: set[Side] = set()
    for what, modifier in ANATOMY:
        for code in items(item, what):
            codes.append("{}:{}".format(*_code(code)))
            found = (SIDE_CODES.get(_code(one)) for one in items(code, modifier))
            sides |= {side for side in found if side is not None}
    return Anatomy(tuple(codes), sides.pop()) if len(sides) == 1 else None


def check_sides(centres: Iterable[tuple[Anatomy, float]]) -> None:
    """Refuse structures whose coded sides are exchanged.

    Args:
        centres: anatomy of each structure of one file, and the x of its centre (LPS mm: x grows to the patient's left).
    Raises:
        MaskError: of one anatomy, what is coded left lies clearly to the right of what is coded right.
    """
    by_codes: dict[tuple[str, ...], dict[Side, list[float]]] = defaultdict(lambda: defaultdict(list))
    for anatomy, x_mm in centres:
        by_codes[anatomy.codes][anatomy.side].append(x_mm)
    for sides in by_codes.values():
        if not (sides["left"] and sides["right"]):
            continue
        right_of_mm = min(sides["right"]) - max(sides["left"])
        if right_of_mm > CLEAR_MM:
            raise MaskError(
                f"laterality contradicts geometry: the structure coded left lies {right_of_mm:.1f} mm to the patient's right of "
                f"the one coded right; left of it, or at most {CLEAR_MM:g} mm off, is accepted: correct the codes or the mask"
            )


def _code(code: "Dataset") -> tuple[str, str]:
    return text(code, "CodingSchemeDesignator"), text(code, "CodeValue")
