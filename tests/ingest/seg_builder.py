"""DICOM SEG files of all kinds on a series of `builders`, written by highdicom."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from highdicom.seg import Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian

SIDES = {"left": codes.SCT.Left, "right": codes.SCT.Right}
TYPE_2 = ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber")


def read_sources(paths: Sequence[Path]) -> list[pydicom.Dataset]:
    """Read a series of `write_ct_series`, with the empty elements that highdicom copies."""
    datasets = [pydicom.dcmread(path) for path in paths]
    for dataset in datasets:
        for keyword in (*TYPE_2, "ReferringPhysicianName"):
            if keyword not in dataset:
                setattr(dataset, keyword, None)
    return datasets


def write_seg(
    path: Path,
    sources: Sequence[pydicom.Dataset],
    pixels: np.ndarray,
    labels: Sequence[str],
    kind: str = "BINARY",
    *,
    syntax: str = ExplicitVRLittleEndian,
    sides: Mapping[str, str] | None = None,
    series_uid: str = "2.25.500",
    change=None,
    **options: object,
) -> Path:
    """Write a SEG.

    Args:
        sources: the slices that it is drawn on, in order.
        pixels: (z, y, x) numbers of segments for a label map, (z, y, x, segments) else: bool, or 0 to 1 where fractional.
        labels: Segment Labels, from segment 1 on.
        sides: "left" or "right" by label, as codes.
        change: called with the data set just before it is written.
    """
    file = Segmentation(
        source_images=list(sources),
        pixel_array=pixels,
        segmentation_type=SegmentationTypeValues[kind],
        segment_descriptions=[_describe(number, label, (sides or {}).get(label)) for number, label in enumerate(labels, 1)],
        series_instance_uid=series_uid,
        series_number=1,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
        transfer_syntax_uid=syntax,
        **options,
    )
    if change is not None:
        change(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save_as(path)
    return path


def _describe(number: int, label: str, side: str | None) -> SegmentDescription:
    description = SegmentDescription(number, label, codes.SCT.AnatomicalStructure, codes.SCT.Femur, "MANUAL")
    if side is not None:
        modifier = highdicom.sr.CodedConcept.from_code(SIDES[side])
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return description
