"""Seeded faults made from good series in code: each says what must come of it, and `docs/refusals.md` lists them.

A fault is a function that spoils a good series in place. Its decorator says whether the series must be refused (with which
words), read right, or read right with a warning. "Right" is the volume and the mask of the good series, or what the function
returns.
"""

import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from tests.ingest.builders import Plane, cut, rectangle_mm, volume_hu, write_ct_series, write_nifti, write_rtstruct
from tests.ingest.enhanced_builder import write_enhanced

SLICES, ROWS, COLUMNS = 6, 10, 12
Outcome = Literal["refused", "read", "warned"]
Truth = tuple[np.ndarray, np.ndarray | None]
"""HU, int16 (z, y, x), and labels, uint8 (z, y, x), None without mask."""


@dataclass
class Good:
    """A good series with one overlay structure; faults spoil its files.

    Args:
        folder: where it lies.
        paths: files by rising slice number.
        volume, labels: what it holds.
        rng: seeded by the fault's name.
    """

    folder: Path
    paths: list[Path]
    volume: np.ndarray
    labels: np.ndarray
    rng: np.random.Generator

    def edit(self, change: Callable[[Dataset], None], *slices: int) -> None:
        """Change the data sets of some slices; of all where none is named."""
        for z in slices or range(len(self.paths)):
            dataset = dcmread(self.paths[z])
            change(dataset)
            dataset.save_as(self.paths[z])

    def set(self, *slices: int, **values: object) -> None:
        """Set header values of some slices; None empties one."""
        self.edit(lambda dataset: [setattr(dataset, keyword, value) for keyword, value in values.items()] and None, *slices)

    def drop(self, *keywords: str, slices: tuple[int, ...] = ()) -> None:
        """Remove header values."""
        self.edit(lambda dataset: [delattr(dataset, keyword) for keyword in keywords] and None, *slices)

    def move(self, z: int, x: float = 0, y: float = 0, up: float = 0) -> None:
        """Move one slice, mm."""

        def change(dataset: Dataset) -> None:
            old = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [float(old[0]) + x, float(old[1]) + y, float(old[2]) + up]

        self.edit(change, z)

    def without_masks(self) -> None:
        """Remove the overlay planes."""

        def change(dataset: Dataset) -> None:
            for tag in [element.tag for element in dataset if element.tag.group == 0x6000]:
                del dataset[tag]

        self.edit(change)


@dataclass(frozen=True)
class Fault:
    """One fault: what it is, what must come of it, and what a user can do."""

    name: str
    outcome: Outcome
    words: str
    spoil: Callable[[Good], Truth | None]
    untilt: bool = False


FAULTS: dict[str, Fault] = {}


def write_good(folder: Path, name: str) -> Good:
    """Write the good series that a fault begins with."""
    seed = sum(name.encode())
    volume = volume_hu(SLICES, ROWS, COLUMNS, seed)
    rng = np.random.default_rng(seed)
    labels = np.zeros(volume.shape, dtype=np.uint8)
    labels[1:5, 2:7, 3:9] = 1
    planes = {z: [Plane(labels[z] > 0)] for z in range(SLICES) if labels[z].any()}
    return Good(folder, write_ct_series(folder, volume, overlays=planes), volume, labels, rng)


def _add(outcome: Outcome, words: str = "", *, untilt: bool = False) -> Callable[[Callable], Callable]:
    def register(spoil: Callable) -> Callable:
        FAULTS[spoil.__name__] = Fault(spoil.__name__, outcome, words, spoil, untilt)
        return spoil

    return register


def refused(words: str, *, untilt: bool = False) -> Callable[[Callable], Callable]:
    """The series must be refused with these words (a regular expression)."""
    return _add("refused", words, untilt=untilt)


def warned(words: str, *, untilt: bool = False) -> Callable[[Callable], Callable]:
    """The series must be read right, with these words in a warning."""
    return _add("warned", words, untilt=untilt)


read_right = _add("read")
"""The series must be read right, without a warning."""


# Slices and places.


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


# Values.


