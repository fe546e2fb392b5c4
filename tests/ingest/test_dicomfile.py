"""One DICOM file opened without noise and read without trust."""

import logging
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from hipseg.ingest.dicomfile import (
    MAX_INFLATED_BYTES,
    UnreadableFileError,
    bit_data,
    integer,
    is_cut,
    items,
    number,
    numbers,
    read_dataset,
    read_header,
    text,
    texts,
)
from hipseg.ingest.plain import HeaderReader, PlainHeader
from tests.ingest.builders import Plane, cut, volume_hu, write_ct_series


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


@pytest.mark.parametrize("padding", [2000, 40_000])
def test_a_header_beyond_the_bound_is_not_read_and_what_is_passed_over_does_not_count(path, monkeypatch, padding):
    dataset = dcmread(path)
    dataset.add_new(0x00290010, "LO", "OURS")
    dataset.add_new(0x00291001, "OB", bytes(padding))
    dataset.save_as(path)
    monkeypatch.setattr("hipseg.ingest.dicomfile.MAX_HEADER_BYTES", 10_000)
    assert text(read_dataset(path, [0x00080060], has_pixels=False), "Modality") == "CT"
    if padding < 10_000:
        assert len(read_dataset(path, has_pixels=False)[0x00291001].value) == padding
        return
    with pytest.raises(UnreadableFileError):
        read_dataset(path, has_pixels=False)


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


def test_a_sequence_in_place_of_a_text_is_none_and_a_number_is_its_digits():
    dataset = a_dataset()
    dataset.add_new("ImageType", "SQ", [a_dataset(PatientID="x")])
    dataset.add_new("PatientID", "SQ", [a_dataset(PatientID="x")])
    assert (texts(dataset, "ImageType"), text(dataset, "PatientID")) == ((), "")
    dataset.add_new("ImageType", "US", 7)
    assert texts(dataset, "ImageType") == ("7",)


@pytest.mark.parametrize(
    ("representation", "value", "bits"),
    [
        ("OW", b"ab", b"ab"),
        ("OB", b"ab", b"ab"),
        ("UN", b"ab", b"ab"),
        ("OW", None, b""),
        ("UL", 5000, None),
        ("US", [1, 2], None),
        ("UT", "text", None),
        ("LO", "text", None),
        ("OL", b"abcd", None),
    ],
)
def test_only_bytes_are_bits(representation, value, bits):
    dataset = a_dataset()
    dataset.set_original_encoding(False, True)
    dataset.add_new(0x60003000, representation, value)
    assert bit_data(dataset, 0x60003000) == bits


def test_half_a_word_at_the_end_of_a_big_endian_value_is_no_bits():
    dataset = a_dataset()
    dataset.set_original_encoding(False, False)
    for value, bits in ((b"ab", b"ba"), (b"abc", None)):
        dataset.add_new(0x60003000, "OW", value)
        assert bit_data(dataset, 0x60003000) == bits


def test_bits_that_cannot_even_be_converted_are_none(tmp_path):
    path = write_ct_series(tmp_path, volume_hu(1), overlays={0: [Plane(np.ones((10, 12), bool))]})[0]
    raw = path.read_bytes()
    # 15 bytes of bits and one of padding, announced as 64-bit numbers of which the last is cut.
    at = raw.index(b"\x00\x60\x00\x30OW") + 4
    path.write_bytes(raw[:at] + b"SV\0\0" + (15).to_bytes(4, "little") + raw[at + 8 : at + 23] + raw[at + 24 :])
    assert bit_data(read_dataset(path, has_pixels=False), 0x60003000) is None


@pytest.mark.parametrize("written", [b"nan ", b"inf ", b"1,25", b"one ", b"1e13"])
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


PROBE = """
import sys
from pathlib import Path
from hipseg.ingest.scan import scan_tree
def peak_kib():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
before = peak_kib()
scan = scan_tree(Path(sys.argv[1]))
print(peak_kib() - before, len(scan.damaged), len(scan.images))
"""
MEMORY_BOUND_KIB = 64 * 1024


