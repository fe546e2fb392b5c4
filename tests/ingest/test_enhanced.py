"""Enhanced multi-frame CT: the same volume as from single files, whatever the frames' order and the place of their values."""

import os
import tracemalloc
import zipfile
from contextlib import closing

import highdicom
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own usual name
from imagecodecs import jpegls_encode
from pydicom import dcmread
from pydicom.encaps import encapsulate, parse_fragments
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    LegacyConvertedEnhancedCTImageStorage,
    RLELossless,
)

from hipseg.errors import SeriesError
from hipseg.ingest import archive as archives
from hipseg.ingest.cases import find_cases, open_case
from hipseg.ingest.enhanced import FrameReader, read_frame_headers
from hipseg.ingest.rounding import Rounding
from tests.ingest.builders import Plane, cut, item, volume_hu, write_ct_series
from tests.ingest.enhanced_builder import write_enhanced

OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)


def read(folder):
    (source,) = find_cases(folder).cases
    opened = open_case(source, "c0ffee", {})
    return opened, [image for image, _ in opened.slices]


@pytest.mark.parametrize("order", [None, (3, 1, 0, 2)])
@pytest.mark.parametrize("is_shared", [True, False])
@pytest.mark.parametrize("orientation", [(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), OBLIQUE])
def test_frames_give_the_volume_of_the_same_single_files(tmp_path, order, is_shared, orientation):
    volume = volume_hu()
    write_ct_series(tmp_path / "single", volume, orientation=orientation)
    write_enhanced(tmp_path / "multi" / "a", volume, order=order, is_shared=is_shared, orientation=orientation)
    opened, images = read(tmp_path / "multi")
    assert opened.grid == read(tmp_path / "single")[0].grid
    np.testing.assert_array_equal(images, volume)
    assert opened.warnings == ()


def test_simpleitk_and_highdicom_read_the_same(tmp_path):
    path = write_enhanced(tmp_path / "a", volume_hu())
    opened, images = read(tmp_path)
    image = sitk.ReadImage(path)
    np.testing.assert_array_equal(images, sitk.GetArrayFromImage(image))
    assert opened.grid.origin_mm_xyz == pytest.approx(image.GetOrigin())
    assert opened.grid.spacing_mm_zyx[::-1] == pytest.approx(image.GetSpacing())
    # highdicom counts slices against the normal.
    volume = highdicom.imread(path).get_volume().array[::-1]
    np.testing.assert_array_equal(images, volume)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_each_native_syntax_gives_the_same_frames(tmp_path, syntax):
    write_enhanced(tmp_path / "a", volume_hu(), syntax=syntax)
    np.testing.assert_array_equal(read(tmp_path)[1], volume_hu())


def test_compressed_frames_give_the_same_values(tmp_path):
    path = write_enhanced(tmp_path / "a", volume_hu())
    dataset = dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path)
    np.testing.assert_array_equal(read(tmp_path)[1], volume_hu())


@pytest.mark.parametrize("fragments", [1, 3])
def test_frames_without_a_table_of_offsets_are_found_by_a_few_walks_whatever_their_number(tmp_path, monkeypatch, fragments):
    def compress(dataset):
        frames = np.frombuffer(dataset.PixelData, "<u2").reshape(-1, dataset.Rows, dataset.Columns)
        encoded = [jpegls_encode(frame) for frame in frames]
        dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
        dataset.PixelData = encapsulate(encoded, fragments_per_frame=fragments, has_bot=False)
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True

    write_enhanced(tmp_path / "a", volume_hu(20), order=tuple(reversed(range(20))), change=compress)
    walks = []
    monkeypatch.setattr("pydicom.encaps.parse_fragments", lambda *args, **more: walks.append(1) or parse_fragments(*args, **more))
    np.testing.assert_array_equal(read(tmp_path)[1], volume_hu(20))
    assert fragments > 1 or 1 <= len(walks) <= 2


