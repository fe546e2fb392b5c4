"""DICOM SEG: every kind and encoding gives the voxels that were written, on the slices that they were drawn on."""

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless, RLELossless

from hipseg.errors import MaskError
from hipseg.geometry import make_grid
from hipseg.ingest.cases import find_cases, list_structures, open_case
from hipseg.ingest.planes import number_slices
from hipseg.ingest.scan import scan_tree
from hipseg.ingest.segframes import Decoders
from hipseg.ingest.segmentation import lies_on, open_segment, place_frames, read_segmentation
from hipseg.ingest.series import OrderedSeries, order_series
from tests.ingest.builders import cut, volume_hu, write_ct_series
from tests.ingest.media import zip_folder
from tests.ingest.seg_builder import read_sources, write_seg

SHAPE = (3, 11, 13)
"""143 pixels a frame: no second frame of single bits begins on a byte."""


def some_masks(segments=2, shape=SHAPE):
    masks = np.random.default_rng(5).random((*shape, segments)) < 0.4
    masks[1, ..., -1] = False
    return masks


@pytest.fixture
def series(tmp_path):
    paths = write_ct_series(tmp_path / "ct", volume_hu(*SHAPE))
    return order_series(tuple(scan_tree(tmp_path / "ct").images), "c0"), read_sources(paths)


def read(path, series, segment, threshold=0.5):
    file = read_segmentation(path)
    placed = place_frames(file, segment, series, number_slices(series.headers))
    mask = open_segment(file, segment, placed, threshold, Decoders().open(path))
    empty = np.zeros(series.grid.shape_zyx[1:], bool)
    return np.stack([empty if (found := mask(z)) is None else found for z in range(series.grid.shape_zyx[0])])


def test_bits_of_frames_that_begin_inside_a_byte_are_read(tmp_path, series):
    masks = some_masks()
    path = write_seg(tmp_path / "seg", series[1], masks.astype(np.uint8), ["a", "b"])
    for segment in (1, 2):
        assert np.array_equal(read(path, series[0], segment), masks[..., segment - 1])


def test_overlapping_segments_keep_their_own_voxels(tmp_path, series):
    masks = np.ones((*SHAPE, 2), bool)
    masks[0, :5, :, 0] = False
    path = write_seg(tmp_path / "seg", series[1], masks.astype(np.uint8), ["a", "b"])
    assert np.array_equal(read(path, series[0], 1), masks[..., 0])
    assert np.array_equal(read(path, series[0], 2), masks[..., 1])


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", RLELossless, JPEGLSLossless])
def test_a_label_map_gives_each_segment_its_own_number(tmp_path, series, syntax):
    numbers = np.random.default_rng(2).integers(0, 4, SHAPE).astype(np.uint8)
    path = write_seg(tmp_path / "seg", series[1], numbers, ["a", "b", "c"], "LABELMAP", syntax=syntax)
    file = read_segmentation(path)
    assert [(one.number, one.label) for one in file.segments] == [(1, "a"), (2, "b"), (3, "c")]
    for segment in (1, 2, 3):
        assert np.array_equal(read(path, series[0], segment), numbers == segment)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", RLELossless, JPEGLSLossless])
@pytest.mark.parametrize("threshold", [0.25, 0.5, 1.0])
def test_a_fraction_counts_from_the_threshold_on(tmp_path, series, syntax, threshold):
    stored = np.random.default_rng(7).choice([0, 49, 50, 51, 99, 100, 101, 199, 200], SHAPE)
    fractions = stored[..., np.newaxis] / 200
    path = write_seg(
        tmp_path / "seg",
        series[1],
        fractions,
        ["a"],
        "FRACTIONAL",
        syntax=syntax,
        max_fractional_value=200,
        omit_empty_frames=False,
    )
    assert np.array_equal(read(path, series[0], 1, threshold), stored >= threshold * 200)


def test_a_fraction_that_is_the_threshold_counts_however_their_product_is_rounded(tmp_path, series):
    fractions = np.empty((*SHAPE, 1))
    fractions[:] = np.array([0.54, 0.55, 0.56]).reshape(3, 1, 1, 1)
    path = write_seg(tmp_path / "seg", series[1], fractions, ["a"], "FRACTIONAL", max_fractional_value=100)
    found = read(path, series[0], 1, 0.55)
    assert [bool(one.all()) for one in found] == [False, True, True]


def test_a_fraction_above_the_whole_is_refused(tmp_path, series):
    stored = np.zeros((*SHAPE, 1))
    stored[1, 2:4, 3:5] = 1
    path = write_seg(
        tmp_path / "seg", series[1], stored, ["a"], "FRACTIONAL", change=lambda d: setattr(d, "MaximumFractionalValue", 127)
    )
    with pytest.raises(MaskError, match=r"frame 1 of a DICOM SEG has fractions of up to 255, where .* \(0062,000E\) is 127"):
        read(path, series[0], 1)


