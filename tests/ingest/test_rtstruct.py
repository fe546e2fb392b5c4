"""Structure sets: what they hold, and contours on the slices of a grid."""

import numpy as np
import pytest
from pydicom import dcmread

from hipseg.errors import MaskError
from hipseg.geometry import affine_lps, make_grid
from hipseg.ingest.rtstruct import check_gaps, count_on_slices, fill_contours, place_contours, read_structure_set
from tests.ingest.builders import FRAME_UID, SERIES_UID, cut, rectangle_mm, write_rtstruct

GRID = make_grid((4, 10, 12), (3.0, 0.75, 0.5), (-10, -20, 100), ((1, 0, 0), (0, 1, 0), (0, 0, 1)))


def read(tmp_path, *contours, **options):
    (structure,) = read_structure_set(write_rtstruct(tmp_path / "rs", {"roi": contours}, **options)).structures
    return structure


def place(tmp_path, *contours, **options):
    return place_contours(read(tmp_path, *contours, **options), GRID)


def flat(z_mm):
    return rectangle_mm((-9.5, -8.5), (-18.5, -17.0), z_mm)


def test_points_become_fractional_column_and_row_on_their_slice(tmp_path):
    placed = place(tmp_path, flat(106.0))
    assert list(placed) == [2]
    # (-9.5 + 10) / 0.5 = 1 and (-8.5 + 10) / 0.5 = 3; (-18.5 + 20) / 0.75 = 2 and (-17 + 20) / 0.75 = 4.
    assert placed[2][0] == pytest.approx(np.array([[1, 2], [3, 2], [3, 4], [1, 4]]))


def test_several_contours_on_one_slice_are_kept_apart(tmp_path):
    placed = place(tmp_path, flat(103.0), flat(103.0), flat(109.0))
    assert {z: len(polygons) for z, polygons in placed.items()} == {1: 2, 3: 1}


def test_references_are_read_from_every_place(tmp_path):
    path = write_rtstruct(tmp_path / "rs", {"roi": [flat(100)]}, image_uids=["2.25.1", "2.25.2"])
    references = read_structure_set(path).references
    assert references.series_uids == {SERIES_UID}
    assert references.image_uids == {"2.25.1", "2.25.2"}
    assert references.listed_frame_uids == references.frame_uids == {FRAME_UID}


def test_structures_of_another_listed_frame_are_left_out_and_of_an_unlisted_one_kept(tmp_path):
    path = write_rtstruct(tmp_path / "rs", {"a": [flat(100)], "b": [flat(100)], "c": [flat(100)]})
    dataset = dcmread(path)
    other = type(dataset.ReferencedFrameOfReferenceSequence[0])()
    other.FrameOfReferenceUID = "2.25.1234"
    dataset.ReferencedFrameOfReferenceSequence.append(other)
    dataset.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = "2.25.1234"
    dataset.StructureSetROISequence[2].ReferencedFrameOfReferenceUID = "2.25.999"
    dataset.save_as(path)
    found = read_structure_set(path)
    assert [structure.name for structure in found.structures_in(FRAME_UID)] == ["a", "c"]
    assert [structure.name for structure in found.structures_in("2.25.1234")] == ["b", "c"]
    assert [structure.name for structure in found.structures_in("2.25.4321")] == ["a", "b", "c"]


def test_structures_without_area_are_no_structures(tmp_path):
    path = write_rtstruct(tmp_path / "rs", {"empty": [], "isocentre": [flat(100)[:1]]}, kinds="POINT")
    assert read_structure_set(path).structures == ()


@pytest.mark.parametrize("kind", ["OPEN_PLANAR", ""])
def test_open_contours_beside_closed_ones_are_refused(tmp_path, kind):
    path = write_rtstruct(tmp_path / "rs", {"roi": [flat(100), flat(103)]})
    dataset = dcmread(path)
    dataset.ROIContourSequence[0].ContourSequence[1].ContourGeometricType = kind
    dataset.save_as(path)
    with pytest.raises(MaskError, match=r"1 of 2 contours .* enclose no area, or have no Contour Geometric Type"):
        place_contours(read_structure_set(path).structures[0], GRID)


def test_points_and_contours_without_area_are_left_out_and_counted(tmp_path):
    line = np.array([[-9.5, -18.5, 103], [-9.0, -18.0, 103], [-8.5, -17.5, 103]])
    path = write_rtstruct(tmp_path / "rs", {"roi": [flat(100), flat(103)[:1], flat(103)[:2], line, flat(106)]})
    dataset = dcmread(path)
    dataset.ROIContourSequence[0].ContourSequence[1].ContourGeometricType = "POINT"
    dataset.save_as(path)
    (structure,) = read_structure_set(path).structures
    assert (len(structure.contours_mm_xyz), structure.points, structure.open_contours) == (2, 3, 0)
    assert sorted(place_contours(structure, GRID)) == [0, 2]


