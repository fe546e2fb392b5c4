"""RTSTRUCT of the phantom: contours that give the truth back when they are filled by 'pixel centre inside polygon'."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian, RTStructureSetStorage
from skimage.measure import find_contours

from hipseg.axes import SliceBool
from hipseg.geometry import Grid
from hipseg.phantom.dicom import SERIES_NUMBER, STRUCTURES_NUMBER, start_dataset, write_file
from hipseg.phantom.identity import FIXED_DATE, FIXED_TIME, Identity
from hipseg.phantom.scanner import Slice

RETIRED_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""What RT Referenced Study Sequence still names. Source: DICOM PS3.3 C.8.8.5."""
COLOURS = ([255, 80, 60], [80, 160, 255], [90, 200, 90], [240, 200, 60], [230, 220, 200])


def write_structures(folder: Path, identity: Identity, slices: Sequence[Slice], names: Mapping[str, int]) -> None:
    """Write one RTSTRUCT file with a structure for each label.

    Args:
        folder: new folder for it.
        identity: of the patient; the CT series is referenced by it.
        slices: by rising z.
        names: label of each structure, by its name.
    """
    dataset = start_dataset(identity, RTStructureSetStorage, identity.uid("structures"), STRUCTURES_NUMBER)
    dataset.Modality = "RTSTRUCT"
    dataset.InstanceNumber = 1
    dataset.OperatorsName = ""
    dataset.StructureSetLabel = "PHANTOM"
    dataset.StructureSetDate, dataset.StructureSetTime = FIXED_DATE, FIXED_TIME
    dataset.ReferencedFrameOfReferenceSequence = [_refer(identity, len(slices))]
    dataset.StructureSetROISequence = [_name_roi(identity, number, name) for number, name in enumerate(names, start=1)]
    dataset.ROIContourSequence = [
        _draw_roi(identity, number, [scanned.labels == label for scanned in slices])
        for number, label in enumerate(names.values(), start=1)
    ]
    dataset.RTROIObservationsSequence = [_observe_roi(number) for number in range(1, len(names) + 1)]
    folder.mkdir()
    # Explicit VR gives a decimal string 64 KiB at most (PS3.5 7.1.2), too little for a long contour.
    write_file(folder / "RS0001.dcm", dataset, ImplicitVRLittleEndian)


def trace_contours(mask: SliceBool) -> list[NDArray[np.float64]]:
    """Trace a mask's outlines and holes halfway between the centres of inner and outer pixels.

    Args:
        mask: bool (y, x).
    Returns:
        Closed polygons, float64 (n, 2), fractional (column, row), the last point not repeated. Filling them all by the even-odd
        rule gives the mask back, since none passes nearer to a pixel's centre than a third of a pixel. Empty for an empty mask.
    """
    lines = find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    return [line[:-1, ::-1] - 1 for line in lines]


def _refer(identity: Identity, count: int) -> Dataset:
    images = [_reference(CTImageStorage, identity.uid("image", index)) for index in range(count)]
    series = Dataset()
    series.SeriesInstanceUID = identity.uid("series", SERIES_NUMBER)
    series.ContourImageSequence = images
    study = _reference(RETIRED_STUDY_CLASS, identity.uid("study"))
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = identity.uid("frame")
    frame.RTReferencedStudySequence = [study]
    return frame


def _reference(sop_class: str, sop_uid: str) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = sop_class, sop_uid
    return reference


def _name_roi(identity: Identity, number: int, name: str) -> Dataset:
    roi = Dataset()
    roi.ROINumber, roi.ROIName, roi.ROIGenerationAlgorithm = number, name, "AUTOMATIC"
    roi.ReferencedFrameOfReferenceUID = identity.uid("frame")
    return roi


def _draw_roi(identity: Identity, number: int, masks: Sequence[SliceBool]) -> Dataset:
    roi = Dataset()
    roi.ROIDisplayColor = COLOURS[(number - 1) % len(COLOURS)]
    roi.ReferencedROINumber = number
    roi.ContourSequence = [
        _make_contour(identity, index, polygon) for index, mask in enumerate(masks) for polygon in trace_contours(mask)
    ]
    return roi


def _make_contour(identity: Identity, index: int, polygon: NDArray[np.float64]) -> Dataset:
    contour = Dataset()
    contour.ContourImageSequence = [_reference(CTImageStorage, identity.uid("image", index))]
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(polygon)
    contour.ContourData = [f"{value:.3f}" for value in _to_points(polygon, identity.patient.grid, index).ravel()]
    return contour


def _to_points(polygon: NDArray[np.float64], grid: Grid, index: int) -> NDArray[np.float64]:
    # The phantom's grids are never turned: columns run along x, rows along y.
    spacing_z, spacing_y, spacing_x = grid.spacing_mm_zyx
    heights = np.full((len(polygon), 1), index * spacing_z)
    points: NDArray[np.float64] = np.hstack([polygon * (spacing_x, spacing_y), heights]) + np.array(grid.origin_mm_xyz)
    return points


def _observe_roi(number: int) -> Dataset:
    observation = Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = number
    observation.RTROIInterpretedType = "ORGAN"
    observation.ROIInterpreter = ""
    return observation
