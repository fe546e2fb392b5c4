"""Overlay planes in a second series: given to the CT that they were drawn on, and to no other."""

import numpy as np
import pytest

from hipseg.errors import MaskError
from hipseg.ingest.cases import find_cases, list_structures
from tests.ingest.builders import FRAME_UID, Plane, volume_hu, write_ct_series
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


@pytest.mark.parametrize(
    "change",
    [None, as_capture(), as_capture(CT_UID), as_capture(CT_UID, place=False), as_capture(CT_UID, modality="CT")],
    ids=["a CT series", "captures in place", "captures that name images", "captures without place", "captures as CT"],
)
def test_planes_of_a_second_series_are_the_masks_of_the_ct(tmp_path, change):
    write_ct(tmp_path)
    write_planes(tmp_path, change)
    kind, labels = read(tmp_path, {"femur": 1})
    assert kind == "overlay"
    assert np.array_equal(labels, EXPECTED)
    found = find_cases(tmp_path)
    (source,) = [one for one in found.cases if one.series_uid == CT_UID]
    assert [(one.kind, one.name) for one in list_structures(source)] == [("overlay", "femur"), ("overlay", "pelvis")]
    assert len(found.cases) == (2 if change is None else 1)


def test_a_group_chooses_planes_of_a_second_series(tmp_path):
    write_ct(tmp_path)
    write_planes(tmp_path, as_capture())
    assert np.array_equal(read(tmp_path, {"6002": 5})[1], np.stack([A & False, A & False, A]) * 5)


def test_a_copy_that_names_the_ct_is_no_case_of_its_own(tmp_path):
    write_ct(tmp_path)
    write_planes(tmp_path, refer(CT_UID), seed=0)
    found = find_cases(tmp_path)
    assert [one.series_uid for one in found.cases] == [CT_UID]
    assert found.set_aside == {"copy of a CT image with overlay planes, read for them alone": 3}
    assert np.array_equal(read(tmp_path, {"femur": 1})[1], EXPECTED)


def test_another_reconstruction_that_names_the_ct_is_a_case_of_its_own_and_gives_it_its_planes(tmp_path):
    write_ct(tmp_path)
    write_planes(tmp_path, refer(CT_UID))
    found = find_cases(tmp_path)
    assert [one.series_uid for one in found.cases] == [CT_UID, PLANES_UID]
    for uid in (CT_UID, PLANES_UID):
        assert np.array_equal(read(tmp_path, {"femur": 1}, uid)[1], EXPECTED)


def test_a_part_of_a_ct_that_names_it_is_a_case_of_its_own_and_gives_it_its_planes(tmp_path):
    write_ct(tmp_path)
    write_ct_series(
        tmp_path / PLANES_UID, volume_hu(2, seed=9), series_uid=PLANES_UID, overlays={0: [Plane(A)]}, change=refer(CT_UID)
    )
    found = find_cases(tmp_path)
    assert [one.series_uid for one in found.cases] == [CT_UID, PLANES_UID]
    assert found.set_aside == {}
    assert np.array_equal(read(tmp_path, {})[1], np.stack([A, A & False, A & False]))
    assert np.array_equal(read(tmp_path, {}, PLANES_UID)[1], np.stack([A, A & False]))


def test_another_view_that_names_a_ct_keeps_its_planes_to_itself(tmp_path):
    write_ct(tmp_path)
    write_planes(tmp_path, refer(CT_UID), orientation=(0, 1, 0, 0, 0, -1))
    assert len(find_cases(tmp_path).cases) == 2
    assert read(tmp_path, {"femur": 1}) == (None, None)
    assert read(tmp_path, {"femur": 1}, PLANES_UID)[1].any()


def test_a_ct_with_planes_that_would_fit_two_others_keeps_them_to_itself(tmp_path):
    write_ct(tmp_path)
    write_ct(tmp_path, OTHER_UID)
    write_planes(tmp_path)
    for uid in (CT_UID, OTHER_UID):
        assert read(tmp_path, {"femur": 1}, uid) == (None, None)
    assert np.array_equal(read(tmp_path, {"femur": 1}, PLANES_UID)[1], EXPECTED)


def test_planes_in_reversed_rows_are_turned_onto_the_slices(tmp_path):
    """The second series counts its columns from the patient's other side, and its slices from the other end."""
    write_ct(tmp_path)
    planes = {2: [Plane(A[:, ::-1], label="femur")], 0: [Plane(B[:, ::-1], label="femur")]}
    turned = {"orientation": (-1, 0, 0, 0, 1, 0), "origin_mm_xyz": (-10 + 11 * 0.5, -20, 106)}
    write_planes(tmp_path, as_capture(), overlays=planes, **turned)
    assert np.array_equal(read(tmp_path, {"femur": 1})[1], EXPECTED)


