"""A CT as NIfTI: HU as nibabel gives them, counted as axial DICOM slices are; what int16 cannot keep is refused."""

import gzip
import itertools

import nibabel
import numpy as np
import pytest

from hipseg.errors import SeriesError
from hipseg.geometry import affine_ras, grid_distance_mm, make_grid, points_to_indices
from hipseg.ingest.niftiimage import find_axial_axes, open_nifti_image, to_whole_hu
from hipseg.ingest.rounding import Rounding
from tests.ingest.builders import cut, volume_hu, write_nifti

LPS = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
GRID = make_grid((4, 10, 12), (3.0, 0.75, 0.5), (-10.0, -20.0, 100.0), LPS)
TILTED = make_grid((4, 10, 12), (3.0, 0.75, 0.5), (1.0, 2.0, 3.0), ((1, 0, 0), (0, 0.96, 0.28), (0, -0.28, 0.96)))


def read(path):
    grid, slices = open_nifti_image(path, Rounding())
    return np.stack(list(slices)), grid


def write(path, volume, grid=GRID):
    return write_nifti(path, volume.transpose(2, 1, 0), affine_ras(grid))


@pytest.mark.parametrize("grid", [GRID, TILTED])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product((1, -1), repeat=3)))
def test_any_order_and_direction_of_axes_gives_the_same_axial_slices(tmp_path, grid, order, flips):
    # Turned by nibabel's own orientation code, which has no part in the reading.
    turn = np.array(list(zip(order, flips, strict=True)), dtype=float)
    voxels_xyz = volume_hu().transpose(2, 1, 0)
    turned = nibabel.orientations.apply_orientation(voxels_xyz, turn)
    path = write_nifti(tmp_path / "ct.nii.gz", turned, affine_ras(grid) @ nibabel.orientations.inv_ornt_aff(turn, (12, 10, 4)))
    found, own = read(path)
    assert found.dtype == np.int16
    assert np.array_equal(found, volume_hu())
    assert grid_distance_mm(own, grid) < 1e-3
    assert np.linalg.det(own.directions_xyz) == pytest.approx(1)


def test_random_directions_become_right_handed_and_point_left_back_and_up():
    generator = np.random.default_rng(3)
    for _ in range(300):
        directions, _ = np.linalg.qr(generator.normal(size=(3, 3)))
        own = make_grid((4, 3, 5), (3.0, 0.75, 0.5), (0, 0, 0), directions)
        axes = find_axial_axes(own)
        turned = np.array([directions[source] for source in axes.sources_xyz])
        turned[list(axes.are_flipped_xyz)] *= -1
        assert np.linalg.det(turned) == pytest.approx(1)
        assert (np.diag(turned) > 0).all()


def test_every_voxel_stays_where_it_lies_in_the_patient(tmp_path):
    volume = np.full((4, 10, 12), -1000, np.int16)
    volume[1, 2, 3] = 700
    coronal = make_grid((4, 10, 12), (3.0, 0.75, 0.5), (5.0, 6.0, 7.0), ((0, 0, 1), (-1, 0, 0), (0, -1, 0)))
    found, grid = read(write(tmp_path / "ct.nii", volume, coronal))
    z, y, x = np.argwhere(found == 700)[0]
    at_mm = affine_ras(coronal) @ (3, 2, 1, 1)
    assert np.allclose(points_to_indices(np.array([[-at_mm[0], -at_mm[1], at_mm[2]]]), grid), (x, y, z), atol=1e-4)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint16, np.float32, np.float64, ">i2", ">f4"])
def test_whole_numbers_of_any_type_are_read(tmp_path, dtype):
    volume = np.abs(volume_hu()).astype(dtype)
    found, _ = read(write(tmp_path / "ct.nii.gz", volume))
    assert np.array_equal(found, volume)


def test_scaled_values_are_scaled_as_nibabel_does(tmp_path):
    image = nibabel.Nifti1Image(volume_hu().transpose(2, 1, 0) * 2 + 100, affine_ras(GRID))
    raw = bytearray(image.to_bytes())
    # nibabel scales on writing; slope and intercept are put into the bytes instead.
    raw[112:120] = np.array([0.5, -50], np.float32).tobytes()
    (tmp_path / "ct.nii").write_bytes(raw)
    assert np.array_equal(nibabel.load(tmp_path / "ct.nii").get_fdata().transpose(2, 1, 0), volume_hu())
    assert np.array_equal(read(tmp_path / "ct.nii")[0], volume_hu())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "slice 3 of 4 as stored: 1 voxels hold no number"),
        (np.inf, "slice 3 of 4 as stored: 1 voxels hold no number"),
        (40000, r"slice 3 of 4 as stored: values from -?\d+ to 40000; -10240 to 32767 HU are possible"),
        (-20000, r"slice 3 of 4 as stored: values from -20000 to \d+; -10240 to 32767 HU are possible"),
    ],
)
def test_what_int16_cannot_keep_is_refused_with_its_slice(tmp_path, value, words):
    volume = volume_hu().astype(np.float32)
    volume[2, 1, 1] = value
    with pytest.raises(SeriesError, match=words):
        read(write(tmp_path / "ct.nii.gz", volume))


