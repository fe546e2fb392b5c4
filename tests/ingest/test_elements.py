"""Where elements lie: hand-laid bytes, what is odd, and pydicom's answer for any data set built."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from hipseg.ingest import elements
from hipseg.ingest.elements import MAX_NESTING, NO_VR, OddLayoutError, Place, find_data, find_elements

PIXELS = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 4) + b"abcd"
ROWS = struct.pack("<HH2sHH", 0x0028, 0x0010, b"US", 2, 512)
ROWS_TAG, SEQUENCE_TAG = 0x00280010, 0x00081140
ITEM_END, SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0), struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
OPEN_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
OPEN_SEQUENCE = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)


def file_of(*parts, syntax=ExplicitVRLittleEndian):
    uid = str(syntax).encode("latin-1")
    uid += b"\0" * (len(uid) % 2)
    meta = struct.pack("<HH2sHL", 0x0002, 0x0000, b"UL", 4, 8 + len(uid)) + struct.pack("<HH2sH", 2, 0x10, b"UI", len(uid)) + uid
    return bytes(128) + b"DICM" + meta + b"".join(parts)


def nested(depth):
    return OPEN_SEQUENCE + (OPEN_ITEM + OPEN_SEQUENCE) * (depth - 1) + SEQUENCE_END + (ITEM_END + SEQUENCE_END) * (depth - 1)


def test_places_are_those_of_the_bytes():
    head = file_of(ROWS, PIXELS)
    found = find_elements(head, {ROWS_TAG})
    first = head.index(b"US") + 4
    assert found.places == {ROWS_TAG: Place(b"US", first, 2)}
    assert found.pixels == Place(b"OW", len(head) - 4, 4)
    assert found.syntax == ExplicitVRLittleEndian


def test_only_what_is_wanted_is_kept():
    assert find_elements(file_of(ROWS, PIXELS), ()).places == {}


def test_the_data_begin_after_the_meta_information():
    head = file_of(ROWS, PIXELS)
    assert find_data(head) == (head.index(ROWS), ExplicitVRLittleEndian)


@pytest.mark.parametrize("missing", range(1, len(PIXELS) - 4 + len(ROWS) - 8 + 1))
def test_bytes_that_end_before_the_pixels_give_no_place_of_them(missing):
    assert find_elements(file_of(ROWS, PIXELS)[: -4 - missing], {ROWS_TAG}).pixels is None


def test_bytes_that_end_in_the_meta_information_are_odd():
    with pytest.raises(OddLayoutError):
        find_elements(file_of(ROWS, PIXELS)[:150], {ROWS_TAG})


def test_an_element_longer_than_the_bytes_is_placed_beyond_their_end():
    long = struct.pack("<HH2sHL", 0x0029, 0x1010, b"OB", 0, 1 << 20)
    found = find_elements(file_of(ROWS, long), {0x00291010})
    assert found.places[0x00291010].length == 1 << 20
    assert found.pixels is None


def test_sequences_of_undefined_length_are_passed_over_to_a_depth():
    head = file_of(nested(MAX_NESTING), ROWS, PIXELS)
    assert find_elements(head, {ROWS_TAG}).places[ROWS_TAG].first == head.index(ROWS) + 8
    with pytest.raises(OddLayoutError):
        find_elements(file_of(nested(MAX_NESTING + 1), ROWS, PIXELS), {ROWS_TAG})


@pytest.mark.parametrize(
    "syntax", [DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, "", "1.2.3", ImplicitVRLittleEndian + "\xe7"]
)
def test_other_walks_are_odd(syntax):
    with pytest.raises(OddLayoutError):
        find_elements(file_of(ROWS, PIXELS, syntax=syntax), {ROWS_TAG})


ODD = {
    "no preamble": file_of(ROWS, PIXELS)[132:],
    "no meta information": bytes(128) + b"DICM" + ROWS + PIXELS,
    "tags that fall": file_of(ROWS, struct.pack("<HH2sHH", 0x0028, 0x0002, b"US", 2, 1), PIXELS),
    "a tag twice": file_of(ROWS, ROWS, PIXELS),
    "a command": file_of(struct.pack("<HH2sHL", 0, 0, b"UL", 4, 0), ROWS, PIXELS),
    "an unknown VR": file_of(ROWS.replace(b"US", b"ZZ"), PIXELS),
    "an implicit element among explicit ones": file_of(struct.pack("<HHLH", 0x0028, 0x0010, 2, 512), PIXELS),
    "explicit elements in an implicit file": file_of(ROWS, PIXELS, syntax=ImplicitVRLittleEndian),
    "UN of undefined length": file_of(OPEN_SEQUENCE.replace(b"SQ", b"UN"), SEQUENCE_END, ROWS, PIXELS),
    "no item in a sequence": file_of(OPEN_SEQUENCE, ROWS, SEQUENCE_END, PIXELS),
    "an unknown VR in an item": file_of(OPEN_SEQUENCE, OPEN_ITEM, b"\x08\0\x08\0zz\0\0", ITEM_END, SEQUENCE_END, PIXELS),
    "a directory": file_of(ROWS, PIXELS).replace(
        b"\x02\0\x10\0UI", struct.pack("<HH2sH", 2, 2, b"UI", 20) + b"1.2.840.10008.1.3.10\x02\0\x10\0UI", 1
    ),
    "float pixels": file_of(ROWS, struct.pack("<HH2sHL", 0x7FE0, 0x0008, b"OF", 0, 4) + b"abcd"),
    "something behind the place of the pixels": file_of(ROWS, struct.pack("<HH2sHL", 0xFFFC, 0xFFFC, b"OB", 0, 4) + b"abcd"),
    "pixels as text": file_of(ROWS, struct.pack("<HH2sH", 0x7FE0, 0x0010, b"LO", 4) + b"abcdefgh"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_not_laid_out_plainly_is_odd(name):
    with pytest.raises(OddLayoutError):
        find_elements(ODD[name], {ROWS_TAG})


def test_a_group_length_before_the_pixels_does_not_matter():
    group_length = struct.pack("<HH2sHL", 0x7FE0, 0, b"UL", 4, 16)
    assert find_elements(file_of(ROWS, group_length, PIXELS), {ROWS_TAG}).pixels is not None


def test_many_different_starts_do_not_fill_the_memory():
    for block in range(3):
        different = (struct.pack("<HH2sH", 0x0009 + 2 * block, n, b"LO", 0) for n in range(0x1000, 0x4000))
        assert find_elements(file_of(*different, PIXELS), {ROWS_TAG}).pixels is not None
    assert len(elements._explicit_starts) <= elements._MAX_STARTS


VALUES = {
    "LO": ["a", "longer text"],
    "DS": ["1.5", "-3"],
    "US": [0, 65535],
    "UN": [b"", b"\1\2\3\4"],
    "OB": [b"\0" * 6],
    "FD": [0.5],
}
# Private elements: of others pydicom looks up what they should be.
groups, numbers = st.integers(0x0008, 0x2FFF).map(lambda half: 2 * half + 1), st.integers(0x1000, 0xFFFF)
plain = st.tuples(groups, numbers, st.sampled_from(sorted(VALUES)), st.integers(0, 1))
tree = st.recursive(
    st.lists(plain, max_size=6),
    lambda inner: st.lists(st.one_of(plain, st.tuples(groups, numbers, st.booleans(), st.booleans(), inner)), max_size=5),
    max_leaves=8,
)


def fill(dataset, parts):
    for group, element, *rest in parts:
        if len(rest) == 2:
            vr, choice = rest
            dataset.add_new(group << 16 | element, vr, VALUES[vr][choice % len(VALUES[vr])])
        else:
            is_undefined, is_item_undefined, inner = rest
            item = Dataset()
            fill(item, inner)
            item.is_undefined_length_sequence_item = is_item_undefined
            dataset.add_new(group << 16 | element, "SQ", [item, item])
            dataset[group << 16 | element].is_undefined_length = is_undefined


@settings(max_examples=60, deadline=None)
@given(parts=tree, is_implicit=st.booleans(), cut=st.floats(0, 1))
def test_the_places_of_any_data_set_are_those_that_pydicom_finds(parts, is_implicit, cut):
    dataset = Dataset()
    fill(dataset, parts)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "2.25.1"
    dataset.Rows, dataset.BitsAllocated, dataset.PixelRepresentation = 2, 16, 0
    dataset.PixelData = np.arange(4, dtype="<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian
    written = io.BytesIO()
    dataset.save_as(written, enforce_file_format=True)
    whole = written.getvalue()
    theirs = dcmread(io.BytesIO(whole))
    raw = {int(tag): element for tag, element in theirs._dict.items()}
    ours = find_elements(whole, set(raw))
    assert set(ours.places) == set(raw) - {0x7FE00010}
    assert whole[ours.pixels.first :] == dataset.PixelData
    for tag, place in ours.places.items():
        assert (place.vr == NO_VR) == is_implicit
        if isinstance(raw[tag], RawDataElement):
            assert (place.first, place.length) == (raw[tag].value_tell, raw[tag].length)
        else:
            # pydicom walks over sequences of undefined length at once.
            assert place.length == 0xFFFFFFFF
    size = max(int(cut * (ours.pixels.first - 1)), ours.places[0x00080016].first)
    some = find_elements(whole[:size], set(raw))
    assert some.pixels is None
    assert some.places.items() <= ours.places.items()


def test_compressed_pixels_have_a_place_of_undefined_length():
    items = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF) + OPEN_ITEM
    found = find_elements(file_of(ROWS, items, syntax=JPEG2000Lossless), {ROWS_TAG})
    assert found.pixels.length == 0xFFFFFFFF
