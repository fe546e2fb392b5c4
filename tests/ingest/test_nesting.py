"""Items of sequences that are not one behind the other are noticed, and whole ones never called damaged."""

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from hipseg.errors import MaskError
from hipseg.ingest.dicomfile import read_dataset
from hipseg.ingest.nesting import has_whole_items
from hipseg.ingest.rtstruct import COUNTED_BY_NOTHING, read_structure_set
from tests.ingest.builders import rectangle_mm, write_rtstruct

ITEM = b"\xfe\xff\x00\xe0"
CONTOURS = b"\x06\x30\x40\x00"
"""Contour Sequence (3006,0040)."""
SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
WALKED = ("explicit", "implicit")


def circle_mm(points, z):
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([3 * np.cos(angles) - 8, 3 * np.sin(angles) - 16, np.full(points, float(z))], axis=1)


def write(folder, syntax="explicit", *, is_undefined=False, contours=None):
    """Write two structures, of sequences whose lengths are known or not."""
    path = write_rtstruct(
        folder / "rs",
        {"a": contours or [rectangle_mm((-8, -6), (-18, -16), z) for z in (100, 103, 106)], "b": [circle_mm(9, 100)]},
    )
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = SYNTAXES[syntax]
    for sequence in (one for one in dataset.iterall() if one.VR == "SQ"):
        sequence.is_undefined_length = is_undefined
        for item in sequence.value:
            item.is_undefined_length_sequence_item = is_undefined
    dcmwrite(path, dataset)
    return path


def is_whole(path):
    return has_whole_items(read_dataset(path, has_pixels=False), path, COUNTED_BY_NOTHING)


