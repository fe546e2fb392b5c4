"""Which series the overlay planes of another one are given to, and when they are kept from it."""

import zipfile

import numpy as np
import pytest
from pydicom import dcmread

from hipseg.errors import MaskError, SeriesError
from hipseg.ingest import owners
from hipseg.ingest.cases import find_cases, open_case
from tests.ingest.builders import Plane, volume_hu, write_ct_series
from tests.ingest.plane_builder import (
    CT_UID,
    EXPECTED,
    OTHER_UID,
    PLANES_UID,
    A,
    B,
    as_capture,
    read,
    refer,
    write_ct,
    write_planes,
)

THICK = {"spacing_mm_zyx": (9.0, 0.75, 0.5)}
NOT_TAKEN = "overlay planes of another series lie 3 slices apart, so that the slices between would be empty; they are not taken"


def write_thin(tmp_path):
    write_ct_series(tmp_path / CT_UID, volume_hu(10), series_uid=CT_UID)


def write_thick(tmp_path, change=None, uid=PLANES_UID, is_drawn=True, seed=5):
    planes = {z: [Plane(A, label="femur")] for z in range(4)} if is_drawn else None
    write_ct_series(tmp_path / uid, volume_hu(4, seed=seed), series_uid=uid, overlays=planes, change=change, **THICK)


def refer_to_thin(dataset, z):
    refer(CT_UID)(dataset, 3 * z)


def capture_of_thin(dataset, z):
    as_capture()(dataset, z)
    refer_to_thin(dataset, z)


def opening(tmp_path, rois, uid=CT_UID):
    """Give the warnings of a case that is opened."""
    (source,) = [one for one in find_cases(tmp_path).cases if one.series_uid == uid]
    return open_case(source, "c0", rois).warnings


def warnings_of(tmp_path, uid=CT_UID):
    return opening(tmp_path, {}, uid)


@pytest.mark.parametrize("change", [None, refer_to_thin], ids=["by place", "by name"])
def test_planes_of_a_thick_series_are_no_mask_of_a_thin_one(tmp_path, change):
    write_thin(tmp_path)
    write_thick(tmp_path, change)
    assert read(tmp_path, {"femur": 1}) == (None, None)
    assert read(tmp_path, {"femur": 1}, PLANES_UID)[1].all(axis=0).sum() == A.sum()
    assert warnings_of(tmp_path) == (NOT_TAKEN,)
    assert warnings_of(tmp_path, PLANES_UID) == ()


@pytest.mark.parametrize("change", [refer_to_thin, capture_of_thin], ids=["a CT series", "captures"])
def test_a_series_of_the_same_slices_goes_before_a_thin_one_that_is_named(tmp_path, change):
    write_thin(tmp_path)
    write_thick(tmp_path, uid=OTHER_UID, is_drawn=False)
    write_thick(tmp_path, change)
    assert read(tmp_path, {"femur": 1}) == (None, None)
    assert read(tmp_path, {"femur": 1}, OTHER_UID)[1].all(axis=0).sum() == A.sum()


@pytest.mark.parametrize("change", [as_capture(), capture_of_thin], ids=["by place", "by name"])
def test_captures_that_leave_slices_out_between_them_are_refused(tmp_path, change):
    write_thin(tmp_path)
    write_thick(tmp_path, change)
    with pytest.raises(MaskError, match="planes in another series lie 3 slices apart, as drawn on a coarser series"):
        read(tmp_path, {"femur": 1})


def test_captures_of_which_most_lie_next_to_each_other_are_taken(tmp_path):
    write_thin(tmp_path)
    planes = {z: [Plane(A, label="femur")] for z in (1, 2, 3, 8)}
    write_ct_series(tmp_path / "p", volume_hu(10), series_uid=PLANES_UID, overlays=planes, change=as_capture())
    assert np.flatnonzero(read(tmp_path, {"femur": 1})[1].any(axis=(1, 2))).tolist() == [1, 2, 3, 8]


def test_two_planes_far_from_each_other_are_taken_with_a_warning(tmp_path):
    write_thin(tmp_path)
    planes = {z: [Plane(A, label="femur")] for z in (1, 5)}
    write_ct_series(tmp_path / "p", volume_hu(10), series_uid=PLANES_UID, overlays=planes, change=as_capture())
    words = "overlay planes of a structure chosen lie 4 slices apart in another series, and none between them"
    assert warnings_of(tmp_path) == (words,)


def test_a_series_is_found_by_name_among_many_images(tmp_path, monkeypatch):
    monkeypatch.setattr(owners, "MAX_WALKED", 2)
    write_ct(tmp_path)
    write_ct(tmp_path, OTHER_UID)
    write_planes(tmp_path, as_capture(OTHER_UID))
    assert read(tmp_path, {"femur": 1}) == (None, None)
    assert np.array_equal(read(tmp_path, {"femur": 1}, OTHER_UID)[1], EXPECTED)


