"""Stored values -> Hounsfield units, and pixels that cannot be had."""

import contextlib
import os
import re
from dataclasses import replace
from types import SimpleNamespace

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from hipseg.errors import SeriesError
from hipseg.ingest import pixels
from hipseg.ingest.pixels import INT16, read_slice_hu, to_hu
from hipseg.ingest.rounding import Rounding
from hipseg.ingest.scan import scan_tree
from hipseg.ingest.stored import MAX_FILE_BYTES, read_stored
from tests.ingest.builders import cut, volume_hu, write_ct_series


def write(tmp_path, image, change=None, **options):
    return write_ct_series(tmp_path, image[np.newaxis], change=change, **options)[0]


preadv = os.preadv


def compress(path, syntax, fragments=1):
    dataset = dcmread(path)
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    else:
        frame = imagecodecs.jpeg2k_encode(dataset.pixel_array, level=0, reversible=True, codecformat="j2k")
        dataset.PixelData = encapsulate([frame], fragments_per_frame=fragments)
        dataset["PixelData"].is_undefined_length, dataset["PixelData"].VR = True, "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)


def scan(path):
    """Give the header as the walk over the folder reads it."""
    (header,) = scan_tree(path.parent).images
    return header


def read(path):
    """Read a slice as its header allows, and again with all of it left to pydicom; both must end alike."""
    header = scan(path)
    slow = replace(header, pixels=None)
    try:
        image_hu = read_slice_hu(path, header, Rounding())
    except SeriesError as error:
        with pytest.raises(SeriesError, match=f"^{re.escape(str(error))}$"):
            read_slice_hu(path, slow, Rounding())
        raise
    assert np.array_equal(read_slice_hu(path, slow, Rounding()), image_hu)
    assert image_hu.dtype == np.int16
    assert image_hu.flags.writeable
    return image_hu


def is_read_plainly(path, monkeypatch):
    """Say whether a slice is read straight into the answer, without any other decoder."""
    calls = []
    monkeypatch.setattr(pixels, "read_stored", lambda *arguments: calls.append(arguments) or read_stored(*arguments))
    read_slice_hu(path, scan(path), Rounding())
    return not calls


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"])
def test_uncompressed_values_come_back(tmp_path, syntax):
    image = volume_hu(1)[0]
    found = read(write(tmp_path, image, syntax=syntax))
    assert found.dtype == np.int16
    assert np.array_equal(found, image)


def test_run_length_coded_values_come_back(tmp_path):
    image = volume_hu(1)[0]
    path = write(tmp_path, image)
    dataset = dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path)
    assert np.array_equal(read(path), image)


def test_slope_and_intercept_are_applied(tmp_path):
    def rescale(dataset, _):
        dataset.RescaleSlope, dataset.RescaleIntercept = "0.5", "-10"

    stored = np.array([[0, 2, 4], [-6, 8, 3000]])
    assert read(write(tmp_path, stored, rescale, intercept=0)).tolist() == [[-10, -9, -8], [-13, -6, 1490]]


@pytest.mark.parametrize("is_signed", [False, True])
def test_high_bits_beyond_those_stored_do_not_count(tmp_path, is_signed):
    def twelve_bits(dataset, _):
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, int(is_signed)
        dataset.PixelData = np.array([0x0005, 0xF005, 0x0FFF, 0x5800], "<u2").tobytes()

    found = read(write(tmp_path, np.zeros((2, 2)), twelve_bits, intercept=0))
    assert found.tolist() == ([[5, 5], [-1, -2048]] if is_signed else [[5, 5], [4095, 2048]])


def test_padding_keeps_its_rescaled_value(tmp_path):
    def pad(dataset, _):
        dataset.PixelPaddingValue = -2000

    # -976 HU is 48 stored; -3024 HU is the padding of -2000 stored.
    assert read(write(tmp_path, np.array([[-3024, -976]]), pad)).tolist() == [[-3024, -976]]


@pytest.mark.parametrize("written", [-32768, 32768])
def test_padding_below_int16_is_held_to_its_range(tmp_path, written):
    def pad(dataset, _):
        dataset.add_new("PixelPaddingValue", "US" if written > 0 else "SS", written)
        dataset.PixelData = np.array([-32768, 1024], "<i2").tobytes()

    assert read(write(tmp_path, np.array([[0, 0]]), pad)).tolist() == [[-32768, 0]]


