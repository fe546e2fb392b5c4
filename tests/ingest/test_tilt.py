"""Gantry tilt sheared back: against analytic bodies, against whole-pixel shifts, and for real slices."""

import math
import shutil

import numpy as np
import pytest

from hipseg.errors import MaskError, SeriesError
from hipseg.geometry import affine_lps
from hipseg.ingest.cases import find_cases, open_case
from hipseg.ingest.pixels import OUTSIDE_HU
from tests.ingest.builders import Plane, rectangle_mm, volume_hu, write_ct_series, write_rtstruct
from tests.ingest.seg_builder import read_sources, write_seg

SPACING_MM_ZYX = (3.0, 0.75, 0.5)
ORIGIN = np.array([-10.0, -20.0, 100.0])
BALL_MM, RADIUS_MM = np.array([2.0, -8.0, 112.0]), 7.0


def tilted_by(y_mm, x_mm=0.0):
    """Move each slice sideways by so much more than the one below, mm."""

    def change(dataset, z):
        x, y, height = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x + z * x_mm, y + z * y_mm, height]

    return change


def open_tilted(folder, rois=None):
    (source,) = find_cases(folder).cases
    opened = open_case(source, "c0ffee", rois or {}, untilt=True)
    slices = list(opened.slices)
    return opened, np.array([image for image, _ in slices]), np.array([label for _, label in slices])


def smooth_hu(points_mm):
    """A body whose density changes so slowly that linear interpolation is off by far less than a Hounsfield unit."""
    x, y, z = np.moveaxis(points_mm, -1, 0)
    return 40 * np.sin(x / 9) + 3 * y + 60 * np.cos(y / 12) + 2 * (z - 100)


def points_of(shape_zyx, affine):
    z, y, x = np.indices(shape_zyx)
    return (np.stack([x, y, z, np.ones(shape_zyx)], axis=-1) @ affine.T)[..., :3]


def sampled(function, shape_zyx, y_mm, x_mm):
    """Sample a body on the tilted slices."""
    spacing_xyz = np.array(SPACING_MM_ZYX[::-1])
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing_xyz)
    affine[:2, 2] = x_mm, y_mm
    affine[:3, 3] = ORIGIN
    return function(points_of(shape_zyx, affine))


@pytest.mark.parametrize(("y_mm", "x_mm"), [(0.98, 0.0), (-0.55, 0.0), (0.0, 0.4), (0.31, -0.77)])
def test_a_smooth_body_comes_out_where_it_is(tmp_path, y_mm, x_mm):
    volume = np.rint(sampled(smooth_hu, (9, 40, 50), y_mm, x_mm)).astype(np.int16)
    write_ct_series(tmp_path, volume, change=tilted_by(y_mm, x_mm))
    opened, images, _ = open_tilted(tmp_path)
    truth = smooth_hu(points_of(opened.grid.shape_zyx, affine_lps(opened.grid)))
    is_inside = images != OUTSIDE_HU
    assert is_inside.sum() >= 9 * 39 * 49
    # Half a unit of the source's rounding, half of the result's, and the bend within one pixel.
    assert np.abs(images - truth)[is_inside].max() < 1.3


def test_without_shearing_the_same_body_would_be_far_off(tmp_path):
    volume = sampled(smooth_hu, (9, 40, 50), 0.98, 0.0)
    write_ct_series(tmp_path, np.rint(volume).astype(np.int16))
    opened, images, _ = open_tilted(tmp_path)
    truth = smooth_hu(points_of(opened.grid.shape_zyx, affine_lps(opened.grid)))
    assert np.abs(images - truth).max() > 20


def test_whole_pixels_are_copied_and_none_is_lost(tmp_path):
    volume = volume_hu(5, 10, 12)
    write_ct_series(tmp_path, volume, change=tilted_by(2 * 0.75))
    opened, images, _ = open_tilted(tmp_path)
    assert opened.grid.shape_zyx == (5, 18, 12)
    for z, image in enumerate(images):
        np.testing.assert_array_equal(image[2 * z : 2 * z + 10], volume[z])
        assert (np.delete(image, range(2 * z, 2 * z + 10), axis=0) == OUTSIDE_HU).all()


def test_a_shift_of_a_little_more_than_a_pixel_is_interpolated(tmp_path):
    volume = np.zeros((3, 10, 12), np.int16)
    volume[:, ::2] = 1000
    # 0.75 mm are a pixel: 0.4 % of a row of 1000 HU are 4 HU in one of 0 HU.
    write_ct_series(tmp_path, volume, change=tilted_by(0.75 * 1.004))
    _, images, _ = open_tilted(tmp_path)
    assert images[0, 1, 0] == 0
    assert images[1, 2, 0] == 4


