"""NIfTI labels: any order of axes comes onto the grid, what is no label volume is refused, what is written is read back."""

import gzip
import itertools
import time

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its own usual name

from hipseg.errors import ConfigError, MaskError
from hipseg.geometry import affine_ras, grid_distance_mm, make_grid
from hipseg.ingest.nifti import is_nifti, name_stem, open_labels_on, read_grid, read_label_values, read_labels, write_volume
from hipseg.ingest.scratch import Scratch
from tests.ingest.builders import cut, write_nifti

AXES = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
GRID = make_grid((4, 3, 5), (3.0, 0.75, 0.5), (-10.0, -20.0, 100.0), AXES)
OBLIQUE_GRID = make_grid((4, 3, 5), (3.0, 0.75, 0.5), (1.0, 2.0, 3.0), ((0.8, 0.6, 0), (0, 0, -1), (-0.6, 0.8, 0)))


def read_on(path, grid):
    volume = open_labels_on(path, grid, Scratch())
    assert volume.values == set(read_label_values(path))
    return np.stack([volume.read(z) for z in range(grid.shape_zyx[0])])


def labels_zyx():
    return np.random.default_rng(0).integers(0, 4, (4, 3, 5)).astype(np.uint8)


def write(path, dtype=np.uint8, grid=GRID, scale=1):
    return write_nifti(path, (labels_zyx().transpose(2, 1, 0) * scale).astype(dtype), affine_ras(grid))


@pytest.mark.parametrize("grid", [GRID, OBLIQUE_GRID])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(), (0,), (1, 2), (0, 1, 2)])
def test_any_order_and_direction_of_axes_comes_onto_the_grid(tmp_path, grid, order, flips):
    # Turned by nibabel's own orientation code, which has no part in the reading.
    turn = np.array([[axis, -1 if axis in flips else 1] for axis in order], dtype=float)
    voxels_xyz = labels_zyx().transpose(2, 1, 0)
    turned = nibabel.orientations.apply_orientation(voxels_xyz, turn)
    affine = affine_ras(grid) @ nibabel.orientations.inv_ornt_aff(turn, voxels_xyz.shape)
    path = write_nifti(tmp_path / "labels.nii.gz", turned, affine)
    assert np.array_equal(read_on(path, grid), labels_zyx())


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64, ">i2", ">f4"])
def test_whole_numbers_of_any_type_are_labels(tmp_path, dtype):
    labels, grid = read_labels(write(tmp_path / "labels.nii", dtype))
    assert labels.dtype == np.uint8
    assert np.array_equal(labels, labels_zyx())
    assert grid_distance_mm(grid, GRID) < 1e-4


def test_scaled_values_are_scaled_back(tmp_path):
    image = nibabel.Nifti1Image(labels_zyx().transpose(2, 1, 0).astype(np.int16) * 2, affine_ras(GRID))
    image.header.set_slope_inter(0.5, 0)
    raw = bytearray(image.to_bytes())
    # nibabel scales on writing; the slope is put into the bytes instead.
    raw[112:116] = np.float32(0.5).tobytes()
    (tmp_path / "labels.nii").write_bytes(raw)
    assert np.array_equal(read_labels(tmp_path / "labels.nii")[0], labels_zyx())


def put(path, offset, value):
    """Overwrite a float of a header."""
    raw = bytearray(path.read_bytes())
    raw[offset : offset + 4] = np.float32(value).tobytes()
    path.write_bytes(raw)
    return path


def test_labels_that_a_slope_in_single_precision_makes_not_quite_whole_are_labels(tmp_path):
    # As SPM writes a binary mask: 0 and 255, with a slope of 1/255.
    path = write_nifti(tmp_path / "labels.nii", (labels_zyx() > 0).transpose(2, 1, 0) * np.uint8(255), affine_ras(GRID))
    assert np.array_equal(read_labels(put(path, 112, 1 / 255))[0], labels_zyx() > 0)


