"""Chosen structures joined into label slices."""

import re

import numpy as np
import pytest

from hipseg.errors import ConfigError, MaskError
from hipseg.geometry import affine_ras
from hipseg.ingest.joining import DEFAULT_RULES, MaskRules
from hipseg.ingest.masks import check_rois, open_masks
from hipseg.ingest.pairing import NiftiFile
from hipseg.ingest.rtstruct import read_structure_set
from hipseg.ingest.scan import scan_tree
from hipseg.ingest.series import order_series
from hipseg.ingest.structures import MaskSources
from tests.ingest.builders import Plane, rectangle_mm, volume_hu, write_ct_series, write_nifti, write_rtstruct

A = np.zeros((10, 12), bool)
A[2:5, 3:6] = True
B = np.zeros((10, 12), bool)
B[6:8, 3:6] = True


@pytest.fixture
def open_with(tmp_path):
    """Open a case of three slices: overlays by slice, contours by name, NIfTI volumes (z, y, x) by name."""

    def opened(rois, overlays=None, contours=None, niftis=None, rules=DEFAULT_RULES, warned=(), change=None, **doubts):
        write_ct_series(tmp_path / "ct", volume_hu(3), overlays=overlays, change=change)
        series = order_series(tuple(scan_tree(tmp_path / "ct").images), "c0")
        sets = (read_structure_set(write_rtstruct(tmp_path / "rs", contours)),) if contours else ()
        files = [
            NiftiFile(write_nifti(tmp_path / f"{name}.nii", volume.transpose(2, 1, 0), affine_ras(series.grid)), **doubts)
            for name, volume in (niftis or {}).items()
        ]
        masks = open_masks(MaskSources(series.headers, sets, tuple(files)), series, rois, rules)
        assert len(masks.warnings) == len(warned)
        assert all(re.search(words, found) for words, found in zip(warned, masks.warnings, strict=True))
        return masks.kind, np.stack([masks.labels(z) for z in range(3)])

    return opened


def box(z):
    """Rows 2 to 4 and columns 3 to 5 of one slice, as a contour."""
    return rectangle_mm((-10 + 2.5 * 0.5, -10 + 5.5 * 0.5), (-20 + 1.5 * 0.75, -20 + 4.5 * 0.75), 100 + 3 * z)


def tall_box(z):
    """Rows 2 to 6 and columns 3 to 5."""
    return rectangle_mm((-10 + 2.5 * 0.5, -10 + 5.5 * 0.5), (-20 + 1.5 * 0.75, -20 + 6.5 * 0.75), 100 + 3 * z)


def volume(**by_slice):
    found = np.zeros((3, 10, 12), np.uint8)
    for name, values in by_slice.items():
        found[int(name[1:])] = values
    return found


def test_the_only_overlay_becomes_label_one(open_with):
    kind, labels = open_with({}, overlays={1: [Plane(A)]})
    assert kind == "overlay"
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, volume(s1=A))


def test_overlays_take_the_labels_given(open_with):
    planes = [Plane(A, 0x6000, label="a"), Plane(B, 0x6002, label="b")]
    _, labels = open_with({"a": 7, "b": 9}, overlays={0: planes, 2: planes[:1]})
    assert np.array_equal(labels, volume(s0=A * 7 + B * 9, s2=A * 7))


def test_contours_are_filled_on_their_slices(open_with):
    kind, labels = open_with({"a": 2}, contours={"a": [box(1)], "b": [box(0)]})
    assert kind == "rtstruct"
    assert np.array_equal(labels, volume(s1=A * 2))


def test_the_only_nifti_keeps_its_labels(open_with):
    kept = volume(s0=A * 3 + B * 200)
    kind, labels = open_with({}, niftis={"labels": kept}, warned=["label numbers up to 200 are kept"])
    assert kind == "nifti"
    assert np.array_equal(labels, kept)