def test_what_float32_leaves_of_whole_numbers_is_rounded():
    values = np.array([-1000.0009, 3000.0009, 0.0], np.float32)
    rounding = Rounding()
    assert to_whole_hu(values, 1.0, 0.0, rounding).tolist() == [-1000, 3000, 0]
    assert rounding.warnings() == ()


def test_fractions_as_resampling_leaves_them_are_rounded_and_counted():
    rounding = Rounding()
    values = np.array([-1000.25, 0.5, 1.5, 7.0], np.float32)
    assert to_whole_hu(values, 1.0, 0.0, rounding).tolist() == [-1000, 0, 2, 7]
    assert rounding.warnings() == ("3 values with fractions of a Hounsfield unit, rounded to whole ones: up to 0.500 HU off",)


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
def test_a_volume_that_breaks_off_is_refused(tmp_path, name):
    path = write(tmp_path / name, volume_hu())
    cut(path, path.stat().st_size - 200)
    with pytest.raises(SeriesError, match=r"cut short: it ends in slice 4 of 4|damaged"):
        read(path)


def test_a_flipped_bit_in_a_compressed_volume_is_noticed_by_its_checksum(tmp_path):
    path = write(tmp_path / "ct.nii", volume_hu())
    # Stored blocks: the bytes unpack whatever they are, only the checksum tells.
    raw = bytearray(gzip.compress(path.read_bytes(), compresslevel=0))
    raw[600] ^= 4
    (tmp_path / "ct.nii.gz").write_bytes(raw)
    with pytest.raises(SeriesError, match="damaged"):
        read(tmp_path / "ct.nii.gz")


def test_a_header_that_announces_more_than_the_file_holds_takes_no_memory(tmp_path):
    path = write(tmp_path / "ct.nii", volume_hu())
    raw = bytearray(path.read_bytes())
    raw[42:48] = np.array([30000, 30000, 30000], np.int16).tobytes()
    path.write_bytes(gzip.compress(raw))
    with pytest.raises(SeriesError, match="cut short: its header announces 30000 x 30000 x 30000 voxels"):
        open_nifti_image(path, Rounding())


def test_a_bomb_behind_the_last_voxel_is_refused(tmp_path):
    path = write(tmp_path / "ct.nii", volume_hu())
    path.write_bytes(gzip.compress(path.read_bytes() + bytes(8 << 20)))
    with pytest.raises(SeriesError, match="goes on for more than 1048576 bytes behind its last voxel"):
        read(path)


def test_voxels_inside_the_header_or_beyond_any_file_are_refused(tmp_path):
    path = write(tmp_path / "ct.nii", volume_hu())
    raw = bytearray(path.read_bytes())
    for offset, words in ((0, "the NIfTI image has its voxels at byte 0, inside the header"), (1e20, "cut short")):
        raw[108:112] = np.float32(offset).tobytes()
        path.write_bytes(raw)
        with pytest.raises(SeriesError, match=words):
            open_nifti_image(path, Rounding())


@pytest.mark.parametrize(("shape", "words"), [((12, 10, 4, 3), r"has shape \(12, 10, 4, 3\); one volume")])
def test_a_series_of_volumes_is_refused(tmp_path, shape, words):
    with pytest.raises(SeriesError, match=f"the NIfTI image {words}"):
        open_nifti_image(write_nifti(tmp_path / "ct.nii", np.zeros(shape, np.int16), affine_ras(GRID)), Rounding())


def test_a_slice_larger_than_memory_should_hold_is_refused(tmp_path):
    path = write(tmp_path / "ct.nii", volume_hu())
    raw = bytearray(path.read_bytes())
    raw[42:48] = np.array([16384, 16384, 1], np.int16).tobytes()
    path.write_bytes(gzip.compress(raw + bytes(1 << 20), compresslevel=0))
    with pytest.raises(SeriesError, match=r"too large: its header announces 1 x 16384 x 16384 voxels.* 134217728 bytes for each"):
        open_nifti_image(path, Rounding())


def test_axial_slices_are_read_one_at_a_time(tmp_path):
    path = write(tmp_path / "ct.nii", volume_hu())
    cut(path, path.stat().st_size - 400)
    _, slices = open_nifti_image(path, Rounding())
    assert np.array_equal([next(slices) for _ in range(2)], volume_hu()[:2])
