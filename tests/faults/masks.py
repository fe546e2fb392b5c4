"""Faults of masks in files of their own."""

import numpy as np
from pydicom import dcmread

from tests.faults.good import Good, Truth, read_right, refused, warned
from tests.ingest.builders import Plane, cut, rectangle_mm, write_ct_series, write_nifti, write_rtstruct
from tests.ingest.seg_builder import read_sources, write_seg


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


def _drawn(good: Good) -> np.ndarray:
    """Give what lies in the rectangle from -8.1 to -6.1 and from -18.1 to -16.1 mm on the third slice."""
    # Columns 4 to 7 lie from -8 to -6.5 mm, rows 3 to 5 from -17.75 to -16.25 mm.
    labels = np.zeros_like(good.labels)
    labels[2, 3:6, 4:8] = 1
    return labels


@read_right
def contour_twice(good: Good) -> Truth:
    good.without_masks()
    contour = rectangle_mm((-8.1, -6.1), (-18.1, -16.1), 106)
    write_rtstruct(good.folder / "rs", {"bone": [contour, contour]})
    return good.volume, _drawn(good)


@refused(r"slice 3 of 6 by position: two contours of a structure cross: 6 pixels lie in both, the smaller one has 12")
def contours_that_cross(good: Good) -> None:
    good.without_masks()
    contours = [rectangle_mm((x, x + 2), (-18.1, -16.1), 106) for x in (-8.1, -7.1)]
    write_rtstruct(good.folder / "rs", {"bone": contours})


@refused(r"slice 3 of 6 by position: two contours of a structure are nearly the same: 18 pixels lie in both, they have 21 and 18")
def contour_in_two_versions(good: Good) -> None:
    good.without_masks()
    contours = [rectangle_mm((-9.1, right), (-18.1, -16.1), 106) for right in (-6.1, -5.6)]
    write_rtstruct(good.folder / "rs", {"bone": contours})


@read_right
def contour_traced_through_the_centres_of_pixels(good: Good) -> Truth:
    good.without_masks()
    # From the centre of column 4, row 3 to that of column 7, row 5.
    write_rtstruct(good.folder / "rs", {"bone": [rectangle_mm((-8, -6.5), (-17.75, -16.25), 106)]})
    return good.volume, _drawn(good)


@warned(
    r"the contours of a structure lie 2 slices apart as a rule, on 3 slices, and none on those between; if these are to belong"
)
def contour_on_every_second_slice(good: Good) -> Truth:
    good.without_masks()
    write_rtstruct(good.folder / "rs", {"bone": [rectangle_mm((-8.1, -6.1), (-18.1, -16.1), z) for z in (100, 106, 112)]})
    drawn = _drawn(good)
    drawn[0] = drawn[4] = drawn[2]
    return good.volume, drawn


@refused(r"its mask sources hold no structure with an area")
def contour_of_two_points(good: Good) -> None:
    good.without_masks()
    write_rtstruct(good.folder / "rs", {"bone": [rectangle_mm((-8.1, -6.1), (-18.1, -16.1), 106)[:2]]})


@refused(r"an RTSTRUCT file does not number its structures one by one: 2 structures of 1 numbers")
def roi_number_twice(good: Good) -> None:
    good.without_masks()
    contour = rectangle_mm((-8.1, -6.1), (-18.1, -16.1), 106)
    path = write_rtstruct(good.folder / "rs", {"bone": [contour], "muscle": [contour]})
    dataset = dcmread(path)
    dataset.StructureSetROISequence[1].ROINumber = 1
    dataset.save_as(path)


@refused(r"an RTSTRUCT file whose structures \(3006,0020\) and contours \(3006,0039\) do not lie one behind the other; copy it")
def rtstruct_with_a_contour_that_takes_up_the_next(good: Good) -> None:
    good.without_masks()
    path = write_rtstruct(good.folder / "rs", {"bone": [rectangle_mm((-8, -6), (-18, -16), z) for z in (103, 106)]})
    raw = path.read_bytes()
    at = raw.index(b"\xfe\xff\x00\xe0", raw.index(b"\x06\x30\x40\x00")) + 4
    path.write_bytes(raw[:at] + bytes([raw[at] + 4]) + raw[at + 1 :])


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


@refused(
    r"a NIfTI mask does not fit: 7 x 10 x 12 voxels .*the series has 6 x 10 x 12 .*beyond the series: export the series again"
)
def nifti_of_another_size(good: Good) -> None:
    good.without_masks()
    voxels = np.concatenate([good.labels, good.labels[:1]])
    write_nifti(good.folder / "mask.nii", voxels.transpose(2, 1, 0), _affine_ras())