def scan_elsewhere(folder):
    """Walk over a folder in a process of its own; give its growth in KiB, and the numbers of damaged files and of images."""
    done = subprocess.run([sys.executable, "-c", PROBE, str(folder)], capture_output=True, text=True, check=True, timeout=60)
    return tuple(map(int, done.stdout.split()))


def write_deflated(path, unpacked):
    """Deflate a whole data set behind the file meta information of a deflated file."""
    raw = write_ct_series(path.parent, volume_hu(1), syntax="1.2.840.10008.1.2.1.99")[0]
    head = raw.read_bytes()
    length = int.from_bytes(head[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = b"".join(packer.compress(part) for part in unpacked) + packer.flush()
    raw.unlink()
    path.write_bytes(head[: 144 + length] + packed)


def write_before_patient(folder, elements):
    """Write an image with some bytes put in before its Patient ID."""
    path = write_ct_series(folder, volume_hu(1))[0]
    raw = path.read_bytes()
    at = raw.index(b"\x10\x00\x20\x00LO")
    path.write_bytes(raw[:at] + elements + raw[at:])
    return path


def nested(depth):
    sequence, item = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff", b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return (sequence + item) * depth + b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0" * depth


def test_bombs_are_damaged_files_within_a_bound_of_memory(tmp_path):
    start = b"\x08\x00\x60\x00CS\x02\x00CT" + b"\x29\x00\x10\x10OB\0\0" + (MAX_INFLATED_BYTES * 2).to_bytes(4, "little")
    (tmp_path / "deflated").mkdir()
    bomb = tmp_path / "deflated" / "bomb"
    write_deflated(bomb, [start, *[bytes(1 << 20)] * (MAX_INFLATED_BYTES * 2 >> 20)])
    assert bomb.stat().st_size < 1 << 20
    with pytest.raises(UnreadableFileError):
        read_dataset(bomb, has_pixels=False)
    write_before_patient(tmp_path / "nested", nested(100_000))
    # An element that announces four gigabytes.
    write_before_patient(tmp_path / "long", b"\x09\x00\x10\x10OB\0\0\xf0\xff\xff\xff")
    grown_kib, damaged, images = scan_elsewhere(tmp_path)
    assert (damaged, images) == (3, 0)
    assert grown_kib < MEMORY_BOUND_KIB


def test_nesting_as_deep_as_any_export_is_read(tmp_path):
    dataset = read_dataset(write_before_patient(tmp_path, nested(40)), has_pixels=False)
    assert text(dataset, "PatientID") == "Secret^Patient"


def test_a_deflated_stream_that_breaks_off_or_is_none_is_unreadable(tmp_path):
    path = write_ct_series(tmp_path, volume_hu(1), syntax="1.2.840.10008.1.2.1.99")[0]
    whole = path.read_bytes()
    for size in (len(whole) - 200, len(whole) - 20):
        path.write_bytes(whole[:size])
        with pytest.raises(UnreadableFileError):
            read_dataset(path, has_pixels=True)
    path.write_bytes(whole[:400] + b"\xff" * 400)
    with pytest.raises(UnreadableFileError):
        read_dataset(path, has_pixels=True)


def test_a_header_is_read_plainly_or_by_pydicom_with_equal_answers(tmp_path):
    mask = np.random.default_rng(0).random((10, 12)) < 0.5
    answers = []
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"):
        path = write_ct_series(tmp_path / syntax, volume_hu(1), overlays={0: [Plane(mask)]}, syntax=syntax)[0]
        if syntax.endswith("2.2"):
            dataset = dcmread(path)
            words = np.frombuffer(dataset[0x60003000].value, "<u2").astype(">u2")
            dataset[0x60003000].value = words.tobytes()
            dataset.save_as(path)
        header = read_header(path, HeaderReader([0x60000010, 0x60000050, 0x60003000]))
        assert isinstance(header, PlainHeader) == (not syntax.endswith("2.2"))
        answers.append((bit_data(header, 0x60003000), numbers(header, 0x60000050, 2), integer(header, 0x60000010)))
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0][:15] == np.packbits(mask, bitorder="little").tobytes()
    assert bit_data(header, 0x60020010 | 0x3000) == b""