@pytest.mark.parametrize("is_undefined", [False, True], ids=["known", "undefined"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_items_of_known_and_of_undefined_length_are_whole(tmp_path, syntax, is_undefined):
    path = write(tmp_path, syntax, is_undefined=is_undefined)
    assert is_whole(path)
    assert [len(one.contours_mm_xyz) for one in read_structure_set(path).structures] == [3, 1]


def write_unknown(folder, *, is_undefined):
    """Write the sequences at the top of a structure set as systems do that do not know them: UN, nothing in them with a kind."""
    path = write(folder)
    implicit = write(folder / "implicit", "implicit").read_bytes()
    explicit = path.read_bytes()
    for tag in (0x30060010, 0x30060020, 0x30060039):
        start = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
        place, known = implicit.index(start, 132), explicit.index(start + b"SQ")
        length = int.from_bytes(implicit[place + 4 : place + 8], "little")
        items = implicit[place + 8 : place + 8 + length]
        end = b"\xfe\xff\xdd\xe0\0\0\0\0" if is_undefined else b""
        written = b"\xff\xff\xff\xff" if is_undefined else length.to_bytes(4, "little")
        behind = known + 12 + int.from_bytes(explicit[known + 8 : known + 12], "little")
        explicit = explicit[:known] + start + b"UN\0\0" + written + items + end + explicit[behind:]
    path.write_bytes(explicit)
    return path


@pytest.mark.parametrize("is_undefined", [False, True], ids=["known", "undefined"])
def test_sequences_that_a_system_did_not_know_are_whole_and_damage_in_them_is_noticed(tmp_path, is_undefined):
    path = write_unknown(tmp_path, is_undefined=is_undefined)
    assert is_whole(path)
    assert [len(one.contours_mm_xyz) for one in read_structure_set(path).structures] == [3, 1]
    raw = path.read_bytes()
    place = raw.index(ITEM, raw.index(CONTOURS))
    path.write_bytes(raw[:place] + b"\xfe\xff\x01\xe0" + raw[place + 4 :])
    assert not is_whole(path)


def test_a_sequence_in_another_may_be_the_one_that_is_unknown(tmp_path):
    path = write(tmp_path)
    raw, implicit = path.read_bytes(), write(tmp_path / "implicit", "implicit").read_bytes()
    at = raw.index(CONTOURS + b"SQ")
    place = implicit.index(CONTOURS)
    length = int.from_bytes(implicit[place + 4 : place + 8], "little")
    behind = at + 12 + int.from_bytes(raw[at + 8 : at + 12], "little")
    data = CONTOURS + b"UN\0\0" + length.to_bytes(4, "little") + implicit[place + 8 : place + 8 + length]
    shorter = behind - at - len(data)
    item, sequence = raw.rindex(ITEM, 0, at) + 4, raw.index(b"\x06\x30\x39\x00SQ") + 8
    changed = bytearray(raw[:at] + data + raw[behind:])
    for start in (item, sequence):
        known = int.from_bytes(changed[start : start + 4], "little")
        changed[start : start + 4] = (known - shorter).to_bytes(4, "little")
    path.write_bytes(changed)
    assert is_whole(path)
    assert [len(one.contours_mm_xyz) for one in read_structure_set(path).structures] == [3, 1]


@pytest.mark.parametrize("size", [0x4144, 0x4F4C, 0x5344])
def test_a_length_that_reads_as_a_value_representation_is_a_length(tmp_path, size):
    """Contour data of 16,708, 20,300 and 21,316 bytes: DA, LO and DS, where none is written."""
    path = write(tmp_path, "implicit")
    dataset = dcmread(path)
    contour = dataset.ROIContourSequence[0].ContourSequence[0]
    text = b"1.0\\2.0\\3.0\\"
    contour.add_new(0x30060050, "UT", (text * (size // len(text) + 1)).decode()[:size])
    dataset.save_as(path)
    assert size.to_bytes(4, "little") in path.read_bytes()
    assert is_whole(path)


@pytest.mark.parametrize("syntax", WALKED)
@pytest.mark.parametrize("is_undefined", [False, True], ids=["known", "undefined"])
@pytest.mark.parametrize("change", [b"\xfe\xff\x00\x67", b"\xfe\xff\x01\xe0", b"\0\0\0\0"])
def test_a_damaged_item_is_noticed(tmp_path, syntax, is_undefined, change):
    path = write(tmp_path, syntax, is_undefined=is_undefined)
    raw = path.read_bytes()
    for place in [at for at in range(raw.index(CONTOURS), len(raw)) if raw[at : at + 4] == ITEM]:
        path.write_bytes(raw[:place] + change + raw[place + 4 :])
        with pytest.raises(MaskError, match=r"contours .* do not lie one behind the other"):
            read_structure_set(path)


@pytest.mark.parametrize("syntax", WALKED)
@pytest.mark.parametrize("more", [-8, -4, -2, 2, 4, 6, 8, 12])
def test_an_item_that_takes_bytes_of_the_next_one_is_noticed(tmp_path, syntax, more):
    path = write(tmp_path, syntax)
    raw = path.read_bytes()
    place = raw.index(ITEM, raw.index(CONTOURS)) + 4
    length = int.from_bytes(raw[place : place + 4], "little") + more
    path.write_bytes(raw[:place] + length.to_bytes(4, "little") + raw[place + 4 :])
    assert not is_whole(path)


@pytest.mark.parametrize("more", [4, 8, 100, 1 << 24])
def test_an_inner_sequence_that_goes_on_beyond_all_others_is_noticed(tmp_path, more):
    path = write(tmp_path)
    dataset = dcmread(path)
    # The last contours are then the last that the data set holds.
    del dataset.ROIContourSequence[-1].ReferencedROINumber
    dataset.save_as(path)
    raw = bytearray(path.read_bytes())
    # Behind tag, representation and two empty bytes. Source: DICOM PS3.5 7.1.2.
    for place in (raw.index(CONTOURS) + 8, raw.rindex(CONTOURS) + 8):
        changed = raw.copy()
        changed[place : place + 4] = (int.from_bytes(raw[place : place + 4], "little") + more).to_bytes(4, "little")
        path.write_bytes(changed)
        assert not is_whole(path)


@pytest.mark.parametrize("is_undefined", [False, True], ids=["known", "undefined"])
def test_a_sequence_without_items_is_whole(tmp_path, is_undefined):
    path = write(tmp_path, is_undefined=is_undefined)
    dataset = dcmread(path)
    dataset.ROIContourSequence = []
    dataset.save_as(path)
    assert is_whole(path)