@warned(r"a mask file has 5 x 10 x 12 of the 6 x 10 x 12 voxels \(z, y, x\) of the series; the others have no label")
def nifti_without_its_last_slice(good: Good) -> None:
    good.without_masks()
    write_nifti(good.folder / "mask.nii", good.labels.transpose(2, 1, 0)[:, :, :-1], _affine_ras())


@warned(r"no voxel of label 2: what was chosen for it is empty in this case", rois={"bone": 1, "muscle": 2})
def nifti_of_a_structure_that_is_empty(good: Good) -> None:
    good.without_masks()
    write_nifti(good.folder / "bone.nii", good.labels.transpose(2, 1, 0), _affine_ras())
    write_nifti(good.folder / "muscle.nii", 0 * good.labels.transpose(2, 1, 0), _affine_ras())


@refused(r"a NIfTI mask is an image, not labels: values from 0 to 0\.5 .*: choose the mask with --roi, or move the image")
def nifti_with_fractions(good: Good) -> None:
    good.without_masks()
    write_nifti(good.folder / "mask.nii", good.labels.transpose(2, 1, 0) * np.float32(0.5), _affine_ras())


@refused(r"a NIfTI mask has its voxels at byte 0, inside the header; at least 352 is expected")
def nifti_with_voxels_in_its_header(good: Good) -> None:
    good.without_masks()
    path = write_nifti(good.folder / "mask.nii", good.labels.transpose(2, 1, 0), _affine_ras())
    raw = bytearray(path.read_bytes())
    raw[108:112] = bytes(4)
    path.write_bytes(raw)


@read_right
def nifti_scaled_in_single_precision(good: Good) -> None:
    good.without_masks()
    path = write_nifti(good.folder / "mask.nii", good.labels.transpose(2, 1, 0) * np.uint8(255), _affine_ras())
    raw = bytearray(path.read_bytes())
    raw[112:116] = np.float32(1 / 255).tobytes()
    path.write_bytes(raw)


@refused(r"a NIfTI mask is cut short: it ends in slice 6 of 6")
def nifti_cut(good: Good) -> None:
    good.without_masks()
    cut(write_nifti(good.folder / "mask.nii", good.labels.transpose(2, 1, 0), _affine_ras()), -100)


@refused(r"a NIfTI file has lost its header; copy it again")
def nifti_cut_at_its_start(good: Good) -> None:
    good.without_masks()
    cut(write_nifti(good.folder / "mask.nii.gz", good.labels.transpose(2, 1, 0), _affine_ras()), 40)


@refused(
    r"mask of case .*: 1 mask files \(RTSTRUCT, .* planes\) beside the series, and no mask of its own: they name another series"
)
def rtstruct_of_another_series(good: Good) -> None:
    good.without_masks()
    others = {"series_uid": "2.25.801", "frame_uid": "2.25.802", "image_uids": ["2.25.803"]}
    write_rtstruct(good.folder / "rs", {"bone": [rectangle_mm((-8.1, -6.1), (-18.1, -16.1), 106)]}, **others)


@warned(r"an RTSTRUCT file names the series or its images, and another frame of reference")
def rtstruct_of_another_frame_of_reference(good: Good) -> Truth:
    good.without_masks()
    contour = rectangle_mm((-8.1, -6.1), (-18.1, -16.1), 106)
    write_rtstruct(good.folder / "rs", {"bone": [contour]}, frame_uid="2.25.802")
    return good.volume, _drawn(good)


@warned(r"a mask file names another series, and is taken by its frame of reference: check that what it shows lies there")
def rtstruct_of_another_series_in_the_frame_of_reference(good: Good) -> Truth:
    good.without_masks()
    contour = rectangle_mm((-8.1, -6.1), (-18.1, -16.1), 106)
    write_rtstruct(good.folder / "rs", {"bone": [contour]}, series_uid="2.25.801", image_uids=["2.25.803"])
    return good.volume, _drawn(good)


def _write_seg(good: Good, **options: object) -> None:
    good.without_masks()
    sources = read_sources(good.paths)
    write_seg(good.folder / "seg", sources, good.labels[..., np.newaxis], ["bone"], **options)


@read_right
def seg_on_the_slices(good: Good) -> None:
    _write_seg(good)


@refused(r"a DICOM SEG lies in another frame of reference \(0020,0052\) than the series")
def seg_in_another_frame_of_reference(good: Good) -> None:
    _write_seg(good, change=lambda dataset: setattr(dataset, "FrameOfReferenceUID", "2.25.802"))


@refused(r"frames of a DICOM SEG, the first is frame 1, show a segment \(0062,000B\) that it does not list")
def seg_of_a_segment_that_is_not_listed(good: Good) -> None:
    _write_seg(good, change=lambda dataset: setattr(dataset.SegmentSequence[0], "SegmentNumber", 7))
