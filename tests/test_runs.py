from pathlib import Path

import pytest

from hipseg.errors import ConfigError
from hipseg.runs import DatasetPaths, StudyPaths


def test_a_fold_lies_under_its_arm():
    fold = StudyPaths(Path("results")).fold("unet", 3)
    assert str(fold.summary) == "results/unet/fold_3/summary.json"
    assert str(fold.prediction("c01")) == "results/unet/fold_3/predictions/c01.nii.gz"


def test_a_fold_is_complete_when_its_summary_is_there(tmp_path):
    fold = StudyPaths(tmp_path).fold("unet", 0)
    assert not fold.is_complete
    fold.root.mkdir(parents=True)
    fold.summary.write_text("{}")
    assert fold.is_complete


def test_a_shard_name_cannot_leave_the_data_set():
    with pytest.raises(ConfigError, match="plain file name"):
        DatasetPaths(Path("shards")).shard("../elsewhere.h5")
