"""Small DICOM series, overlay planes, structure sets and NIfTI volumes, written by other code than the one under test."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RTStructureSetStorage

PATIENT = "Secret^Patient"
STUDY_UID = "2.25.77001"
SERIES_UID = "2.25.77002"
FRAME_UID = "2.25.77003"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Plane:
    """One overlay plane of one slice: a mask of ones, and where its corner lies (1-based row and column)."""

    mask: np.ndarray
    group: int = 0x6000
    origin: tuple[int, int] = (1, 1)
    label: str | None = None
    description: str | None = None
    frames: int | None = None
    frame_origin: int | None = None


def volume_hu(slices: int = 4, rows: int = 10, columns: int = 12, seed: int = 0) -> np.ndarray:
    """Make a volume of noise, int16 (z, y, x)."""
    return np.random.default_rng(seed).integers(-1000, 1500, (slices, rows, columns)).astype(np.int16)


def write_ct_series(
    folder: Path,
    volume: np.ndarray,
    *,
    spacing_mm_zyx: tuple[float, float, float] = (3.0, 0.75, 0.5),
    origin_mm_xyz: tuple[float, float, float] = (-10.0, -20.0, 100.0),
    orientation: tuple[float, ...] = AXIAL,
    patient_id: str = PATIENT,
    study_uid: str = STUDY_UID,
    series_uid: str = SERIES_UID,
    frame_uid: str = FRAME_UID,
    intercept: int = -1024,
    overlays: Mapping[int, Sequence[Plane]] | None = None,
    syntax: str = ExplicitVRLittleEndian,
    change: Callable[[Dataset, int], None] | None = None,
) -> list[Path]:
    """Write one CT series, one file a slice, in an order of names that is not the order of positions.

    Args:
        volume: HU, int (z, y, x); z rises along the normal of the slices.
        overlays: planes by slice number.
        change: called with each data set and its slice number just before it is written.
    Returns:
        The files, by rising z.
    """
    folder.mkdir(parents=True, exist_ok=True)
    normal = np.cross(orientation[:3], orientation[3:])
    paths = []
    for z, image in enumerate(volume):
        dataset = _ct_dataset(image - intercept, series_uid, z, syntax)
        dataset.PatientID, dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = patient_id, study_uid, frame_uid
        dataset.ImagePositionPatient = [round(float(v), 6) for v in np.array(origin_mm_xyz) + normal * z * spacing_mm_zyx[0]]
        dataset.ImageOrientationPatient = [float(v) for v in orientation]
        dataset.PixelSpacing = list(spacing_mm_zyx[1:])
        dataset.SliceThickness = spacing_mm_zyx[0]
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, intercept
        for plane in (overlays or {}).get(z, ()):
            add_overlay(dataset, plane)
        if change is not None:
            change(dataset, z)
        paths.append(folder / f"image{(z * 7 + 3) % 1009:04d}")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def add_overlay(dataset: Dataset, plane: Plane) -> None:
    """Put one overlay plane into a data set, packed as DICOM PS3.5 8.1.2 says: first pixel in the lowest bit."""
    group = plane.group << 16
    rows, columns = plane.mask.shape[-2:]
    dataset.add_new(group | 0x0010, "US", rows)
    dataset.add_new(group | 0x0011, "US", columns)
    dataset.add_new(group | 0x0040, "CS", "R")
    dataset.add_new(group | 0x0050, "SS", list(plane.origin))
    dataset.add_new(group | 0x0100, "US", 1)
    dataset.add_new(group | 0x0102, "US", 0)
    optional = {0x0015: ("IS", plane.frames), 0x0051: ("US", plane.frame_origin)}
    optional |= {0x0022: ("LO", plane.description), 0x1500: ("LO", plane.label)}
    for element, (vr, value) in optional.items():
        if value is not None:
            dataset.add_new(group | element, vr, value)
    packed = np.packbits(plane.mask.astype(bool).ravel(), bitorder="little").tobytes()
    dataset.add_new(group | 0x3000, "OW", packed + b"\0" * (len(packed) % 2))


def write_rtstruct(
    path: Path,
    rois: Mapping[str, Sequence[np.ndarray]],
    *,
    series_uid: str = SERIES_UID,
    frame_uid: str = FRAME_UID,
    image_uids: Sequence[str] = ("2.25.1",),
    kinds: str = "CLOSED_PLANAR",
) -> Path:
    """Write a structure set.

    Args:
        rois: contours by name, each (n, 3), LPS mm.
        series_uid, image_uids: what the structure set says it was drawn on.
        kinds: the contours' geometric type.
    """
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = RTStructureSetStorage, "2.25.99", "RTSTRUCT"
    dataset.PatientID, dataset.SeriesInstanceUID = PATIENT, "2.25.98"
    series = item(SeriesInstanceUID=series_uid)
    series.ContourImageSequence = DicomSequence([item(ReferencedSOPInstanceUID=uid) for uid in image_uids])
    study = item(RTReferencedSeriesSequence=DicomSequence([series]))
    frame = item(FrameOfReferenceUID=frame_uid, RTReferencedStudySequence=DicomSequence([study]))
    dataset.ReferencedFrameOfReferenceSequence = DicomSequence([frame])
    dataset.StructureSetROISequence = DicomSequence(
        [item(ROINumber=n, ROIName=name, ReferencedFrameOfReferenceUID=frame_uid) for n, name in enumerate(rois, 1)]
    )
    dataset.ROIContourSequence = DicomSequence(
        [
            item(ReferencedROINumber=n, ContourSequence=DicomSequence([_contour(points, kinds) for points in contours]))
            for n, contours in enumerate(rois.values(), 1)
        ]
    )
    _save(dataset, path, ExplicitVRLittleEndian)
    return path


def rectangle_mm(x: tuple[float, float], y: tuple[float, float], z: float) -> np.ndarray:
    """Give the corners of a rectangle on one axial plane, (4, 3), LPS mm."""
    return np.array([[x[0], y[0], z], [x[1], y[0], z], [x[1], y[1], z], [x[0], y[1], z]], dtype=float)


def write_nifti(path: Path, voxels_xyz: np.ndarray, affine_ras: np.ndarray) -> Path:
    """Write a NIfTI volume with nibabel; voxels (i, j, k)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(voxels_xyz, affine_ras)
    image.set_sform(affine_ras, code=1)
    image.set_qform(affine_ras, code=1)
    nibabel.save(image, path)
    return path


def cut(path: Path, size: int) -> None:
    """Leave only the first bytes of a file; a negative size counts from its end."""
    path.write_bytes(path.read_bytes()[:size])


def _ct_dataset(stored: np.ndarray, series_uid: str, z: int, syntax: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID, dataset.Modality = CTImageStorage, "CT"
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = f"{series_uid}.{z + 1}", series_uid
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = z + 1
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    order = ">i2" if syntax == "1.2.840.10008.1.2.2" else "<i2"
    dataset.PixelData = np.ascontiguousarray(stored.astype(order)).tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def _contour(points_mm: np.ndarray, kind: str) -> Dataset:
    return item(
        ContourGeometricType=kind,
        NumberOfContourPoints=len(points_mm),
        ContourData=[f"{value:.6f}" for value in np.asarray(points_mm).ravel()],
    )


def item(**values: object) -> Dataset:
    """Give a sequence's item."""
    one = Dataset()
    for keyword, value in values.items():
        setattr(one, keyword, value)
    return one


def _save(dataset: Dataset, path: Path, syntax: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
