"""Every layout through the program: packed, verified, split and unpacked, and nothing of the source's text left in it."""

import csv
import shutil

import nibabel
import numpy as np
import pytest

from hipseg.cli.main import run
from hipseg.cli.meter import Meter
from hipseg.errors import PARTIAL_EXIT_CODE, ConfigError, MaskError, SeriesError
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import read_manifest
from tests.ingest.builders import volume_hu, write_ct_series
from tests.ingest.layouts import labels_zyx, write_ctorg, write_decathlon, write_nnunet, write_pair
from tests.ingest.media import write_medium, zip_folder


@pytest.fixture(autouse=True)
def config_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def pack(tmp_path, *options):
    run(
        ["pack", str(tmp_path / "data"), "-o", str(tmp_path / "shards"), "--keep-key-table", str(tmp_path / "keys.csv"), *options]
    )
    return read_manifest(DatasetPaths(tmp_path / "shards"))


def key_rows(tmp_path):
    with (tmp_path / "keys.csv").open(newline="") as handle:
        return {row["patient_id"]: row for row in csv.DictReader(handle)}


def assert_same_voxels(found, expected):
    """The files may count their voxels otherwise; they must mean the same in the patient."""
    found, expected = (nibabel.as_closest_canonical(nibabel.load(path)) for path in (found, expected))
    assert np.allclose(found.affine, expected.affine, atol=1e-3)
    assert np.array_equal(found.get_fdata(), expected.get_fdata())


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda root: write_ct_series(root / "a", volume_hu()), "DICOM tree"),
        (lambda root: zip_folder(write_ct_series(root.parent / "loose", volume_hu())[0].parent, root / "a.zip"), "DICOM tree"),
        (write_medium, "DICOM tree"),
        (write_nnunet, "nnU-Net data set, 2 training and 1 test cases"),
        (write_decathlon, "nnU-Net data set, 2 training and 1 test cases"),
        (write_ctorg, "CT-ORG, 4 volumes with labels"),
    ],
)
def test_the_first_line_says_what_was_found_and_the_data_set_verifies(tmp_path, capsys, write, words):
    write(tmp_path / "data")
    manifest = pack(tmp_path)
    assert capsys.readouterr().out.splitlines()[0] == f"layout: {words}"
    assert manifest.refusals == ()
    run(["verify", str(tmp_path / "shards")])


@pytest.mark.parametrize(("write", "slices"), [(lambda root: write_ct_series(root, volume_hu(7)), 7), (write_nnunet, None)])
def test_the_bar_on_a_terminal_ends_where_the_slices_end(tmp_path, monkeypatch, write, slices):
    meters = []

    class NotedMeter(Meter):
        def __init__(self, expected):
            super().__init__(expected)
            meters.append((expected, self))

    monkeypatch.setattr("hipseg.cli.pack.Meter", NotedMeter)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    write(tmp_path / "data")
    packed = sum(one.grid.shape_zyx[0] for one in pack(tmp_path).cases)
    ((expected, meter),) = meters
    assert expected == packed == int(meter.summary().split()[1])
    assert slices in (None, packed)


def test_a_data_set_of_nnunet_comes_back_as_it_went_in(tmp_path, capsys):
    root = write_nnunet(tmp_path / "data")
    manifest = pack(tmp_path)
    subsets = {one.case: one.subset for one in manifest.cases}
    run(["unpack", str(tmp_path / "shards"), "-o", str(tmp_path / "back")])
    rows = key_rows(tmp_path)
    assert set(rows) == {f"data/Secret_00{number}" for number in range(3)}
    for number, subset in enumerate(("train", "train", "test")):
        row = rows[f"data/Secret_00{number}"]
        assert subsets[row["case"]] == subset
        back = tmp_path / "back" / row["case"]
        assert_same_voxels(back / "image.nii.gz", root / row["folder"])
        if subset == "train":
            assert_same_voxels(back / "mask.nii.gz", root / "labelsTr" / f"Secret_00{number}.nii.gz")
        assert (back / "mask.nii.gz").exists() is (subset == "train")
    outputs = [path for path in (tmp_path / "shards").rglob("*") if path.is_file()]
    assert not [path for path in outputs if b"Secret" in path.read_bytes() or "Secret" in path.name]
    assert "Secret" not in "".join(capsys.readouterr())


