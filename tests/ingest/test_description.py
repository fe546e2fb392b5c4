"""dataset.json: what cannot be packed is refused in our own words, whatever it holds."""

import json

import pytest

from hipseg.errors import SeriesError
from hipseg.ingest import description
from hipseg.ingest.description import read_description
from tests.ingest.layouts import write_decathlon, write_nnunet


def test_new_keys_are_read(tmp_path):
    found = read_description(write_nnunet(tmp_path, train=1) / "dataset.json")
    assert found.labels == (("femur of Secret", 1), ("pelvis", 2))
    assert (found.num_training, found.file_ending, found.training) == (1, ".nii.gz", None)


def test_old_keys_are_read(tmp_path):
    found = read_description(write_decathlon(tmp_path) / "dataset.json")
    assert found.labels == (("femur", 1), ("pelvis", 2))
    assert [entry.name for entry in found.training] == ["hip_0", "hip_1"]
    assert [entry.label for entry in found.test] == [None]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channel_names": {"0": "CT", "1": "PET Secret"}}, "names 2 channels; 1, CT, is expected"),
        ({"channel_names": {"0": "MR Secret"}}, "channel is not named CT"),
        ({"channel_names": {}}, "names 0 channels"),
        ({"channel_names": ["CT"]}, "names no channels"),
        ({"channel_names": {"0": 5}}, "names no channels"),
        ({"channel_names": None}, "names no channels; channel_names"),
        ({"labels": {"background": 0, "Secret": [1, 2], "part": 1}}, r"1 of 3 labels are regions \(lists of numbers\)"),
        ({"labels": {"background": 0, "Secret": 256}}, "no whole number of 0 to 255"),
        ({"labels": {"background": 0, "Secret": -1}}, "no whole number of 0 to 255"),
        ({"labels": {"background": 0, "Secret": 1.5}}, "no whole number of 0 to 255"),
        ({"labels": {"background": 0, "Secret": True}}, "no whole number of 0 to 255"),
        ({"labels": {"background": 0, "Secret": "Secret"}}, "no whole number of 0 to 255"),
        ({"labels": {"background": 0, "Secret": 1, "ignore": 2}}, "a label for voxels to be ignored"),
        ({"labels": {"background": 0, "Secret": 1, "part": 1}}, "two labels share a name or a number"),
        ({"labels": ["Secret"]}, "names no labels"),
        ({"labels": None}, "names no labels"),
        ({"numTraining": None}, "numTraining is missing or no whole number"),
        ({"numTraining": "2"}, "numTraining is missing or no whole number"),
        ({"numTraining": True}, "numTraining is missing or no whole number"),
        ({"numTraining": -1}, "numTraining is missing or no whole number"),
        ({"file_ending": ".mha"}, "file_ending is missing or not read here; .nii.gz and .nii are"),
        ({"file_ending": None}, "file_ending is missing or not read here"),
        ({"dataset": {"Secret": {}}}, "lists its files under `dataset`"),
    ],
)
def test_what_cannot_be_packed_is_refused_in_our_own_words(tmp_path, changes, words):
    path = write_nnunet(tmp_path, train=0, tests=0, **changes) / "dataset.json"
    with pytest.raises(SeriesError, match=words) as refusal:
        read_description(path)
    assert "Secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"modality": {"0": "MRI"}}, "channel is not named CT"),
        ({"modality": {"0": "CT", "1": "PET"}}, "names 2 channels"),
        ({"labels": {"0": "background", "x": "femur"}}, "no whole number of 0 to 255"),
        ({"labels": {"1" * 5000: "femur"}}, "no whole number of 0 to 255"),
        ({"labels": {"background": 0}}, "names no labels; an object of numbers and names"),
        ({"labels": {"1": "femur", "2": "femur"}}, "two labels share a name or a number"),
        ({"training": None}, "neither channel_names nor a list of cases under training"),
        ({"training": ["./imagesTr/a.nii.gz"]}, "an entry under training does not name its image, or not its label"),
        ({"training": [{"image": "", "label": ""}]}, "an entry under training names no file"),
        ({"test": [5]}, "an entry under test does not name its image"),
        ({"test": ["a/x.nii.gz", "b/x.nii.gz"]}, "lists a case twice under test"),
    ],
)
def test_old_keys_that_cannot_be_used_are_refused(tmp_path, changes, words):
    path = write_decathlon(tmp_path, train=1, tests=0, **changes) / "dataset.json"
    with pytest.raises(SeriesError, match=words):
        read_description(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [("[]", "holds no JSON object"), ("{", "cannot read nnU-Net description"), ("[" * 100000, "nested too deeply|cannot read")],
)
def test_a_file_that_is_no_object_is_refused(tmp_path, text, words):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(SeriesError, match=words):
        read_description(tmp_path / "dataset.json")


def test_a_missing_file_and_a_giant_one_are_refused(tmp_path, monkeypatch):
    with pytest.raises(SeriesError, match="no nnU-Net description at"):
        read_description(tmp_path / "dataset.json")
    monkeypatch.setattr(description, "MAX_BYTES", 10)
    (tmp_path / "dataset.json").write_text(json.dumps({"a": "long enough"}))
    with pytest.raises(SeriesError, match="has 20 bytes, at most 10 accepted"):
        read_description(tmp_path / "dataset.json")