@refused(r"without Rescale Slope")
def slope_missing(good: Good) -> None:
    good.drop("RescaleSlope")


@refused(r"without Rescale Slope")
def slope_zero(good: Good) -> None:
    good.set(2, RescaleSlope=0)


@refused(r"without Rescale Intercept")
def intercept_empty(good: Good) -> None:
    good.set(2, RescaleIntercept=None)


@refused(r"without Rescale Type \(0028,1054\) HU")
def values_are_electron_density(good: Good) -> None:
    good.set(RescaleType="ED")


@refused(r"fractions of a Hounsfield unit")
def slope_with_a_fraction(good: Good) -> None:
    good.set(RescaleSlope="0.3")


@read_right
def slope_of_two(good: Good) -> Truth:
    good.set(RescaleSlope=2)
    return ((good.volume + 1024) * 2 - 1024).astype(np.int16), good.labels


@warned(r"2 different rescale slopes and intercepts in 6 images")
def one_intercept_differs(good: Good) -> Truth:
    good.set(2, RescaleIntercept=-1000)
    volume = good.volume.copy()
    volume[2] += 24
    return volume, good.labels


@refused(r"slice 1 of 6 by position: .* pixels beyond int16")
def slope_far_too_large(good: Good) -> None:
    good.set(RescaleSlope=100)


@refused(r"pixels of impossible density \(-1\d{4} HU and above, slope 1, intercept -15000\); -10240 HU or more")
def intercept_far_too_low(good: Good) -> None:
    good.set(RescaleIntercept=-15000)


@read_right
def padding_declared(good: Good) -> Truth:
    def pad(dataset: Dataset) -> None:
        dataset.add_new("PixelPaddingValue", "SS", -31000)
        stored = np.frombuffer(dataset.PixelData, "<i2").copy()
        stored[:5] = -31000
        dataset.PixelData = stored.tobytes()

    good.edit(pad)
    volume = good.volume.copy()
    volume[:, 0, :5] = -32024
    return volume, good.labels


@refused(r"slice 1 of 6 by position: 5 pixels of impossible density \(-32024 HU and above")
def padding_undeclared(good: Good) -> None:
    padding_declared(good)
    good.drop("PixelPaddingValue")


@read_right
def pixels_unsigned(good: Good) -> None:
    good.set(PixelRepresentation=0)


@read_right
def stored_in_twelve_bits(good: Good) -> None:
    good.set(BitsStored=12, HighBit=11, PixelRepresentation=0)


@refused(r"1 of 6 images .* without one sample a pixel")
def colour_pixels(good: Good) -> None:
    good.set(2, SamplesPerPixel=3)


# Files.


@refused(r"slice 3 of 6 by position: \d+ bytes of pixels, expected 240")
def pixels_cut(good: Good) -> None:
    cut(good.paths[2], -int(good.rng.integers(20, 200)))


@refused(r"damaged file in case")
def header_cut(good: Good) -> None:
    cut(good.paths[2], int(good.rng.integers(200, 400)))


@refused(r"damaged file in case .*1 of 6 files")
def file_empty(good: Good) -> None:
    good.paths[5].write_bytes(b"")


@refused(r"slice 1 of 6 by position: no pixels: the file breaks off before them")
def pixels_missing(good: Good) -> None:
    good.drop("PixelData", slices=(0,))


@refused(r"slice 2 of 6 by position: pixels cannot be decoded \(RLE Lossless\)")
def pixels_of_rle_damaged(good: Good) -> None:
    good.edit(lambda dataset: dataset.compress(RLELossless))
    start = good.paths[1].read_bytes()
    place = start.index(b"\x02\0\0\0\x40\0\0\0")
    good.paths[1].write_bytes(start[:place] + b"\xff" * 16 + start[place + 16 :])


@refused(r"slice 4 of 6 by position: pixels cannot be decoded \(unknown transfer syntax\)")
def transfer_syntax_unknown(good: Good) -> None:
    good.edit(lambda dataset: setattr(dataset.file_meta, "TransferSyntaxUID", "1.2.3.4.5"), 3)


