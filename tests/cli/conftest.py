"""The clusters of scripts, for the commands that look for one, and a folder to submit from."""

import pytest

from hipseg.runs import DatasetPaths
from tests.launch.conftest import no_cluster, slurm

__all__ = ["no_cluster", "slurm"]


@pytest.fixture
def folder(tmp_path, monkeypatch, slurm):
    """A folder with two packed data sets, empty but there, and splits still to be dealt."""
    for name in ("shards", "shards-pretrain", "private"):
        (tmp_path / name).mkdir()
        DatasetPaths(tmp_path / name).manifest.write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path
