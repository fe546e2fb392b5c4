"""Faults of values and what scales them."""

import numpy as np
from pydicom.dataset import Dataset

from tests.faults.good import Good, Truth, read_right, refused, warned
from tests.ingest.builders import Plane, write_ct_series


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


@warned(r"^\d+ values with fractions of a Hounsfield unit, rounded to whole ones: up to 0\.[45]\d* HU off")
def slope_with_a_fraction(good: Good) -> Truth:
    good.set(RescaleSlope="0.3")
    return np.rint((good.volume + 1024) * 0.3 - 1024).astype(np.int16), good.labels


@warned(r"no more than two different values in all slices, as a mask has that was written as images: no scan")
def values_of_a_mask(good: Good) -> Truth:
    volume = np.where(good.labels, 0, -1000).astype(np.int16)
    write_ct_series(good.folder, volume, overlays={1: [Plane(good.labels[1] > 0)]})
    return volume, good.labels * (np.arange(len(volume)) == 1)[:, np.newaxis, np.newaxis].astype(np.uint8)


@refused(r"values with fractions, the lowest of them 0 HU: no Hounsfield units, in which air is -1000")
def values_scaled_to_a_range_of_their_own(good: Good) -> None:
    good.set(RescaleSlope=str(1 / 4096), RescaleIntercept=0)


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


def _put_above_12_bits(dataset: Dataset, value: int) -> None:
    """Write a value as the first pixel of an image that says that 12 bits are stored."""
    stored = np.frombuffer(dataset.PixelData, "<u2").copy()
    stored[0] = value
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation, dataset.PixelData = 12, 11, 0, stored.tobytes()


@warned(r"^6 pixels have bits set above those stored \(0028,0101\), which are dropped: .*as of metal, they are wrong")
def metal_above_the_bits_stored(good: Good) -> Truth:
    """The metal that was is 3200 HU, 4224 stored; the lowest 12 bits of that are 128, which is what every reader gives."""

    good.edit(lambda dataset: _put_above_12_bits(dataset, 4224))
    volume = good.volume.copy()
    volume[:, 0, 0] = 128 - 1024
    return volume, good.labels


@refused(r"slice 1 of 6 by position: 1 pixels hold the padding declared, 63536 to 63536 \(0028,0120\), which 12 bits stored")
def padding_above_the_bits_stored(good: Good) -> None:
    def pad(dataset: Dataset) -> None:
        _put_above_12_bits(dataset, 63536)
        dataset.add_new("PixelPaddingValue", "US", 63536)

    good.edit(pad)


@refused(r"1 of 6 images .* without one sample a pixel")
def colour_pixels(good: Good) -> None:
    good.set(2, SamplesPerPixel=3)


@refused(r"1 of 6 images .* without grey values, MONOCHROME1 or 2 \(0028,0004\)")
def pixels_of_a_palette(good: Good) -> None:
    good.set(2, PhotometricInterpretation="PALETTE COLOR")


@read_right
def white_is_low(good: Good) -> None:
    good.set(PhotometricInterpretation="MONOCHROME1")


@refused(r"6 of 6 images .* without High Bit \(0028,0102\) one below Bits Stored")
def pixels_in_the_upper_bits(good: Good) -> None:
    def shift(dataset: Dataset) -> None:
        stored = np.frombuffer(dataset.PixelData, "<u2")
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 15, 0
        dataset.PixelData = (stored << 4).tobytes()

    good.edit(shift)


@warned(r"no air: the lowest value is \d+ HU; the values may be no Hounsfield units")
def values_without_intercept(good: Good) -> Truth:
    good.set(RescaleIntercept=0)
    return (good.volume + 1024).astype(np.int16), good.labels


@warned(r"^\d+ pixels declared as padding \(0028,0120\) brighter than any measured, taken as air around the patient")
def padding_that_lost_its_sign(good: Good) -> Truth:
    def pad(dataset: Dataset) -> None:
        stored = np.frombuffer(dataset.PixelData, "<i2").astype("<u2").reshape(dataset.Rows, dataset.Columns)
        stored[0] = 63536
        dataset.PixelRepresentation, dataset.PixelData = 0, stored.tobytes()
        dataset.add_new("PixelPaddingValue", "US", 63536)

    good.edit(pad)
    volume = good.volume.copy()
    volume[:, 0] = -1024
    return volume, good.labels
