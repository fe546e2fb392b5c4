"""Faults of overlay planes, in the images and in other series."""

from pathlib import Path

import numpy as np

from tests.faults.good import Good, Truth, read_right, refused, warned
from tests.ingest.builders import Plane, cut, write_ct_series
from tests.ingest.plane_builder import as_capture


@refused(r"mask of case .*, slice 3 of 6 by position: \d+ bytes of overlay, expected 15")
def overlay_cut(good: Good) -> None:
    good.edit(lambda dataset: setattr(dataset[0x60003000], "value", b"\x01\x02"), 2)


@refused(r"mask of case .*, slice 3 of 6 by position: 16 bytes of overlay, expected 12; export the masks again")
def overlay_with_rows_less_than_it_has(good: Good) -> None:
    good.edit(lambda dataset: setattr(dataset[0x60000010], "value", 8), 2)


@refused(r"overlay group 6000 without rows, columns or origin")
def overlay_without_origin(good: Good) -> None:
    good.edit(lambda dataset: dataset.pop(0x60000050) and None, 2)


@refused(r"slice 3 of 6 by position: overlay group 6000 without rows, columns or origin")
def overlay_without_rows(good: Good) -> None:
    good.edit(lambda dataset: dataset.pop(0x60000010) and None, 2)


@refused(r"slice 3 of 6 by position: what is drawn on an overlay .* lies wholly beside the image")
def overlay_beside_the_image(good: Good) -> None:
    good.edit(lambda dataset: setattr(dataset[0x60000050], "value", [100, 100]), 2)


@refused(r"slice 3 of 6 by position: overlay group 6000 lies on frames 2 to 2 \(60xx,0051\) of an image that has 1")
def overlay_on_a_frame_that_is_not_there(good: Good) -> None:
    good.edit(lambda dataset: dataset.add_new(0x60000051, "US", 2), 2)


@refused(r"slice 3 of 6 by position: overlay group 6000 with -1 frames")
def overlay_of_less_than_one_frame(good: Good) -> None:
    good.edit(lambda dataset: dataset.add_new(0x60000015, "IS", -1), 2)


@refused(r"slice 3 of 6 by position: overlay group 6000 with Overlay Data \(60xx,3000\) that are no bits")
def overlay_written_as_a_number(good: Good) -> None:
    good.edit(lambda dataset: dataset.add_new(0x60003000, "UL", 5000), 2)


@warned(r"4 overlay planes of the image's own size begin beside its first pixel \(60xx,0050\), as where that is counted from 0")
def overlay_shifted_by_its_origin(good: Good) -> Truth:
    good.edit(lambda dataset: setattr(dataset[0x60000050], "value", [2, 3]), 1, 2, 3, 4)
    labels = np.zeros_like(good.labels)
    labels[:, 1:, 2:] = good.labels[:, :-1, :-2]
    return good.volume, labels


def _in_a_corner(good: Good, rows: int, origin: tuple[int, int]) -> Truth:
    """Draw three slices' masks with ones in the first rows of planes of 10 x 12 pixels, some of them beside the image."""
    plane = np.zeros((10, 12), bool)
    plane[:rows] = True
    write_ct_series(good.folder, good.volume, overlays={z: [Plane(plane, origin=origin)] for z in (1, 2, 3)})
    labels = np.zeros_like(good.labels)
    labels[1:4, : rows + origin[0] - 1, : 12 + origin[1] - 1] = 1
    return good.volume, labels


@warned(r"39 bits set on 3 overlay planes lie beside the image and are cut off \(as where an overlay is larger than its image")
def overlay_with_its_origin_counted_from_0(good: Good) -> Truth:
    # Of 2 x 12 pixels the first row and the first column are lost: 12 + 1.
    return _in_a_corner(good, 2, (0, 0))


@warned(r"20 bits set on 2 overlay planes lie beside the image and are cut off \(as where an overlay .* or has frames beyond it")
def overlay_of_more_frames_than_its_image(good: Good) -> None:
    more = np.zeros((2, 10, 12), bool)
    more[0], more[1, 0, :10] = good.labels[1] > 0, True
    planes = {z: [Plane(more, frames=2, frame_origin=1)] for z in (1, 2)} | {z: [Plane(more[0])] for z in (3, 4)}
    write_ct_series(good.folder, good.volume, overlays=planes)


