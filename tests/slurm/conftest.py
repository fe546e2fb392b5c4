"""One real Slurm for all tests of a session, and none afterwards."""

import subprocess

import pytest

from tests.slurm.cluster import LOCAL_SLURM, make_project

CANNOT = 3
"""What tools/local_slurm.sh ends with on a machine that cannot run a cluster."""


@pytest.fixture(scope="session")
def slurm_folder(tmp_path_factory):
    """Bring up two nodes; gives the cluster's folder."""
    folder = tmp_path_factory.mktemp("slurm")
    try:
        done = subprocess.run([LOCAL_SLURM, "up", folder], capture_output=True, text=True, check=False)
        if done.returncode == CANNOT:
            pytest.skip(f"no Slurm: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        yield folder
    finally:
        subprocess.run([LOCAL_SLURM, "down", folder], check=True)


@pytest.fixture
def cluster(slurm_folder, monkeypatch):
    """Let the commands of a test talk to the cluster, and to no job that this process may be part of."""
    monkeypatch.setenv("SLURM_CONF", str(slurm_folder / "slurm.conf"))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    return slurm_folder


@pytest.fixture
def project(cluster, tmp_path):
    """A project's root with packed scans, to submit from."""
    return make_project(tmp_path)