def test_planes_of_other_pixels_are_taken_with_a_warning(tmp_path):
    write_ct(tmp_path)
    write_planes(tmp_path, overlays={0: [Plane(A)]})
    (words,) = warnings_of(tmp_path)
    assert words.startswith("overlay planes are taken from a CT series of other pixels that lies at the same place")
    assert warnings_of(tmp_path, PLANES_UID) == ()


def test_planes_of_the_same_pixels_are_taken_without_one(tmp_path):
    write_ct(tmp_path)
    write_planes(tmp_path, overlays={0: [Plane(A)]}, seed=0)
    assert read(tmp_path, {})[0] == "overlay"
    assert warnings_of(tmp_path) == ()


def test_a_stack_takes_no_planes_of_another_stack_of_its_series(tmp_path):
    def at(point):
        def change(dataset, z):
            dataset.TemporalPositionIdentifier, dataset.SOPInstanceUID = point, f"2.25.7.{point}.{z}"

        return change

    planes = {z: [Plane(A, label="femur")] for z in range(3)}
    write_ct_series(tmp_path / "1", volume_hu(3, seed=1), series_uid=CT_UID, overlays=planes, change=at(1))
    write_ct_series(tmp_path / "2", volume_hu(3, seed=2), series_uid=CT_UID, change=at(2))
    assert read(tmp_path, {"femur": 1}, f"{CT_UID} time point 1")[1].any()
    assert read(tmp_path, {"femur": 1}, f"{CT_UID} time point 2") == (None, None)


@pytest.mark.parametrize("place", [True, False], ids=["with place", "without place"])
def test_captures_of_a_copy_belong_to_its_original(tmp_path, place):
    write_ct(tmp_path)
    write_planes(tmp_path, refer(CT_UID), seed=0)
    planes = {z: [Plane(B, label="acetabulum")] for z in range(2)}
    write_planes(tmp_path, as_capture(PLANES_UID, place=place), uid=OTHER_UID, overlays=planes)
    assert np.array_equal(read(tmp_path, {"acetabulum": 1})[1], np.stack([B, B, B & False]))
    assert np.array_equal(read(tmp_path, {"femur": 1})[1], EXPECTED)


def without_frame(dataset, z):
    as_capture()(dataset, z)
    del dataset.FrameOfReferenceUID


def test_captures_without_frame_of_reference_belong_to_the_slices_of_their_study(tmp_path):
    write_ct(tmp_path)
    write_planes(tmp_path, without_frame)
    assert np.array_equal(read(tmp_path, {"femur": 1})[1], EXPECTED)


def test_captures_without_frame_of_reference_belong_to_no_other_study(tmp_path):
    write_ct(tmp_path)
    write_planes(tmp_path, without_frame, study_uid="2.25.88")
    assert read(tmp_path, {"femur": 1}) == (None, None)


def test_captures_of_which_one_lies_off_the_slices_are_refused_with_the_series(tmp_path):
    write_ct(tmp_path)
    write_ct_series(
        *(tmp_path / PLANES_UID, volume_hu(4)),
        series_uid=PLANES_UID,
        overlays={z: [Plane(A, label="femur")] for z in range(4)},
        change=as_capture(),
    )
    with pytest.raises(MaskError, match=r"lies off the slices: 3\.00 mm from slice 3 of 3"):
        read(tmp_path, {"femur": 1})


def test_captures_beside_a_single_series_that_is_not_theirs_are_refused_with_it(tmp_path):
    write_ct(tmp_path)
    write_planes(tmp_path, as_capture(), origin_mm_xyz=(-10, -20, 500))
    assert read(tmp_path, {"femur": 1}) == (None, None)
    for path in (tmp_path / PLANES_UID).iterdir():
        path.rename(tmp_path / CT_UID / f"planes {path.name}")
    with pytest.raises(
        MaskError, match=r"2 mask files .* captures with overlay planes\) beside the series, and no mask of its own"
    ):
        read(tmp_path, {"femur": 1})


LACKING = "overlay planes in another series of which files are damaged or missing"


def write_copy(tmp_path):
    """Write a CT of ten slices and its copy with a plane on each; give the copy's files."""
    write_thin(tmp_path)
    planes = {z: [Plane(A, label="femur")] for z in range(10)}
    return write_ct_series(tmp_path / PLANES_UID, volume_hu(10), series_uid=PLANES_UID, overlays=planes, change=refer(CT_UID))


def test_a_copy_that_lost_its_last_slices_is_warned_of(tmp_path):
    for path in write_copy(tmp_path)[6:]:
        path.unlink()
    assert np.flatnonzero(read(tmp_path, {"femur": 1})[1].any(axis=(1, 2))).tolist() == [0, 1, 2, 3, 4, 5]
    words = "the series whose overlay planes are taken has 6 of the 10 slices; the others have no label"
    assert warnings_of(tmp_path) == (words,)


def test_a_copy_that_lost_slices_between_others_gives_no_mask(tmp_path):
    for path in write_copy(tmp_path)[4:6]:
        path.unlink()
    with pytest.raises(MaskError, match=LACKING):
        read(tmp_path, {"femur": 1})


