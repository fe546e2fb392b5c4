"""Overlay planes: bits, origin, frames, clipping, and refusals."""

import numpy as np
import pytest

from hipseg.errors import MaskError
from hipseg.ingest import overlay
from hipseg.ingest.dicomfile import read_header
from hipseg.ingest.overlay import OverlayReader, PlaneLayout, take_frame
from tests.ingest.builders import Plane, volume_hu, write_ct_series
from tests.ingest.enhanced_builder import write_enhanced


def read(tmp_path, plane, change=None, shape=(10, 12), syntax="1.2.840.10008.1.2.1"):
    paths = write_ct_series(tmp_path, volume_hu(1, *shape), overlays={0: [plane]}, change=change, syntax=syntax)
    return OverlayReader({plane.group}).read(paths[0], {plane.group}, shape)[plane.group]


def some_mask(rows=10, columns=12):
    return np.random.default_rng(1).random((rows, columns)) < 0.3


def test_bits_run_from_the_lowest_of_the_first_byte():
    # 0b00000101 is the first and the third pixel; 0b1 in the next byte is the ninth: row 1, column 3 of 5 columns.
    mask = take_frame(bytes([0b00000101, 0b1]), PlaneLayout((2, 5), (0, 0), 1, 1))
    assert np.argwhere(mask).tolist() == [[0, 0], [0, 2], [1, 3]]


@pytest.mark.parametrize("group", range(0x6000, 0x6020, 2))
def test_every_group_is_read(tmp_path, group):
    assert np.array_equal(read(tmp_path, Plane(some_mask(), group=group)), some_mask())


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_implicit_and_explicit_files_give_the_same(tmp_path, syntax):
    assert np.array_equal(read(tmp_path, Plane(some_mask()), syntax=syntax), some_mask())


def test_words_of_a_big_endian_file_are_turned(tmp_path):
    def swap(dataset, _):
        dataset[0x60003000].value = np.frombuffer(dataset[0x60003000].value, "<u2").astype(">u2").tobytes()

    assert np.array_equal(read(tmp_path, Plane(some_mask()), swap, syntax="1.2.840.10008.1.2.2"), some_mask())


def test_bytes_are_not_turned(tmp_path):
    def as_bytes(dataset, _):
        dataset[0x60003000].VR = "OB"

    assert np.array_equal(read(tmp_path, Plane(some_mask()), as_bytes, syntax="1.2.840.10008.1.2.2"), some_mask())


@pytest.mark.parametrize(
    ("origin", "image", "plane"),
    [
        ((1, 1), np.s_[0:4, 0:5], np.s_[:, :]),
        ((3, 2), np.s_[2:6, 1:6], np.s_[:, :]),
        ((0, -1), np.s_[0:3, 0:3], np.s_[1:, 2:]),
        ((9, 11), np.s_[8:10, 10:12], np.s_[:2, :2]),
    ],
)
def test_origin_places_a_small_plane_and_cuts_what_lies_outside(tmp_path, origin, image, plane):
    small = some_mask(4, 5) | True
    small[0, 0] = small[3, 4] = False
    expected = np.zeros((10, 12), dtype=bool)
    expected[image] = small[plane]
    assert np.array_equal(read(tmp_path, Plane(small, origin=origin)), expected)


@pytest.mark.parametrize("origin", [(11, 1), (-9, 1), (1, 13), (-2, 1), (100, 100)])
def test_bits_wholly_beside_the_image_are_refused(tmp_path, origin):
    small = np.zeros((4, 5), bool)
    small[:2] = True
    words = rf"overlay of 4 x 5 pixels with its origin at row {origin[0]}, column {origin[1]} lies wholly beside .* of 10 x 12"
    with pytest.raises(MaskError, match=words):
        read(tmp_path, Plane(small, origin=origin))
    assert read(tmp_path, Plane(small & False, origin=origin)) is None


def test_a_plane_larger_than_the_image_is_cut(tmp_path):
    large = some_mask(20, 30)
    assert np.array_equal(read(tmp_path, Plane(large, origin=(-4, -6))), large[5:15, 7:19])


def test_only_the_frame_that_belongs_to_the_image_is_used(tmp_path):
    # 7 x 9 bits a frame: the frames do not begin on bytes.
    frames = np.random.default_rng(2).random((3, 7, 9)) < 0.5
    assert np.array_equal(read(tmp_path, Plane(frames, frames=3), shape=(7, 9)), frames[0])
    assert np.array_equal(read(tmp_path, Plane(frames, frames=3, frame_origin=1), shape=(7, 9)), frames[0])


@pytest.mark.parametrize(("frame_origin", "ones"), [(1, 2 + 3), (-1, 1 + 2)])
def test_bits_on_frames_that_the_image_lacks_are_counted(tmp_path, frame_origin, ones):
    frames = np.zeros((3, 7, 9), bool)
    for number, many in enumerate((1, 2, 3)):
        frames[number, 0, :many] = True
    plane = Plane(frames, frames=3)
    (path,) = write_ct_series(
        tmp_path,
        volume_hu(1, 7, 9),
        overlays={0: [plane]},
        change=lambda dataset, _: dataset.add_new(0x60000051, "SS", frame_origin),
    )
    reader = OverlayReader({0x6000})
    for _ in range(2):
        reader.read(path, {0x6000}, (7, 9))
    assert sum(reader.beside.values()) == ones