@warned(r"no voxel of label 1: what was chosen for it is empty in this case")
def overlay_without_a_bit(good: Good) -> Truth:
    good.edit(lambda dataset: setattr(dataset[0x60003000], "value", bytes(16)), 1, 2, 3, 4)
    return good.volume, np.zeros_like(good.labels)


def _draw_captures(good: Good, slices: int, spacing_mm: float) -> list[Path]:
    """Put the masks into secondary captures beside the series, so many millimetres from one to the next."""
    good.without_masks()
    mask = good.labels[1] > 0
    return write_ct_series(
        *(good.folder / "captures", good.volume[:1].repeat(slices, axis=0)),
        spacing_mm_zyx=(spacing_mm, 0.75, 0.5),
        series_uid="2.25.4242",
        overlays={z: [Plane(mask)] for z in range(slices)},
        change=as_capture(),
    )


@refused(r"overlay planes in another series lie 2 slices apart, as drawn on a coarser series")
def captures_of_a_coarser_series(good: Good) -> None:
    _draw_captures(good, 3, 6.0)


@refused(r"an image of overlay planes lies off the slices: 3\.00 mm from slice 6 of 6")
def captures_of_a_longer_series(good: Good) -> None:
    _draw_captures(good, 7, 3.0)


@refused(r"overlay planes in another series of which files are damaged or missing, so that planes of it may be missing, too")
def capture_of_which_only_the_begin_is_left(good: Good) -> None:
    cut(_draw_captures(good, 6, 3.0)[2], 400)


@refused(r"overlay planes in another series of which files are damaged or missing, so that planes of it may be missing, too")
def capture_that_is_empty(good: Good) -> None:
    cut(_draw_captures(good, 6, 3.0)[5], 0)


@warned(r"captures of a structure chosen leave out 1 of the 6 slices from its first to its last, which are taken as empty")
def capture_missing(good: Good) -> Truth:
    _draw_captures(good, 6, 3.0)[2].unlink()
    labels = np.repeat(good.labels[1:2], 6, axis=0)
    labels[2] = 0
    return good.volume, labels


@warned(r"overlay planes of a structure chosen lie 4 slices apart in another series, and none between them")
def captures_far_apart(good: Good) -> Truth:
    _draw_captures(good, 2, 12.0)
    labels = np.zeros_like(good.labels)
    labels[0] = labels[4] = good.labels[1]
    return good.volume, labels


@warned(r"planes of the same label and description in overlay groups 6000 and 6002 are taken as one structure, although")
def overlays_of_one_word_in_two_groups(good: Good) -> None:
    planes = {z: [Plane(good.labels[z] > 0, 0x6000 if z < 3 else 0x6002, label="Mask")] for z in (1, 2, 3, 4)}
    write_ct_series(good.folder, good.volume, overlays=planes)


@warned(r"planes of 2 different labels or descriptions in overlay group 6000 are taken as one structure", rois={"6000": 1})
def overlays_of_two_words_in_one_group(good: Good) -> None:
    planes = {z: [Plane(good.labels[z] > 0, label="femur" if z < 3 else "pelvis")] for z in (1, 2, 3, 4)}
    write_ct_series(good.folder, good.volume, overlays=planes)


@read_right
def overlay_that_an_archive_moved_out_of_the_pixels(good: Good) -> None:
    """Their bits are still counted in Overlay Bits Allocated."""
    good.edit(lambda dataset: setattr(dataset[0x60000100], "value", 16), 1, 2, 3, 4)


@refused(
    r"overlay group 6000 holds a structure as region \(Overlay Type R\) and, on 1 of 6 images, under the same words as graphics"
)
def overlay_that_is_graphics_on_one_slice(good: Good) -> None:
    good.edit(lambda dataset: setattr(dataset[0x60000040], "value", "G"), 2)
