"""CT series for the benchmarks: seeded, of a scanner's size, with a scanner's header and an overlay plane a slice."""

from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless

SIDE = 512
PIXEL_MM, SLICE_MM = 0.75, 1.5
PRIVATE_ELEMENTS = 80
"""Scanners add as many; with them a file has about 160 elements."""
INTERCEPT = -1024
AIR_HU, SOFT_HU, BONE_HU = -1000, 40, 700
NOISE_HU = 20.0
SEED = 20
STUDY_UID, SERIES_UID, FRAME_UID, IMAGE_UID = "2.25.9001", "2.25.9002", "2.25.9003", "2.25.9004"


def make_series(folder: Path, count: int, slices: int, *, compressed: bool = False) -> list[Path]:
    """Write CT series of 512 x 512 slices, each of its own patient, with a femur-like overlay.

    Args:
        folder: new folders `series-1` and so on are made in it.
        count: number of series.
        slices: number of slices of each.
        compressed: JPEG 2000 (lossless) instead of uncompressed pixels.
    Returns:
        The folders of the series.
    """
    folders = [folder / f"series-{number}" for number in range(1, count + 1)]
    for number, one in enumerate(folders, 1):
        one.mkdir(parents=True)
        generator = np.random.default_rng([SEED, number])
        noise_hu = generator.normal(0, NOISE_HU, (SIDE, 2 * SIDE)).astype(np.float32)
        dataset = _start(number)
        for z in range(slices):
            start = int(generator.integers(SIDE))
            _write_slice(one / f"IM{z:04d}.dcm", dataset, z, noise_hu[:, start : start + SIDE], compressed=compressed)
    return folders


def _start(number: int) -> Dataset:
    """Fill a header with what all slices of a series share."""
    dataset = Dataset()
    dataset.SpecificCharacterSet, dataset.ImageType = "ISO_IR 100", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID, dataset.Modality, dataset.Manufacturer = CTImageStorage, "CT", "hipseg benchmark"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20200101"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "120000"
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.PatientBirthDate = ""
    dataset.PatientName, dataset.PatientID = f"BENCH^{number}", f"bench-{number}"
    dataset.PatientSex, dataset.PatientAge, dataset.PatientPosition = "O", "010Y", "HFS"
    dataset.StudyDescription, dataset.SeriesDescription, dataset.BodyPartExamined = "BENCH", "BENCH", "PELVIS"
    dataset.KVP, dataset.ExposureTime, dataset.XRayTubeCurrent, dataset.Exposure = 100, 500, 200, 100
    dataset.SliceThickness, dataset.DataCollectionDiameter, dataset.ReconstructionDiameter = SLICE_MM, 500, SIDE * PIXEL_MM
    dataset.DistanceSourceToDetector, dataset.GantryDetectorTilt, dataset.TableHeight = 1000, 0, 150
    dataset.RotationDirection, dataset.ConvolutionKernel, dataset.FilterType = "CW", "B60", "0"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{STUDY_UID}.{number}", f"{SERIES_UID}.{number}"
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = f"{FRAME_UID}.{number}", ""
    dataset.StudyID, dataset.SeriesNumber, dataset.AcquisitionNumber = "1", number, 1
    dataset.ImageOrientationPatient, dataset.PixelSpacing = [1, 0, 0, 0, 1, 0], [PIXEL_MM, PIXEL_MM]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = SIDE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.WindowCenter, dataset.WindowWidth = 300, 1500
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = INTERCEPT, 1, "HU"
    private = dataset.private_block(0x0019, "HIPSEG BENCH", create=True)
    for element in range(PRIVATE_ELEMENTS):
        private.add_new(element, "DS", f"{element * 1.5:.3f}")
    return dataset


def _write_slice(path: Path, dataset: Dataset, z: int, noise_hu: NDArray[np.float32], *, compressed: bool) -> None:
    height = f"{-700 + z * SLICE_MM:.3f}"
    dataset.SOPInstanceUID = f"{IMAGE_UID}.{dataset.SeriesNumber}.{z}"
    dataset.InstanceNumber = z + 1
    dataset.SliceLocation, dataset.ImagePositionPatient = height, [f"{-SIDE * PIXEL_MM / 2:.3f}"] * 2 + [height]
    image_hu, mask = draw_slice(z, noise_hu)
    stored = (image_hu - np.int16(INTERCEPT)).astype("<u2")
    _set_overlay(dataset, mask)
    syntax = JPEG2000Lossless if compressed else ExplicitVRLittleEndian
    dataset.PixelData = encapsulate([_encode(stored)]) if compressed else stored.tobytes()
    dataset["PixelData"].VR = "OB" if compressed else "OW"
    dataset["PixelData"].is_undefined_length = compressed
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    dcmwrite(path, FileDataset(path, dataset, preamble=bytes(128), file_meta=meta), enforce_file_format=True)


def draw_slice(z: int, noise_hu: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Draw a trunk with two thighbones.

    Args:
        z: number of the slice; the bones move with it.
        noise_hu: float32 (y, x).
    Returns:
        int16 (y, x) HU, and where the bones are.
    """
    y, x = np.ogrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]  # type: ignore[misc]
    body = (x / 0.9) ** 2 + (y / 0.65) ** 2 < 1
    sway = 0.05 * np.sin(z / 20)
    bones = ((np.abs(x) - 0.45 - sway) / 0.12) ** 2 + ((y - 0.05) / 0.13) ** 2 < 1
    image_hu = np.where(body, SOFT_HU, AIR_HU) + np.where(body, noise_hu, noise_hu / 2)
    image_hu[bones] += BONE_HU - SOFT_HU
    return np.clip(np.rint(image_hu), INTERCEPT, 3071).astype(np.int16), bones


def _encode(stored: NDArray[np.uint16]) -> bytes:
    encoded: bytes = imagecodecs.jpeg2k_encode(stored, codecformat="j2k", reversible=True, level=0, bitspersample=12)
    return encoded


def _set_overlay(dataset: Dataset, mask: NDArray[np.bool_]) -> None:
    # Source: DICOM PS3.3 C.9.2.
    elements = (
        (0x0010, "US", SIDE),
        (0x0011, "US", SIDE),
        (0x0022, "LO", "femur"),
        (0x0040, "CS", "R"),
        (0x0050, "SS", [1, 1]),
        (0x0100, "US", 1),
        (0x0102, "US", 0),
        (0x1500, "LO", "femur"),
        (0x3000, "OW", np.packbits(mask, bitorder="little").tobytes()),
    )
    for element, representation, value in elements:
        dataset.add_new(0x60000000 | element, representation, value)
