"""Stored values -> Hounsfield units, and pixels that cannot be had."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless

from hipseg.errors import SeriesError
from hipseg.ingest.dicomfile import read_dataset
from hipseg.ingest.headers import HEADER_TAGS, parse_header
from hipseg.ingest.pixels import read_slice_hu
from tests.ingest.builders import cut, volume_hu, write_ct_series


def write(tmp_path, image, change=None, **options):
    return write_ct_series(tmp_path, image[np.newaxis], change=change, **options)[0]


def read(path):
    return read_slice_hu(path, parse_header(read_dataset(path, HEADER_TAGS, has_pixels=False), path, "."))


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


def test_a_measured_value_beyond_int16_is_refused_with_the_values(tmp_path):
    def pad(dataset, _):
        dataset.PixelPaddingValue = -32768
        dataset.PixelData = np.array([-32768, -32700, 0], "<i2").tobytes()

    with pytest.raises(SeriesError, match=r"1 pixels beyond int16 \(-33724 to -33724 HU\)"):
        read(write(tmp_path, np.array([[0, 0, 0]]), pad))


def test_fractions_of_a_unit_are_refused(tmp_path):
    def rescale(dataset, _):
        dataset.RescaleSlope, dataset.RescaleIntercept = "0.5", "0"

    with pytest.raises(SeriesError, match=r"2 pixels with fractions .*slope 0\.5"):
        read(write(tmp_path, np.array([[1, 2, 3]]), rescale, intercept=0))


def test_a_cut_file_says_how_many_bytes_were_found_and_expected(tmp_path):
    path = write(tmp_path, volume_hu(1)[0])
    cut(path, -140)
    with pytest.raises(SeriesError, match="100 bytes of pixels, expected 240; export the series again"):
        read(path)


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
    header = parse_header(read_dataset(path, HEADER_TAGS, has_pixels=False), path, ".")
    path.unlink()
    with pytest.raises(SeriesError, match="no longer be opened"):
        read_slice_hu(path, header)
