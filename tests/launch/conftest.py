"""Clusters of scripts for the tests of launching, which must not depend on whether this machine belongs to a real one."""

import pytest

from .fakes import NOT_CONFIGURED, build_slurm


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