@pytest.mark.parametrize("slope", [1.002, 1e-25])
def test_a_slope_that_gives_fractions_gives_no_labels(tmp_path, slope):
    with pytest.raises(MaskError, match="image, not labels"):
        read_labels(put(write(tmp_path / "labels.nii"), 112, slope))


@pytest.mark.parametrize("offset", [0, 16, -16, 351])
def test_voxels_inside_the_header_are_refused(tmp_path, offset):
    with pytest.raises(MaskError, match=f"voxels at byte {offset}, inside the header; at least 352 is expected"):
        read_labels(put(write(tmp_path / "labels.nii"), 108, offset))


def test_voxels_inside_the_longer_header_of_the_second_version_are_refused(tmp_path):
    image = nibabel.Nifti2Image(labels_zyx().transpose(2, 1, 0), affine_ras(GRID))
    nibabel.save(image, tmp_path / "labels.nii")
    raw = bytearray((tmp_path / "labels.nii").read_bytes())
    raw[168:176] = np.int64(540).tobytes()
    (tmp_path / "labels.nii").write_bytes(raw)
    with pytest.raises(MaskError, match="voxels at byte 540, inside the header; at least 544 is expected"):
        read_labels(tmp_path / "labels.nii")


@pytest.mark.parametrize("offset", [1e20, np.inf, np.nan])
def test_voxels_beyond_any_file_are_refused(tmp_path, offset):
    with pytest.raises(MaskError, match=r"cut short: its header announces|header is damaged"):
        read_labels(put(write(tmp_path / "labels.nii"), 108, offset))


@pytest.mark.parametrize(("unit", "unit_mm"), [("meter", 1000), ("micron", 0.001), ("mm", 1), ("unknown", 1)])
def test_the_second_version_of_the_format_and_every_unit_are_read(tmp_path, unit, unit_mm):
    affine = affine_ras(GRID)
    affine[:3] /= unit_mm
    image = nibabel.Nifti2Image(labels_zyx().transpose(2, 1, 0), affine)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "labels.nii")
    assert np.array_equal(read_on(tmp_path / "labels.nii", GRID), labels_zyx())


@pytest.mark.parametrize(("value", "words"), [(-1000, "from -1000"), (0.5, "from 0 to 0.5"), (256, "to 256"), (np.nan, "nan")])
def test_an_image_in_place_of_labels_is_refused(tmp_path, value, words):
    voxels = np.zeros((5, 3, 4), np.float32)
    voxels[2, 1, 3] = value
    with pytest.raises(MaskError, match=f"an image, not labels: values .*{words}"):
        read_labels(write_nifti(tmp_path / "image.nii.gz", voxels, affine_ras(GRID)))


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        (make_grid((4, 3, 6), (3.0, 0.75, 0.5), (-10, -20, 100), AXES), r"4 x 3 x 6 voxels .*the series has 4 x 3 x 5"),
        (
            make_grid((4, 3, 5), (3.0, 0.75, 0.5), (-10, -18, 100), AXES),
            r"2\.00 mm from the series', corners up to 2\.00 mm",
        ),
        (make_grid((4, 3, 5), (3.1, 0.75, 0.5), (-10, -20, 100), AXES), r"of 3\.100 x .*corners up to 0\.30 mm"),
        (make_grid((4, 3, 5), (3.0, 0.75, 0.5), (-10, -20, 100), ((0.8, 0.6, 0), (-0.6, 0.8, 0), (0, 0, 1))), "run at an angle"),
    ],
)
def test_a_mask_elsewhere_is_refused_with_both_grids(tmp_path, grid, words):
    path = tmp_path / "labels.nii"
    write_nifti(path, np.zeros(grid.shape_zyx[::-1], np.uint8), affine_ras(grid))
    with pytest.raises(MaskError, match=words):
        read_on(path, GRID)


