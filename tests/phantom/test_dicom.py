import numpy as np
import pydicom
import pytest
import SimpleITK

from hipseg.phantom.anatomy import make_anatomy
from hipseg.phantom.patients import Patient
from hipseg.phantom.scanner import scan


def read_series(root, patient: Patient, series: str = "SE0002") -> list[pydicom.FileDataset]:
    """The slices of one patient by rising z."""
    folder = root / f"PHANTOM-{patient.number:04d}" / series
    return sorted((pydicom.dcmread(path) for path in folder.glob("*.dcm")), key=lambda one: one.ImagePositionPatient[2])


@pytest.fixture(params=range(4))
def patient(request, small_phantom) -> Patient:
    return small_phantom.patients[request.param]


def test_pixels_are_the_scan_and_overlay_6000_is_the_truth(small_root, patient):
    scanned = list(scan(patient, make_anatomy(patient, is_trunk=False)))
    images = read_series(small_root, patient)
    assert len(images) == 6
    for image, one in zip(images, scanned, strict=True):
        hu = image.pixel_array.astype(int) * int(image.RescaleSlope) + int(image.RescaleIntercept)
        assert np.array_equal(hu, one.hu)
        assert np.array_equal(image.overlay_array(0x6000), one.labels)
    assert any(one.labels.any() for one in scanned)


def test_simpleitk_reads_the_same_volume(small_root, patient):
    folder = small_root / f"PHANTOM-{patient.number:04d}" / "SE0002"
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    volume = reader.Execute()
    scanned = np.stack([one.hu for one in scan(patient, make_anatomy(patient, is_trunk=False))])
    assert np.array_equal(SimpleITK.GetArrayFromImage(volume), scanned)
    assert volume.GetSpacing() == pytest.approx(patient.grid.spacing_mm_zyx[::-1])
    assert volume.GetOrigin() == pytest.approx(patient.grid.origin_mm_xyz)


def test_overlay_is_one_region_plane_packed_by_bits(small_root, small_phantom):
    image = read_series(small_root, small_phantom.patients[0])[3]
    groups = {element.tag.group for element in image if 0x6000 <= element.tag.group <= 0x60FF}
    assert groups == {0x6000}
    assert (image[0x60000040].value, image[0x60001500].value) == ("R", "hip")
    assert list(image[0x60000050].value) == [1, 1]
    assert (image[0x60000100].value, image[0x60000102].value) == (1, 0)
    assert len(image[0x60003000].value) == 64 * 64 // 8


def test_series_share_their_identifiers_and_images_do_not(small_root, small_phantom):
    images = [image for patient in small_phantom.patients for image in read_series(small_root, patient)]
    assert len({image.SOPInstanceUID for image in images}) == 24
    for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert len({getattr(image, name) for image in images}) == 4
    for image in images:
        assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
        assert image.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert (image.Modality, image.PatientPosition, int(image.KVP)) == ("CT", "HFS", 100)
        assert image.PatientID.startswith("PHANTOM-")


def test_scanners_store_signed_and_unsigned(small_root, small_phantom):
    kinds = set()
    for patient in small_phantom.patients:
        image = read_series(small_root, patient)[0]
        kinds.add((image.PixelRepresentation, image.BitsStored, image.HighBit, int(image.RescaleIntercept)))
    assert kinds == {(0, 12, 11, -1024), (1, 16, 15, 0)}


def test_some_series_count_from_the_head_and_some_file_names_are_shuffled(small_root, small_phantom):
    rising, in_order = [], []
    for patient in small_phantom.patients:
        images = read_series(small_root, patient)
        numbers = [image.InstanceNumber for image in images]
        assert numbers in ([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1])
        rising.append(numbers[0] == 1)
        files = [int(image.filename[-8:-4]) for image in images]
        assert sorted(files) == [1, 2, 3, 4, 5, 6]
        in_order.append(files == numbers)
    assert rising == [True, False, True, True]
    assert in_order == [True, True, False, True]


def test_localizer_is_a_series_of_its_own_seen_from_the_front(small_root, small_phantom):
    patient = small_phantom.patients[0]
    (scout,) = read_series(small_root, patient, "SE0001")
    (image, *_) = read_series(small_root, patient)
    assert list(scout.ImageType) == ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    assert list(scout.ImageOrientationPatient) == [1, 0, 0, 0, 0, -1]
    assert scout.SeriesInstanceUID != image.SeriesInstanceUID
    assert (scout.StudyInstanceUID, scout.FrameOfReferenceUID) == (image.StudyInstanceUID, image.FrameOfReferenceUID)
    assert 0x60003000 not in scout
    seen = scout.pixel_array.astype(int) + int(scout.RescaleIntercept)
    assert seen[:, 32].mean() > seen[:, 0].mean() + 200