def test_jpeg_2000_is_read(tmp_path):
    paths = write_ct_series(tmp_path / "ct", volume_hu(2, 40, 48))
    series = order_series(tuple(scan_tree(tmp_path / "ct").images), "c0")
    stored = np.random.default_rng(7).integers(0, 256, (2, 40, 48))
    plain = write_seg(tmp_path / "plain", read_sources(paths), stored[..., np.newaxis] / 255, ["a"], "FRACTIONAL")
    dataset = pydicom.dcmread(plain)

    encoded = [
        imagecodecs.jpeg2k_encode(frame.astype(np.uint8), reversible=True, codecformat="j2k") for frame in dataset.pixel_array
    ]
    dataset.PixelData = encapsulate(encoded)
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.90"
    dataset.save_as(tmp_path / "j2k")
    assert np.array_equal(read(tmp_path / "j2k", series, 1), stored >= 128)


def test_a_deflated_file_is_read(tmp_path, series):
    masks = some_masks()
    path = write_seg(tmp_path / "seg", series[1], masks.astype(np.uint8), ["a", "b"])
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    dataset.save_as(tmp_path / "deflated")
    assert np.array_equal(read(tmp_path / "deflated", series[0], 2), masks[..., 1])


def test_a_file_of_one_frame_lies_on_its_slice(tmp_path, series):
    masks = some_masks(1)
    path = write_seg(tmp_path / "seg", series[1][2:], masks[2:].astype(np.uint8), ["a"])
    expected = masks[..., 0].copy()
    expected[:2] = False
    assert np.array_equal(read(path, series[0], 1), expected)


def test_frames_that_run_the_other_way_are_turned(tmp_path, series):
    """Rows from right to left and slices from the head down: the same voxels, counted otherwise."""
    masks = some_masks(1)

    def turn(dataset):
        shared = dataset.SharedFunctionalGroupsSequence[0]
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
        for groups in dataset.PerFrameFunctionalGroupsSequence:
            position = groups.PlanePositionSequence[0]
            x, y, z = position.ImagePositionPatient
            position.ImagePositionPatient = [float(x) + 12 * 0.5, y, z]

    path = write_seg(tmp_path / "seg", series[1], masks[:, :, ::-1].astype(np.uint8), ["a"], change=turn)
    assert np.array_equal(read(path, series[0], 1), masks[..., 0])


def shift(by_mm):
    def change(dataset):
        for groups in dataset.PerFrameFunctionalGroupsSequence:
            position = groups.PlanePositionSequence[0]
            position.ImagePositionPatient = [float(v) + mm for v, mm in zip(position.ImagePositionPatient, by_mm, strict=True)]

    return change


@pytest.mark.parametrize(
    ("by_mm", "words"),
    [
        ((0, 0, 1.2), r"frame 1 of a DICOM SEG lies off the slices: 1\.20 mm from slice 3 of 3 by position"),
        ((0, 0, 3), r"frame 1 of a DICOM SEG lies off the slices: 3\.00 mm from slice 3 of 3"),
        ((0.3, 0, 0), r"frame 1 of a DICOM SEG does not fit: .* first voxel 0\.30 mm from the series'"),
        ((0, 0, -3), r"frame 1 of a DICOM SEG contradicts itself: by position it lies on slice 2 of 3, .* image of slice 3"),
    ],
)
def test_frames_beside_the_voxels_of_the_series_are_refused(tmp_path, series, by_mm, words):
    path = write_seg(
        tmp_path / "seg", series[1], some_masks(1).astype(np.uint8), ["a"], change=shift(by_mm), omit_empty_frames=False
    )
    with pytest.raises(MaskError, match=words):
        read(path, series[0], 1)


def test_another_spacing_and_another_plane_are_refused(tmp_path, series):
    def stretch(dataset):
        dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [1.5, 1.0]

    def tip(dataset):
        dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]

    for change, words in ((stretch, r"of 3\.000 x 1\.500 x 1\.000 mm"), (tip, "frame 1 of a DICOM SEG does not fit")):
        path = write_seg(tmp_path / "seg", series[1], some_masks(1).astype(np.uint8), ["a"], change=change)
        assert not lies_on(read_segmentation(path), series[0])
        with pytest.raises(MaskError, match=words):
            read(path, series[0], 1)


def test_a_frame_without_place_lies_on_the_image_that_it_names(tmp_path, series):
    def drop(dataset):
        for groups in dataset.PerFrameFunctionalGroupsSequence:
            del groups.PlanePositionSequence

    masks = some_masks(1)
    path = write_seg(tmp_path / "seg", series[1], masks.astype(np.uint8), ["a"], change=drop)
    file = read_segmentation(path)
    placed = place_frames(file, 1, series[0], number_slices(series[0].headers))
    assert sorted(placed) == [0, 2]
    with pytest.raises(MaskError, match="frame 1 of a DICOM SEG does not say where it lies"):
        place_frames(file, 1, series[0], {})


