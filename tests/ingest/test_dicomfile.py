"""One DICOM file opened without noise and read without trust."""

import logging
import warnings

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from hipseg.ingest.dicomfile import UnreadableFileError, integer, is_cut, items, number, numbers, read_dataset, text, texts
from tests.ingest.builders import cut, volume_hu, write_ct_series


@pytest.fixture
def path(tmp_path):
    return write_ct_series(tmp_path, volume_hu(1))[0]


def a_dataset(**values):
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def test_only_the_elements_asked_for_are_read(path):
    dataset = read_dataset(path, [0x00080060, 0x00280010], has_pixels=False)
    assert [element.keyword for element in dataset] == ["Modality", "Rows"]


def test_pixels_are_read_only_when_asked_for(path):
    assert "PixelData" not in read_dataset(path, has_pixels=False)
    assert "PixelData" in read_dataset(path, has_pixels=True)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_a_missing_transfer_syntax_is_the_one_found(tmp_path, syntax):
    path = write_ct_series(tmp_path, volume_hu(1), syntax=syntax)[0]
    dataset = dcmread(path)
    start = path.read_bytes().index(b"\x08\x00\x08\x00")
    path.write_bytes(bytes(128) + b"DICM" + path.read_bytes()[start:])
    found = read_dataset(path, has_pixels=True)
    assert found.file_meta.TransferSyntaxUID == syntax
    assert found.PixelData == dataset.PixelData


def test_a_sequence_that_never_ends_is_unreadable_and_a_missing_file_is_missing(path):
    raw = path.read_bytes()
    # A sequence of undefined length right before the rows, with nothing of it behind.
    path.write_bytes(raw[: raw.index(b"\x28\x00\x02\x00US")] + b"\x20\x00\x00\x99SQ\0\0\xff\xff\xff\xff")
    with pytest.raises(UnreadableFileError):
        read_dataset(path, has_pixels=False)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read_dataset(path, has_pixels=False)


def test_a_value_that_breaks_off_is_noticed(path):
    assert not is_cut(read_dataset(path, has_pixels=True))
    cut(path, -1)
    assert is_cut(read_dataset(path, has_pixels=True))
    assert not is_cut(read_dataset(path, has_pixels=False))


def test_values_come_as_plain_texts_and_numbers():
    dataset = a_dataset(PatientID=" x ", ImageType=["ORIGINAL", "PRIMARY"], PixelSpacing=["0.5", "1"], InstanceNumber="7")
    assert text(dataset, "PatientID") == "x"
    assert texts(dataset, "ImageType") == ("ORIGINAL", "PRIMARY")
    assert texts(a_dataset(ImageType="ORIGINAL"), "ImageType") == ("ORIGINAL",)
    assert numbers(dataset, "PixelSpacing", 2) == (0.5, 1.0)
    assert number(dataset, "InstanceNumber") == integer(dataset, "InstanceNumber") == 7


def test_what_is_missing_or_of_another_length_or_kind_is_none():
    dataset = a_dataset(PixelSpacing=["0.5", "1"], PatientID="x", RescaleSlope=None, SliceThickness="1.5")
    assert text(dataset, "StudyInstanceUID") == ""
    assert texts(dataset, "ImageType") == ()
    assert items(dataset, "ROIContourSequence") == items(dataset, "PatientID") == ()
    assert [numbers(dataset, keyword, 3) for keyword in ("PixelSpacing", "PatientID", "RescaleSlope", "Rows")] == [None] * 4
    assert number(dataset, "PixelSpacing") is None
    assert integer(dataset, "SliceThickness") is None


@pytest.mark.parametrize("written", [b"nan ", b"inf ", b"1,25", b"one "])
def test_a_damaged_number_is_none(path, written):
    raw = path.read_bytes()
    at = raw.index(b"\x18\x00\x50\x00DS\x04\x00") + 8
    path.write_bytes(raw[:at] + written + raw[at + 4 :])
    assert number(read_dataset(path, has_pixels=False), "SliceThickness") is None


def test_a_strange_value_is_neither_warned_of_nor_logged(path, caplog):
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"2.25.77002.1", b"2.25.sEcRt.1"))
    logging.getLogger("pydicom").setLevel(logging.WARNING)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert text(read_dataset(path, has_pixels=False), "SOPInstanceUID") == "2.25.sEcRt.1"
        # The same file read without this module does warn: the test would otherwise hold of anything.
        assert not caught
        warnings.simplefilter("always")
        assert dcmread(path).SOPInstanceUID
        assert caught
    assert caplog.records == []