def test_nifti_values_and_whole_files_take_the_labels_given(open_with):
    niftis = {"many": volume(s0=A * 3 + B * 200), "other": volume(s1=A * 5 + B * 6)}
    _, labels = open_with({"many:200": 1, "other": 2}, niftis=niftis)
    assert np.array_equal(labels, volume(s0=B, s1=(A | B) * 2))


def test_structures_of_one_label_are_united_though_they_overlap(open_with):
    wide = A | B
    _, labels = open_with({"a": 1, "b": 1}, overlays={0: [Plane(wide, 0x6000, label="a"), Plane(B, 0x6002, label="b")]})
    assert np.array_equal(labels, volume(s0=wide))


@pytest.mark.parametrize("kind", ["overlay", "rtstruct", "nifti"])
def test_two_labels_on_one_pixel_are_refused_with_the_count(open_with, kind):
    given = {
        "overlay": {"overlays": {0: [Plane(A, 0x6000, label="a"), Plane(A, 0x6002, label="b")]}},
        "rtstruct": {"contours": {"a": [box(0)], "b": [box(0)]}},
        "nifti": {"niftis": {"a": volume(s0=A), "b": volume(s0=A)}},
    }[kind]
    with pytest.raises(MaskError, match="9 voxels on 1 of 3 slices of the case lie in structures of two labels"):
        open_with({"a": 1, "b": 2}, **given)


OVERLAPPING = {
    "overlay": {"overlays": {z: [Plane(A, 0x6000, label="a"), Plane(A | B, 0x6002, label="b")] for z in (0, 2)}},
    "rtstruct": {"contours": {"a": [box(0), box(2)], "b": [box(0), tall_box(2)]}},
    "nifti": {"niftis": {"a": volume(s0=A, s2=A), "b": volume(s0=A | B, s2=A | B)}},
}


@pytest.mark.parametrize("kind", OVERLAPPING)
def test_overlapping_voxels_are_counted_over_the_whole_case(open_with, kind):
    with pytest.raises(MaskError, match=r"18 voxels on 2 of 3 slices .* or give --overlap first"):
        open_with({"a": 1, "b": 2}, **OVERLAPPING[kind])


@pytest.mark.parametrize("kind", OVERLAPPING)
@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_with_overlap_first_the_structure_named_first_has_the_voxels(open_with, kind, order):
    labels = {"a": 1, "b": 2}
    _, found = open_with({name: labels[name] for name in order}, rules=MaskRules(overlap="first"), **OVERLAPPING[kind])
    assert np.count_nonzero(found == labels[order[0]]) == np.count_nonzero(_alone(open_with, kind, order[0]))
    both = _alone(open_with, kind, "a") & _alone(open_with, kind, "b")
    assert both.any()
    assert (found[both] == labels[order[0]]).all()


def _alone(open_with, kind, name):
    return open_with({name: 1}, **OVERLAPPING[kind])[1] > 0


@pytest.mark.parametrize("fraction", [0.0, -0.5, 1.01, float("nan")])
def test_a_share_that_means_nothing_is_refused(fraction):
    with pytest.raises(ConfigError, match="above 0 and at most 1"):
        MaskRules(fraction=fraction)


def test_a_structure_that_this_case_lacks_leaves_the_others(open_with):
    _, labels = open_with(
        {"a": 1, "elsewhere": 2, "nowhere": 2, "b": 1},
        contours={"a": [box(1)]},
        warned=[r"no structure of a name given for label 2 \(2 given\)"],
    )
    assert np.array_equal(labels, volume(s1=A))


def test_several_structures_need_a_choice_and_are_counted_by_kind(open_with):
    with pytest.raises(
        MaskError, match=r"4 structures \(1 overlay, 2 RTSTRUCT, 1 NIfTI\); choose with --roi NAME=LABEL; --list-roi"
    ):
        open_with({}, overlays={0: [Plane(A)]}, contours={"x": [box(0)], "y": [box(1)]}, niftis={"z": volume(s0=A)})


