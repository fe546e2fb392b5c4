"""Headers read without pydicom: the same answers as with it, or none."""

import os
from dataclasses import replace

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from hipseg.ingest import plain
from hipseg.ingest.dicomfile import UnreadableFileError, is_cut, read_dataset
from hipseg.ingest.elements import OddLayoutError
from hipseg.ingest.headers import HEADER_TAGS, is_localizer, parse_header
from hipseg.ingest.plain import FIRST_READ_BYTES, MAX_PLAIN_BYTES, HeaderReader
from tests.ingest.builders import Plane, cut, volume_hu, write_ct_series

SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)


def write(tmp_path, change=None, **options):
    return write_ct_series(tmp_path, volume_hu(1), change=change and (lambda dataset, _: change(dataset)), **options)[0]


def read(path, headers=None):
    """Read a header, as the first of its series or after others."""
    headers = headers or HeaderReader(HEADER_TAGS)
    with path.open("rb", buffering=0) as handle:
        return headers.read(handle.fileno(), headers.read_head(handle.fileno()))


def is_read_alike(path, headers=None):
    """Say whether a file is read without pydicom; where it is, the header must equal pydicom's."""
    try:
        ours = read(path, headers)
    except OddLayoutError:
        return False
    theirs = read_dataset(path, HEADER_TAGS, has_pixels=False)
    assert replace(parse_header(ours, path, "."), pixels=None) == parse_header(theirs, path, ".")
    assert is_localizer(ours) == is_localizer(theirs)
    return True


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_plain_header_equals_pydicoms(tmp_path, syntax):
    plane = Plane(np.ones((10, 12), bool), label="bone", description="by hand")
    path = write(tmp_path, overlays={0: [plane]}, syntax=syntax)
    assert is_read_alike(path)
    header = read(path)
    assert path.read_bytes()[header.pixels.first :] == dcmread(path).PixelData


PLAIN_CHANGES = {
    "empty values": {"PatientID": "", "Rows": None, "ImagePositionPatient": None, "ImageType": "", "RescaleType": ""},
    "white space": {"PatientID": "  a b ", "SliceThickness": "  1.50 ", "InstanceNumber": " 7 "},
    "exponents": {"SliceThickness": "1.5e0", "RescaleSlope": "+1.0E+00"},
    "one part of an image type": {"ImageType": "LOCALIZER"},
    "padding": {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -2048},
    "a character set above ASCII": {"SpecificCharacterSet": "ISO_IR 192", "PatientID": "plain"},
    "too few numbers": {"PixelSpacing": ["0.5"], "ImagePositionPatient": ["1", "2"]},
    "several frames": {"NumberOfFrames": "3"},
}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("name", PLAIN_CHANGES)
def test_unusual_values_equal_pydicoms(tmp_path, name, syntax):
    def change(dataset):
        for keyword, value in PLAIN_CHANGES[name].items():
            setattr(dataset, keyword, value)

    assert is_read_alike(write(tmp_path, change, syntax=syntax))


ODD_CHANGES = {
    "letters beyond ASCII": {"SpecificCharacterSet": "ISO_IR 192", "PatientID": "Jürgen"},
    "escape sequences": {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientID": "plain"},
    "a character set with other letters in ASCII's place": {"SpecificCharacterSet": "ISO_IR 13", "PatientID": "a~b"},
    "several values in one text": {"PatientID": ["a", "b"]},
}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("name", ODD_CHANGES)
def test_texts_that_depend_on_character_sets_are_left_to_pydicom(tmp_path, name, syntax):
    def change(dataset):
        for keyword, value in ODD_CHANGES[name].items():
            setattr(dataset, keyword, value)

    assert not is_read_alike(write(tmp_path, change, syntax=syntax))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"DS\x04\x003.25", b"DS\x04\x00nan "),
        (b"DS\x04\x003.25", b"DS\x04\x003_25"),
        (b"DS\x04\x003.25", b"DS\x04\x003 25"),
        (b"DS\x04\x003.25", b"DS\x04\x003.2\0"),
        (b"DS\x04\x003.25", b"LO\x04\x003.25"),
        (b"IS\x02\x001 ", b"IS\x02\x00+-"),
        (b"IS\x02\x001 ", b"IS\x02\x001."),
        (b"CS\x02\x00CT", b"CS\x02\x00\x07T"),
        (b"US\x02\x00\x0a\x00", b"SS\x02\x00\x0a\x00"),
    ],
)
def test_values_that_are_not_written_as_they_should_be_are_left_to_pydicom(tmp_path, before, after):
    path = write(tmp_path, lambda dataset: setattr(dataset, "SliceThickness", "3.25"))
    raw = path.read_bytes()
    assert before in raw
    path.write_bytes(raw.replace(before, after, 1))
    assert not is_read_alike(path)


