"""Twelve real patients, through the program itself: packed, verified, split, unpacked, and nothing of theirs left in the text."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813 - its own short name

pytestmark = pytest.mark.data

TEXT_VRS = {"PN", "LO", "SH", "ST", "LT", "UT", "UC", "AE", "UI", "DA", "TM", "DT"}
LEAST_SECRET = 6
"""Shorter texts, such as CT or HFS, occur by chance."""
LEAST_NUMBER = 8
"""Shorter numbers, such as a time of day, occur in hexadecimal digests by chance; a date has eight digits."""
VOXELS = {
    "STS_001": 117145,
    "STS_007": 174544,
    "STS_011": 234198,
    "STS_012": 25263,
    "STS_015": 28360,
    "STS_021": 284696,
    "STS_026": 118353,
    "STS_029": 92083,
    "STS_031": 149277,
    "STS_046": 240615,
    "STS_048": 113615,
    "STS_050": 53927,
}
"""Voxels of the publisher's masks."""


def hipseg(*arguments):
    return subprocess.run([sys.executable, "-m", "hipseg", *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def source(data_root):
    folder = data_root / "ibsi-sts-hip"
    if not folder.is_dir():
        pytest.skip(f"no real patients at {folder}")
    return folder


@pytest.fixture(scope="module")
def packed(source, tmp_path_factory):
    """Pack and unpack once; gives the folder and what the programs printed."""
    root = tmp_path_factory.mktemp("packed")
    salt = root / "salt"
    salt.write_text("5a" * 32)
    salt.chmod(0o600)
    ended = [
        hipseg(
            "pack",
            source,
            "--roi",
            "GTV_Mass_CT=1",
            "-o",
            root / "shards",
            "--salt-file",
            salt,
            "--keep-key-table",
            root / "k.csv",
        ),
        hipseg("unpack", root / "shards", "-o", root / "out", "--source-paths", "--key-table", root / "k.csv"),
        hipseg("split", root / "shards"),
        hipseg("inspect", root / "shards", "--json"),
        hipseg("verify", root / "shards"),
    ]
    assert [one.returncode for one in ended] == [0] * len(ended), [one.stderr for one in ended]
    assert [one.stderr for one in ended] == [""] * len(ended)
    return root, "".join(one.stdout for one in ended)


def folders_by_case(root):
    return json.loads((root / "out" / "source_paths.json").read_text())


def test_every_patient_is_packed_with_the_publishers_number_of_mask_voxels(packed):
    root, printed = packed
    manifest = json.loads((root / "shards" / "manifest.json").read_text())
    folders = folders_by_case(root)
    counts = {Path(folders[one["case"]]).parts[0]: one["label_voxels"] for one in manifest["cases"]}
    assert counts == {patient: {"1": voxels} for patient, voxels in VOXELS.items()}
    assert manifest["refusals"] == []
    assert "packed 12 of 12 cases" in printed


def test_unpacked_images_equal_what_simpleitk_reads(packed, source):
    root, _ = packed
    for case, folder in folders_by_case(root).items():
        reader = sitk.ImageSeriesReader()
        images = {path.parent for path in (source / folder).rglob("*") if path.is_file()}
        assert len(images) == 1
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(images.pop())))
        expected = reader.Execute()
        found = sitk.ReadImage(root / "out" / case / "image.nii.gz")
        np.testing.assert_array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(expected))
        np.testing.assert_allclose(found.GetSpacing(), expected.GetSpacing(), atol=1e-4)
        np.testing.assert_allclose(found.GetOrigin(), expected.GetOrigin(), atol=1e-3)
        np.testing.assert_allclose(found.GetDirection(), expected.GetDirection(), atol=1e-6)


def test_unpacked_masks_equal_the_publishers(packed, source):
    root, _ = packed
    for case, folder in folders_by_case(root).items():
        published = nibabel.load(source / Path(folder).parts[0] / "CT_mask.nii.gz")
        found = nibabel.load(root / "out" / case / "mask.nii.gz")
        assert np.count_nonzero(np.asanyarray(published.dataobj) != np.asanyarray(found.dataobj)) == 0, case
        np.testing.assert_allclose(found.affine, published.affine, atol=1e-3)


def test_every_patient_is_validated_once_in_five_folds(packed):
    root, _ = packed
    folds = json.loads((root / "shards" / "splits_final.json").read_text())
    assert sorted(case for fold in folds for case in fold["val"]) == sorted(folders_by_case(root))
    assert [len(fold["val"]) for fold in folds] == [3, 3, 2, 2, 2]


def texts_of(dataset):
    """Every text of a DICOM object that may say who, where or when."""
    for element in dataset.iterall():
        if element.VR in TEXT_VRS:
            values = element.value if isinstance(element.value, pydicom.multival.MultiValue) else [element.value]
            yield from (str(value).strip() for value in values)
    yield from (str(element.value) for element in dataset.file_meta if element.VR == "UI")


@pytest.mark.filterwarnings("ignore:The value length")
def test_no_text_of_the_sources_leaves_them(packed, source):
    root, printed = packed
    secrets = set(VOXELS)
    for path in source.rglob("*"):
        if path.is_file() and path.suffix in ("", ".dcm"):
            secrets.update(texts_of(pydicom.dcmread(path, stop_before_pixels=True)))
    with (root / "k.csv").open(newline="") as handle:
        secrets.update(row[column] for row in csv.DictReader(handle) for column in ("patient_id", "series_uid", "folder"))
    secrets = {one for one in secrets if len(one) >= (LEAST_NUMBER if set(one) <= set("0123456789abcdef") else LEAST_SECRET)}
    assert len(secrets) > 770  # one identifier for each of the 770 slices, and more
    outputs = [printed.replace(str(source), "").replace(str(root), "").encode()]
    outputs += [path.read_bytes() for path in sorted((root / "shards").iterdir())]
    outputs += [path.name.encode() for path in sorted((root / "shards").iterdir())]
    assert len(outputs) == 1 + 2 * 17  # 12 shards, manifest, splits and their digest, journal and lock
    text = b"\n".join(run for output in outputs for run in re.findall(rb"[\x20-\x7e]{%d,}" % LEAST_SECRET, output))
    assert b"hipseg-manifest" in text
    # The structure's name was given on the command line, and the manifest keeps it from there.
    text = text.replace(b"GTV_Mass_CT", b"")
    assert [one for one in secrets if one.encode() in text] == []
