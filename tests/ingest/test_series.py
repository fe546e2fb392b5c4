"""Order and grid of a series, and every reason why images are no volume."""

import random
import re

import numpy as np
import pytest

from hipseg.errors import SeriesError
from hipseg.geometry import affine_lps
from hipseg.ingest.scan import scan_tree
from hipseg.ingest.series import order_series
from tests.ingest.builders import volume_hu, write_ct_series

OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)
"""Rows along (0.8, 0.6, 0), columns downwards: the normal is (-0.6, 0.8, 0)."""


def order(tmp_path, change=None, slices=5, **options):
    write_ct_series(tmp_path, volume_hu(slices), change=change, **options)
    return order_series(tuple(scan_tree(tmp_path).images), "c0ffee")


def moved(**by_slice):
    """Move slices, in mm along z: moved(s2=0.5)."""

    def change(dataset, z):
        if f"s{z}" in by_slice:
            x, y, height = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [x, y, height + by_slice[f"s{z}"]]

    return change


def only(number, **values):
    def change(dataset, z):
        if z == number:
            for keyword, value in values.items():
                setattr(dataset, keyword, value)

    return change


def test_slices_rise_along_the_normal_whatever_their_names_and_order(tmp_path):
    series = order(tmp_path)
    assert [header.instance_number for header in series.headers] == [1, 2, 3, 4, 5]
    shuffled = list(series.headers)
    random.Random(4).shuffle(shuffled)
    assert order_series(shuffled, "c0ffee") == series


def test_grid_takes_rows_first_from_pixel_spacing(tmp_path):
    grid = order(tmp_path).grid
    assert grid.shape_zyx == (5, 10, 12)
    assert grid.spacing_mm_zyx == pytest.approx((3.0, 0.75, 0.5))
    assert grid.origin_mm_xyz == (-10.0, -20.0, 100.0)
    assert grid.directions_xyz == ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def test_axial_slices_rise_to_the_head_even_when_rows_run_backwards(tmp_path):
    grid = order(tmp_path, orientation=(-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)).grid
    assert grid.directions_xyz[2] == (0, 0, 1)
    assert grid.origin_mm_xyz[2] == 100.0


def test_a_left_handed_pair_of_directions_rises_to_the_feet(tmp_path):
    assert order(tmp_path, orientation=(1.0, 0.0, 0.0, 0.0, -1.0, 0.0)).grid.directions_xyz[2] == (0, 0, -1)


def test_an_oblique_grid_maps_voxels_where_the_headers_say(tmp_path):
    series = order(tmp_path, orientation=OBLIQUE)
    assert series.grid.directions_xyz[2] == pytest.approx((-0.6, 0.8, 0.0))
    for z, header in enumerate(series.headers):
        assert affine_lps(series.grid) @ [0, 0, z, 1] == pytest.approx([*header.position_mm, 1.0], abs=1e-5)
    # Third column, second row: 2 * 0.5 mm along a row and 1 * 0.75 mm along a column.
    assert affine_lps(series.grid) @ [2, 1, 0, 1] == pytest.approx([-10 + 0.8, -20 + 0.6, 100 - 0.75, 1.0])


def test_rounded_positions_are_accepted_and_averaged(tmp_path):
    grid = order(tmp_path, moved(s1=0.04, s3=-0.04)).grid
    assert grid.spacing_mm_zyx[0] == pytest.approx(3.0)


@pytest.mark.parametrize("spacing_mm", [0.6, 0.625, 0.8, 1.25])
@pytest.mark.parametrize("lowest_mm", [100.0, -123.45, -712.3, 1034.2])
def test_positions_of_one_decimal_are_accepted_wherever_the_stack_begins(tmp_path, spacing_mm, lowest_mm):
    def change(dataset, z):
        dataset.ImagePositionPatient = ["-10.0", "-20.0", f"{lowest_mm + z * spacing_mm:.1f}"]

    grid = order(tmp_path, change, slices=21).grid
    # The ends are up to 0.05 mm off each.
    assert grid.spacing_mm_zyx[0] == pytest.approx(spacing_mm, abs=0.1 / 20 + 1e-9)


