"""How many processor cores this process may use."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""Where a container's limits stand. Source: Linux documentation, Control Group v2, cpu.max and memory.max."""


def count_cores(cgroup: Path = CGROUP) -> int:
    """Count the cores that this process may run on, or as many as its container gets the time of, at least 1.

    Args:
        cgroup: folder of the control group's limits; nothing there means no limit.
    """
    cores = len(os.sched_getaffinity(0))
    quota = read_limit(cgroup / "cpu.max")
    if len(quota) == 2 and quota[0] != "max":
        cores = max(1, min(cores, int(quota[0]) // int(quota[1])))
    return cores


def read_limit(path: Path) -> list[str]:
    """Read the words of a control group's limit; none where there is no limit."""
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:
        return []
