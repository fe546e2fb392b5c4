"""The clusters of scripts, for the commands that look for one, and a folder to submit from."""

import pytest

from hipseg.labels import ORGAN_LABELS
from tests.launch.conftest import no_cluster, slurm
from tests.shards.builders import describe_cases

__all__ = ["no_cluster", "slurm"]


@pytest.fixture
def folder(tmp_path, monkeypatch, slurm):
    """A folder with packed data sets, of which the manifests alone are there, and splits still to be dealt."""
    describe_cases(tmp_path / "shards")
    describe_cases(tmp_path / "private")
    describe_cases(tmp_path / "shards-pretrain", ORGAN_LABELS.values())
    monkeypatch.chdir(tmp_path)
    return tmp_path
