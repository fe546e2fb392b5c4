"""A run's folder: taken for a new run, cleared of an unfinished one, never of a complete one unless the user says so."""

import contextlib
import shutil
from collections.abc import Iterator

from rich.console import Console

from hipseg.errors import ConfigError
from hipseg.fsio import locked, unwritable
from hipseg.learn.progress import say
from hipseg.runs import FoldPaths


@contextlib.contextmanager
def hold_run(paths: FoldPaths, what: str) -> Iterator[None]:
    """Keep a run's folder to this process while the block runs.

    Args:
        paths: of the run.
        what: the run in words, for the message.
    Raises:
        ConfigError: another process is at work there, or the folder cannot be written.
    """
    with locked(paths.lock, what):
        yield


def check_free(paths: FoldPaths, what: str, *, overwrite: bool) -> None:
    """Refuse to train where a complete run lies.

    Raises:
        ConfigError: the run is complete and is not to be overwritten.
    """
    if paths.is_complete and not overwrite:
        raise ConfigError(f"{what} is complete already: {paths.summary} is there; add --overwrite to train it anew")


def clear_run(paths: FoldPaths, what: str, console: Console) -> None:
    """Remove what an earlier run left, and say so; the summary goes first, since it says that the rest is complete.

    Raises:
        ConfigError: something cannot be removed.
    """
    was_complete = paths.is_complete
    folders = (paths.checkpoints, paths.tensorboard, paths.predictions, paths.cleaned_predictions)
    files = (paths.model, paths.scores, paths.history, paths.transfer, paths.cases, paths.provenance, paths.settings)
    there = [path for path in (paths.summary, *files, *folders) if path.exists()]
    for path in there:
        try:
            if path in folders:
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            raise unwritable(path, error) from error
    if there:
        state = "complete" if was_complete else "unfinished"
        say(console, f"{what}: removed the {state} earlier run in {paths.root}; starting anew")
