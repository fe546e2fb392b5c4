"""Faults of DICOM SEG and NRRD masks."""

import gzip
import zlib
from pathlib import Path

import nrrd
import numpy as np
from pydicom.dataset import Dataset

from tests.faults.good import Good, Truth, read_right, read_right_by_name, refused, warned
from tests.ingest.builders import cut
from tests.ingest.seg_builder import read_sources, write_seg


def _write_seg(good: Good, **options: object) -> Path:
    good.without_masks()
    return write_seg(good.folder / "mask", read_sources(good.paths), good.labels > 0, ["bone"], **options)


@read_right
def seg_on_the_grid(good: Good) -> None:
    _write_seg(good)


@refused(r"a DICOM SEG breaks off inside its pixels \(7FE0,0010\); copy it or export the segments again")
def seg_cut(good: Good) -> None:
    cut(_write_seg(good), -20)


def _put_into(path: Path, behind: bytes, new: bytes) -> None:
    """Put bytes into a file, behind the last place of others."""
    head, found, rest = path.read_bytes().rpartition(behind)
    path.write_bytes(head + found + new + rest)


@refused(r"a DICOM SEG with \d+ bytes of pixels \(7FE0,0010\), 60 are expected of its frames \(4 of 10 x 12 pixels of 1 bits\)")
def seg_with_bytes_more_in_the_length_of_its_pixels(good: Good) -> None:
    _put_into(_write_seg(good), b"\xe0\x7f\x10\0OB\0\0", b"\x01\x02\x03\x04")


@refused(r"a DICOM SEG with other bytes behind its pixels \(7FE0,0010\) than further elements, .* its frames may have moved")
def seg_with_bytes_more_in_its_pixels(good: Good) -> None:
    _put_into(_write_seg(good), b"\xe0\x7f\x10\0OB\0\0" + bytes([60, 0, 0, 0]), bytes(4))


@refused(r"frame 1 of a DICOM SEG lies off the slices: 1\.50 mm from slice 5 of 6 by position")
def seg_between_the_slices(good: Good) -> None:
    _write_seg(good)
    for z in range(len(good.paths)):
        good.move(z, up=1.5)


@refused(r"laterality contradicts geometry: the structure coded left lies 24\.0 mm to the patient's right", rois={"L": 1})
def seg_with_exchanged_sides(good: Good) -> None:
    good.without_masks()
    good.set(PixelSpacing=[0.75, 4])
    masks = np.zeros((*good.labels.shape, 2), dtype=bool)
    masks[2, 2:7, 7:9, 0], masks[2, 2:7, 1:3, 1] = True, True
    write_seg(good.folder / "mask", read_sources(good.paths), masks, ["L", "R"], sides={"L": "right", "R": "left"})


def _write_nrrd(good: Good, up_mm: float = 0, **options: object) -> Path:
    good.without_masks()
    fields = {
        "space": "left-posterior-superior",
        "space directions": np.diag([0.5, 0.75, 3.0]),
        "space origin": np.array([-10.0, -20.0, 100.0 + up_mm]),
        **options,
    }
    nrrd.write(str(good.folder / "mask.nrrd"), good.labels.transpose(2, 1, 0), fields)
    return good.folder / "mask.nrrd"


def _write_layers(good: Good, **fields: str) -> None:
    """Write a first layer with nothing in it, and the mask as the second."""
    path = _write_nrrd(good, kinds=["list", "domain", "domain", "domain"], encoding="raw", **fields)
    head, voxels = path.read_bytes().split(b"\n\n", 1)
    head = head.replace(b"dimension: 3", b"dimension: 4").replace(b"sizes: 12", b"sizes: 2 12")
    head = head.replace(b"directions: ", b"directions: none ")
    layers = np.stack([np.zeros(len(voxels), np.uint8), np.frombuffer(voxels, np.uint8)], axis=1)
    path.write_bytes(head + b"\n\n" + layers.tobytes())


@read_right_by_name
def nrrd_of_a_layer_a_segment(good: Good) -> None:
    _write_layers(good, Segment0_Name="muscle", Segment1_Name="bone")


@refused(r"an NRRD mask has 2 layers and lists no segments, so that nothing says what they are")
def nrrd_of_layers_without_names(good: Good) -> None:
    _write_layers(good)


