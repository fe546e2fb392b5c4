"""Overlay planes of several images -> structures, by their words, else by their groups."""

from dataclasses import replace

import numpy as np
import pytest

from hipseg.errors import MaskError
from hipseg.ingest.headers import OverlayName
from hipseg.ingest.overlaynames import check_words, find_named_overlays, find_overlays
from hipseg.ingest.scan import scan_tree
from tests.ingest.builders import Plane, volume_hu, write_ct_series


@pytest.fixture
def image(tmp_path):
    """The header of a slice without planes."""
    write_ct_series(tmp_path, volume_hu(1))
    return next(iter(scan_tree(tmp_path).images))


def plane(label="", group=0x6000, description="", *, is_graphics=False):
    return OverlayName(group, label, description, is_graphics)


def on_slices(image, *planes):
    """Give a header for each list of planes."""
    return tuple(replace(image, overlays=tuple(one)) for one in planes)


def test_a_label_holds_planes_together_that_lie_in_different_groups(image):
    headers = on_slices(image, [plane("pelvis"), plane("femur", 0x6002)], [plane("femur")], [])
    assert [(one.title, one.groups) for one in find_overlays(headers)] == [
        ("femur", {0: 0x6002, 1: 0x6000}),
        ("pelvis", {0: 0x6000}),
    ]


def test_description_stands_in_for_a_label_and_the_group_for_both(image):
    found = find_overlays(on_slices(image, [plane(description="femur"), plane(group=0x601E)]))
    assert [(one.title, one.names) for one in found] == [("601E", frozenset()), ("femur", {"femur"})]


def test_words_that_two_planes_of_a_slice_share_give_way_to_the_groups(image):
    both = [plane("mask"), plane("mask", 0x6002)]
    found = find_overlays(on_slices(image, both, [], both[:1]))
    assert [(one.title, one.groups, one.names) for one in found] == [
        ("6000", {0: 0x6000, 2: 0x6000}, {"mask"}),
        ("6002", {0: 0x6002}, {"mask"}),
    ]


def test_the_title_is_the_word_that_no_other_structure_has(image):
    found = find_overlays(on_slices(image, [plane("export", 0x6000, "femur"), plane("export", 0x6002, "pelvis")]))
    assert [one.title for one in found] == ["femur", "pelvis"]


def test_graphics_and_regions_of_the_same_words_are_two_structures(image):
    found = find_overlays(on_slices(image, [plane("femur"), plane("femur", 0x6002, is_graphics=True)]))
    assert [(one.title, one.is_graphics, one.groups) for one in found] == [
        ("femur", False, {0: 0x6000}),
        ("femur", True, {0: 0x6002}),
    ]


def named(name, headers):
    return find_named_overlays(name, find_overlays(headers), headers)


def test_a_name_gives_structures_of_these_words_and_a_group_all_its_planes(image):
    headers = on_slices(image, [plane("femur")], [plane("pelvis")])
    assert [one.groups for one in named("femur", headers)] == [{0: 0x6000}]
    assert [one.groups for one in named("6000", headers)] == [{0: 0x6000, 1: 0x6000}]
    assert named("Femur", headers) == named("6002", headers) == []


def test_a_group_in_small_letters_is_that_group_once(image):
    headers = on_slices(image, [plane(group=0x600A)])
    assert [one.title for one in named("600a", headers)] == ["600A"]
    assert named("600A", headers) == named("600a", headers)


def check(*headers):
    """Check the first structure of a series whose first slice has it."""
    (found,) = [one for one in find_overlays(headers) if 0 in one.groups]
    return check_words(found, headers)


def test_planes_without_words_or_of_another_type_may_be_lost_ones_of_the_structure(image):
    with pytest.raises(MaskError, match="6000 holds a structure by its words and, on 1 of 2 images, a plane without label"):
        check(*on_slices(image, [plane("femur")], [plane()]))
    with pytest.raises(MaskError, match=r"6000 holds a structure as region .* and, on 2 of 3 images, under the same words"):
        check(*on_slices(image, [plane("femur")], *[[plane("femur", is_graphics=True)]] * 2))


def test_other_words_in_the_group_are_warned_of_without_them(image):
    (warning,) = check(*on_slices(image, [plane("femur")], [plane("Mueller")], [plane("femur")]))
    assert warning.startswith("overlay group 6000 has other words than a chosen structure's on 1 of 3 images")
    assert "Mueller" not in warning


def test_words_of_another_group_or_of_a_known_other_structure_are_no_riddle(image):
    assert check(*on_slices(image, [plane("femur")], [plane("pelvis", 0x6002)])) == ()
    headers = on_slices(image, [plane("femur"), plane("pelvis", 0x6002)], [plane("pelvis")])
    femur = next(one for one in find_overlays(headers) if one.title == "femur")
    assert check_words(femur, headers) == ()


def test_overlay_names_come_stripped(tmp_path):
    write_ct_series(tmp_path, volume_hu(1), overlays={0: [Plane(np.ones((10, 12), bool), label="bone ")]})
    (header,) = scan_tree(tmp_path).images
    assert header.overlays == (OverlayName(0x6000, "bone", ""),)


def test_structures_beyond_the_sixteenth_group_are_found(image):
    planes = [plane(f"bone {number}", 0x6000 + 2 * number) for number in range(20)]
    found = find_overlays(on_slices(image, planes, planes))
    assert {one.title: one.groups for one in found} == {f"bone {n}": {0: 0x6000 + 2 * n, 1: 0x6000 + 2 * n} for n in range(20)}


FREE = "of the same label and description in overlay groups 6002 and 6004 are taken as one structure, although a group before"
GRAPHICS = plane("scanner", is_graphics=True)
BONE = plane("bone")


@pytest.mark.parametrize(
    ("first", "second", "is_said"),
    [
        ([GRAPHICS, plane("mask", 0x6002)], [GRAPHICS, plane("mask", 0x6004)], True),
        ([BONE, plane("mask", 0x6002)], [BONE, plane("mask", 0x6004)], True),
        ([BONE, plane("mask", 0x6002)], [plane("mask", 0x6004)], True),
        ([BONE, plane("mask", 0x6002)], [BONE, plane("other", 0x6002), plane("mask", 0x6004)], False),
    ],
    ids=["beside graphics", "beside another structure", "alone", "moved up by an empty plane"],
)
def test_one_word_in_two_groups_is_warned_of_where_no_empty_plane_explains_it(image, first, second, is_said):
    headers = on_slices(image, first, second)
    (found,) = [one for one in find_overlays(headers) if "mask" in one.names]
    warnings = check_words(found, headers)
    assert [FREE in words and words.endswith("on 1 of 2 images") for words in warnings] == [True] * is_said
