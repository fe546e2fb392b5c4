"""What a job said last in its log."""

from pathlib import Path

LOG_TAIL_BYTES = 4096
OTHERS_PREFIXES = ("submitit ", "srun: ", "slurmstepd", "hipseg: ")
"""What lines in a log begin with that are not the command's own."""


def read_last_line(path: Path) -> str | None:
    """Give the last line that the command itself wrote; None where there is none, or no log."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            lines = handle.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return None
    said = [line.strip() for line in lines if line.strip() and not line.startswith(OTHERS_PREFIXES)]
    return said[-1] if said else None
