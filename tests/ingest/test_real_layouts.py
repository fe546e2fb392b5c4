"""Published volumes in the layouts that people keep them in: voxels and places equal nibabel's, whatever the order of axes."""

import json
import shutil

import nibabel
import numpy as np
import pytest

from hipseg.geometry import affine_lps
from hipseg.ingest.cases import find_cases, open_case
from tests.ingest.media import zip_folder

pytestmark = pytest.mark.data

SMALL = ("totalseg-ct-3mm-small", "example_ct_sm.nii.gz", "example_seg.nii.gz")
TURNED = ("tptbox-vertebra", "sub-ct_label-22_ct.nii.gz", "sub-ct_seg-vert_label-22_msk.nii.gz")


def read(case):
    opened = open_case(case, "c0", {})
    slices = list(opened.slices)
    return opened.grid, np.stack([hu for hu, _ in slices]), np.stack([labels for _, labels in slices])


def canonical_lps(path):
    """Read with nibabel alone, as (z, y, x) along head, back and left; and the place of the first voxel, LPS mm."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    voxels = np.asanyarray(image.dataobj)[::-1, ::-1]
    first = image.affine @ (*(n - 1 for n in image.shape[:2]), 0, 1)
    return voxels.transpose(2, 1, 0), (-first[0], -first[1], first[2])


def nnunet_of(source, root):
    """Lay a volume and its labels out as nnU-Net's raw data."""
    labels = sorted(np.unique(np.asanyarray(nibabel.load(source[1]).dataobj)).astype(int).tolist())
    for folder, path, name in (("imagesTr", source[0], "a_0000.nii.gz"), ("labelsTr", source[1], "a.nii.gz")):
        (root / folder).mkdir(parents=True)
        shutil.copy(path, root / folder / name)
    description = {"channel_names": {"0": "CT"}, "labels": {f"part {n}": n for n in labels}, "numTraining": 1}
    (root / "dataset.json").write_text(json.dumps(description | {"file_ending": ".nii.gz"}))


def decathlon_of(source, root):
    nnunet_of(source, root)
    (root / "imagesTr" / "a_0000.nii.gz").rename(root / "imagesTr" / "a.nii.gz")
    labels = json.loads((root / "dataset.json").read_text())["labels"]
    listed = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    description = {"modality": {"0": "CT"}, "labels": {str(n): name for name, n in labels.items()}, "numTraining": 1}
    (root / "dataset.json").write_text(json.dumps(description | {"training": listed, "test": []}))


@pytest.mark.parametrize("write", [nnunet_of, decathlon_of])
@pytest.mark.parametrize("name", [SMALL, TURNED])
def test_hu_labels_and_place_equal_nibabels(data_root, tmp_path, name, write):
    folder, image, mask = name
    source = data_root / folder / image, data_root / folder / mask
    write(source, tmp_path / "data")
    (case,) = find_cases(tmp_path / "data").cases
    grid, volume_hu, labels = read(case)
    expected_hu, first_mm = canonical_lps(source[0])
    expected_labels, _ = canonical_lps(source[1])
    assert np.array_equal(volume_hu, expected_hu)
    assert np.array_equal(labels, expected_labels)
    assert labels.any()
    assert grid.origin_mm_xyz == pytest.approx(first_mm, abs=1e-3)
    assert np.linalg.det(affine_lps(grid)) > 0


def test_a_volume_of_ctorg_equals_nibabels_and_organs_lie_in_it(data_root, tmp_path):
    folder, image, mask = SMALL
    shutil.copy(data_root / folder / image, tmp_path / "volume-20.nii.gz")
    # Vertebrae alone, under the number that CT-ORG has for bones.
    source = nibabel.load(data_root / folder / mask)
    bones = np.isin(np.asanyarray(source.dataobj), (30, 31, 32, 33)).astype(np.uint8) * 5
    nibabel.save(nibabel.Nifti1Image(bones, source.affine), tmp_path / "labels-20.nii.gz")
    (case,) = find_cases(tmp_path).cases
    _, volume_hu, labels = read(case)
    assert case.subset == "test"
    assert np.array_equal(volume_hu, canonical_lps(data_root / folder / image)[0])
    # A mask turned otherwise than its image falls on soft tissue or air.
    assert 180 < volume_hu[labels == 5].mean() < 202


def test_a_jpeg_2000_series_with_its_labels_reads_alike_from_a_zip(data_root, tmp_path):
    folder = data_root / "totalseg-body-dicom-j2k"
    zip_folder(folder, tmp_path / "patient.zip")
    (zipped,), (plain,) = find_cases(tmp_path).cases, find_cases(folder).cases
    found, expected = read(zipped), read(plain)
    assert found[0] == expected[0]
    assert np.array_equal(found[1], expected[1])
    assert np.array_equal(found[2], expected[2])
    assert expected[2].any()