def test_names_of_the_description_choose_labels_and_are_listed(tmp_path, capsys):
    write_nnunet(tmp_path / "data")
    run(["pack", str(tmp_path / "data"), "--list-roi"])
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        "nifti femur of Secret (2 of 3 cases)",
        "nifti pelvis (2 of 3 cases)",
        "1 of 3 cases have no mask",
    ]
    manifest = pack(tmp_path, "--roi", "pelvis=7")
    counts = sorted(dict(one.label_voxels).get(7, 0) for one in manifest.cases)
    assert counts == sorted([0, *(int((labels_zyx(number) == 2).sum()) for number in (0, 1))])


def test_names_that_mean_another_number_now_are_packed_anew(tmp_path):
    write_nnunet(tmp_path / "data", tests=0)
    first = pack(tmp_path, "--roi", "pelvis=1")
    shutil.rmtree(tmp_path / "data")
    write_nnunet(tmp_path / "data", tests=0, labels={"background": 0, "pelvis": 1, "femur": 2})
    second = pack(tmp_path, "--roi", "pelvis=1")
    assert {one.case for one in first.cases} == {one.case for one in second.cases}
    assert {one.mask_digest for one in first.cases}.isdisjoint({one.mask_digest for one in second.cases})


def test_the_split_of_ctorg_is_kept_from_the_folds(tmp_path, capsys):
    write_ctorg(tmp_path / "data", (0, 20, 21, 22, 139))
    manifest = pack(tmp_path, "--roi", "liver=1", "--roi", "bladder=1")
    run(["split", str(tmp_path / "shards"), "--folds", "3"])
    said = capsys.readouterr().out
    assert "left out 2 of 5 cases, which their publisher keeps for testing" in said
    assert {one.case for one in manifest.cases if one.subset == "test"} == {
        key_rows(tmp_path)[f"CT-ORG/volume-{number}"]["case"] for number in (0, 20)
    }


def test_one_case_that_is_not_whole_is_refused_by_its_key_and_the_others_are_packed(tmp_path, capsys):
    write_ctorg(tmp_path / "data", (1, 2))
    (tmp_path / "data" / "labels-2.nii.gz").unlink()
    with pytest.raises(SystemExit) as ended:
        pack(tmp_path)
    assert ended.value.code == PARTIAL_EXIT_CODE
    key = key_rows(tmp_path)["CT-ORG/volume-2"]["case"]
    assert capsys.readouterr().err.startswith(f"refused case {key}: case {key}: 1 files named as its volume and 0 as its labels")


def test_two_layouts_at_once_ask_for_one_and_either_can_be_chosen(tmp_path):
    write_ctorg(tmp_path / "data", (1,))
    write_ct_series(tmp_path / "data" / "scan", volume_hu(seed=9))
    with pytest.raises(ConfigError, match=r"CT-ORG \(--layout ctorg\) and DICOM tree \(--layout dicom\)"):
        pack(tmp_path)
    assert len(pack(tmp_path, "--layout", "ctorg").cases) == 1
    # As a DICOM tree, the volumes of CT-ORG are NIfTI files beside the only series, and thus masks to choose from.
    with pytest.raises(MaskError, match="none of the 1 cases"):
        run(["pack", str(tmp_path / "data"), "-o", str(tmp_path / "other"), "--layout", "dicom"])
    (refusal,) = read_manifest(DatasetPaths(tmp_path / "other")).refusals
    assert "2 structures (2 NIfTI)" in refusal.reason


@pytest.mark.parametrize("layout", ["nnunet", "ctorg"])
def test_a_layout_that_is_not_there_is_refused(tmp_path, layout):
    write_ct_series(tmp_path / "data", volume_hu())
    with pytest.raises(SeriesError, match=r"no nnU-Net description at|no CT-ORG in the folder given"):
        pack(tmp_path, "--layout", layout)


def test_volumes_that_no_layout_explains_are_refused_with_the_layouts_there_are(tmp_path):
    write_pair(tmp_path / "data" / "ct.nii.gz", tmp_path / "data" / "mask.nii.gz")
    with pytest.raises(SeriesError, match=r"\(2 NIfTI\); a tree .* as DICOM is expected, or an nnU-Net data set, or CT-ORG"):
        pack(tmp_path)