@refused(r"an NRRD mask lists 2 segments in one layer and does not say which value segment 0 has", rois={"bone": 1})
def nrrd_of_segments_without_values(good: Good) -> None:
    _write_nrrd(good, Segment0_Name="muscle", Segment1_Name="bone")


@refused(r"an NRRD mask is written as text", rois={"bone": 1})
def nrrd_of_segments_written_as_text(good: Good) -> None:
    _write_nrrd(good, encoding="ascii", Segment0_Name="bone", Segment0_LabelValue="1")


@read_right
def nrrd_on_the_grid(good: Good) -> None:
    _write_nrrd(good)


@warned(r"a mask file has 4 x 5 x 6 of the 6 x 10 x 12 voxels")
def nrrd_cropped_to_its_structure(good: Good) -> None:
    path = _write_nrrd(good)
    fields = nrrd.read_header(str(path))
    # The structure begins in column 3, row 2, slice 1.
    fields["space origin"] = np.array([-8.5, -18.5, 103.0])
    nrrd.write(str(path), good.labels[1:5, 2:7, 3:9].transpose(2, 1, 0), fields)


@refused(r"an NRRD mask lists segments and has a single voxel, as 3D Slicer saves it where nothing is drawn", rois={"bone": 1})
def nrrd_of_a_single_voxel(good: Good) -> None:
    _write_nrrd(good)
    fields = {"space": "LPS", "space directions": np.eye(3), "space origin": np.zeros(3)}
    segment = {"Segment0_Name": "bone", "Segment0_LabelValue": "1", "Segment0_Layer": "0"}
    nrrd.write(str(good.folder / "mask.nrrd"), np.zeros((1, 1, 1), np.uint8), fields | segment)


@refused(r"an NRRD mask does not fit: .*first voxel 3\.00 mm from the series'")
def nrrd_one_slice_too_high(good: Good) -> None:
    _write_nrrd(good, up_mm=3)


@refused(r"an NRRD mask has a damaged header; write it again")
def nrrd_without_its_first_bytes(good: Good) -> None:
    path = _write_nrrd(good)
    path.write_bytes(path.read_bytes()[2:])


@refused(r"an NRRD mask is damaged, or the file of its voxels is not beside it; copy it again")
def nrrd_whose_packed_voxels_grew(good: Good) -> None:
    path = _write_nrrd(good)
    head, packed = path.read_bytes().split(b"\n\n", 1)
    unpacked = gzip.decompress(packed)
    # One voxel too many before the others, and the checksum of before.
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    grown = stream.compress(b"\x01" + unpacked) + stream.flush()
    path.write_bytes(head + b"\n\n" + packed[:10] + grown + packed[-8:])


@refused(r"an NRRD mask is cut short")
def nrrd_cut(good: Good) -> None:
    cut(_write_nrrd(good, encoding="raw"), -100)


def _sources_of_another_series(good: Good) -> list[Dataset]:
    """Give the slices under the identifiers of a series that is not there."""
    sources = read_sources(good.paths)
    for z, source in enumerate(sources):
        source.SeriesInstanceUID, source.SOPInstanceUID = "2.25.801", f"2.25.801.{z}"
    return sources


@warned(r"a mask file names another series, and is taken by its frame of reference: check that what it shows lies there")
def seg_of_another_series_in_the_frame_of_reference(good: Good) -> None:
    good.without_masks()
    write_seg(good.folder / "seg", _sources_of_another_series(good), good.labels[..., np.newaxis], ["bone"])


def _write_seg_in_steps(good: Good, sources: list[Dataset]) -> np.ndarray:
    """Draw on the first, third and fifth slice, and give what is drawn."""
    drawn = np.zeros_like(good.labels)
    drawn[::2] = good.labels.max(axis=0)
    write_seg(good.folder / "seg", sources[::2], drawn[::2, ..., np.newaxis], ["bone"])
    return drawn


@warned(r"the frames of a DICOM SEG lie 2 slices apart as a rule, on 3 slices, and none on those between; if these are to")
def seg_on_every_second_slice(good: Good) -> Truth:
    good.without_masks()
    return good.volume, _write_seg_in_steps(good, read_sources(good.paths))


@refused(
    r"the frames of a DICOM SEG lie 2 slices apart as a rule, on 3 slices, and it names another series, as drawn on a coarser"
)
def seg_of_a_coarser_series(good: Good) -> None:
    good.without_masks()
    _write_seg_in_steps(good, _sources_of_another_series(good))
