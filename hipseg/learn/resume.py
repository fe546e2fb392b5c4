"""Where a run starts: from the checkpoint of an earlier process that did not finish it, or anew."""

from typing import Literal

from rich.console import Console

from hipseg.errors import ConfigError, TrainError
from hipseg.learn.checkpoints import Checkpoint, Identity, is_whole, load_checkpoint
from hipseg.learn.history import best_row
from hipseg.learn.progress import say
from hipseg.learn.workspace import check_free
from hipseg.runs import FoldPaths
from hipseg.sameness import first_difference

Resume = Literal["auto", "must", "never"]
"""`auto`: go on where something is left, else start; `must`: go on or fail; `never`: start, where nothing is left."""

ANEW = "`--resume never --overwrite` trains anew"


def find_start(
    paths: FoldPaths, what: str, identity: Identity, resume: Resume, *, overwrite: bool, console: Console
) -> Checkpoint | None:
    """Find the checkpoint to go on from; reads only.

    Args:
        paths: of the run.
        what: the run in words.
        identity: what is to be trained now.
        resume: what is wanted.
        overwrite: whether a complete run may be replaced, and with `never` an unfinished one.
        console: where a damaged checkpoint is told of.
    Returns:
        The state; None means to start anew.
    Raises:
        ConfigError: the run is complete, or with `never` begun, and is not to be overwritten.
        TrainError: the checkpoint was made with other settings or data; with `must` there is no whole one.
    """
    check_free(paths, what, overwrite=overwrite)
    files = [path for path in (paths.checkpoint("last"), paths.checkpoint("previous")) if path.exists()]
    if resume == "never":
        if files and not overwrite:
            raise ConfigError(f"{what} has been begun: {files[0]} is there; add --overwrite to lose it, or use --resume auto")
        return None
    if paths.is_complete and resume == "auto":
        return None
    start = _load_newest(paths, what, console)
    if start is None:
        if resume == "must":
            raise TrainError(f"{what} cannot go on: no whole checkpoint in {paths.checkpoints}; --resume auto would start it")
        return None
    difference = first_difference(start.identity, identity)
    if difference:
        raise TrainError(
            f"{what} cannot go on from {paths.checkpoints}: it was begun with other settings or data: {difference}; "
            f"give it those again, or another folder with --results; {ANEW}"
        )
    _check_best(paths, what, start)
    return start


def _load_newest(paths: FoldPaths, what: str, console: Console) -> Checkpoint | None:
    last, previous = paths.checkpoint("last"), paths.checkpoint("previous")
    if not last.exists() and not previous.exists():
        return None
    try:
        return load_checkpoint(last)
    except TrainError as damage:
        wrong = damage
    try:
        start = load_checkpoint(previous)
    except TrainError as damage:
        say(console, f"WARNING {what}: no whole checkpoint: {wrong}; {damage}")
        return None
    point = start.point
    say(console, f"WARNING {what}: {wrong}; going on from {previous} instead: epoch {point.epoch}, {point.steps} steps")
    return start


def _check_best(paths: FoldPaths, what: str, start: Checkpoint) -> None:
    """Hold the best weights against the history now, rather than when the last epoch is done."""
    best = paths.checkpoint("best")
    if start.history and not is_whole(best):
        raise TrainError(
            f"{what} cannot go on: {best}, the weights of epoch {best_row(start.history).epoch}, is missing or damaged; {ANEW}"
        )