@pytest.mark.parametrize(
    "options",
    [
        {"patient_id": "somebody else"},
        {"frame_uid": "2.25.99"},
        {"origin_mm_xyz": (-10, -20, 101.5)},
        {"origin_mm_xyz": (-9, -20, 100)},
    ],
    ids=["another patient", "another frame of reference", "between the slices", "another grid"],
)
def test_planes_that_do_not_lie_on_the_ct_are_set_aside(tmp_path, options):
    write_ct(tmp_path)
    write_planes(tmp_path, as_capture(), **options)
    assert read(tmp_path, {"femur": 1}) == (None, None)
    assert find_cases(tmp_path).set_aside == {"image with overlay planes of no CT series here": 2, "modality OT": 1}


def test_planes_that_fit_two_series_are_refused_and_named_images_decide(tmp_path):
    write_ct(tmp_path)
    write_ct(tmp_path, OTHER_UID)
    write_planes(tmp_path, as_capture())
    for uid in (CT_UID, OTHER_UID):
        with pytest.raises(MaskError, match="overlay planes in another series fit 2 series of the patient"):
            read(tmp_path, {"femur": 1}, uid)
    write_planes(tmp_path, as_capture(OTHER_UID))
    assert read(tmp_path, {"femur": 1}, CT_UID) == (None, None)
    assert np.array_equal(read(tmp_path, {"femur": 1}, OTHER_UID)[1], EXPECTED)


def test_two_series_of_planes_make_a_name_ambiguous(tmp_path):
    write_ct(tmp_path)
    write_planes(tmp_path, as_capture())
    write_planes(tmp_path, as_capture(), uid=OTHER_UID)
    words = r"name given for label 1 is ambiguous: 2 structures have it \(2 overlay\); 1 is expected: each in a series of its own"
    with pytest.raises(MaskError, match=words):
        read(tmp_path, {"femur": 1})


def described(words, number):
    def change(dataset, z):
        refer(CT_UID)(dataset, z)
        dataset.SeriesDescription, dataset.SeriesNumber = words, number

    return change


@pytest.mark.parametrize(
    ("descriptions", "names"),
    [
        (("left", "right"), ("6000@left", "6000@right")),
        (("mask", "mask"), ("6000@7", "6000@8")),
        (("a@b", ""), ("6000@8", "6000@a@b")),
    ],
)
def test_copies_with_one_mask_each_are_chosen_by_their_series(tmp_path, descriptions, names):
    write_ct(tmp_path)
    for uid, mask, words, number in zip((PLANES_UID, OTHER_UID), (A, B), descriptions, (7, 8), strict=True):
        write_planes(tmp_path, described(words, number), uid=uid, overlays={0: [Plane(mask)]}, seed=0)
    (source,) = find_cases(tmp_path).cases
    assert tuple(one.name for one in list_structures(source)) == names
    by_number = read(tmp_path, {"6000@7": 1, "6000@8": 2})[1]
    assert np.array_equal(by_number[0], A + 2 * B)
    by_folder = read(tmp_path, {f"6000@{PLANES_UID}": 1, f"6000@{OTHER_UID}": 2})[1]
    assert np.array_equal(by_folder, by_number)
    with pytest.raises(MaskError, match="choose it as NAME@SERIES"):
        read(tmp_path, {"6000": 1})


def test_a_label_that_holds_the_mark_of_a_series_is_chosen_by_itself(tmp_path):
    write_ct(tmp_path)
    write_planes(
        tmp_path, described("left", 7), overlays={0: [Plane(A, label="femur@left")], 1: [Plane(B, label="femur")]}, seed=0
    )
    assert np.array_equal(read(tmp_path, {"femur@left": 1})[1], np.stack([A, A & False, A & False]))


def test_planes_of_two_series_are_joined_where_their_names_differ(tmp_path):
    write_ct(tmp_path)
    write_planes(tmp_path, as_capture(), overlays={0: [Plane(A, label="femur")]})
    write_planes(tmp_path, as_capture(), uid=OTHER_UID, overlays={0: [Plane(B, label="pelvis")]})
    assert np.array_equal(read(tmp_path, {"femur": 1, "pelvis": 2})[1][0], A + 2 * B)


def test_a_place_that_contradicts_the_named_image_is_refused(tmp_path):
    write_ct(tmp_path)
    write_planes(tmp_path, as_capture(CT_UID), origin_mm_xyz=(-10, -20, 97))
    with pytest.raises(MaskError, match=r"contradicts itself|lies off the slices"):
        read(tmp_path, {"femur": 1})