def test_a_copy_with_a_damaged_file_is_not_forgotten(tmp_path):
    raw = write_copy(tmp_path)[4].read_bytes()
    (tmp_path / PLANES_UID / "another.dcm").write_bytes(raw[:500])
    with pytest.raises(MaskError, match=LACKING):
        read(tmp_path, {"femur": 1})
    with pytest.raises(SeriesError, match="damaged file in case c0: 1 of 11 files"):
        read(tmp_path, {"femur": 1}, PLANES_UID)


def test_a_copy_with_an_object_of_another_kind_is_not_forgotten(tmp_path):
    dataset = dcmread(write_copy(tmp_path)[4])
    dataset.Modality, dataset.SOPInstanceUID = "OT", "2.25.123"
    dataset.save_as(tmp_path / PLANES_UID / "another")
    with pytest.raises(MaskError, match=LACKING):
        read(tmp_path, {"femur": 1})
    with pytest.raises(SeriesError, match="1 of 11 files beside each other call themselves another kind of object"):
        read(tmp_path, {"femur": 1}, PLANES_UID)


def test_captures_out_of_a_damaged_archive_are_not_taken(tmp_path):
    write_thin(tmp_path)
    planes = {z: [Plane(A, label="femur")] for z in range(10)}
    change = as_capture(CT_UID)
    paths = write_ct_series(tmp_path / "out", volume_hu(10), series_uid=PLANES_UID, overlays=planes, change=change)
    with zipfile.ZipFile(tmp_path / "masks.zip", "w") as archive:
        for number, path in enumerate(paths):
            archive.write(path, f"{number}.dcm")
            path.unlink()
    raw = bytearray((tmp_path / "masks.zip").read_bytes())
    raw[len(raw) * 3 // 4] ^= 1
    (tmp_path / "masks.zip").write_bytes(raw)
    with pytest.raises(MaskError, match=LACKING):
        read(tmp_path, {"femur": 1})


OTHER_PATIENT = (
    "overlay planes are taken from a series that names the images of this one, and another patient (0010,0020) or none: check "
    "that both are of one person"
)


@pytest.mark.parametrize("change", [as_capture(CT_UID), refer(CT_UID)], ids=["captures", "a copy"])
@pytest.mark.parametrize("patient", ["another", ""])
def test_images_that_are_named_decide_before_the_patient_with_a_warning(tmp_path, change, patient):
    write_ct(tmp_path)
    write_planes(tmp_path, change, seed=0, patient_id=patient)
    assert np.array_equal(read(tmp_path, {"femur": 1})[1], EXPECTED)
    assert OTHER_PATIENT in opening(tmp_path, {"femur": 1})
    assert [one.series_uid for one in find_cases(tmp_path).cases] == [CT_UID]


def test_captures_of_another_patient_that_name_nothing_are_not_taken(tmp_path):
    write_ct(tmp_path)
    write_planes(tmp_path, as_capture(), patient_id="another")
    assert read(tmp_path, {"femur": 1}) == (None, None)


ABOVE = {"origin_mm_xyz": (-10.0, -20.0, 900.0)}


def write_captures_of_two(tmp_path, references):
    """Write two CT series far from each other, and captures of both in one series; those of the upper one show B."""
    write_ct(tmp_path)
    write_ct_series(tmp_path / OTHER_UID, volume_hu(3, seed=4), series_uid=OTHER_UID, **ABOVE)
    for folder, uid, mask, options in (("a", CT_UID, A, {}), ("b", OTHER_UID, B, ABOVE)):

        def change(dataset, z, uid=uid, folder=folder):
            as_capture(uid if references else None)(dataset, z)
            dataset.SOPInstanceUID = f"{PLANES_UID}.{ord(folder)}.{z}"

        planes = {z: [Plane(mask, label="femur")] for z in range(3)}
        write_ct_series(tmp_path / folder, volume_hu(3), series_uid=PLANES_UID, overlays=planes, change=change, **options)


@pytest.mark.parametrize("references", [True, False], ids=["by name", "by place"])
def test_captures_of_two_series_in_one_are_parted(tmp_path, references):
    write_captures_of_two(tmp_path, references)
    assert np.array_equal(read(tmp_path, {"femur": 1})[1], np.stack([A] * 3))
    assert np.array_equal(read(tmp_path, {"femur": 1}, OTHER_UID)[1], np.stack([B] * 3))


def test_captures_that_lie_on_two_series_are_still_refused_with_both(tmp_path):
    write_ct(tmp_path)
    write_ct_series(tmp_path / OTHER_UID, volume_hu(3, seed=4), series_uid=OTHER_UID)
    write_planes(tmp_path, as_capture())
    for uid in (CT_UID, OTHER_UID):
        with pytest.raises(MaskError, match="overlay planes in another series fit 2 series of the patient"):
            read(tmp_path, {"femur": 1}, uid)