@pytest.mark.parametrize("gap_mm", [3.11, 2.89])
def test_a_gap_beyond_the_tolerance_stays_refused(tmp_path, gap_mm):
    with pytest.raises(SeriesError, match=r"slice gap in case c0ffee: .* mm between slices 2 and 3 of 5"):
        order(tmp_path, moved(**{f"s{z}": gap_mm - 3 for z in (2, 3, 4)}))


@pytest.mark.parametrize(("moved_slices", "place"), [((3, 4), "3 and 4"), ((4,), "4 and 5")])
def test_a_missing_slice_is_refused_by_place_and_number(tmp_path, moved_slices, place):
    words = rf"slice gap in case c0ffee: 6\.00 mm between slices {place} of 5 .*1 slice missing.*3\.00 ± 0\.1"
    with pytest.raises(SeriesError, match=words):
        order(tmp_path, moved(**{f"s{z}": 3.0 for z in moved_slices}))


@pytest.mark.parametrize("spacing_mm", [0.02, 0.04, 0.1, 0.2])
def test_a_slice_missing_of_a_micro_ct_is_refused(tmp_path, spacing_mm):
    paths = write_ct_series(tmp_path, volume_hu(6), spacing_mm_zyx=(spacing_mm, 0.02, 0.02))
    paths[2].unlink()
    with pytest.raises(SeriesError, match=r"slices 2 and 3 of 5 by position \(1 slice missing\), expected 0\.\d\d ± 0\.0\d+ mm"):
        order_series(tuple(scan_tree(tmp_path).images), "c0ffee")


@pytest.mark.parametrize(("off_mm", "warnings"), [(0.003, 0), (0.009, 1)])
def test_the_positions_of_a_micro_ct_may_be_rounded(tmp_path, off_mm, warnings):
    series = order(tmp_path, moved(s2=off_mm), spacing_mm_zyx=(0.04, 0.02, 0.02))
    assert len(series.warnings) == warnings


@pytest.mark.parametrize(("aside_mm", "is_taken"), [(2.9, True), (3.1, False), (100_000.0, False)])
def test_slices_farther_aside_than_any_gantry_tilts_are_refused(tmp_path, aside_mm, is_taken):
    def shear(dataset, z):
        x, y, height = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y + z * aside_mm, height]

    write_ct_series(tmp_path, volume_hu(2), change=shear)
    headers = tuple(scan_tree(tmp_path).images)
    if is_taken:
        assert order_series(headers, "c0ffee", takes_tilt=True).shifts_mm_yx[1] == pytest.approx((aside_mm, 0))
    else:
        with pytest.raises(SeriesError, match=r"shifted slices in case c0ffee: slice 2 .* no gantry tilts by more than 45"):
            order_series(headers, "c0ffee", takes_tilt=True)


def test_a_crooked_gap_is_refused_without_guessing_missing_slices(tmp_path):
    with pytest.raises(SeriesError, match=r"3\.50 mm between slices 2 and 3 of 5 by position, expected 3\.00") as refusal:
        order(tmp_path, moved(s2=0.5, s3=0.5, s4=0.5))
    assert "missing" not in str(refusal.value)


def test_small_gaps_that_add_up_are_refused(tmp_path):
    # Each gap of the second half is 0.09 mm too long: none is out of bounds, together they are 0.45 mm.
    drift = {f"s{z}": 0.09 * (z - 5) for z in range(6, 11)}
    with pytest.raises(SeriesError, match=r"uneven slices in case c0ffee: slice 6 of 11 .* lies 0\.2"):
        order(tmp_path, moved(**drift), slices=11)


def test_duplicate_positions_are_refused_by_place(tmp_path):
    with pytest.raises(SeriesError, match=r"duplicate positions in case c0ffee: slices 2 and 3 of 5 .*different images; 1 such"):
        order(tmp_path, moved(s2=-3.0))