def test_a_case_without_any_of_the_names_is_refused(open_with):
    with pytest.raises(MaskError, match=r"no structure of a name given with --roi \(2 given, it has 1 RTSTRUCT\)"):
        open_with({"femur": 1, "pelvis": 2}, contours={"private text": [box(0)]})


def test_an_ambiguous_name_is_refused_without_repeating_it(open_with):
    with pytest.raises(
        MaskError, match=r"name given for label 3 is ambiguous: 2 structures have it \(1 RTSTRUCT, 1 NIfTI\)"
    ) as refusal:
        open_with({"hip": 3}, contours={"hip": [box(0)]}, niftis={"hip": volume(s0=A)})
    assert "hip" not in str(refusal.value)


def test_structures_of_two_kinds_are_refused(open_with):
    with pytest.raises(MaskError, match=r"mask sources of 2 kinds \(1 overlay, 1 NIfTI\)"):
        open_with({"6000": 1, "z": 2}, overlays={0: [Plane(A)]}, niftis={"z": volume(s0=B)})


def test_a_structure_set_without_areas_is_refused(open_with):
    with pytest.raises(MaskError, match="hold no structure with an area"):
        open_with({}, contours={"empty": []})


def test_label_numbers_that_do_not_occur_are_refused(open_with):
    with pytest.raises(MaskError, match="none of the label numbers chosen occurs"):
        open_with({"labels:4": 1}, niftis={"labels": volume(s0=A * 3)})


def test_an_empty_file_chosen_whole_is_an_empty_mask(open_with):
    assert not open_with({"labels": 1}, niftis={"labels": volume()})[1].any()


def test_a_file_that_fits_several_series_is_refused_when_chosen(open_with):
    with pytest.raises(MaskError, match="fits 3 series of the tree"):
        open_with({"labels": 1}, niftis={"labels": volume(s0=A)}, rivals=2)


def test_a_part_that_may_be_another_patients_is_refused_when_chosen(open_with):
    with pytest.raises(
        MaskError, match=r"a NIfTI mask has a part of the voxels .* begins at its corner, .*; put it into the folder"
    ):
        open_with({"labels": 1}, niftis={"labels": volume(s0=A)}, has_common_corner=True)


@pytest.mark.parametrize("label", [0, -1, 256])
def test_a_label_that_a_mask_cannot_hold_is_refused(label):
    with pytest.raises(ConfigError, match=f"label {label} .*1 to 255"):
        check_rois({"a": 1, "b": label})


def graphics_on_slice_1(dataset, z):
    if z == 1:
        dataset[0x60000040].value = "G"


def words(*by_slice):
    """Make one plane a slice in group 6000, with label and description."""
    return {z: [Plane(A, label=label, description=description)] for z, (label, description) in enumerate(by_slice)}


@pytest.mark.parametrize("name", ["femur", "6000"])
def test_a_structure_that_is_graphics_on_some_slices_is_refused(open_with, name):
    with pytest.raises(MaskError, match=r"6000 holds a structure as region \(Overlay Type R\) and, on 1 of 3 images"):
        open_with({name: 1}, overlays=words(*[("femur", None)] * 3), change=graphics_on_slice_1)


def test_the_only_structure_that_is_graphics_on_some_slices_is_refused(open_with):
    with pytest.raises(MaskError, match="on 1 of 3 images, under the same words as graphics"):
        open_with({}, overlays=words(*[(None, None)] * 3), change=graphics_on_slice_1)


def test_graphics_of_other_words_in_its_group_are_no_part_of_a_structure(open_with):
    overlays = words(("femur", None), ("note", None), ("femur", None))
    _, labels = open_with({"femur": 1}, overlays=overlays, change=graphics_on_slice_1)
    assert np.array_equal(labels, volume(s0=A, s2=A))