def test_legacy_converted_files_are_read_alike(tmp_path):
    write_enhanced(tmp_path / "a", volume_hu(), sop_class=LegacyConvertedEnhancedCTImageStorage)
    np.testing.assert_array_equal(read(tmp_path)[1], volume_hu())


def test_each_frame_has_its_own_rescale_values_and_a_warning_says_so(tmp_path):
    write_enhanced(tmp_path / "a", volume_hu(), intercepts=(-1024, -1000, -1024, 0))
    opened, images = read(tmp_path)
    np.testing.assert_array_equal(images, volume_hu())
    assert opened.warnings == ("3 different rescale slopes and intercepts in 4 images, each applied to its own",)


def test_two_stacks_of_one_file_are_two_cases(tmp_path):
    volume = volume_hu(6)
    write_enhanced(tmp_path / "a", volume, stack_ids=("1", "1", "1", "2", "2", "2"), change=moved_apart)
    cases = find_cases(tmp_path).cases
    assert [one.series_uid.rpartition(" ")[2] for one in cases] == ["1", "2"]
    for source, part in zip(cases, (volume[:3], volume[3:]), strict=True):
        opened = open_case(source, "c0ffee", {})
        np.testing.assert_array_equal([image for image, _ in opened.slices], part)
        assert opened.warnings[0].startswith("one of 2 stacks of one series")


def moved_apart(dataset):
    for frame in dataset.PerFrameFunctionalGroupsSequence[3:]:
        x, y, z = frame.PlanePositionSequence[0].ImagePositionPatient
        frame.PlanePositionSequence[0].ImagePositionPatient = [x, y, z + 200]


def test_an_overlay_lies_on_the_frames_that_it_names(tmp_path):
    mask = np.zeros((2, 10, 12), dtype=bool)
    mask[0, 2:5, 3:7], mask[1, 6:9, 1:2] = True, True
    write_enhanced(tmp_path / "a", volume_hu(), overlay=Plane(mask, frames=2, frame_origin=2))
    (source,) = find_cases(tmp_path).cases
    labels = [label for _, label in open_case(source, "c0ffee", {}).slices]
    np.testing.assert_array_equal(labels, [np.zeros((10, 12)), mask[0], mask[1], np.zeros((10, 12))])


def without_position(dataset):
    del dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence


def without_rescale(dataset):
    del dataset.PerFrameFunctionalGroupsSequence[2].PixelValueTransformationSequence


def one_frame_too_few(dataset):
    dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:3]


def concatenated(dataset):
    dataset.ConcatenationUID = "2.25.1"


def with_localizer(dataset):
    frame_type = item(FrameType=["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"])
    dataset.PerFrameFunctionalGroupsSequence[0].CTImageFrameTypeSequence = [frame_type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_position, r"incomplete headers in case c0ffee: 1 of 4 images without Image Position"),
        (without_rescale, r"1 of 4 images without Rescale Slope"),
        (one_frame_too_few, r"enhanced CT that cannot be read in case c0ffee: its frames are not described one by one"),
        (concatenated, r"part of a concatenation"),
        (with_localizer, r"localizers lie among its frames .*1 of 4 images"),
    ],
)
def test_a_file_that_does_not_say_where_its_frames_lie_is_refused(tmp_path, change, words):
    write_enhanced(tmp_path / "a", volume_hu(), change=change)
    with pytest.raises(SeriesError, match=words):
        read(tmp_path)


def test_a_file_cut_in_its_pixels_names_the_frame(tmp_path):
    cut(write_enhanced(tmp_path / "a", volume_hu()), -10)
    with pytest.raises(SeriesError, match=r"case c0ffee, slice 4 of 4 by position: frame 4 cannot be decoded"):
        read(tmp_path)


def test_a_file_that_goes_between_two_frames_is_refused(tmp_path):
    path = write_enhanced(tmp_path / "a", volume_hu())
    (source,) = find_cases(tmp_path).cases
    slices = open_case(source, "c0ffee", {}).slices
    next(slices)
    path.unlink()
    with pytest.raises(SeriesError, match="case c0ffee, slice 2 of 4 by position: the file can no longer be opened"):
        next(slices)