def test_slices_more_than_a_hundredth_of_a_millimetre_apart_are_two_places(tmp_path):
    with pytest.raises(SeriesError, match=r"duplicate positions in case c0ffee: .* lie 0\.005 mm apart"):
        order(tmp_path / "same", moved(s2=-2.995))
    with pytest.raises(SeriesError, match="slice gap in case c0ffee"):
        order(tmp_path / "apart", moved(s2=-2.98))


def test_pixel_spacings_that_differ_by_rounding_alone_are_one(tmp_path):
    assert order(tmp_path / "rounded", only(2, PixelSpacing=[0.75005, 0.5])).grid.spacing_mm_zyx[1] == pytest.approx(
        0.75, abs=1e-4
    )
    with pytest.raises(SeriesError, match=r"mixed pixel spacings .*1 of 0\.7502 x 0\.5 mm"):
        order(tmp_path / "other", only(2, PixelSpacing=[0.7502, 0.5]))


@pytest.mark.parametrize(("name", "words"), [("copy", "remove the copy"), (".image.Xa1B2c", "remove the copy, a hidden file")])
def test_a_copied_image_is_called_a_copy(tmp_path, name, words):
    path = write_ct_series(tmp_path, volume_hu(3))[1]
    (tmp_path / name).write_bytes(path.read_bytes())
    with pytest.raises(SeriesError, match=rf"slices 2 and 3 of 4 .*the same image twice.*{words}$"):
        order_series(tuple(scan_tree(tmp_path).images), "c0ffee")


def test_gantry_tilt_is_refused_with_its_angle(tmp_path):
    def tilt(dataset, z):
        x, y, height = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y + z * 3.0 * np.tan(np.radians(10)), height]

    with pytest.raises(SeriesError, match=r"gantry tilt in case c0ffee: slice 5 of 5 .*2\.1 mm beside.*10\.0 degrees"):
        order(tmp_path, tilt)


TURNED = np.array([[0.955, -0.04, 0.294], [0.0, 0.991, 0.135]])
"""Rows and columns of three decimals: their product is 0.00005, the lengths are 1.00003 and 1.00015."""


def test_directions_of_three_decimals_are_set_right_with_a_warning(tmp_path):
    series = order(tmp_path, orientation=tuple(TURNED.ravel()))
    grid = np.array(series.grid.directions_xyz)
    np.testing.assert_allclose(grid @ grid.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(grid[:2], TURNED, atol=5e-4)
    words = "directions of rows and columns 0.0002 off two unit vectors at right angles, as if rounded: set right"
    assert [one for one in series.warnings if one.startswith("directions")] == [words]


@pytest.mark.parametrize("shear", [0.0021, -0.01])
def test_a_sheared_grid_is_no_rounded_one(tmp_path, shear):
    with pytest.raises(SeriesError, match="impossible orientation in case c0ffee"):
        order(tmp_path, orientation=(1, 0, 0, shear, (1 - shear**2) ** 0.5, 0))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"Rows": 9}, r"mixed image sizes .*2 in 5 images \(4 of 10 x 12, 1 of 9 x 12\)"),
        ({"PixelSpacing": [0.75, 0.6]}, r"mixed pixel spacings .*1 of 0\.75 x 0\.6 mm"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.9998, 0.02]}, r"mixed orientations .*1 of .*0\.9998, 0\.0200"),
        ({"FrameOfReferenceUID": "2.25.5"}, "mixed frames of reference .*2 in 5 images"),
        ({"ImagePositionPatient": None}, r"1 of 5 images \(the first has instance number 3\) without Image Position"),
        ({"ImagePositionPatient": ["-1e308", "-1e308", "1.7e308"]}, "without Image Position"),
        ({"ImageOrientationPatient": [1, 0, 0]}, "without Image Orientation"),
        ({"PixelSpacing": [0, 0.5]}, "without Pixel Spacing"),
        ({"RescaleSlope": None}, "without Rescale Slope"),
        ({"RescaleIntercept": None}, "without Rescale Intercept"),
        ({"RescaleType": "ED"}, "without Rescale Type .* HU"),
        ({"SamplesPerPixel": 3}, "without one sample a pixel"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, r"1 of 5 images .* without grey values, MONOCHROME1 or 2 \(0028,0004\)"),
        ({"PhotometricInterpretation": None}, "without grey values"),
        ({"BitsStored": 12, "HighBit": 15}, r"1 of 5 images .* without High Bit \(0028,0102\) one below Bits Stored"),
        ({"NumberOfFrames": 2}, "multi-frame CT in case c0ffee: 1 of 5 files"),
    ],
)
def test_one_image_that_differs_refuses_the_series(tmp_path, values, words):
    with pytest.raises(SeriesError, match=words):
        order(tmp_path, only(2, **values))


