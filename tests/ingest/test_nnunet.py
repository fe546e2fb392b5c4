"""nnU-Net data sets, new keys and old: cases, masks, names and subsets; what is missing is refused by name."""

import re

import numpy as np
import pytest

from hipseg.errors import MaskError, SeriesError
from hipseg.ingest.cases import find_cases, list_structures, open_case
from hipseg.ingest.nnunet import find_nnunet_cases
from hipseg.pack.seals import stamp_source
from tests.ingest.builders import volume_hu, write_nifti
from tests.ingest.layouts import RAS, labels_zyx, write_decathlon, write_nnunet, write_pair


def by_name(found):
    return {case.patient_id.rsplit("/", 1)[1]: case for case in found.cases}


def read(case, rois=None):
    opened = open_case(case, "c0", rois or {})
    slices = list(opened.slices)
    # Written along RAS: rows and columns are counted the other way in the patient's LPS.
    image = np.stack([hu for hu, _ in slices])[:, ::-1, ::-1]
    return image, None if slices[0][1] is None else np.stack([labels for _, labels in slices])[:, ::-1, ::-1]


@pytest.mark.parametrize("ending", [".nii.gz", ".nii"])
def test_images_and_labels_are_read_and_the_test_images_have_none(tmp_path, ending):
    root = write_nnunet(tmp_path / "Dataset007_Hip", ending=ending)
    found = find_nnunet_cases(root)
    cases = by_name(found)
    assert {name: case.subset for name, case in cases.items()} == {
        "Secret_000": "train",
        "Secret_001": "train",
        "Secret_002": "test",
    }
    assert found.layout == "nnU-Net data set, 2 training and 1 test cases"
    assert (found.files_seen, found.set_aside) == (6, {})
    for number in (0, 1):
        image, labels = read(cases[f"Secret_{number:03d}"])
        assert np.array_equal(image, volume_hu(seed=number))
        assert np.array_equal(labels, labels_zyx(number))
    image, labels = read(cases["Secret_002"])
    assert np.array_equal(image, volume_hu(seed=2))
    assert labels is None


@pytest.mark.parametrize("channel", ["", "_0000"])
def test_the_older_keys_list_their_cases_with_or_without_channel_number(tmp_path, channel):
    root = write_decathlon(tmp_path / "Task07_Hip", channel=channel)
    write_pair(root / "imagesTr" / "unlisted.nii.gz", None)
    found = find_nnunet_cases(root)
    cases = by_name(found)
    assert {name: case.subset for name, case in cases.items()} == {"hip_0": "train", "hip_1": "train", "hip_2": "test"}
    assert found.set_aside == {"no image or label of the nnU-Net data set": 1}
    assert np.array_equal(read(cases["hip_1"])[1], labels_zyx(1))
    assert np.array_equal(read(cases["hip_1"], {"pelvis": 8})[1], np.where(labels_zyx(1) == 2, 8, 0))


def test_identities_tell_data_sets_and_subsets_apart_and_do_not_depend_on_the_path(tmp_path, monkeypatch):
    first = write_nnunet(tmp_path / "a" / "Dataset001_Hip", train=1)
    second = write_nnunet(tmp_path / "Dataset002_Hip", train=1)
    keys = [(case.patient_id, case.series_uid) for root in (first, second) for case in find_nnunet_cases(root).cases]
    assert len(set(keys)) == 4
    monkeypatch.chdir(first)
    here = find_cases(type(tmp_path)("."))
    assert [(case.patient_id, case.series_uid) for case in here.cases] == keys[:2]
    assert [case.folder for case in here.cases] == ["imagesTr/Secret_000_0000.nii.gz", "imagesTs/Secret_001_0000.nii.gz"]


def test_labels_are_chosen_by_the_names_of_the_description(tmp_path):
    case = by_name(find_nnunet_cases(write_nnunet(tmp_path)))["Secret_000"]
    assert [one.name for one in list_structures(case)] == ["femur of Secret", "pelvis"]
    both = read(case, {"pelvis": 1, "femur of Secret": 1})[1]
    assert np.array_equal(both, (labels_zyx(0) > 0).astype(np.uint8))