def test_a_plane_that_lost_its_words_is_refused_and_its_group_takes_it(open_with):
    overlays = words(("femur", None), (None, None), ("femur", None))
    with pytest.raises(MaskError, match="on 1 of 3 images, a plane without label and description"):
        open_with({"femur": 1}, overlays=overlays)
    warned = ["planes of 2 different labels or descriptions in overlay group 6000 are taken as one structure"]
    assert np.array_equal(open_with({"6000": 1}, overlays=overlays, warned=warned)[1], volume(s0=A, s1=A, s2=A))


def test_planes_of_one_word_that_lie_alone_in_two_groups_are_one_structure_with_a_warning(open_with):
    overlays = {0: [Plane(A, label="Mask")], 1: [Plane(B, 0x6002, label="Mask")], 2: [Plane(B, 0x6002, label="Mask")]}
    words = "in overlay groups 6000 and 6002 are taken as one structure, although a group before theirs is free on 2 of 3 images"
    assert np.array_equal(open_with({}, overlays=overlays, warned=[words])[1], volume(s0=A, s1=B, s2=B))


def test_other_words_in_its_group_are_warned_of(open_with):
    overlays = words(("femur", None), ("femvr", None), ("femur", None))
    warned = ["6000 has other words than a chosen structure's on 1 of 3 images"]
    assert np.array_equal(open_with({"femur": 1}, overlays=overlays, warned=warned)[1], volume(s0=A, s2=A))


def test_a_structure_that_takes_the_group_of_another_is_not_warned_of(open_with):
    both = [Plane(A, 0x6000, label="pelvis"), Plane(B, 0x6002, label="femur")]
    overlays = {0: both, 1: [Plane(A, label="femur")], 2: [Plane(B, label="pelvis")]}
    assert np.array_equal(open_with({"femur": 1}, overlays=overlays)[1], volume(s0=B, s1=A))


def test_planes_of_one_label_are_chosen_by_description(open_with):
    overlays = {0: [Plane(A, 0x6000, label="Mask", description="femur"), Plane(B, 0x6002, label="Mask", description="pelvis")]}
    _, labels = open_with({"femur": 1, "pelvis": 2}, overlays=overlays)
    assert np.array_equal(labels, volume(s0=A + 2 * B))
    with pytest.raises(MaskError, match=r"name given for label 1 is ambiguous: 2 structures .*files, move all but one elsewhere"):
        open_with({"Mask": 1}, overlays=overlays)


def test_slices_of_one_label_and_other_descriptions_are_other_structures(open_with):
    overlays = words(("Mask", "femur"), ("Mask", "pelvis"), ("Mask", "femur"))
    warned = ["other words than a chosen structure's on 1 of 3 images"]
    assert np.array_equal(open_with({"femur": 1}, overlays=overlays, warned=warned)[1], volume(s0=A, s2=A))
    with pytest.raises(MaskError, match=r"2 structures \(2 overlay\); choose"):
        open_with({}, overlays=overlays)


def test_points_beside_contours_are_left_out_with_a_warning(open_with):
    contours = {"a": [box(0), box(1)[:1], box(2)[:2]]}
    _, labels = open_with({}, contours=contours, warned=["2 contours of the structures chosen are points or enclose no area"])
    assert np.array_equal(labels, volume(s0=A))


def test_a_structure_set_of_another_frame_of_reference_is_warned_of(open_with):
    def move(dataset, _):
        dataset.FrameOfReferenceUID = "2.25.4444"

    _, labels = open_with({}, contours={"a": [box(0)]}, change=move, warned=["and another frame of reference"])
    assert np.array_equal(labels, volume(s0=A))


def test_numbers_kept_from_a_file_that_does_not_name_them_are_warned_of(open_with):
    assert open_with({}, niftis={"a": volume(s0=A * 5)}, warned=["label numbers up to 5 are kept as the NIfTI"])[1].max() == 5
    assert open_with({}, niftis={"a": volume(s0=A)})[1].max() == 1