@pytest.mark.parametrize(
    "orientation", [(1.0, 0.0, 0.0, 0.6, 0.8, 0.0), (1.0, 0.0, 0.0, 0.0, 0.98, 0.0), (2.0, 0.0, 0.0, 0.0, 1.0, 0.0), (0.0,) * 6]
)
def test_an_impossible_orientation_is_refused(tmp_path, orientation):
    with pytest.raises(SeriesError, match="impossible orientation in case c0ffee"):
        order(tmp_path, orientation=orientation)


def test_a_single_slice_takes_its_extent_from_the_header(tmp_path):
    lone = order(tmp_path / "a", slices=1)
    assert lone.grid.spacing_mm_zyx[0] == 3.0
    assert lone.warnings == ("only one slice: no other one confirms its extent, nor that none is missing",)
    assert order(tmp_path / "c", slices=2).warnings == ()
    assert order(tmp_path / "b", only(0, SpacingBetweenSlices=2.5), slices=1).grid.spacing_mm_zyx[0] == 2.5


def test_a_single_slice_without_extent_is_refused(tmp_path):
    with pytest.raises(SeriesError, match="single slice without extent in case c0ffee"):
        order(tmp_path, only(0, SliceThickness=None), slices=1)


def rescaled(dataset, z):
    dataset.RescaleIntercept = -1000 if z == 1 else -1024


def tilted(dataset, z):
    x, y, height = dataset.ImagePositionPatient
    dataset.ImagePositionPatient = [x + z * 0.3, y - z * 0.4, height]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (moved(s2=0.03), r"uneven slices: up to 0\.030 mm from their places on a grid of 3\.000 mm"),
        (only(2, ImagePositionPatient=[-9.95, -20, 106]), r"slices up to 0\.050 mm beside the first slice's normal"),
        (only(2, ImageOrientationPatient=[1, 0, 0, 0, 1, 0.00002]), "orientations differ by up to 2e-05"),
        (rescaled, "2 different rescale slopes and intercepts in 5 images"),
        (only(2, SpacingBetweenSlices=1.5), "Spacing Between Slices .* is not the 3\\.000 mm between positions"),
    ],
)
def test_what_is_a_little_wrong_is_taken_with_one_warning(tmp_path, change, words):
    (warning,) = order(tmp_path, change).warnings
    assert re.search(words, warning)


@pytest.mark.parametrize("change", [None, moved(s2=0.015), only(2, SpacingBetweenSlices=3.05), only(2, SpacingBetweenSlices=-3)])
def test_what_rounding_explains_is_taken_in_silence(tmp_path, change):
    assert order(tmp_path, change).warnings == ()


def test_a_tilt_that_is_taken_gives_the_shift_of_each_slice(tmp_path):
    write_ct_series(tmp_path, volume_hu(5), change=tilted)
    series = order_series(tuple(scan_tree(tmp_path).images), "c0ffee", takes_tilt=True)
    assert np.array(series.shifts_mm_yx) == pytest.approx(np.array([[-0.4 * z, 0.3 * z] for z in range(5)]))
    assert order(tmp_path / "straight").shifts_mm_yx == ()
