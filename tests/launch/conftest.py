"""Clusters of scripts for the tests of launching, which must not depend on whether this machine belongs to a real one."""

import os

import pytest

from .fakes import NOT_CONFIGURED, build_slurm

NOBODY = 65534


@pytest.fixture
def slurm(tmp_path_factory, monkeypatch):
    """A cluster of scripts on PATH."""
    for name in ("PARTITION", "ACCOUNT", "CONSTRAINT", "TIMELIMIT"):
        monkeypatch.delenv(f"SBATCH_{name}", raising=False)
    return build_slurm(tmp_path_factory.mktemp("slurm"), monkeypatch)


@pytest.fixture
def no_cluster(slurm):
    """Slurm's programs on a machine that belongs to no cluster, as Debian's slurm-client leaves it."""
    slurm.say("scontrol ping", code=1, error=f"{NOT_CONFIGURED}\n")
    return slurm


@pytest.fixture
def closed(tmp_path):
    """A folder that this process may not enter. Root may enter every one, and is nobody while the test runs."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    yield folder
    if user == 0:
        os.seteuid(user)
    folder.chmod(0o700)