def test_two_frames_of_one_segment_on_one_slice_are_refused(tmp_path, series):
    def stack(dataset):
        first = dataset.PerFrameFunctionalGroupsSequence[0]
        dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence = first.PlanePositionSequence
        for groups in dataset.PerFrameFunctionalGroupsSequence:
            del groups.DerivationImageSequence

    path = write_seg(tmp_path / "seg", series[1], np.ones((*SHAPE, 1), np.uint8), ["a"], change=stack)
    with pytest.raises(MaskError, match=r"frames 1 and 2 of a DICOM SEG show one segment on one slice \(3 of 3"):
        read(path, series[0], 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: delattr(d, "SegmentSequence"), "lists 0 segments"),
        (lambda d: d.SegmentSequence.append(d.SegmentSequence[0]), r"lists 2 segments \(0062,0002\) of 1 numbers"),
        (lambda d: delattr(d, "SegmentationType"), "without a Segmentation Type"),
        (lambda d: setattr(d.SegmentSequence[0], "SegmentNumber", 7), "2 of 2 frames .*, the first is frame 1, show a segment"),
        (lambda d: setattr(d, "NumberOfFrames", 9), "of 9 frames describes 2"),
        (
            lambda d: delattr(d.SharedFunctionalGroupsSequence[0], "SegmentIdentificationSequence"),
            "frame 1 .* names no segment",
        ),
    ],
)
def test_a_file_that_lacks_what_is_needed_is_refused(tmp_path, series, change, words):
    path = write_seg(tmp_path / "seg", series[1], some_masks(1).astype(np.uint8), ["a"], change=change)
    with pytest.raises(MaskError, match=words):
        _ = read_segmentation(path).frames


def test_what_names_its_series_is_placed_and_listed_without_a_look_at_its_frames(tmp_path, series, monkeypatch):
    write_seg(tmp_path / "seg", series[1], some_masks().astype(np.uint8), ["a", "b"])
    monkeypatch.setattr("hipseg.ingest.segmentation._parse_frames", None)
    (case,) = find_cases(tmp_path).cases
    assert [one.name for one in list_structures(case)] == ["a", "b"]
    with pytest.raises(MaskError, match="a DICOM SEG breaks off or is damaged"):
        open_case(case, "c0", {"a": 1})


def test_a_file_that_breaks_off_is_refused_wherever_it_does(tmp_path, series):
    path = write_seg(tmp_path / "seg", series[1], some_masks().astype(np.uint8), ["a", "b"])
    size = path.stat().st_size
    for part in range(1, 12):
        whole = path.read_bytes()
        cut(path, size * part // 12)
        with pytest.raises(MaskError):
            read(path, series[0], 2)
        path.write_bytes(whole)


def test_frames_on_a_longer_series_lie_where_they_were_drawn(tmp_path, series):
    grid = series[0].grid
    longer = make_grid((9, *SHAPE[1:]), grid.spacing_mm_zyx, np.array(grid.origin_mm_xyz) - (0, 0, 9), grid.directions_xyz)
    path = write_seg(tmp_path / "seg", series[1], some_masks(1).astype(np.uint8), ["a"])
    assert sorted(place_frames(read_segmentation(path), 1, OrderedSeries((), longer), {})) == [3, 5]


def test_a_number_of_no_segment_in_a_label_map_is_refused(tmp_path, series):
    def forget(dataset):
        del dataset.SegmentSequence[-1]

    numbers = np.zeros(SHAPE, np.uint8)
    numbers[1, 2:4, 3:5], numbers[1, 7, 7:10] = 1, 2
    path = write_seg(tmp_path / "seg", series[1], numbers, ["a", "b"], "LABELMAP", change=forget)
    with pytest.raises(MaskError, match=r"frame \d of a DICOM SEG has 3 pixels with numbers of none of its \d segments"):
        read(path, series[0], 1)


def test_the_number_of_padding_in_a_label_map_is_background(tmp_path, series):
    def pad(dataset):
        dataset.PixelPaddingValue = 9
        dataset.PixelData = dataset.PixelData.replace(b"\0", b"\x09")

    numbers = np.zeros(SHAPE, np.uint8)
    numbers[1, 2:4, 3:5] = 1
    path = write_seg(tmp_path / "seg", series[1], numbers, ["a"], "LABELMAP", change=pad)
    assert np.array_equal(read(path, series[0], 1), numbers == 1)


def test_a_seg_of_another_frame_of_reference_is_refused(tmp_path, series):
    def move(dataset):
        dataset.FrameOfReferenceUID = "2.25.4444"

    masks = some_masks(1)
    write_seg(tmp_path / "ct" / "seg", series[1], masks.astype(np.uint8), ["a"], change=move)
    (source,) = find_cases(tmp_path).cases
    with pytest.raises(MaskError, match="a DICOM SEG lies in another frame of reference"):
        open_case(source, "c0", {})


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_a_seg_in_a_zip_is_read(tmp_path, series, kind):
    masks = some_masks(1)
    pixels = masks.astype(np.uint8) if kind == "BINARY" else masks[..., 0].astype(np.uint8)
    write_seg(tmp_path / "ct" / "seg", series[1], pixels, ["a"], kind)
    zip_folder(tmp_path / "ct", tmp_path / "zipped" / "case.zip")
    (source,) = find_cases(tmp_path / "zipped").cases
    assert np.array_equal([labels for _, labels in open_case(source, "c0", {}).slices], masks[..., 0])