def test_a_mask_without_position_is_refused(tmp_path):
    image = nibabel.Nifti1Image(np.zeros((5, 3, 4), np.uint8), None)
    nibabel.save(image, tmp_path / "labels.nii")
    with pytest.raises(MaskError, match="does not say where it lies"):
        read_labels(tmp_path / "labels.nii")


def test_several_volumes_in_one_file_are_refused(tmp_path):
    path = write_nifti(tmp_path / "labels.nii", np.zeros((5, 3, 4, 2), np.uint8), affine_ras(GRID))
    with pytest.raises(MaskError, match=r"shape \(5, 3, 4, 2\); one volume"):
        read_labels(path)


def test_a_sheared_grid_is_refused(tmp_path):
    affine = affine_ras(GRID)
    affine[0, 2] = 1.0
    path = tmp_path / "labels.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 3, 4), np.uint8), affine), path)
    with pytest.raises(MaskError, match="shears the grid"):
        read_labels(path)


@pytest.mark.parametrize("name", ["labels.nii", "labels.nii.gz"])
def test_a_cut_file_is_refused(tmp_path, name):
    path = write(tmp_path / name)
    cut(path, -20)
    with pytest.raises(MaskError, match=r"cut short|damaged"):
        read_labels(path)


def test_a_header_that_announces_more_than_the_file_can_hold_is_refused_at_once(tmp_path):
    path = write(tmp_path / "labels.nii")
    raw = bytearray(path.read_bytes())
    raw[42:48] = np.array([32767, 32767, 32767], "<i2").tobytes()
    path.write_bytes(raw)
    with pytest.raises(MaskError, match="announces 32767 x 32767 x 32767 voxels"):
        read_labels(path)


def test_content_and_not_the_name_says_what_is_nifti(tmp_path):
    assert is_nifti(write(tmp_path / "labels.nii").rename(tmp_path / "anything"))
    assert is_nifti(write(tmp_path / "packed.nii.gz").rename(tmp_path / "packed"))
    (tmp_path / "text.nii").write_text("no volume\n" * 100)
    (tmp_path / "text.nii.gz").write_bytes(gzip.compress(b"no volume\n" * 100))
    (tmp_path / "broken.nii.gz").write_bytes(b"\x1f\x8b" + bytes(400))
    (tmp_path / "empty.nii").write_bytes(b"")
    assert not any(is_nifti(tmp_path / name) for name in ("text.nii", "text.nii.gz", "broken.nii.gz", "empty.nii"))


def test_the_name_to_choose_by_loses_both_endings(tmp_path):
    assert [name_stem(tmp_path / name) for name in ("a.nii.gz", "a.b.nii", "a")] == ["a", "a.b", "a"]


def test_label_numbers_are_listed_without_background(tmp_path):
    assert read_label_values(write(tmp_path / "labels.nii", scale=7)) == (7, 14, 21)


@pytest.mark.parametrize("grid", [GRID, OBLIQUE_GRID])
@pytest.mark.parametrize("name", ["image.nii.gz", "image.nii"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint8])
def test_what_is_written_lies_where_simpleitk_finds_it(tmp_path, grid, name, dtype):
    volume = np.random.default_rng(0).integers(0, 200, (4, 3, 5)).astype(dtype)
    write_volume(tmp_path / name, volume, grid)
    image = sitk.ReadImage(str(tmp_path / name))
    assert np.array_equal(sitk.GetArrayFromImage(image), volume)
    assert sitk.GetArrayFromImage(image).dtype == dtype
    assert image.GetOrigin() == pytest.approx(grid.origin_mm_xyz, abs=1e-4)
    assert image.GetSpacing() == pytest.approx(grid.spacing_mm_zyx[::-1], abs=1e-6)
    assert pytest.approx(np.array(grid.directions_xyz), abs=1e-6) == np.array(image.GetDirection()).reshape(3, 3).T
    assert grid_distance_mm(read_labels(tmp_path / name)[1], grid) < 1e-3