def test_padding_without_a_sign_in_an_implicit_file_is_left_to_pydicom(tmp_path):
    def change(dataset):
        dataset.add_new("PixelPaddingValue", "SS", -2000)
        del dataset.PixelRepresentation

    assert not is_read_alike(write(tmp_path, change, syntax=ImplicitVRLittleEndian))


def test_a_file_that_breaks_off_or_has_no_pixels_is_left_to_pydicom(tmp_path):
    path = write(tmp_path)
    cut(path, read(path).pixels.first - 12)
    assert not is_read_alike(path)
    assert not is_read_alike(write(tmp_path / "b", lambda dataset: delattr(dataset, "PixelData")))


@pytest.mark.parametrize(("size", "is_plain"), [(10, True), (FIRST_READ_BYTES, True), (MAX_PLAIN_BYTES * 8, False)])
def test_a_long_header_is_read_on_each_byte_once(tmp_path, monkeypatch, size, is_plain):
    path = write(tmp_path, lambda dataset: dataset.add_new(0x00290010, "OB", bytes(size)))
    reads = []

    def count(descriptor, length, offset):
        reads.append((offset, length))
        return real(descriptor, length, offset)

    real = os.pread
    monkeypatch.setattr(plain.os, "pread", count)
    assert is_read_alike(path) == is_plain
    assert reads[0] == (0, FIRST_READ_BYTES)
    assert all(offset == sum(reads[n - 1]) for n, (offset, _) in enumerate(reads) if n)
    assert sum(length for _, length in reads) <= 8 * MAX_PLAIN_BYTES


def test_a_file_of_random_changes_reads_as_pydicom_reads_it_or_not_at_all(tmp_path):
    plane = Plane(np.ones((10, 12), bool), label="bone")
    generator = np.random.default_rng(7)
    plain_reads = 0
    for syntax in SYNTAXES:
        path = write(tmp_path / syntax, overlays={0: [plane]}, syntax=syntax)
        whole, end = path.read_bytes(), read(path).pixels.first
        for _ in range(300):
            changed = bytearray(whole)
            for place in generator.integers(128, end, generator.integers(1, 4)):
                changed[place] = generator.integers(256)
            path.write_bytes(changed)
            try:
                if is_cut(read_dataset(path, HEADER_TAGS, has_pixels=False)):
                    continue
            except UnreadableFileError:
                continue
            plain_reads += is_read_alike(path)
    assert plain_reads > 50


def test_short_values_are_remembered_and_long_ones_are_not():
    before = plain._decode_short.cache_info().currsize
    plain._decode_short(0x00100020, "LO", b"never seen before")
    assert plain._decode_short.cache_info().currsize in (before + 1, plain._decode_short.cache_info().maxsize)
    assert plain.MAX_REMEMBERED_BYTES * plain._decode_short.cache_info().maxsize < 1 << 20