def test_a_tilt_to_the_other_side_moves_the_origin(tmp_path):
    volume = volume_hu(5, 10, 12)
    write_ct_series(tmp_path, volume, change=tilted_by(-0.75, 0.5))
    opened, images, _ = open_tilted(tmp_path)
    assert opened.grid.shape_zyx == (5, 14, 16)
    assert opened.grid.origin_mm_xyz == pytest.approx((-10.0, -20.0 - 4 * 0.75, 100.0))
    np.testing.assert_array_equal(images[0][4:, :12], volume[0])
    np.testing.assert_array_equal(images[4][:10, 4:], volume[4])


def test_the_warning_says_angle_and_size(tmp_path):
    write_ct_series(tmp_path, volume_hu(5), change=tilted_by(3.0 * math.tan(math.radians(18.5))))
    opened, _, _ = open_tilted(tmp_path)
    (warning,) = opened.warnings
    assert "gantry tilt of 18.50 degrees sheared back" in warning
    assert "10 x 12 pixels grown to 16 x 12" in warning


def ball(points_mm):
    return np.linalg.norm(points_mm - BALL_MM, axis=-1) < RADIUS_MM


def test_an_overlay_of_a_ball_lies_on_the_ball(tmp_path):
    mask = sampled(ball, (9, 40, 50), 0.98, 0.0)
    write_ct_series(
        tmp_path, volume_hu(9, 40, 50), change=tilted_by(0.98), overlays={z: [Plane(one)] for z, one in enumerate(mask)}
    )
    opened, _, labels = open_tilted(tmp_path)
    distance = np.linalg.norm(points_of(opened.grid.shape_zyx, affine_lps(opened.grid)) - BALL_MM, axis=-1)
    # Nearest neighbour moves an edge by at most half a pixel of 0.75 mm.
    assert labels[distance < RADIUS_MM - 0.376].all()
    assert not labels[distance > RADIUS_MM + 0.376].any()
    assert np.count_nonzero(labels) == np.count_nonzero(mask)


@pytest.mark.parametrize("is_named", [True, False])
def test_a_seg_of_a_ball_on_tilted_slices_gives_what_overlay_planes_on_them_give(tmp_path, is_named):
    mask = sampled(ball, (9, 40, 50), 0.98, 0.0)
    planes = {z: [Plane(one)] for z, one in enumerate(mask)}
    write_ct_series(tmp_path / "drawn", volume_hu(9, 40, 50), change=tilted_by(0.98), overlays=planes)
    _, _, expected = open_tilted(tmp_path / "drawn")
    paths = write_ct_series(tmp_path / "ct", volume_hu(9, 40, 50), change=tilted_by(0.98))
    sources = read_sources(paths)
    # Where the images are not those that it names, the frame of reference and the place of each frame pair the two.
    for z, dataset in enumerate(sources if not is_named else []):
        dataset.SOPInstanceUID, dataset.SeriesInstanceUID = f"2.25.77.{z + 1}", "2.25.77"
    write_seg(tmp_path / "ct" / "seg.dcm", sources, mask[..., np.newaxis], ["ball"])
    opened, _, labels = open_tilted(tmp_path / "ct", {"ball": 1})
    assert opened.mask_kind == "segmentation"
    assert labels.any()
    np.testing.assert_array_equal(labels, expected)


def test_planes_in_a_second_tilted_series_give_what_planes_of_its_own_give(tmp_path):
    mask = sampled(ball, (9, 40, 50), 0.98, 0.0)
    planes = {z: [Plane(one, label="ball")] for z, one in enumerate(mask)}
    write_ct_series(tmp_path / "drawn", volume_hu(9, 40, 50), change=tilted_by(0.98), overlays=planes)
    _, _, expected = open_tilted(tmp_path / "drawn")
    both = tmp_path / "both"
    write_ct_series(both / "ct", volume_hu(9, 40, 50), change=tilted_by(0.98), series_uid="2.25.10")
    write_ct_series(both / "planes", volume_hu(9, 40, 50), change=tilted_by(0.98), series_uid="2.25.20", overlays=planes)
    (source,) = [one for one in find_cases(both).cases if one.series_uid == "2.25.10"]
    slices = list(open_case(source, "c0", {"ball": 1}, untilt=True).slices)
    np.testing.assert_array_equal([labels for _, labels in slices], expected)


