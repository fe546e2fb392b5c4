"""The pixels of a DICOM SEG: where they are not what the header says, no frame of them is given."""

import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from hipseg.errors import MaskError
from hipseg.ingest.segframes import MAX_OPEN, MAX_REST_BYTES, Decoders
from tests.ingest.builders import cut, volume_hu, write_ct_series
from tests.ingest.seg_builder import read_sources, write_seg

PIXELS = b"\xe0\x7f\x10\x00"
SYNTAXES = {"explicit": ExplicitVRLittleEndian, "implicit": ImplicitVRLittleEndian}
LENGTH_AT = {"explicit": 8, "implicit": 4}
"""Where the length of the pixels stands in their element. Source: DICOM PS3.5 7.1."""
PADDING = b"\xfc\xff\xfc\xffOB\0\0\x06\0\0\0" + bytes(6)
"""Data Set Trailing Padding, 6 bytes. Source: DICOM PS3.10 7.2."""


def write(folder, shape=(3, 10, 12), kind="BINARY", **options):
    """Write a SEG with one segment on every slice; give its path and the stored values of its frames."""
    sources = read_sources(write_ct_series(folder / "ct", volume_hu(*shape)))
    stored = np.random.default_rng(3).integers(0, 2, shape).astype(np.uint8)
    pixels = stored if kind == "LABELMAP" else stored[..., np.newaxis]
    path = write_seg(folder / "seg", sources, pixels, ["a"], kind, omit_empty_frames=False, **options)
    return path, pydicom.dcmread(path).pixel_array


def compress(path, table, fragments=1):
    """Compress a SEG as RLE, a frame of so many fragments, with a table of offsets: "basic", "extended" or none."""
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=len(dataset.PerFrameFunctionalGroupsSequence)))
    if table == "extended":
        dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(frames)
    else:
        dataset.PixelData = encapsulate(frames, fragments_per_frame=fragments, has_bot=table == "basic")
    dataset.save_as(path)


def splice(path, first, end, new):
    """Put other bytes in the place of some, counted from where the element of the pixels begins."""
    raw = path.read_bytes()
    start = raw.rindex(PIXELS)
    path.write_bytes(raw[: start + first] + new + raw[start + end :])


def decode_all(path, frames=3):
    decode = Decoders().open(path)
    return np.stack([decode(number) for number in range(1, frames + 1)])


@pytest.mark.parametrize("shape", [(3, 10, 12), (3, 11, 13)], ids=["on bytes", "inside bytes"])
@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_length_of_other_bytes_is_refused(tmp_path, shape, kind, syntax):
    path, stored = write(tmp_path, shape, kind, syntax=SYNTAXES[syntax])
    assert np.array_equal(decode_all(path), stored)
    at = LENGTH_AT[syntax]
    splice(path, at, at, b"\x04\x02\x03\x01")
    with pytest.raises(MaskError, match=r"with 16974340 bytes of pixels \(7FE0,0010\), \d+ are expected of its frames"):
        Decoders().open(path)


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("Rows", 20, r"with 46 bytes .*, 90 are expected of its frames \(3 of 20 x 12 pixels of 1 bits\)"),
        ("BitsAllocated", 8, r"with 46 bytes .*, 360 are expected of its frames \(3 of 10 x 12 pixels of 8 bits\)"),
        ("NumberOfFrames", 2, r"with 46 bytes .*, 30 are expected of its frames \(2 of 10 x 12 pixels of 1 bits\)"),
        ("SamplesPerPixel", 3, r"with 3 samples a pixel \(0028,0002\) of representation 0"),
        ("PixelRepresentation", 1, r"with 1 samples a pixel \(0028,0002\) of representation 1 \(0028,0103\)"),
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian], ids=["explicit", "deflated"])
def test_a_header_of_other_pixels_is_refused(tmp_path, keyword, value, words, syntax):
    path, _ = write(tmp_path)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    setattr(dataset, keyword, value)
    dataset.save_as(path)
    with pytest.raises(MaskError, match=words):
        Decoders().open(path)


