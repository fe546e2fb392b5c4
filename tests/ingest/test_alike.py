"""Patterns of headers: whatever they recognise lies where a walk over all elements finds it."""

import struct

import numpy as np
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from hipseg.ingest.alike import Image, Pattern
from hipseg.ingest.elements import ALL_TAGS, NO_VR, OddLayoutError, Place, find_elements

ROWS_TAG, TEXT_TAG, SEQUENCE_TAG = 0x00280010, 0x00100020, 0x00081140
WANTED = {ROWS_TAG, TEXT_TAG, SEQUENCE_TAG}


def element(tag, vr, value, *, is_explicit=True):
    group, number = tag >> 16, tag & 0xFFFF
    if not is_explicit:
        return struct.pack("<HHL", group, number, len(value)) + value
    if vr in (b"OW", b"SQ"):
        return struct.pack("<HH2sHL", group, number, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def file_of(*, text=b"ab", rows=512, nested=b"", is_explicit=True):
    """Lay a file by hand: a sequence, a text, the rows and two pixels."""
    uid = str(ExplicitVRLittleEndian if is_explicit else ImplicitVRLittleEndian).encode()
    uid += b"\0" * (len(uid) % 2)
    parts = [
        element(SEQUENCE_TAG, b"SQ", nested, is_explicit=is_explicit),
        element(TEXT_TAG, b"LO", text, is_explicit=is_explicit),
        element(ROWS_TAG, b"US", struct.pack("<H", rows), is_explicit=is_explicit),
        element(0x7FE00010, b"OW", b"abcd", is_explicit=is_explicit),
    ]
    return bytes(128) + b"DICM" + element(0x00020010, b"UI", uid) + b"".join(parts)


def image_of(head):
    elements = find_elements(head, ALL_TAGS)
    return Image(head, elements, elements.pixels)


def pattern_of(head, own):
    return Pattern(image_of(head), own, WANTED)


@pytest.mark.parametrize("is_explicit", [True, False])
def test_own_elements_of_another_length_move_all_behind_them(is_explicit):
    pattern = pattern_of(file_of(is_explicit=is_explicit), {TEXT_TAG})
    longer = file_of(text=b"longer text!", is_explicit=is_explicit)
    places, pixels = pattern.find(longer)
    assert places == {TEXT_TAG: Place(b"LO" if is_explicit else NO_VR, longer.index(b"longer"), 12)}
    assert (pixels.first, pixels.length) == (len(longer) - 4, 4)


@pytest.mark.parametrize("is_explicit", [True, False])
def test_a_run_with_another_byte_is_of_no_pattern(is_explicit):
    pattern = pattern_of(file_of(is_explicit=is_explicit), {TEXT_TAG})
    assert pattern.find(file_of(rows=511, is_explicit=is_explicit)) is None
    assert pattern.find(file_of(is_explicit=not is_explicit)) is None
    assert pattern.find(file_of(is_explicit=is_explicit).replace(b"DICM", b"DICN")) is None


def test_an_own_element_of_another_tag_is_of_no_pattern():
    head = file_of()
    other = head.replace(struct.pack("<HH", 0x0010, 0x0020), struct.pack("<HH", 0x0010, 0x0030))
    assert find_elements(other, WANTED).pixels is not None
    assert pattern_of(head, {TEXT_TAG}).find(other) is None


def test_own_elements_beside_each_other_need_no_run_between_them():
    pattern = pattern_of(file_of(), {SEQUENCE_TAG, TEXT_TAG, ROWS_TAG})
    head = file_of(text=b"x ", rows=7, nested=struct.pack("<HHL", 0xFFFE, 0xE000, 0))
    assert pattern.find(head) == (dict(find_elements(head, WANTED).places), find_elements(head, ()).pixels)


def test_text_that_looks_like_the_next_elements_does_not_mislead():
    head = file_of()
    pattern = pattern_of(head, {TEXT_TAG})
    # The text holds the very bytes that follow it in the known file.
    text = element(ROWS_TAG, b"US", struct.pack("<H", 512)) + element(0x7FE00010, b"OW", b"efgh")
    places, pixels = pattern.find(file_of(text=text))
    assert places[TEXT_TAG].length == len(text)
    assert pixels.first == len(file_of(text=text)) - 4


@pytest.mark.parametrize("end", range(132, len(file_of()) - 4))
def test_bytes_that_end_early_are_of_no_pattern(end):
    for own in (set(), {TEXT_TAG}, {ROWS_TAG}, WANTED):
        assert pattern_of(file_of(), own).find(file_of()[:end]) is None


def test_differences_name_the_elements_with_other_bytes():
    one, other = image_of(file_of()), image_of(file_of(text=b"abcd", rows=511))
    assert one.kind == other.kind
    assert one.differences(other) == {TEXT_TAG, ROWS_TAG}
    assert one.kind != image_of(file_of(is_explicit=False)).kind


@pytest.mark.parametrize("is_explicit", [True, False])
def test_what_is_recognised_is_what_a_walk_finds_whatever_bytes_changed(is_explicit):
    open_sequence = b"".join(struct.pack("<HHL", 0xFFFE, number, size) for number, size in ((0xE000, 0xFFFFFFFF), (0xE00D, 0)))
    heads = [file_of(text=text, nested=open_sequence, is_explicit=is_explicit) for text in (b"ab", b"abcdef", b"")]
    pattern = pattern_of(heads[0], {TEXT_TAG, SEQUENCE_TAG})
    generator = np.random.default_rng(5)
    recognised = 0
    for head in heads * 400:
        changed = bytearray(head)
        for place in generator.integers(128, len(head) - 4, generator.integers(1, 3)):
            changed[place] = generator.choice([0, 1, 2, 0xFF, generator.integers(256)])
        found = pattern.find(bytes(changed))
        if found is not None:
            recognised += 1
            walked = find_elements(bytes(changed), {TEXT_TAG, SEQUENCE_TAG})
            assert found == (walked.places, walked.pixels)
    assert recognised > 50


def test_explicit_elements_in_an_implicit_file_are_of_no_pattern():
    pattern = pattern_of(file_of(is_explicit=False), {SEQUENCE_TAG})
    # The first element is written with a value representation: odd to a walk, so it must be none of the pattern.
    text = b"US" + struct.pack("<H", 0)
    odd = file_of(is_explicit=False).replace(struct.pack("<HHL", 0x0008, 0x1140, 0), struct.pack("<HH", 0x0008, 0x1140) + text)
    odd = odd[: odd.index(text) + 4] + bytes(struct.unpack("<L", text)[0]) + odd[odd.index(text) + 4 :]
    with pytest.raises(OddLayoutError):
        find_elements(odd, WANTED)
    assert pattern.find(odd) is None
