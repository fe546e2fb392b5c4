"""Labels that were asked for and do not occur are said, each once, when all slices have passed."""

import numpy as np
import pytest

from hipseg.ingest.absent import LabelWatch
from hipseg.ingest.cases import find_cases, open_case
from tests.ingest.builders import rectangle_mm, volume_hu, write_ct_series, write_nifti, write_rtstruct
from tests.ingest.seg_builder import read_sources, write_seg


def test_labels_pass_unchanged_and_those_that_never_occur_are_told():
    slices = np.zeros((3, 2, 2), np.uint8)
    slices[1, 0, 1], slices[2, 1, 1] = 3, 1
    watch = LabelWatch(lambda z: slices[z], [1, 2, 3, 255])
    assert [np.array_equal(watch.read(z), slices[z]) for z in range(3)] == [True] * 3
    assert watch.warnings() == tuple(
        f"no voxel of label {label}: what was chosen for it is empty in this case" for label in (2, 255)
    )


def write_niftis(folder, mask):
    affine = np.diag([-0.5, -0.75, 3.0, 1.0])
    affine[:3, 3] = [10.0, 20.0, 100.0]
    for name, voxels in {"femur": mask, "pelvis": np.zeros_like(mask)}.items():
        write_nifti(folder / f"{name}.nii.gz", voxels.transpose(2, 1, 0).astype(np.uint8), affine)


def write_segments(folder, mask):
    sources = read_sources(sorted(folder.iterdir()))
    write_seg(folder / "seg", sources, np.stack([mask, np.zeros_like(mask)], axis=-1), ["femur", "pelvis"])


def write_contours(folder, _):
    flat = [rectangle_mm((-9.1, -6.1), (-18.1, -15.1), 103)]
    sliver = [rectangle_mm((-9.1, -9.05), (-18.1, -18.05), 103)]
    write_rtstruct(folder / "rs", {"femur": flat, "pelvis": sliver})


@pytest.mark.parametrize("write", [write_niftis, write_segments, write_contours])
def test_a_structure_that_is_there_and_empty_is_warned_of(tmp_path, write):
    write_ct_series(tmp_path, volume_hu(4))
    mask = np.zeros((4, 10, 12), bool)
    mask[1:3, 2:6, 3:8] = True
    write(tmp_path, mask)
    (source,) = find_cases(tmp_path).cases
    for rois, absent in (({"femur": 1, "pelvis": 2}, ["label 2"]), ({"pelvis": 7}, ["label 7"]), ({"femur": 1}, [])):
        opened = open_case(source, "c0", rois)
        list(opened.slices)
        assert [words.partition(":")[0].removeprefix("no voxel of ") for words in opened.late_warnings()] == absent