@read_right
def compressed_as_rle(good: Good) -> None:
    good.edit(lambda dataset: dataset.compress(RLELossless))


def _write_as(good: Good, syntax: str) -> None:
    """Write the series once more, in another transfer syntax."""
    planes = {z: [Plane(good.labels[z] > 0)] for z in range(SLICES) if good.labels[z].any()}
    write_ct_series(good.folder, good.volume, overlays=planes, syntax=syntax)


@read_right
def implicit_vr(good: Good) -> None:
    _write_as(good, ImplicitVRLittleEndian)


@read_right
def big_endian(good: Good) -> None:
    _write_as(good, ExplicitVRBigEndian)

    def swap(dataset: Dataset) -> None:
        # Overlay Data are words of 16 bits, whose high byte comes first here.
        if 0x60003000 in dataset:
            dataset[0x60003000].value = np.frombuffer(dataset[0x60003000].value, "<u2").byteswap().tobytes()

    good.edit(swap)


@read_right
def deflated(good: Good) -> None:
    _write_as(good, DeflatedExplicitVRLittleEndian)


@refused(r"slice 1 of 6 by position: compressed pixels that break off")
def native_pixels_called_compressed(good: Good) -> None:
    def lie(path: Path) -> None:
        old, new = b"1.2.840.10008.1.2.1\0", JPEG2000Lossless.encode()
        raw = path.read_bytes()
        place = raw.index(old)
        head = raw[: place - 2] + struct.pack("<H", len(new) + len(new) % 2) + new + b"\0" * (len(new) % 2)
        group = raw.index(b"\x02\0\0\0UL\x04\0") + 8
        length = struct.unpack("<I", raw[group : group + 4])[0] + len(new) + len(new) % 2 - len(old)
        path.write_bytes(head[:group] + struct.pack("<I", length) + head[group + 4 :] + raw[place + len(old) :])

    for path in good.paths:
        lie(path)


@read_right
def preambles_missing(good: Good) -> None:
    for path in good.paths:
        path.write_bytes(path.read_bytes()[132:])


@read_right
def identifiers_empty(good: Good) -> None:
    good.set(PatientID="", SeriesInstanceUID="", StudyInstanceUID="")


@read_right
def localizer_and_report_beside(good: Good) -> None:
    for name, values in {"scout": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "dose": {"Modality": "SR"}}.items():
        dataset = dcmread(good.paths[0])
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset.save_as(good.folder / name)


@read_right
def files_that_are_no_images_beside(good: Good) -> None:
    (good.folder / "notes.txt").write_text("nothing")
    (good.folder / "Thumbs.db").write_bytes(good.rng.bytes(300))


@read_right
def slices_written_from_head_to_foot(good: Good) -> None:
    for z in range(SLICES):
        good.set(z, InstanceNumber=SLICES - z)


@warned(r"one of 2 stacks of one series, each packed as a case of its own")
def two_passes_interleaved(good: Good) -> Truth:
    for z in range(SLICES):
        good.set(z, AcquisitionNumber=z % 2)
    return good.volume[::2], good.labels[::2]


@refused(r"multi-frame CT in case .*are no enhanced CT")
def several_frames_in_a_single_image(good: Good) -> None:
    good.set(2, NumberOfFrames=2)


def _replace_by_enhanced(good: Good, **options: object) -> Path:
    for path in good.paths:
        path.unlink()
    return write_enhanced(good.folder / "multi", good.volume, **options)


@read_right
def enhanced_in_mixed_order(good: Good) -> Truth:
    _replace_by_enhanced(good, order=(4, 1, 5, 0, 2, 3))
    return good.volume, None


@refused(r"enhanced CT that cannot be read in case .*not described one by one")
def enhanced_without_a_frame(good: Good) -> None:
    _replace_by_enhanced(good, change=lambda dataset: dataset.PerFrameFunctionalGroupsSequence.pop() and None)


@refused(r"slice 6 of 6 by position: frame 6 cannot be decoded")
def enhanced_cut(good: Good) -> None:
    cut(_replace_by_enhanced(good), -30)