@pytest.mark.parametrize(("written", "counted"), [(63536, 1), (65535, 1), (40000, 1), (32768, 1), (4095, 0)])
def test_padding_brighter_than_any_measured_value_becomes_air_and_is_counted(tmp_path, written, counted):
    def pad(dataset, _):
        dataset.PixelRepresentation = 0
        dataset.add_new("PixelPaddingValue", "US", written)
        dataset.PixelData = np.array([written, 1024], "<u2").tobytes()

    path, rounding = write(tmp_path, np.array([[0, 0]]), pad), Rounding()
    # 4095 stored is 3071 HU, which metal has, too.
    assert read(path).tolist() == [[-1024 if counted else 3071, 0]]
    read_slice_hu(path, scan(path), rounding)
    words = "1 pixels declared as padding (0028,0120) brighter than any measured, taken as air around the patient"
    assert rounding.warnings() == (words,) * counted


def test_a_bright_value_that_is_not_declared_as_padding_is_refused(tmp_path):
    def pad(dataset, _):
        dataset.PixelRepresentation = 0
        dataset.add_new("PixelPaddingValue", "US", 63536)
        dataset.PixelData = np.array([63536, 63535], "<u2").tobytes()

    with pytest.raises(SeriesError, match=r"1 pixels beyond int16 \(62511 to 62511 HU\)"):
        read(write(tmp_path, np.array([[0, 0]]), pad))


def test_a_measured_value_beyond_int16_is_refused_with_the_values(tmp_path):
    def pad(dataset, _):
        dataset.PixelPaddingValue = -32768
        dataset.PixelData = np.array([-32768, -32700, 0], "<i2").tobytes()

    with pytest.raises(SeriesError, match=r"1 pixels beyond int16 \(-33724 to -33724 HU\)"):
        read(write(tmp_path, np.array([[0, 0, 0]]), pad))


def test_fractions_of_a_unit_are_rounded_and_counted(tmp_path):
    def rescale(dataset, _):
        dataset.RescaleSlope, dataset.RescaleIntercept = "0.3", "0"

    path, rounding = write(tmp_path, np.array([[0, 1, 4, -4, 10]]), rescale, intercept=0), Rounding()
    # 0, 0.3, 1.2, -1.2 and 3.
    assert read_slice_hu(path, scan(path), rounding).tolist() == [[0, 0, 1, -1, 3]]
    assert rounding.warnings() == ("3 values with fractions of a Hounsfield unit, rounded to whole ones: up to 0.300 HU off",)


def test_a_cut_file_says_how_many_bytes_were_found_and_expected(tmp_path):
    path = write(tmp_path, volume_hu(1)[0])
    cut(path, -140)
    with pytest.raises(SeriesError, match="100 bytes of pixels, expected 240; export the series again"):
        read(path)


def test_pixels_of_more_rows_or_columns_than_the_header_says_are_refused(tmp_path):
    path = write(tmp_path, volume_hu(1)[0], lambda dataset, _: setattr(dataset, "Columns", 6))
    with pytest.raises(SeriesError, match="240 bytes of pixels, expected 120; export the series again"):
        read(path)


def test_an_odd_number_of_bytes_may_be_padded_to_an_even_one(tmp_path):
    def one_byte_each(dataset, _):
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
        dataset.PixelData = bytes([1, 2, 255, 0])
        dataset["PixelData"].VR = "OB"

    assert read(write(tmp_path, np.zeros((1, 3)), one_byte_each, intercept=0)).tolist() == [[1, 2, 255]]


@pytest.mark.parametrize(("kind", "words"), [("SV", "breaks off"), ("UV", "breaks off"), ("UT", "another kind than bytes")])
def test_pixels_written_as_another_kind_of_value_are_refused_without_their_bytes(tmp_path, kind, words):
    path = write(tmp_path, volume_hu(1, 9, 11)[0])
    raw = bytearray(path.read_bytes())
    start = raw.rfind(b"\xe0\x7f\x10\x00OW")
    raw[start + 4 : start + 6] = kind.encode()
    raw[start + 12 : start + 18] = b"SECRET"
    path.write_bytes(raw)
    with pytest.raises(SeriesError, match=words) as refusal:
        read(path)
    assert "SECRET" not in str(refusal.value)


def test_a_file_without_pixels_is_refused(tmp_path):
    def drop(dataset, _):
        del dataset.PixelData

    with pytest.raises(SeriesError, match="no pixels"):
        read(write(tmp_path, volume_hu(1)[0], drop))


