"""Faults of slices and their places."""

import shutil

import numpy as np

from tests.faults.good import COLUMNS, ROWS, SLICES, Good, Truth, read_right, refused, warned


@refused(r"slice gap in case .*6\.00 mm between slices 2 and 3 of 5 .*\(1 slice missing\)")
def slice_missing(good: Good) -> None:
    good.paths[2].unlink()


@refused(r"slice gap in case .*9\.00 mm .*\(2 slices missing\)")
def two_slices_missing(good: Good) -> None:
    good.paths[2].unlink()
    good.paths[3].unlink()


@refused(r"slice gap in case .*2 such gaps")
def slice_moved_half_a_millimetre(good: Good) -> None:
    good.move(3, up=0.5)


@warned(r"uneven slices: up to 0\.050 mm .* taken as even")
def slice_moved_by_rounding(good: Good) -> None:
    good.move(3, up=0.05)


@read_right
def slice_moved_by_a_hundredth(good: Good) -> None:
    good.move(3, up=0.01)


@refused(r"duplicate positions in case .*different images; 1 such pairs.*export each pass as its own series")
def position_twice(good: Good) -> None:
    good.move(3, up=-3)
    good.move(4, up=-3)
    good.move(5, up=-3)


@refused(r"duplicate positions in case .*the same image twice.*remove the copy")
def file_copied(good: Good) -> None:
    shutil.copy(good.paths[2], good.folder / "copy")


@refused(r"gantry tilt in case .*10\.0 degrees.*or let --untilt do it")
def gantry_tilted(good: Good) -> None:
    for z in range(SLICES):
        good.move(z, y=z * 3 * np.tan(np.radians(10)))


@warned(r"gantry tilt of 14\.04 degrees sheared back", untilt=True)
def gantry_tilted_and_straightened(good: Good) -> Truth:
    for z in range(SLICES):
        good.move(z, y=z * 0.75)
    volume = np.full((SLICES, ROWS + SLICES - 1, COLUMNS), -1024, dtype=np.int16)
    labels = np.zeros(volume.shape, dtype=np.uint8)
    for z in range(SLICES):
        volume[z, z : z + ROWS], labels[z, z : z + ROWS] = good.volume[z], good.labels[z]
    return volume, labels


@refused(r"shifted slices in case .*slice 3 of 6 .*2\.0 mm beside")
def slice_beside_the_others(good: Good) -> None:
    good.move(2, x=2)


@warned(r"slices up to 0\.060 mm beside the first slice's normal, taken as straight")
def slice_a_little_beside(good: Good) -> None:
    good.move(2, x=0.06)


@refused(r"mixed orientations in case .*2 in 6 images")
def one_slice_turned(good: Good) -> None:
    good.set(2, ImageOrientationPatient=[0, 1, 0, -1, 0, 0])


@warned(r"orientations differ by up to 5e-05 in a direction cosine")
def one_slice_turned_by_rounding(good: Good) -> None:
    good.set(2, ImageOrientationPatient=[1, 0.00005, 0, 0, 1, 0])


@refused(r"impossible orientation in case .*two unit vectors at right angles")
def orientation_sheared(good: Good) -> None:
    good.set(ImageOrientationPatient=[1, 0, 0, 0.5, 0.8, 0])


@refused(r"mixed image sizes in case .*\(5 of 10 x 12, 1 of 12 x 10\)")
def one_slice_of_another_size(good: Good) -> None:
    good.set(4, Rows=COLUMNS, Columns=ROWS)


@refused(r"mixed pixel spacings in case")
def one_slice_of_another_spacing(good: Good) -> None:
    good.set(1, PixelSpacing=[0.75, 0.6])


@refused(r"mixed frames of reference in case .*2 in 6 images")
def one_slice_in_another_frame(good: Good) -> None:
    good.set(1, FrameOfReferenceUID="2.25.5")


@refused(r"1 of 6 images .* without Image Position")
def one_position_missing(good: Good) -> None:
    good.drop("ImagePositionPatient", slices=(3,))


@refused(r"without Image Orientation")
def orientation_missing(good: Good) -> None:
    good.drop("ImageOrientationPatient")


@refused(r"without Pixel Spacing \(0028,0030\) above 0")
def pixel_spacing_zero(good: Good) -> None:
    good.set(PixelSpacing=[0, 0.5])


@warned(r"Spacing Between Slices \(0018,0088\) is not the 3\.000 mm between positions")
def spacing_stated_wrongly(good: Good) -> None:
    good.set(SpacingBetweenSlices=5)


@read_right
def series_oblique(good: Good) -> None:
    row, column, normal = np.array([0.8, 0.6, 0.0]), np.array([-0.6, 0.8, 0.0]), np.array([0.0, 0.0, 1.0])
    turn = np.array([[1, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]])
    row, column, normal = turn @ row, turn @ column, turn @ normal
    for z in range(len(good.paths)):
        good.set(z, ImageOrientationPatient=[*row.tolist(), *column.tolist()], ImagePositionPatient=(3.0 * z * normal).tolist())
