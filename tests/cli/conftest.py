"""The clusters of scripts, for the commands that look for one."""

from tests.launch.conftest import no_cluster, slurm

__all__ = ["no_cluster", "slurm"]
