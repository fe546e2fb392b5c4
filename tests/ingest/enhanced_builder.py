"""Enhanced multi-frame CT files, written by other code than the one under test."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian

from tests.ingest.builders import AXIAL, FRAME_UID, PATIENT, SERIES_UID, STUDY_UID, Plane, add_overlay, item


def write_enhanced(
    path: Path,
    volume: np.ndarray,
    *,
    order: tuple[int, ...] | None = None,
    is_shared: bool = True,
    stack_ids: tuple[str, ...] | None = None,
    intercepts: tuple[int, ...] | None = None,
    orientation: tuple[float, ...] = AXIAL,
    spacing_mm_zyx: tuple[float, float, float] = (3.0, 0.75, 0.5),
    syntax: str = ExplicitVRLittleEndian,
    sop_class: str = EnhancedCTImageStorage,
    overlay: Plane | None = None,
    change: Callable[[Dataset], None] | None = None,
) -> Path:
    """Write one enhanced CT file.

    Args:
        volume: HU, int (z, y, x).
        order: slice number of each frame; frames in slice order where None.
        is_shared: whether orientation, measures and rescale values stand once, or with each frame.
        stack_ids, intercepts: by slice; values that differ are written with each frame.
        change: called with the data set just before it is written.
    """
    order = order or tuple(range(len(volume)))
    intercepts = intercepts or (-1024,) * len(volume)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = sop_class, f"{SERIES_UID}.1", "CT"
    dataset.PatientID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = PATIENT, STUDY_UID, SERIES_UID
    dataset.FrameOfReferenceUID, dataset.ImageType = FRAME_UID, ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = *volume.shape[1:], len(order)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    common = {
        "PlaneOrientationSequence": item(ImageOrientationPatient=[float(v) for v in orientation]),
        "PixelMeasuresSequence": item(PixelSpacing=list(spacing_mm_zyx[1:]), SliceThickness=spacing_mm_zyx[0]),
    }
    normal = np.cross(orientation[:3], orientation[3:])
    frames = []
    for z in order:
        groups = {} if is_shared else dict(common)
        position = np.array([-10.0, -20.0, 100.0]) + normal * z * spacing_mm_zyx[0]
        groups["PlanePositionSequence"] = item(ImagePositionPatient=[round(float(v), 6) for v in position])
        groups["FrameContentSequence"] = item(StackID=(stack_ids or ("1",) * len(volume))[z], FrameAcquisitionNumber=1)
        groups["PixelValueTransformationSequence"] = item(RescaleSlope=1, RescaleIntercept=intercepts[z], RescaleType="HU")
        frames.append(item(**{keyword: DicomSequence([one]) for keyword, one in groups.items()}))
    shared = {keyword: DicomSequence([one]) for keyword, one in common.items()} if is_shared else {}
    dataset.SharedFunctionalGroupsSequence = DicomSequence([item(**shared)])
    dataset.PerFrameFunctionalGroupsSequence = DicomSequence(frames)
    stored = np.stack([volume[z] - intercepts[z] for z in order]).astype(">i2" if syntax == "1.2.840.10008.1.2.2" else "<i2")
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
    if overlay is not None:
        add_overlay(dataset, overlay)
    if change is not None:
        change(dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path