def with_two_frames_more(dataset):
    dataset.PixelData = dataset.PixelData + dataset.PixelData[:480]


def with_two_compressed_frames_more(dataset):
    frames = [*np.frombuffer(dataset.PixelData, "<u2").reshape(4, 10, 12), *np.zeros((2, 10, 12), np.uint16)]
    dataset.PixelData = encapsulate([jpegls_encode(np.ascontiguousarray(one)) for one in frames])
    dataset["PixelData"].is_undefined_length, dataset.file_meta.TransferSyntaxUID = True, JPEGLSLossless


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_two_frames_more, r"slice 1 of 4 by position: 1440 bytes of pixels, expected 960; export the series again"),
        (
            with_two_compressed_frames_more,
            "slice 1 of 4 by position: more compressed frames than the 4 that the header describes",
        ),
    ],
)
def test_pixels_of_more_frames_than_described_are_refused(tmp_path, change, words):
    write_enhanced(tmp_path / "a", volume_hu(), change=change)
    with pytest.raises(SeriesError, match=words):
        read(tmp_path)


def moved(up_mm):
    def change(dataset):
        dataset.SOPInstanceUID = f"2.25.{up_mm}"
        for frame in dataset.PerFrameFunctionalGroupsSequence:
            x, y, z = frame.PlanePositionSequence[0].ImagePositionPatient
            frame.PlanePositionSequence[0].ImagePositionPatient = [x, y, z + up_mm]

    return change


def test_frames_of_two_files_are_read_in_any_order(tmp_path):
    volume = volume_hu(6)
    paths = [write_enhanced(tmp_path / name, volume[z : z + 3], change=moved(z * 3)) for name, z in (("a", 0), ("b", 3))]
    headers = [header for path in paths for header in read_frame_headers(path, "")]
    with closing(FrameReader()) as frames:
        for z in (0, 3, 1, 4, 4, 2, 5, 0):
            np.testing.assert_array_equal(frames.read_hu(headers[z], Rounding()), volume[z])


def test_a_member_of_an_archive_is_unpacked_a_few_times_whatever_its_frames(tmp_path, monkeypatch):
    path = write_enhanced(tmp_path / "loose" / "a", volume_hu(12))
    (tmp_path / "zipped").mkdir()
    with zipfile.ZipFile(tmp_path / "zipped" / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "a")
    (source,) = find_cases(tmp_path / "zipped").cases
    opened, open_entry = [], archives._open_entry
    monkeypatch.setattr(archives, "_open_entry", lambda entry: opened.append(entry) or open_entry(entry))
    images = [image for image, _ in open_case(source, "c0ffee", {}).slices]
    np.testing.assert_array_equal(images, volume_hu(12))
    assert len(opened) == 2


def test_a_deflated_file_is_refused_by_name(tmp_path):
    write_enhanced(tmp_path / "a", volume_hu(), syntax=DeflatedExplicitVRLittleEndian)
    with pytest.raises(SeriesError, match="deflated multi-frame file"):
        read(tmp_path)


def test_frames_are_held_one_at_a_time(tmp_path):
    write_enhanced(tmp_path / "a", volume_hu(40, 256, 256))
    (source,) = find_cases(tmp_path).cases
    tracemalloc.start()
    for _ in open_case(source, "c0ffee", {}).slices:
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Forty frames of 128 KiB are 5 MiB; one frame with its copies at 64 bits is 1.5 MiB.
    assert peak < 3 * 2**20


def test_a_file_that_changes_between_two_frames_is_refused(tmp_path):
    path = write_enhanced(tmp_path / "a", volume_hu())
    (source,) = find_cases(tmp_path).cases
    slices = open_case(source, "c0ffee", {}).slices
    next(slices)
    os.utime(path, ns=(0, source.images[0].stamp.changed_ns + 1))
    with pytest.raises(SeriesError, match=r"case c0ffee, slice 2 of 4 by position: the file has changed \(written to after"):
        next(slices)
