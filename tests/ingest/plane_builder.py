"""A CT beside another series that holds overlay planes for it: secondary captures, or CT images."""

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from hipseg.ingest.cases import find_cases, open_case
from tests.ingest.builders import Plane, volume_hu, write_ct_series

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
A = np.zeros((10, 12), bool)
A[2:5, 3:7] = True
B = np.zeros((10, 12), bool)
B[7:9, 1:3] = True
CT_UID, PLANES_UID, OTHER_UID = "2.25.10", "2.25.20", "2.25.30"


def as_capture(references=None, place=True, modality="OT"):
    """Make a secondary capture of an image: no Hounsfield units, and no place if so wanted."""

    def change(dataset, z):
        dataset.SOPClassUID, dataset.Modality = CAPTURE, modality
        del dataset.RescaleSlope, dataset.RescaleIntercept
        if not place:
            del dataset.ImagePositionPatient, dataset.ImageOrientationPatient, dataset.FrameOfReferenceUID
        if references is not None:
            refer(references)(dataset, z)

    return change


def refer(series_uid):
    def change(dataset, z):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"{series_uid}.{z + 1}"
        dataset.SourceImageSequence = DicomSequence([item])

    return change


def write_ct(tmp_path, uid=CT_UID, **options):
    write_ct_series(tmp_path / uid, volume_hu(3), series_uid=uid, **options)


def write_planes(tmp_path, change=None, uid=PLANES_UID, overlays=None, seed=9, **options):
    planes = {0: [Plane(A, label="femur")], 2: [Plane(B, label="femur"), Plane(A, 0x6002, label="pelvis")]}
    write_ct_series(
        tmp_path / uid, volume_hu(3, seed=seed), series_uid=uid, overlays=overlays or planes, change=change, **options
    )


def read(tmp_path, rois, uid=CT_UID):
    (source,) = [one for one in find_cases(tmp_path).cases if one.series_uid == uid]
    opened = open_case(source, "c0", rois)
    slices = [labels for _, labels in opened.slices]
    return opened.mask_kind, None if slices[0] is None else np.stack(slices)


EXPECTED = np.stack([A, A & False, B]).astype(np.uint8)