def test_a_voxel_of_an_undeclared_number_is_refused(tmp_path):
    root = write_nnunet(tmp_path, labels={"background": 0, "femur": 1})
    with pytest.raises(MaskError, match="mask of case c0: label 2 is not among the 1 that its data set declares"):
        read(by_name(find_nnunet_cases(root))["Secret_000"])
    assert read(by_name(find_nnunet_cases(root))["Secret_000"], {"femur": 1})[1].any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: (root / "labelsTr" / "Secret_000.nii.gz").unlink(), "a training image without labels; add its file"),
        (lambda root: (root / "imagesTr" / "Secret_000_0000.nii.gz").unlink(), "but no image; add the image"),
        (lambda root: write_pair(root / "imagesTr" / "Secret_000_0001.nii.gz", None), "2 channels, none or others beside _0000"),
        (
            lambda root: (root / "imagesTr" / "Secret_000_0000.nii.gz").rename(root / "imagesTr" / "Secret_000_0003.nii.gz"),
            "1 channels, none or others beside _0000",
        ),
        (
            lambda root: (root / "imagesTr" / "Secret_000_0000.nii.gz").rename(root / "imagesTr" / "Secret_000.nii.gz"),
            "no image|an image without channel number; _0000 is expected",
        ),
    ],
)
def test_a_case_that_is_not_whole_is_refused_and_the_others_are_not(tmp_path, change, words):
    root = write_nnunet(tmp_path)
    change(root)
    cases = by_name(find_nnunet_cases(root))
    with pytest.raises(SeriesError, match=f"^case c0: .*({words})") as refusal:
        open_case(cases["Secret_000"], "c0", {})
    assert "Secret" not in str(refusal.value)
    assert np.array_equal(read(cases["Secret_001"])[0], volume_hu(seed=1))


def test_a_listed_image_that_is_missing_is_refused(tmp_path):
    root = write_decathlon(tmp_path)
    (root / "imagesTs" / "hip_2.nii.gz").unlink()
    with pytest.raises(SeriesError, match=r"a place in dataset\.json, but no image"):
        open_case(by_name(find_nnunet_cases(root))["hip_2"], "c0", {})


def test_a_list_cannot_lead_out_of_the_data_set(tmp_path):
    write_pair(tmp_path / "outside.nii.gz", tmp_path / "label.nii.gz")
    root = write_decathlon(
        tmp_path / "data",
        training=[{"image": "../outside.nii.gz", "label": "../label.nii.gz"}, {"image": "/etc/passwd", "label": "/etc/passwd"}],
    )
    for name in ("outside", "passwd"):
        with pytest.raises(SeriesError, match="but no image"):
            open_case(by_name(find_nnunet_cases(root))[name], "c0", {})


@pytest.mark.parametrize("train", [1, 3])
def test_another_number_of_training_cases_than_announced_is_refused(tmp_path, train):
    write_nnunet(tmp_path, numTraining=train)
    with pytest.raises(SeriesError, match=rf"announces {train} training cases \(numTraining\), 2 are found in imagesTr"):
        find_nnunet_cases(tmp_path)


def test_volumes_of_another_ending_than_declared_are_told(tmp_path):
    root = write_nnunet(tmp_path, tests=0, ending=".nii", file_ending=".nii.gz")
    words = r"0 are found in imagesTr \(2 there have another ending than the file_ending \.nii\.gz\)"
    with pytest.raises(SeriesError, match=words):
        find_nnunet_cases(root)


def test_cases_listed_for_validation_are_told_as_not_read(tmp_path):
    root = write_decathlon(tmp_path, validation=[{"image": "./imagesVa/a.nii.gz", "label": "./labelsVa/a.nii.gz"}] * 3)
    (remark,) = find_nnunet_cases(root).remarks
    assert re.search("lists 3 cases under validation, which is not read; list them under training or test", remark)
    assert find_nnunet_cases(write_decathlon(tmp_path)).remarks == ()