def test_the_same_volume_gives_the_same_bytes_under_any_name_at_any_time(tmp_path, monkeypatch):
    write_volume(tmp_path / "a.nii.gz", labels_zyx(), GRID)
    monkeypatch.setattr(time, "time", lambda: 1e9)
    write_volume(tmp_path / "other" / "b.nii.gz", labels_zyx(), GRID)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "other" / "b.nii.gz").read_bytes()


def test_a_volume_off_its_grid_is_not_written(tmp_path):
    with pytest.raises(ConfigError, match="same shape"):
        write_volume(tmp_path / "a.nii", np.zeros((4, 3, 4), np.uint8), GRID)
    assert list(tmp_path.iterdir()) == []


def test_position_in_two_ways_that_contradict_each_other_is_refused(tmp_path):
    image = nibabel.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.eye(4))
    image.set_sform(np.diag([1.0, 1.0, 2.0, 1.0]), code=1)
    image.set_qform(np.eye(4), code=1)
    nibabel.save(image, tmp_path / "m.nii")
    with pytest.raises(MaskError, match=r"sform and its qform give are up to 5\.00 mm apart"):
        read_grid(tmp_path / "m.nii")


@pytest.mark.parametrize(("sform_code", "qform_code", "spacing_mm"), [(1, 1, 2.1), (2, 0, 2.1), (0, 1, 2.0)])
def test_sform_goes_before_qform_and_a_form_without_code_says_nothing(tmp_path, sform_code, qform_code, spacing_mm):
    image = nibabel.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.eye(4))
    image.set_sform(np.diag([1.0, 1.0, 2.1, 1.0]), code=sform_code)
    image.set_qform(np.diag([1.0, 1.0, 2.0, 1.0]), code=qform_code)
    nibabel.save(image, tmp_path / "m.nii")
    assert read_grid(tmp_path / "m.nii").spacing_mm_zyx[0] == pytest.approx(spacing_mm)


PIXDIM, QUATERNION = 76, 256
"""Where these stand in a NIfTI-1 header. Source: nifti1.h."""


def test_no_sign_of_the_third_axis_is_a_positive_one(tmp_path):
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    image = nibabel.Nifti1Image(np.ones((4, 5, 6), np.uint8), affine)
    image.set_sform(affine, code=0)
    image.set_qform(affine, code=1)
    nibabel.save(image, tmp_path / "m.nii")
    expected = read_grid(tmp_path / "m.nii")
    put(tmp_path / "m.nii", PIXDIM, 0)
    assert read_grid(tmp_path / "m.nii") == expected


@pytest.mark.parametrize(("offset", "number"), [(QUATERNION, 1.5), (QUATERNION, np.nan), (PIXDIM + 4, -0.5), (PIXDIM, 7)])
def test_a_qform_that_cannot_be_used_says_nothing_beside_a_sform_and_is_refused_alone(tmp_path, offset, number):
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    for code, name in ((1, "both.nii"), (0, "alone.nii")):
        image = nibabel.Nifti1Image(np.ones((4, 5, 6), np.uint8), affine)
        image.set_sform(affine, code=code)
        image.set_qform(affine, code=1)
        nibabel.save(image, tmp_path / name)
        put(tmp_path / name, offset, number)
    assert read_grid(tmp_path / "both.nii").spacing_mm_zyx == (2.0, 1.0, 1.0)
    with pytest.raises(MaskError, match="a NIfTI header"):
        read_grid(tmp_path / "alone.nii")


def test_a_place_that_is_no_number_is_refused_without_a_word_of_numpys(tmp_path, recwarn):
    path = tmp_path / "labels.nii"
    write(path)
    content = bytearray(path.read_bytes())
    srow_x = 280
    content[srow_x : srow_x + 4] = (0x7FA00000).to_bytes(4, "little")  # a signalling NaN
    path.write_bytes(content)
    with pytest.raises(MaskError):
        read_grid(path)
    assert [str(one.message) for one in recwarn] == []