@pytest.mark.parametrize("count", [1, 2])
def test_a_structure_of_closed_contours_without_any_area_is_none(tmp_path, count):
    assert read_structure_set(write_rtstruct(tmp_path / "rs", {"roi": [flat(100)[:count]]})).structures == ()


def renumber(dataset, sequence, keyword, number):
    item = dataset[sequence][1]
    if number is None:
        delattr(item, keyword)
    else:
        setattr(item, keyword, number)


@pytest.mark.parametrize(
    ("sequence", "keyword", "number", "words"),
    [
        ("StructureSetROISequence", "ROINumber", 1, "2 structures of 1 numbers"),
        ("StructureSetROISequence", "ROINumber", None, "2 structures of 1 numbers"),
        ("ROIContourSequence", "ReferencedROINumber", 1, r"2 lists of contours for 1 of them"),
        ("ROIContourSequence", "ReferencedROINumber", None, r"2 lists of contours for 1 of them"),
        ("ROIContourSequence", "ReferencedROINumber", 7, r"2 lists of contours for 1 of them"),
    ],
)
def test_structures_that_are_not_numbered_one_by_one_are_refused(tmp_path, sequence, keyword, number, words):
    path = write_rtstruct(tmp_path / "rs", {"a": [flat(100)], "b": [flat(103)]})
    dataset = dcmread(path)
    renumber(dataset, sequence, keyword, number)
    dataset.save_as(path)
    with pytest.raises(MaskError, match=words):
        read_structure_set(path)


@pytest.mark.parametrize(("kinds", "count"), [("CLOSED_PLANAR", 4), ("CLOSEDPLANAR_XOR", 0)])
def test_a_contour_that_is_there_twice_cancels_itself_only_where_the_file_says_so(tmp_path, kinds, count):
    # 2 x 2 pixels: columns 2 and 3, rows 3 and 4.
    contour = rectangle_mm((-9.4, -8.4), (-18.4, -16.9), 100)
    structure = read(tmp_path, contour, contour, kinds=kinds)
    assert np.count_nonzero(fill_contours(structure, GRID)(0)) == count


@pytest.mark.parametrize(
    ("slices", "words"),
    [
        ((0, 2, 4, 6), ["lie 2 slices apart as a rule, on 4 slices"]),
        ((7, 1, 4), ["lie 3 slices apart as a rule, on 3 slices"]),
        ((0, 2, 4, 5), ["lie 2 slices apart as a rule, on 4 slices"]),
        ((0, 2, 5, 7), ["lie 2 slices apart as a rule, on 4 slices"]),
        ((0, 1, 4, 5, 8), []),
        ((0, 1, 2), []),
        ((0, 2), []),
    ],
)
def test_contours_that_leave_slices_out_as_a_rule_are_warned_of(tmp_path, slices, words):
    grid = make_grid((9, *GRID.shape_zyx[1:]), GRID.spacing_mm_zyx, GRID.origin_mm_xyz, GRID.directions_xyz)
    structure = read(tmp_path, *(flat(100 + 3 * z) for z in slices))
    assert [part in told for told, part in zip(check_gaps(structure, grid), words, strict=True)] == [True] * len(words)


def test_a_contour_slightly_off_its_slice_belongs_to_it(tmp_path):
    assert list(place(tmp_path, flat(103.7))) == [1]
    assert list(place(tmp_path, flat(99.3))) == [0]


@pytest.mark.parametrize(
    ("z_mm", "words"),
    [
        (104.5, r"1\.50 mm from slice \d of 4 by position, the nearest one; at most 0\.75 mm"),
        (104.0, r"1\.00 mm from slice 2 of 4"),
        (112.0, r"3\.00 mm from slice 4 of 4"),
        (50.0, r"50\.00 mm from slice 1 of 4"),
    ],
)
def test_a_contour_off_the_slices_is_refused_with_its_distance(tmp_path, z_mm, words):
    with pytest.raises(MaskError, match=words):
        place(tmp_path, flat(z_mm))


def test_contours_of_a_finer_series_are_refused(tmp_path):
    with pytest.raises(MaskError, match=r"several planes fall on slice 2 of 4 by position: they lie 1\.00 mm apart"):
        place(tmp_path, flat(102.5), flat(103.5))


def test_a_contour_across_the_slices_is_refused(tmp_path):
    tilted = flat(103.0)
    tilted[0, 2] = 103.6
    with pytest.raises(MaskError, match=r"across the slices: its points lie 0\.60 mm apart"):
        place(tmp_path, tilted)


@pytest.mark.parametrize(
    ("x", "y"),
    [((-30, -20), (-18, -17)), ((0, 5), (-18, -17)), ((-9, -8), (-40, -30)), ((-9, -8), (0, 5))],
)
def test_a_contour_wholly_beside_the_image_is_refused(tmp_path, x, y):
    with pytest.raises(MaskError, match="slice 2 of 4 by position lies wholly beside the image of 10 x 12"):
        place(tmp_path, rectangle_mm(x, y, 103.0))


def test_contours_on_slices_are_counted(tmp_path):
    assert count_on_slices([read(tmp_path, flat(100), flat(103), flat(104.5), flat(500))], GRID) == 2