def test_bytes_that_came_into_the_pixels_or_went_are_noticed(tmp_path):
    path, _ = write(tmp_path)
    whole = path.read_bytes()
    splice(path, 20, 20, b"\0\0")
    with pytest.raises(MaskError, match=r"other bytes behind its pixels .* so that its frames may have moved"):
        Decoders().open(path)
    path.write_bytes(whole)
    splice(path, 20, 22, b"")
    with pytest.raises(MaskError, match="breaks off inside its pixels"):
        Decoders().open(path)


def test_elements_behind_the_pixels_are_passed_over_and_nothing_else(tmp_path):
    path, stored = write(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + PADDING)
    assert np.array_equal(decode_all(path), stored)
    too_long = struct.pack("<L", MAX_REST_BYTES)
    for rest in (PADDING[:-1], PADDING * 2, PADDING[:8] + too_long + bytes(MAX_REST_BYTES), bytes(18)):
        path.write_bytes(whole + rest)
        with pytest.raises(MaskError, match="other bytes behind its pixels"):
            Decoders().open(path)


@pytest.mark.parametrize(("table", "fragments"), [("none", 1), ("basic", 1), ("basic", 2), ("extended", 1)])
def test_compressed_frames_are_found_by_every_kind_of_table(tmp_path, table, fragments):
    path, stored = write(tmp_path, kind="LABELMAP")
    compress(path, table, fragments)
    assert np.array_equal(decode_all(path), stored)


@pytest.mark.parametrize("offset", [b"\0\0\0\0", b"\x02\0\0\0", b"\xff\xff\xff\xff"])
def test_a_table_that_points_elsewhere_is_refused(tmp_path, offset):
    path, _ = write(tmp_path, kind="LABELMAP")
    compress(path, "basic")
    # Tag, representation and length of the pixels, tag and length of the table, its first offset; then the second one.
    splice(path, 24, 28, offset)
    with pytest.raises(MaskError, match=r"a table of 3 offsets .* that does not point to its frames \(3\) one after another"):
        Decoders().open(path)


def test_a_table_that_begins_in_the_middle_of_the_first_frame_is_refused(tmp_path):
    path, _ = write(tmp_path, kind="LABELMAP")
    compress(path, "basic", fragments=2)
    raw = path.read_bytes()
    # Behind the table, of 3 offsets from byte 20 on, lie tag and length of the first fragment, then the fragment.
    at = raw.rindex(PIXELS) + 32
    assert raw[at : at + 4] == b"\xfe\xff\x00\xe0"
    splice(path, 20, 24, struct.pack("<L", 8 + struct.unpack_from("<L", raw, at + 4)[0]))
    with pytest.raises(MaskError, match="a table of 3 offsets"):
        Decoders().open(path)


def test_an_extended_table_that_points_elsewhere_is_refused(tmp_path):
    path, _ = write(tmp_path, kind="LABELMAP")
    compress(path, "extended")
    dataset = pydicom.dcmread(path)
    dataset.ExtendedOffsetTable = dataset.ExtendedOffsetTable[:8] * 3
    dataset.save_as(path)
    with pytest.raises(MaskError, match="a table of 3 offsets"):
        Decoders().open(path)


@pytest.mark.parametrize("table", ["none", "basic"])
def test_compressed_pixels_that_break_off_or_go_on_are_refused(tmp_path, table):
    path, _ = write(tmp_path, kind="LABELMAP")
    compress(path, table)
    whole = path.read_bytes()
    for size in range(1, 12):
        cut(path, -size)
        with pytest.raises(MaskError):
            Decoders().open(path)
        path.write_bytes(whole)
    path.write_bytes(whole + b"\0\0")
    with pytest.raises(MaskError, match="other bytes behind its pixels"):
        Decoders().open(path)


def test_more_files_than_may_be_open_are_opened_again(tmp_path, monkeypatch):
    monkeypatch.setattr("hipseg.ingest.segframes.MAX_OPEN", 2)
    path, stored = write(tmp_path)
    copies = [path.with_name(f"copy{n}") for n in range(5)]
    for copy in copies:
        copy.write_bytes(path.read_bytes())
    before = len(list(Path("/proc/self/fd").iterdir()))
    decoders = Decoders()
    opened = [decoders.open(copy) for copy in copies]
    for number in (1, 3):
        assert all(np.array_equal(decode(number), stored[number - 1]) for decode in opened)
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 2


def test_the_files_that_stay_open_leave_room_for_others():
    assert MAX_OPEN <= 256 / 2
