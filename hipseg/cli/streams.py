"""Standard streams that are closed or take no more."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

from hipseg.errors import ConfigError


def fill_streams() -> None:
    """Let a stream that was closed before the start take what is written to it, and no other file get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, _open_nowhere(mode))


@contextmanager
def naming_lost_output(cure: str = "") -> Iterator[None]:
    """Tell standard output that takes no more, as on a full disk, from every other failure.

    Args:
        cure: what to do then.
    Raises:
        ConfigError: standard output takes no more.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None or not _is_output_lost():
            raise
        # At its end Python would try once more.
        sys.stdout = _open_nowhere("w")
        raise ConfigError(f"cannot write to standard output: {error.strerror}{cure}") from error


def _open_nowhere(mode: str) -> TextIO:
    return cast(TextIO, Path(os.devnull).open(mode, encoding="utf-8"))


def _is_output_lost() -> bool:
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except OSError:
        return True
    return False
