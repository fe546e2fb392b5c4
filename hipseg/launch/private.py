"""Folders and files that nobody else may read or write: what lies there is unpickled, which amounts to running it."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from hipseg.errors import LaunchError

PRIVATE_UMASK = 0o077


def make_private(folder: Path) -> None:
    """Make a folder that nobody else may enter.

    Raises:
        LaunchError: it belongs to somebody else or cannot be made.
    """
    try:
        with masking(PRIVATE_UMASK):
            folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(stat.S_IRWXU)
    except OSError as error:
        raise LaunchError(f"cannot make {folder} private: {error.strerror}; choose another folder with --results") from error


def find_open(folder: Path) -> Path | None:
    """Find where anybody could put a folder of his own in the place of one of ours, however private that is.

    A group that may write is left to its user, who often is alone in it.

    Args:
        folder: what holds private folders; need not be there.
    Returns:
        The nearest, itself or above it, in which everybody may rename what belongs to others; None where there is none.
    """
    whole = folder.resolve()
    for one in (whole, *whole.parents):
        mode = one.stat().st_mode if one.exists() else 0
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return one
    return None


@contextlib.contextmanager
def masking(umask: int) -> Iterator[int]:
    """Withhold permissions from every file made while the block runs; gives what was withheld before."""
    before = os.umask(umask)
    try:
        yield before
    finally:
        os.umask(before)