def test_a_list_written_on_windows_names_the_same_files(tmp_path):
    listed = [{"image": r".\imagesTr\hip_0.nii.gz", "label": r".\labelsTr\hip_0.nii.gz"}]
    (case,) = find_nnunet_cases(write_decathlon(tmp_path, train=1, tests=0, training=listed)).cases
    assert (case.patient_id, case.volume) == (f"{tmp_path.name}/hip_0", tmp_path / "imagesTr" / "hip_0.nii.gz")
    assert np.array_equal(read(case)[0], volume_hu(seed=0))


@pytest.mark.parametrize("begin", ["/data/", "C:\\data\\"])
def test_a_list_of_paths_from_the_root_of_a_disk_is_told_to_be_one(tmp_path, begin):
    listed = [{"image": f"{begin}hip_0.nii.gz", "label": f"{begin}hip_0.nii.gz"}]
    (case,) = find_nnunet_cases(write_decathlon(tmp_path, train=1, tests=0, training=listed)).cases
    with pytest.raises(SeriesError, match=r"no image; .*its path begins at the root of a disk; write it as seen"):
        open_case(case, "c0", {})


def test_hidden_and_other_files_are_set_aside_and_counted(tmp_path):
    root = write_nnunet(tmp_path)
    (root / "imagesTr" / "._Secret_000_0000.nii.gz").write_bytes(b"left by another system")
    write_nifti(root / "labelsTs" / "Secret_002.nii.gz", labels_zyx(), RAS)
    (root / "link").symlink_to("imagesTr")
    found = find_nnunet_cases(root)
    assert found.set_aside == {"no image or label of the nnU-Net data set": 2, "symbolic link, not followed": 1}
    assert found.files_seen == 9


LINKS = r"\({} symbolic links in the data set are not followed; put the files themselves in their place\)"


@pytest.mark.parametrize(
    ("folder", "words"), [("imagesTr", "but no image; .*"), ("labelsTr", "a training image without labels; .*")]
)
def test_what_is_a_link_is_told_to_be_one(tmp_path, folder, words):
    root = write_nnunet(tmp_path / "data")
    path = next(path for path in (root / folder).iterdir() if "Secret_000" in path.name)
    path.symlink_to(path.rename(tmp_path / path.name))
    with pytest.raises(SeriesError, match=words + LINKS.format(1)):
        open_case(by_name(find_nnunet_cases(root))["Secret_000"], "c0", {})


def test_a_data_set_of_links_alone_is_told_to_be_one(tmp_path):
    root = write_nnunet(tmp_path / "data", tests=0)
    for path in [path for folder in ("imagesTr", "labelsTr") for path in (root / folder).iterdir()]:
        path.symlink_to(path.rename(tmp_path / path.name))
    with pytest.raises(SeriesError, match=r"announces 2 training cases .* 0 are found .*" + LINKS.format(4)):
        find_nnunet_cases(root)


def test_the_description_alone_may_be_a_link_and_is_sealed_like_a_file(tmp_path):
    root = write_nnunet(tmp_path / "data")
    target = (root / "dataset.json").rename(tmp_path / "shared.json")
    (root / "dataset.json").symlink_to(target)
    found = find_nnunet_cases(root)
    assert (found.set_aside, found.files_seen) == ({}, 6)
    assert {one.description for one in found.cases} == {root / "dataset.json"}
    before = stamp_source(found.cases[0], "c0")
    target.write_text(target.read_text().replace("pelvis", "sacrum"))
    assert stamp_source(found.cases[0], "c0") != before


def test_a_description_may_begin_with_a_mark_of_byte_order(tmp_path):
    root = write_nnunet(tmp_path)
    path = root / "dataset.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(find_nnunet_cases(root).cases) == 3