def test_a_compression_that_cannot_be_undone_here_is_named(tmp_path):
    path = write(tmp_path, volume_hu(1)[0])
    dataset = dcmread(path)
    dataset.compress(RLELossless)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.57"
    dataset.save_as(path)
    with pytest.raises(SeriesError, match=r"cannot be decoded \(JPEG Lossless, Non-Hierarchical \(Process 14\)\)"):
        read(path)


def test_an_unlisted_compression_is_refused_without_repeating_its_text(tmp_path):
    path = write(tmp_path, volume_hu(1)[0])
    dataset = dcmread(path)
    dataset.compress(RLELossless)
    dataset.file_meta.TransferSyntaxUID = "1.2.3.4.5"
    dataset.save_as(path)
    with pytest.raises(SeriesError, match=r"unknown transfer syntax") as refusal:
        read(path)
    assert "1.2.3.4.5" not in str(refusal.value)


def test_a_file_that_is_gone_is_refused(tmp_path):
    path = write(tmp_path, volume_hu(1)[0])
    header = scan(path)
    path.unlink()
    for one in (header, replace(header, pixels=None)):
        with pytest.raises(SeriesError, match="no longer be opened"):
            read_slice_hu(path, one, Rounding())


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize("size", [-140, 10_000])
def test_a_file_that_has_another_size_than_when_it_was_found_is_refused(tmp_path, is_plain, size):
    path = write(tmp_path, volume_hu(1)[0])
    header = scan(path)
    os.truncate(path, path.stat().st_size - 140 if size < 0 else size)
    with pytest.raises(SeriesError, match=r"has changed \(\d+ bytes, \d+ when"):
        read_slice_hu(path, header if is_plain else replace(header, pixels=None), Rounding())


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_file_that_was_written_to_since_it_was_found_is_refused(tmp_path, is_plain):
    path = write(tmp_path, volume_hu(1)[0])
    header = scan(path)
    os.utime(path, ns=(0, header.stamp.changed_ns + 1))
    with pytest.raises(
        SeriesError, match=r"has changed \(written to after .*\); let the copy or export end, then pack the folder again"
    ):
        read_slice_hu(path, header if is_plain else replace(header, pixels=None), Rounding())


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_plain_pixels_are_read_once_and_straight(tmp_path, monkeypatch, syntax):
    path = write(tmp_path, volume_hu(1)[0], syntax=syntax)
    assert is_read_plainly(path, monkeypatch)
    # The search for files asks whether they are held in memory by the same call.
    header = scan(path)
    reads = []
    monkeypatch.setattr(
        pixels.os, "preadv", lambda *arguments: reads.append((arguments[1][0].nbytes, arguments[2])) or preadv(*arguments)
    )
    read_slice_hu(path, header, Rounding())
    assert reads == [(240, header.pixels.first)]


BITS = {
    # stored bits, sign, words in the file, HU with intercept 0, whether the words are plain
    "12 bits, clean": (12, 0, [0, 1, 0x0FFF], [0, 1, 4095], True),
    "12 bits, dirty high bits": (12, 0, [0x5005, 0xF005, 0x0FFF], [5, 5, 4095], False),
    "12 signed bits, extended": (12, 1, [0, 0xFFFF, 0x07FF], [0, -1, 2047], True),
    "12 signed bits, not extended": (12, 1, [0, 0x0FFF, 0x0800], [0, -1, -2048], False),
    "16 bits within int16": (16, 0, [0, 1, 0x7FFF], [0, 1, 32767], True),
    "16 signed bits": (16, 1, [0x8000, 0xFFFF, 0x7FFF], [-32768, -1, 32767], True),
}


@pytest.mark.parametrize("name", BITS)
def test_bits_are_read_as_they_are_stored(tmp_path, monkeypatch, name):
    stored, sign, words, expected, is_plain = BITS[name]

    def change(dataset, _):
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = stored, stored - 1, sign
        dataset.PixelData = np.array(words, "<u2").tobytes()

    path = write(tmp_path, np.zeros((1, 3)), change, intercept=0)
    assert read(path).tolist() == [expected]
    assert is_read_plainly(path, monkeypatch) == is_plain


