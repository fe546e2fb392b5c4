from pathlib import Path

import pytest

from hipseg.errors import ConfigError
from hipseg.runs import DatasetPaths, StudyPaths


def test_a_fold_lies_under_its_arm():
    fold = StudyPaths(Path("results")).fold("unet", 3)
    assert str(fold.summary) == "results/unet/fold_3/summary.json"
    assert str(fold.prediction("c01")) == "results/unet/fold_3/predictions/c01.nii.gz"


def test_a_repeat_lies_beside_the_folds_of_the_arm():
    study = StudyPaths(Path("results"))
    assert study.fold("unet", 3, 0) == study.fold("unet", 3)
    assert str(study.fold("unet", 3, 2).scores) == "results/unet/repeat_2/fold_3/scores.jsonl"


def test_cleaned_predictions_lie_apart_from_raw_ones():
    fold = StudyPaths(Path("results")).fold("unet", 3)
    assert fold.prediction("c01", "raw").parent == fold.predictions
    assert fold.prediction("c01", "cleaned").parent == fold.cleaned_predictions
    assert str(fold.cleaned_predictions) == "results/unet/fold_3/predictions-cleaned"


def test_a_fold_is_complete_when_its_summary_is_there(tmp_path):
    fold = StudyPaths(tmp_path).fold("unet", 0)
    assert not fold.is_complete
    fold.root.mkdir(parents=True)
    fold.summary.write_text("{}")
    assert fold.is_complete


def test_a_shard_name_cannot_leave_the_data_set():
    with pytest.raises(ConfigError, match="plain file name"):
        DatasetPaths(Path("shards")).shard("../elsewhere.h5")