@pytest.mark.parametrize(("origin", "is_moved"), [((1, 1), False), ((0, 0), True), ((2, 1), True)])
def test_a_plane_of_the_image_s_size_that_begins_elsewhere_is_told(tmp_path, origin, is_moved):
    mask = np.zeros((10, 12), bool)
    mask[4, 5] = True
    (path,) = write_ct_series(tmp_path, volume_hu(1), overlays={0: [Plane(mask, origin=origin)]})
    reader = OverlayReader({0x6000})
    reader.read(path, {0x6000}, (10, 12))
    assert reader.moved == ({(path, 1, 0x6000)} if is_moved else set())
    assert reader.beside == {}


@pytest.mark.parametrize(("frame_origin", "last"), [(2, 4), (9, 11)])
def test_frames_that_the_image_lacks_are_refused_where_something_is_drawn(tmp_path, frame_origin, last):
    frames = np.ones((3, 7, 9), bool)
    with pytest.raises(MaskError, match=rf"6000 lies on frames {frame_origin} to {last} \(60xx,0051\) of an image that has 1"):
        read(tmp_path, Plane(frames, frames=3, frame_origin=frame_origin), shape=(7, 9))
    assert read(tmp_path, Plane(frames & False, frames=3, frame_origin=frame_origin), shape=(7, 9)) is None


@pytest.mark.parametrize("frames", [0, -1])
def test_an_overlay_without_a_frame_is_refused(tmp_path, frames):
    with pytest.raises(MaskError, match=f"6000 with {frames} frames"):
        read(tmp_path, Plane(some_mask(), frames=frames))


def test_a_plane_of_a_multi_frame_image_has_to_say_its_frame(tmp_path):
    path = write_enhanced(tmp_path / "e", volume_hu(3), overlay=Plane(some_mask()))
    with pytest.raises(MaskError, match="of an image of 3 frames without Number of Frames in Overlay or Image Frame Origin"):
        OverlayReader({0x6000}).read(path, {0x6000}, (10, 12), 1)
    path = write_enhanced(tmp_path / "e", volume_hu(3), overlay=Plane(some_mask(), frames=1))
    assert np.array_equal(OverlayReader({0x6000}).read(path, {0x6000}, (10, 12), 1)[0x6000], some_mask())
    assert OverlayReader({0x6000}).read(path, {0x6000}, (10, 12), 2)[0x6000] is None


@pytest.mark.parametrize(("representation", "value"), [("UL", 5000), ("UT", "text"), ("OL", b"abcd" * 10)])
def test_what_is_written_as_no_bits_is_refused(tmp_path, representation, value):
    def rewrite(dataset, _):
        del dataset[0x60003000]
        dataset.add_new(0x60003000, representation, value)

    with pytest.raises(MaskError, match=r"6000 with Overlay Data \(60xx,3000\) that are no bits"):
        read(tmp_path, Plane(some_mask()), rewrite)


def test_frames_that_begin_before_the_image_are_counted_through():
    frames = np.random.default_rng(3).random((3, 7, 9)) < 0.5
    bits = np.packbits(frames.ravel(), bitorder="little").tobytes()
    for first_frame, expected in ((0, frames[1]), (-1, frames[2])):
        assert np.array_equal(take_frame(bits, PlaneLayout((7, 9), (0, 0), 3, first_frame)), expected)
    assert take_frame(bits, PlaneLayout((7, 9), (0, 0), 3, -2)) is None


def test_a_plane_without_a_set_bit_is_none(tmp_path):
    assert read(tmp_path, Plane(np.zeros((10, 12), bool))) is None
    with pytest.raises(MaskError, match="14 bytes of overlay, expected 15"):
        take_frame(bytes(14), PlaneLayout((10, 12), (0, 0), 1, 1))


def test_one_reader_reads_planes_that_differ_in_size_and_place_from_image_to_image(tmp_path):
    masks = [some_mask(4, 5), some_mask(10, 12), some_mask(4, 5), some_mask(3, 3)]
    origins = [(2, 3), (1, 1), (4, 4), (8, 10)]
    overlays = {z: [Plane(mask, origin=origin)] for z, (mask, origin) in enumerate(zip(masks, origins, strict=True))}
    paths = write_ct_series(tmp_path, volume_hu(4), overlays=overlays)
    reader = OverlayReader({0x6000})
    for path, mask, (y, x) in zip(paths * 2, masks * 2, origins * 2, strict=True):
        expected = np.zeros((10, 12), bool)
        expected[y - 1 : y - 1 + mask.shape[0], x - 1 : x - 1 + mask.shape[1]] = mask
        assert np.array_equal(reader.read(path, {0x6000}, (10, 12))[0x6000], expected)


def test_missing_bits_are_refused_with_both_numbers(tmp_path):
    def shorten(dataset, _):
        dataset[0x60003000].value = dataset[0x60003000].value[:10]

    with pytest.raises(MaskError, match="10 bytes of overlay, expected 15"):
        read(tmp_path, Plane(some_mask()), shorten)