def test_unsigned_values_beyond_int16_fit_with_the_intercept(tmp_path, monkeypatch):
    def change(dataset, _):
        dataset.PixelRepresentation, dataset.RescaleIntercept = 0, -32767
        dataset.PixelData = np.array([0, 0x8000, 0xFFFE], "<u2").tobytes()

    path = write(tmp_path, np.zeros((1, 3)), change)
    assert read(path).tolist() == [[-32767, 1, 32767]]
    assert is_read_plainly(path, monkeypatch)


def test_the_lowest_intercept_does_not_overflow(tmp_path):
    def change(dataset, _):
        dataset.PixelRepresentation, dataset.RescaleIntercept = 0, -32768
        dataset.PixelData = np.array([0, 0xFFFF], "<u2").tobytes()

    assert read(write(tmp_path, np.zeros((1, 2)), change)).tolist() == [[-32768, 32767]]


@pytest.mark.parametrize(
    "values",
    [
        {"RescaleSlope": 2},
        {"RescaleIntercept": "0.5", "RescaleSlope": "0.5"},
        {"HighBit": 14, "BitsStored": 15, "PixelRepresentation": 0, "PhotometricInterpretation": "PALETTE COLOR"},
        {"SamplesPerPixel": 3, "PlanarConfiguration": 0},
        {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31},
        {"Rows": 100},
        {"Rows": 4000, "Columns": 5000},
        {"Rows": 60000, "Columns": 60000},
        {"PhotometricInterpretation": None},
        {"HighBit": None},
        {"BitsStored": None},
        {"PixelRepresentation": None},
    ],
)
def test_unusual_headers_end_alike_with_and_without_pydicom(tmp_path, values):
    def change(dataset, _):
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    path = write(tmp_path, np.full((10, 12), 3), change, intercept=0)
    with contextlib.suppress(SeriesError):
        read(path)


def test_an_image_of_giant_size_is_refused_by_it(tmp_path):
    def change(dataset, _):
        dataset.Rows, dataset.Columns = 65535, 65535

    with pytest.raises(SeriesError, match="an image of 65535 x 65535, at most 16777216 pixels are read"):
        read(write(tmp_path, volume_hu(1)[0], change))


def test_a_file_far_larger_than_a_slice_is_refused_unread(tmp_path, monkeypatch):
    path = write(tmp_path, volume_hu(1)[0], lambda dataset, _: setattr(dataset, "RescaleSlope", 2))
    os.truncate(path, MAX_FILE_BYTES + 1)
    with pytest.raises(SeriesError, match=f"{MAX_FILE_BYTES + 1} bytes in the file of one slice, at most {MAX_FILE_BYTES}"):
        read_slice_hu(path, scan(path), Rounding())


@pytest.mark.parametrize("syntax", ["JPEG 2000", "RLE"])
def test_compressed_pixels_that_break_off_are_refused(tmp_path, syntax):
    path = write(tmp_path, volume_hu(1)[0])
    compress(path, JPEG2000Lossless if syntax == "JPEG 2000" else RLELossless)
    whole = path.read_bytes()
    assert np.array_equal(read(path), volume_hu(1)[0])
    for size in (len(whole) - 60, len(whole) - 120, scan(path).pixels.first + 14, scan(path).pixels.first):
        path.write_bytes(whole[:size])
        with pytest.raises(SeriesError, match=r"cannot be decoded|break off|breaks off"):
            read_slice_hu(path, scan(path), Rounding())


def test_compressed_pixels_in_several_fragments_are_joined(tmp_path):
    path = write(tmp_path, volume_hu(1)[0])
    compress(path, JPEG2000Lossless, fragments=3)
    assert np.array_equal(read(path), volume_hu(1)[0])


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">i2", "<u4", "<i4"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, -1024), (1, -32766), (3, 32000), (-2, 5)])
def test_rescaling_within_16_bits_gives_what_more_bits_give(dtype, slope, intercept):
    holds = np.iinfo(dtype)
    hu = np.array([[-32768, -1000, 0, 1], [40, 1000, 32766, 32767]])
    stored = np.clip((hu - intercept) // slope, holds.min, holds.max)
    stored = stored[np.abs(stored * slope + intercept) <= INT16.max].astype(dtype)
    header = SimpleNamespace(slope=float(slope), intercept=float(intercept), padding=None)
    image_hu = to_hu(stored, header, Rounding())
    assert image_hu.dtype == np.int16
    np.testing.assert_array_equal(image_hu, stored.astype(object) * slope + intercept)
