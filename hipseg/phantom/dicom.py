"""CT files: header as a scanner writes it, pixels signed or unsigned, masks as overlay planes as Mimics adds them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from hipseg.axes import SliceBool
from hipseg.phantom.identity import FIXED_DATE, FIXED_TIME, Identity, make_uid
from hipseg.phantom.scanner import LOWEST_HU, Slice

FIRST_OVERLAY_GROUP = 0x6000
OVERLAY_GROUP_STEP = 2
LOCALIZER_NUMBER, SERIES_NUMBER, STRUCTURES_NUMBER = 1, 2, 3
TUBE_KV = 100
FILE_NAME_KEY = 15


def write_ct_series(folder: Path, identity: Identity, slices: Sequence[Slice], overlays: Mapping[str, int]) -> None:
    """Write one file a slice.

    Args:
        folder: new folder for them.
        identity: of the patient.
        slices: by rising z.
        overlays: label of each overlay plane, by its name; empty writes none.
    """
    patient = identity.patient
    folder.mkdir()
    count = len(slices)
    places = patient.generator(FILE_NAME_KEY).permutation(count) if patient.has_shuffled_names else np.arange(count)
    for index, scanned in enumerate(slices):
        number = count - index if patient.is_head_first_order else index + 1
        dataset = _start_image(identity, SERIES_NUMBER, identity.uid("image", index))
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.SeriesDescription = "PHANTOM TRUNK" if identity.options.organs else "PHANTOM HIP"
        dataset.InstanceNumber = number
        _place_slice(dataset, identity, index)
        _set_pixels(dataset, scanned.hu, patient.is_signed)
        for place, (name, label) in enumerate(overlays.items()):
            _add_overlay(dataset, FIRST_OVERLAY_GROUP + OVERLAY_GROUP_STEP * place, name, scanned.labels == label)
        file_number = int(places[number - 1]) + 1
        write_file(folder / f"IM{file_number:04d}.dcm", dataset)


def write_localizer(folder: Path, identity: Identity, slices: Sequence[Slice]) -> None:
    """Write the localizer: the volume seen from the front, as one file of a series of its own."""
    grid = identity.patient.grid
    spacing_mm, _, pixel_mm = grid.spacing_mm_zyx
    repeats = max(1, round(spacing_mm / pixel_mm))
    seen = np.stack([scanned.hu.mean(axis=0) for scanned in reversed(slices)])
    dataset = _start_image(identity, LOCALIZER_NUMBER, identity.uid("localizer"))
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.SeriesDescription = "SCOUT"
    dataset.InstanceNumber = 1
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    x, y, z = grid.origin_mm_xyz
    half_depth = pixel_mm * (grid.shape_zyx[1] - 1) / 2
    dataset.ImagePositionPatient = [_decimal(value) for value in (x, y + half_depth, z + spacing_mm * (len(slices) - 1))]
    dataset.PixelSpacing = [_decimal(spacing_mm / repeats), _decimal(pixel_mm)]
    dataset.SliceThickness = _decimal(2 * half_depth)
    _set_pixels(dataset, np.rint(np.repeat(seen, repeats, axis=0)).astype(np.int16), identity.patient.is_signed)
    folder.mkdir()
    write_file(folder / "IM0001.dcm", dataset)


def start_dataset(identity: Identity, sop_class: str, sop_uid: str, series_number: int) -> Dataset:
    """Start a file of a patient: identity, study and series, without clock or chance."""
    patient = identity.patient
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, sop_uid
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = FIXED_DATE
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = FIXED_TIME
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.PatientBirthDate = ""
    dataset.Manufacturer, dataset.ManufacturerModelName = "hipseg", "phantom"
    dataset.StudyDescription = "PHANTOM"
    dataset.PatientName, dataset.PatientID = f"PHANTOM^NUMBER {patient.number}", identity.patient_id
    dataset.PatientSex, dataset.PatientAge = patient.sex, f"{int(patient.age_years):03d}Y"
    dataset.StudyInstanceUID, dataset.StudyID = identity.uid("study"), "1"
    dataset.SeriesInstanceUID, dataset.SeriesNumber = identity.uid("series", series_number), series_number
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = identity.uid("frame"), ""
    return dataset


def write_file(path: Path, dataset: Dataset, transfer_syntax: UID = ExplicitVRLittleEndian) -> None:
    """Write a data set as a DICOM file with its meta group."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax
    # pydicom would put its own version here, and the bytes would change with it.
    meta.ImplementationClassUID, meta.ImplementationVersionName = UID(make_uid("implementation")), "HIPSEG PHANTOM"
    dcmwrite(path, FileDataset(path, dataset, preamble=bytes(128), file_meta=meta), enforce_file_format=True)


def _start_image(identity: Identity, series_number: int, sop_uid: str) -> Dataset:
    dataset = start_dataset(identity, CTImageStorage, sop_uid, series_number)
    dataset.Modality = "CT"
    dataset.AcquisitionDate, dataset.AcquisitionTime, dataset.AcquisitionNumber = FIXED_DATE, FIXED_TIME, 1
    dataset.BodyPartExamined = "ABDOMEN" if identity.options.organs else "PELVIS"
    dataset.PatientPosition = "HFS"
    dataset.KVP = TUBE_KV
    dataset.ConvolutionKernel = "PHANTOM"
    dataset.WindowCenter, dataset.WindowWidth = (40, 400) if identity.options.organs else (300, 1500)
    return dataset


def _place_slice(dataset: Dataset, identity: Identity, index: int) -> None:
    grid = identity.patient.grid
    x, y, z = grid.origin_mm_xyz
    height = _decimal(z + index * grid.spacing_mm_zyx[0])
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = [_decimal(x), _decimal(y), height]
    dataset.SliceLocation = height
    dataset.PixelSpacing = [_decimal(grid.spacing_mm_zyx[1]), _decimal(grid.spacing_mm_zyx[2])]
    dataset.SliceThickness = _decimal(identity.patient.thickness_mm)


def _set_pixels(dataset: Dataset, hu: NDArray[np.int16], is_signed: bool) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = hu.shape
    dataset.BitsAllocated, dataset.BitsStored = 16, 16 if is_signed else 12
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(is_signed)
    intercept = 0 if is_signed else LOWEST_HU
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = intercept, 1, "HU"
    dataset.PixelData = (hu - np.int16(intercept)).astype("<i2").tobytes()


def _add_overlay(dataset: Dataset, group: int, name: str, mask: SliceBool) -> None:
    # Source: DICOM PS3.3 C.9.2. The first pixel is the lowest bit of the first byte (PS3.5 8.1.2).
    bits = np.packbits(mask, bitorder="little").tobytes()
    elements = (
        (0x0010, "US", mask.shape[0]),
        (0x0011, "US", mask.shape[1]),
        (0x0022, "LO", name),
        (0x0040, "CS", "R"),
        (0x0050, "SS", [1, 1]),
        (0x0100, "US", 1),
        (0x0102, "US", 0),
        (0x1500, "LO", name),
        (0x3000, "OW", bits + bytes(len(bits) % 2)),
    )
    for element, representation, value in elements:
        dataset.add_new(group << 16 | element, representation, value)


def _decimal(value: float) -> str:
    # A decimal string holds 16 characters at most. Source: DICOM PS3.5 6.2.
    return f"{value:.10g}"