def test_a_seg_on_straight_slices_does_not_fit_a_tilted_series(tmp_path):
    mask = sampled(ball, (9, 40, 50), 0.98, 0.0)
    straight = read_sources(write_ct_series(tmp_path / "straight", volume_hu(9, 40, 50)))
    write_ct_series(tmp_path / "ct", volume_hu(9, 40, 50), change=tilted_by(0.98))
    write_seg(tmp_path / "ct" / "seg.dcm", straight, mask[..., np.newaxis], ["ball"])
    with pytest.raises(MaskError, match="mask of case c0ffee: frame 1 of a DICOM SEG does not fit"):
        open_tilted(tmp_path / "ct", {"ball": 1})


def test_contours_fall_on_the_straight_grid_by_their_millimetres(tmp_path):
    write_ct_series(tmp_path, volume_hu(9, 40, 50), change=tilted_by(0.98))
    write_rtstruct(tmp_path / "rs", {"bone": [rectangle_mm((-3.9, 5.9), (-13.9, -2.1), 112.0)]})
    opened, _, labels = open_tilted(tmp_path)
    points = points_of(opened.grid.shape_zyx, affine_lps(opened.grid))
    is_inside = (np.abs(points - [1.0, -8.0, 112.0]) < [4.9, 5.9, 0.1]).all(axis=-1)
    np.testing.assert_array_equal(labels > 0, is_inside)


def test_an_uneven_tilt_is_refused_even_then(tmp_path):
    def crooked(dataset, z):
        x, y, height = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y + z * z * 0.5, height]

    write_ct_series(tmp_path, volume_hu(5), change=crooked)
    with pytest.raises(SeriesError, match=r"shifted slices in case c0ffee: slice 3 of 5 .*no gantry tilt explains it"):
        open_tilted(tmp_path)


def test_a_straight_series_is_the_same_with_and_without(tmp_path):
    write_ct_series(tmp_path, volume_hu())
    opened, images, _ = open_tilted(tmp_path)
    np.testing.assert_array_equal(images, volume_hu())
    assert opened.warnings == ()


@pytest.mark.data
def test_real_tilted_slices_are_straightened_where_they_are_even(tmp_path, data_root):
    folder = data_root / "ge-head-gantry-tilt"
    with pytest.raises(SeriesError, match=r"slice gap in case c0ffee: 1\.08 mm between slices 5 and 6 of 10"):
        open_tilted(folder)
    for number in range(10, 15):
        shutil.copy(folder / f"{number}.dcm", tmp_path)
    opened, images, _ = open_tilted(tmp_path)
    assert "gantry tilt of 18.5" in opened.warnings[0]
    assert opened.grid.spacing_mm_zyx[0] == pytest.approx(4.0, abs=0.01)
    # Neighbouring slices of a head resemble each other more when they lie where they were than when they do not.
    assert opened.grid.shape_zyx[1] > 512
    rows = slice(60, 460)
    straight = np.abs(np.diff(images[:, rows].astype(float), axis=0)).mean()
    (source,) = find_cases(tmp_path).cases
    tilted = [image for image, _ in open_case(source, "c0ffee", {}, untilt=True).slices]
    shift = images.shape[1] - 512
    crooked = np.array([np.roll(one, -round(shift * z / 4), axis=0) for z, one in enumerate(tilted)])[:, rows]
    assert straight < np.abs(np.diff(crooked.astype(float), axis=0)).mean()


@pytest.mark.parametrize(("y_mm", "x_mm"), [(0.98, 1e-6), (0.98, 0.004), (-0.75 - 1e-8, 0.0)])
def test_rounded_positions_add_no_empty_rows_or_columns(tmp_path, y_mm, x_mm):
    volume = volume_hu(4)
    write_ct_series(tmp_path, volume, change=tilted_by(y_mm, x_mm))
    opened, images, _ = open_tilted(tmp_path)
    # 3 times 0.98 mm are 3.92 rows of 0.75 mm, 3 times 0.75 mm are 3.
    rows = 10 + (4 if y_mm > 0 else 3)
    assert opened.grid.shape_zyx == (4, rows, 12)
    assert not (images == OUTSIDE_HU).all(axis=(0, 1)).any()
    assert np.array_equal(images[0][-10:] if y_mm < 0 else images[0][:10], volume[0])


def test_a_tilt_that_makes_giant_images_of_its_slices_is_refused_before_they_take_room(tmp_path):
    # 20,000 km aside are 27 million rows.
    write_ct_series(tmp_path, volume_hu(2), spacing_mm_zyx=(3e7, 0.75, 0.5), change=tilted_by(2e7))
    (source,) = find_cases(tmp_path).cases
    with pytest.raises(SeriesError, match=r"giant images in case c0: \d+ x 12 pixels, at most \d+ are read"):
        open_case(source, "c0", {}, untilt=True)