def series(tmp_path, slices=6, **options):
    """Write a series in which many elements differ in value and length from image to image."""

    def change(dataset, z):
        dataset.SOPInstanceUID = f"2.25.{10**z}"
        dataset.InstanceNumber = 3 * z
        dataset.Exposure = 100 + z // 2
        if z % 2:
            dataset.PixelPaddingValue = 5 - z
        if z > 2:
            dataset.AcquisitionNumber = z

    planes = {z: [Plane(np.full((10, 12), z % 3 > 0), label="bone")] for z in range(1, slices)}
    return write_ct_series(tmp_path, volume_hu(slices), change=change, overlays=planes, **options)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_headers_of_a_series_equal_pydicoms_one_after_another(tmp_path, syntax):
    headers = HeaderReader(HEADER_TAGS)
    paths = series(tmp_path, syntax=syntax)
    for path in paths * 2:
        assert is_read_alike(path, headers)
        assert read(path, headers).values == read(path).values


def test_a_series_is_walked_over_only_where_it_brings_something_new(tmp_path, monkeypatch):
    paths = write_ct_series(tmp_path, volume_hu(12))
    walks = []
    real = plain.find_elements
    monkeypatch.setattr(plain, "find_elements", lambda *given: walks.append(1) or real(*given))
    headers = HeaderReader(HEADER_TAGS)
    found = [parse_header(read(path, headers), path, ".") for path in paths]
    # The first one, and where an element differs that did not before.
    assert len(walks) <= 4
    assert len({header.position_mm for header in found}) == len(paths)


def test_series_that_take_turns_keep_apart(tmp_path):
    folders = [tmp_path / name for name in "abc"]
    paths = [
        write_ct_series(folder, volume_hu(3), change=lambda dataset, _, n=n: setattr(dataset, "PatientID", f"p{n}"))
        for n, folder in enumerate(folders)
    ]
    headers = HeaderReader(HEADER_TAGS)
    for turn in zip(*paths, strict=True):
        for n, path in enumerate(turn):
            assert parse_header(read(path, headers), path, ".").patient_id == f"p{n}"
            assert is_read_alike(path, headers)


def test_kinds_of_headers_beyond_a_number_are_forgotten(tmp_path):
    headers = HeaderReader(HEADER_TAGS)
    for number in range(2 * plain.MAX_KNOWN):
        path = write(tmp_path / str(number), lambda dataset, n=number: dataset.add_new(0x00291000 + n, "LO", ""))
        assert is_read_alike(path, headers)
        assert len(headers._known) <= plain.MAX_KNOWN


def test_the_sign_of_another_series_does_not_carry_over(tmp_path):
    def change(sign):
        def apply(dataset):
            dataset.PixelRepresentation = sign
            dataset.add_new("PixelPaddingValue", "SS" if sign else "US", -2000 if sign else 63536)

        return apply

    headers = HeaderReader(HEADER_TAGS)
    for sign, padding in ((0, (63536, 63536)), (1, (-2000, -2000)), (0, (63536, 63536))):
        path = write(tmp_path / str(sign), change(sign), syntax=ImplicitVRLittleEndian)
        assert parse_header(read(path, headers), path, ".").padding == padding
        assert is_read_alike(path, headers)


def test_a_changed_series_reads_as_pydicom_reads_it_or_not_at_all(tmp_path):
    generator = np.random.default_rng(8)
    alike = 0
    for syntax in SYNTAXES:
        paths = series(tmp_path / syntax, slices=4, syntax=syntax)
        headers = HeaderReader(HEADER_TAGS)
        assert all(is_read_alike(path, headers) for path in paths)
        whole = [path.read_bytes() for path in paths]
        for number in range(80):
            path, changed = paths[number % 4], bytearray(whole[number % 4])
            for place in generator.integers(128, len(changed) - 240, generator.integers(1, 3)):
                changed[place] = generator.integers(256)
            path.write_bytes(changed)
            try:
                is_whole = not is_cut(read_dataset(path, HEADER_TAGS, has_pixels=False))
            except UnreadableFileError:
                is_whole = False
            alike += is_whole and is_read_alike(path, headers)
            path.write_bytes(whole[number % 4])
    assert alike > 30
