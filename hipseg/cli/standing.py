"""How far a job of a study is, in the words of `hipseg status` and `hipseg report`."""

import math

from hipseg.errors import PARTIAL_EXIT_CODE
from hipseg.launch.progress import Progress


def put_in_words(one: Progress) -> str:
    """Say how far a job is."""
    again = f", requeued {one.requeued} times" if one.requeued > 1 else ", requeued once" if one.requeued else ""
    return _say_stage(one) + again


def put_blindness_in_words(blind: str) -> str:
    """Say that the cluster could not be asked.

    Args:
        blind: why.
    """
    return f"{blind}; this is what the study's own files say"


def _say_stage(one: Progress) -> str:
    if one.stage == "skipped" and one.record.job.arm is None:
        return "complete before"
    if one.stage in ("done", "skipped"):
        if one.dice is None:
            return "done, not with all scans: its log names them" if one.exit_code == PARTIAL_EXIT_CODE else "done"
        return "done, Dice undefined" if math.isnan(one.dice) else f"done, Dice {one.dice:.3f}"
    if one.stage == "running" and one.epoch is not None:
        if one.epoch == one.epochs:
            return "running, scoring"
        of = f"/{one.epochs}" if one.epochs is not None else ""
        left = f", {_duration(one.remaining_s)} left" if one.remaining_s is not None else ""
        return f"running, epoch {one.epoch}{of}{left}"
    return f"queued ({one.reason})" if one.stage == "queued" and one.reason else one.stage


def _duration(seconds: float) -> str:
    minutes, rest_s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest_s:02} s"