@refused(r"slice gap in case .*1 slice missing")
def enhanced_with_a_slice_missing(good: Good) -> None:
    _replace_by_enhanced(good, order=(0, 1, 3, 4, 5))


# Masks.


@refused(r"mask of case .*, slice 3 of 6 by position: \d+ bytes of overlay, expected 15")
def overlay_cut(good: Good) -> None:
    good.edit(lambda dataset: setattr(dataset[0x60003000], "value", b"\x01\x02"), 2)


@refused(r"overlay group 6000 without rows, columns or origin")
def overlay_without_origin(good: Good) -> None:
    good.edit(lambda dataset: dataset.pop(0x60000050) and None, 2)


@read_right
def overlay_shifted_by_its_origin(good: Good) -> Truth:
    good.edit(lambda dataset: setattr(dataset[0x60000050], "value", [2, 3]), 1, 2, 3, 4)
    labels = np.zeros_like(good.labels)
    labels[:, 1:, 2:] = good.labels[:, :-1, :-2]
    return good.volume, labels


@refused(r"2 structures \(2 overlay\); choose with --roi")
def two_structures_without_a_choice(good: Good) -> None:
    write_ct_series(good.folder, good.volume, overlays={1: [Plane(good.labels[1] > 0), Plane(good.labels[1] > 0, group=0x6002)]})


@refused(r"a contour lies off the slices: 1\.50 mm from slice")
def contour_between_slices(good: Good) -> None:
    good.without_masks()
    write_rtstruct(good.folder / "rs", {"bone": [rectangle_mm((-8.1, -6.1), (-18.1, -16.1), 107.5)]})


@refused(r"lies wholly beside the image of 10 x 12 pixels")
def contour_beside_the_image(good: Good) -> None:
    good.without_masks()
    write_rtstruct(good.folder / "rs", {"bone": [rectangle_mm((100, 110), (-18, -16), 106)]})


@refused(r"its mask sources hold no structure with an area")
def contour_open(good: Good) -> None:
    good.without_masks()
    write_rtstruct(good.folder / "rs", {"bone": [rectangle_mm((-8, -6), (-18, -16), 106)]}, kinds="OPEN_PLANAR")


@refused(r"RTSTRUCT file breaks off")
def rtstruct_cut(good: Good) -> None:
    good.without_masks()
    cut(write_rtstruct(good.folder / "rs", {"bone": [rectangle_mm((-8, -6), (-18, -16), 106)]}), -40)


def _affine_ras() -> np.ndarray:
    affine = np.diag([-0.5, -0.75, 3.0, 1.0])
    affine[:3, 3] = [10.0, 20.0, 100.0]
    return affine


@read_right
def nifti_on_the_grid(good: Good) -> None:
    good.without_masks()
    write_nifti(good.folder / "mask.nii", good.labels.transpose(2, 1, 0), _affine_ras())


@refused(r"a NIfTI mask does not fit: .*first voxel 3\.00 mm from the series'")
def nifti_one_voxel_beside(good: Good) -> None:
    good.without_masks()
    affine = _affine_ras()
    affine[2, 3] += 3
    write_nifti(good.folder / "mask.nii", good.labels.transpose(2, 1, 0), affine)


@refused(r"a NIfTI mask does not fit: 5 x 10 x 12 voxels .*the series has 6 x 10 x 12")
def nifti_of_another_size(good: Good) -> None:
    good.without_masks()
    write_nifti(good.folder / "mask.nii", good.labels.transpose(2, 1, 0)[:, :, :-1], _affine_ras())


@refused(r"a NIfTI mask is an image, not labels: values from 0 to 0\.5")
def nifti_with_fractions(good: Good) -> None:
    good.without_masks()
    write_nifti(good.folder / "mask.nii", good.labels.transpose(2, 1, 0) * np.float32(0.5), _affine_ras())


@refused(r"a NIfTI mask is cut short: it ends in slice 6 of 6")
def nifti_cut(good: Good) -> None:
    good.without_masks()
    cut(write_nifti(good.folder / "mask.nii", good.labels.transpose(2, 1, 0), _affine_ras()), -100)
