"""Bits above those stored are dropped, as the standard has it; where that changes a value, it is said."""

import re

import numpy as np
import pytest

from hipseg.errors import SeriesError
from hipseg.ingest.cases import find_cases, open_case
from tests.ingest.builders import volume_hu, write_ct_series
from tests.ingest.enhanced_builder import write_enhanced

WARNING = r"^(\d+) pixels have bits set above those stored \(0028,0101\), which are dropped: .*as of metal, they are wrong"
SIGNED, UNSIGNED = 1, 0
WORDS = {
    "larger than 12 bits hold": ([0x0400, 0x1080], UNSIGNED, 1),
    "signs in bits of no number": ([0x0400, 0xF005], UNSIGNED, 1),
    "nothing above": ([0x0400, 0x0FFF], UNSIGNED, 0),
    "signs in all bits": ([0xFC18, 0x07FF], SIGNED, 0),
    "signs in the bits stored alone": ([0x0C18, 0x07FF], SIGNED, 0),
    "signs in all bits, and a value larger than 12 bits hold": ([0xFC18, 0x09C4], SIGNED, 1),
    "sign lower than 12 bits hold": ([0xF430, 0x0005], SIGNED, 1),
}
"""Two pixels as they lie in the file, their sign, and how many of them lose something."""


def of_twelve_bits(words, sign, **more):
    """Make a change to a data set of images of two pixels."""

    def change(dataset, *_):
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 12, 11, sign
        order = ">u2" if dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.2" else "<u2"
        dataset.PixelData = np.tile(words, int(dataset.get("NumberOfFrames") or 1)).astype(order).tobytes()
        for tag, (vr, value) in more.items():
            dataset.add_new(int(tag.removeprefix("t"), 16), vr, value)

    return change


def find_dropped(folder):
    """Pack a series, and give how many pixels it is warned of."""
    opened = open_case(find_cases(folder).cases[0], "KEY", {})
    for _ in opened.slices:
        pass
    return sum(int(found[1]) for words in opened.late_warnings() if (found := re.match(WARNING, words)))


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"])
@pytest.mark.parametrize("case", WORDS)
def test_pixels_that_lose_bits_are_counted_in_every_slice(tmp_path, syntax, case):
    words, sign, lost = WORDS[case]
    write_ct_series(tmp_path, volume_hu(3, 1, 2), change=of_twelve_bits(words, sign), syntax=syntax)
    assert find_dropped(tmp_path) == 3 * lost


@pytest.mark.parametrize("case", WORDS)
def test_pixels_that_lose_bits_are_counted_in_every_frame(tmp_path, case):
    words, sign, lost = WORDS[case]
    write_enhanced(tmp_path / "ct", volume_hu(3, 1, 2), change=of_twelve_bits(words, sign))
    assert find_dropped(tmp_path) == 3 * lost


def test_overlay_planes_in_the_bits_above_are_no_loss(tmp_path):
    plane = {"t60000010": ("US", 1), "t60000011": ("US", 2), "t60000040": ("CS", "G"), "t60000050": ("SS", [1, 1])}
    plane |= {"t60000100": ("US", 16), "t60000102": ("US", 12)}
    write_ct_series(tmp_path, volume_hu(3, 1, 2), change=of_twelve_bits([0x0400, 0x1080], UNSIGNED, **plane))
    assert find_dropped(tmp_path) == 0


@pytest.mark.parametrize(("words", "sign", "padding"), [((0x0400, 63536), UNSIGNED, 63536), ((0x0400, 0xF430), SIGNED, -3024)])
def test_padding_that_the_bits_stored_do_not_hold_is_refused(tmp_path, words, sign, padding):
    declared = {"t00280120": ("US" if padding > 0 else "SS", padding)}
    write_ct_series(tmp_path, volume_hu(3, 1, 2), change=of_twelve_bits(words, sign, **declared))
    with pytest.raises(SeriesError, match=rf"slice 1 of 3 .*: 1 pixels hold the padding declared, {padding} to {padding} "):
        find_dropped(tmp_path)