def embedded(position, mask, *, stored=12, bits=16):
    """Put a mask into one bit of the pixels, as files before 2004 did: no Overlay Data."""

    def change(dataset, _):
        dataset.BitsStored, dataset.HighBit = stored, stored - 1
        values = np.frombuffer(dataset.PixelData, "<u2") & ((1 << stored) - 1) | mask.ravel().astype("<u2") << position
        order = ">u2" if dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.2" else "<u2"
        dataset.PixelData = values.astype(order).tobytes()
        dataset[0x60000100].value, dataset[0x60000102].value = bits, position
        del dataset[0x60003000]

    return change


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize("position", [12, 15])
def test_a_plane_in_a_free_bit_of_the_pixels_is_read_at_its_bit_position(tmp_path, position, syntax):
    found = read(tmp_path, Plane(some_mask()), embedded(position, some_mask()), syntax=syntax)
    assert np.array_equal(found, some_mask())


@pytest.mark.parametrize("position", [11, 16, 40])
def test_a_bit_that_holds_grey_values_or_that_no_pixel_has_is_no_plane(tmp_path, position):
    def point(dataset, z):
        embedded(12, some_mask())(dataset, z)
        dataset[0x60000102].value = position

    with pytest.raises(MaskError, match=r"6000 lies in the bits of the pixels .* not in a free bit of uncompressed"):
        read(tmp_path, Plane(some_mask()), point)


def test_bytes_in_place_of_bits_are_refused(tmp_path):
    def widen(dataset, _):
        dataset[0x60000100].value, dataset[0x60003000].value = 8, some_mask().astype("u1").tobytes()

    with pytest.raises(MaskError, match="120 bytes of overlay, expected 15"):
        read(tmp_path, Plane(some_mask()), widen)


def test_bits_that_an_archive_moved_out_of_pixels_of_16_bits_are_read(tmp_path):
    def move(dataset, _):
        dataset[0x60000100].value, dataset[0x60000102].value = 16, 12

    assert np.array_equal(read(tmp_path, Plane(some_mask()), move), some_mask())


def test_the_planes_of_all_frames_are_read_out_of_the_file_once(tmp_path, monkeypatch):
    paths = []

    def count(path, headers):
        paths.append(path)
        return read_header(path, headers)

    monkeypatch.setattr(overlay, "read_header", count)
    frames = np.random.default_rng(4).random((5, 10, 12)) < 0.4
    frames[2] = False
    for name in "ab":
        write_enhanced(tmp_path / name, volume_hu(5), overlay=Plane(frames, frames=5, frame_origin=1))
    reader = OverlayReader({0x6000})
    for path in (tmp_path / "a", tmp_path / "b"):
        for number, mask in enumerate(frames, 1):
            found = reader.read(path, {0x6000}, (10, 12), number)[0x6000]
            assert found is None if not mask.any() else np.array_equal(found, mask)
    assert paths == [tmp_path / "a", tmp_path / "b"]


def test_padding_bits_and_a_byte_after_the_last_pixel_are_passed_over(tmp_path):
    mask = some_mask(4, 5)

    def dirty(dataset, _):
        packed = bytearray(dataset[0x60003000].value)
        # 20 pixels: half of the third byte is padding, and the fourth makes their number even.
        packed[2] |= 0xF0
        packed[3] = 0xFF
        dataset[0x60003000].value = bytes(packed)

    assert np.array_equal(read(tmp_path, Plane(mask), dirty, shape=(4, 5)), mask)


@pytest.mark.parametrize(("element", "size"), [(0x0010, 9), (0x0011, 1), (0x0011, 11)])
def test_more_bytes_than_rows_and_columns_take_are_refused(tmp_path, element, size):
    def shrink(dataset, _):
        dataset[0x60000000 | element].value = size

    expected = {9: 14, 1: 2, 11: 14}[size]
    with pytest.raises(MaskError, match=f"16 bytes of overlay, expected {expected}; export the masks again"):
        read(tmp_path, Plane(some_mask()), shrink)


def test_frames_of_an_overlay_belong_to_frames_of_the_image_from_its_origin_on(tmp_path):
    frames = np.random.default_rng(3).random((2, 10, 12)) < 0.4
    path = write_enhanced(tmp_path / "e", volume_hu(5), overlay=Plane(frames, frames=2, frame_origin=3))
    reader = OverlayReader({0x6000})
    for frame, mask in {1: None, 2: None, 3: frames[0], 4: frames[1], 5: None}.items():
        found = reader.read(path, {0x6000}, (10, 12), frame)[0x6000]
        assert found is None if mask is None else np.array_equal(found, mask), frame


@pytest.mark.parametrize(("tag", "words"), [(0x60003000, "without Overlay Data"), (0x60000050, "rows, columns or origin")])
def test_an_incomplete_plane_is_refused(tmp_path, tag, words):
    def drop(dataset, _):
        del dataset[tag]

    with pytest.raises(MaskError, match=words):
        read(tmp_path, Plane(some_mask()), drop)