def test_planes_of_its_own_keep_a_ct_from_those_of_another(tmp_path):
    write_ct(tmp_path, overlays={1: [Plane(B, label="femur")]})
    write_planes(tmp_path)
    assert np.array_equal(read(tmp_path, {"femur": 1})[1], np.stack([A & False, B, A & False]))


def graphics(dataset, z):
    dataset[0x60000040].value = "G"


def test_graphics_are_no_mask_until_they_are_named(tmp_path):
    write_ct(tmp_path, overlays={z: [Plane(A, label="note")] for z in range(3)}, change=graphics)
    (source,) = find_cases(tmp_path).cases
    assert read(tmp_path, {}) == (None, None)
    assert read(tmp_path, {"femur": 1}) == (None, None)
    assert [(one.name, one.is_graphics) for one in list_structures(source)] == [("note", True)]
    assert np.array_equal(read(tmp_path, {"note": 3})[1], np.stack([A, A, A]) * 3)


def test_a_region_goes_before_graphics_of_its_name(tmp_path):
    def mixed(dataset, z):
        dataset[0x60020040].value = "G"

    write_ct(
        tmp_path, overlays={0: [Plane(A, label="femur"), Plane(B, 0x6002, label="femur")]}, change=lambda d, z: z or mixed(d, z)
    )
    assert np.array_equal(read(tmp_path, {})[1][0], A)
    assert np.array_equal(read(tmp_path, {"femur": 1})[1][0], A)
    assert np.array_equal(read(tmp_path, {"6002": 1})[1][0], B)


def test_the_frame_of_reference_alone_does_not_pair_images_without_place(tmp_path):
    write_ct(tmp_path, frame_uid=FRAME_UID)
    write_planes(tmp_path, as_capture(place=False))
    assert find_cases(tmp_path).set_aside == {"image with overlay planes of no CT series here": 2, "modality OT": 1}


def another_image(uid):
    def change(dataset, z):
        as_capture(CT_UID)(dataset, z)
        dataset.SOPInstanceUID = f"2.25.{uid}.{z}"

    return change


def test_captures_of_one_structure_each_may_lie_on_one_slice(tmp_path):
    write_ct(tmp_path)
    for number, (name, mask) in enumerate({"femur": A, "pelvis": B}.items()):
        planes = {z: [Plane(mask, label=name)] for z in range(3)}
        folder = tmp_path / f"{number}"
        write_ct_series(folder, volume_hu(3), series_uid=PLANES_UID, overlays=planes, change=another_image(number))
    assert np.array_equal(read(tmp_path, {"femur": 1, "pelvis": 2})[1], np.stack([A + 2 * B] * 3))
    with pytest.raises(MaskError, match=r"two images of overlay planes hold a structure on slice 1 of 3 .* a series of its own"):
        read(tmp_path, {"6000": 1})


@pytest.mark.parametrize("kind", [as_capture(CT_UID), refer(CT_UID)], ids=["captures", "a copy"])
def test_planes_drawn_on_a_slice_that_lies_beside_the_grid_belong_to_it(tmp_path, kind):
    def move(dataset, z):
        if z == 2:
            dataset.ImagePositionPatient[0] = -10 + 0.08

    def change(dataset, z):
        kind(dataset, z)
        move(dataset, z)

    write_ct(tmp_path, change=move)
    write_planes(tmp_path, change, seed=0)
    assert np.array_equal(read(tmp_path, {"femur": 1})[1], EXPECTED)
    # One that lies as far to the other side lies 0.16 mm from it.
    write_planes(tmp_path, as_capture(CT_UID), origin_mm_xyz=(-10 - 0.08, -20, 100))
    with pytest.raises(MaskError, match=r"first voxel 0\.08 mm from the series'"):
        read(tmp_path, {"femur": 1})


def as_graphics(dataset, z):
    as_capture(CT_UID)(dataset, z)
    graphics(dataset, z)


def in_frames(dataset, z):
    as_capture(CT_UID)(dataset, z)
    dataset.NumberOfFrames = 2
    dataset.PixelData *= 2


@pytest.mark.parametrize("change", [as_graphics, in_frames])
def test_captures_whose_planes_are_not_read_are_counted_as_such(tmp_path, change):
    write_ct(tmp_path)
    write_planes(tmp_path, change, overlays={z: [Plane(A, label="femur")] for z in range(3)})
    assert find_cases(tmp_path).set_aside == {"capture whose overlay planes are graphics or lie in several frames, not read": 3}


def test_a_label_with_a_backslash_is_listed_and_chosen_as_it_was_typed(tmp_path):
    write_ct(tmp_path, overlays={0: [Plane(A, label="left\\right")]})
    (source,) = find_cases(tmp_path).cases
    assert [one.name for one in list_structures(source)] == ["left\\right"]
    assert np.array_equal(read(tmp_path, {"left\\right": 1})[1][0], A)