def test_oblique_contours_are_placed_along_the_normal(tmp_path):
    grid = make_grid((4, 10, 12), (3.0, 0.75, 0.5), (1, 2, 3), ((0.8, 0.6, 0), (0, 0, -1), (-0.6, 0.8, 0)))
    # Slice 2: 6 mm along (-0.6, 0.8, 0); columns 1 to 3, rows 2 to 4.
    corner = np.array([1, 2, 3]) + 6 * np.array([-0.6, 0.8, 0])
    points = [corner + c * 0.5 * np.array([0.8, 0.6, 0]) - r * 0.75 * np.array([0, 0, 1]) for c, r in ((1, 2), (3, 2), (3, 4))]
    placed = place_contours(read(tmp_path, np.array(points)), grid)
    assert placed[2][0] == pytest.approx(np.array([[1, 2], [3, 2], [3, 4]]), abs=1e-4)


@pytest.mark.parametrize("share", [0.55, 0.7, 0.8, 0.9, 0.95])
def test_a_file_that_breaks_off_never_gives_fewer_contours(tmp_path, share):
    path = write_rtstruct(tmp_path / "rs", {"roi": [flat(100 + 3 * z) for z in range(4)] * 5})
    cut(path, int(path.stat().st_size * share))
    with pytest.raises(MaskError, match="breaks off"):
        read_structure_set(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [("1\\2\\3\\4", "4 coordinates for 4 points"), ("1\\2\\3", "3 coordinates for 4 points"), ("1\\x\\3", "no list of numbers")],
)
def test_contour_data_that_is_no_list_of_points_is_refused(tmp_path, data, words):
    path = write_rtstruct(tmp_path / "rs", {"roi": [flat(100)]})
    raw = path.read_bytes()
    start = raw.index(b"-9.500000\\-18.500000")
    end = raw.index(b"100.000000", raw.index(b"-17.000000", start) + 40) + 10
    length = end - start
    filled = data.encode().ljust(length)
    path.write_bytes(raw[:start] + filled + raw[end:])
    with pytest.raises(MaskError, match=words):
        read_structure_set(path)


def test_a_set_written_with_undefined_lengths_reads_the_same(tmp_path):
    path = write_rtstruct(tmp_path / "rs", {"roi": [flat(100), flat(103)]})
    dataset = dcmread(path)
    for sequence in (dataset["ROIContourSequence"], dataset.ROIContourSequence[0]["ContourSequence"]):
        sequence.is_undefined_length = True
    dataset.save_as(tmp_path / "undefined")
    (a,), (b,) = (read_structure_set(one).structures for one in (path, tmp_path / "undefined"))
    assert np.array_equal(a.contours_mm_xyz, b.contours_mm_xyz)


OUTER, INNER = ((0.5, 0.5), (9.5, 0.5), (9.5, 7.5), (0.5, 7.5)), ((2.5, 2.5), (5.5, 2.5), (5.5, 5.5), (2.5, 5.5))
"""A rectangle and the hole in it, corners (column, row) between pixels."""


def ring():
    mask = np.zeros((10, 12), bool)
    mask[1:8, 1:10] = True
    mask[3:6, 3:6] = False
    return mask


def on_first_slice(corners, grid=GRID):
    """Give corners (column, row) of the first slice as points in the patient, mm."""
    points = [[x, y, 0, 1] for x, y in corners]
    return (np.array(points, float) @ affine_lps(grid).T)[:, :3]


@pytest.mark.parametrize(
    ("contours", "kinds"),
    [
        ([OUTER, INNER], "CLOSED_PLANAR"),
        ([INNER, OUTER], "CLOSEDPLANAR_XOR"),
        ([(OUTER[0], *INNER, INNER[0], *OUTER)], "CLOSED_PLANAR"),
        ([(*OUTER, OUTER[0], *reversed(INNER), INNER[3], OUTER[0])], "CLOSED_PLANAR"),
    ],
    ids=["a contour in another", "exclusive or", "keyhole", "keyhole the other way round"],
)
def test_a_hole_is_a_hole_however_it_is_drawn(tmp_path, contours, kinds):
    path = write_rtstruct(tmp_path / "rs", {"ring": [on_first_slice(one) for one in contours]}, kinds=kinds)
    (structure,) = read_structure_set(path).structures
    read = fill_contours(structure, GRID)
    assert np.array_equal(read(0), ring())
    assert read(1) is None


def test_contours_on_oblique_slices_fill_the_same_pixels(tmp_path):
    oblique = make_grid((3, 10, 12), (3.0, 0.75, 0.5), (5, 6, 7), ((0.8, 0.6, 0), (0, 0, -1), (-0.6, 0.8, 0)))
    path = write_rtstruct(tmp_path / "rs", {"ring": [on_first_slice(one, oblique) for one in (OUTER, INNER)]})
    (structure,) = read_structure_set(path).structures
    assert np.array_equal(fill_contours(structure, oblique)(0), ring())
