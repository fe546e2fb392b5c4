"""Put a job that saved and stopped, or lost a rank or a node, back into the queue: `python -m hipseg.launch.requeue`.

The batch script calls this where its srun did not end well. It decides by what the ranks wrote, since srun's own code is that of
the ranks which it shot after the first had ended. It also calls this at a start that may be one too many.
"""

import contextlib
import dataclasses
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hipseg.errors import LOST_EXIT_CODE, STOPPED_EXIT_CODE, ConfigError, LaunchError
from hipseg.launch.cluster import ask
from hipseg.launch.endings import Ending, Start, count_spent, find_start, read_endings, write_ending

SIGNALLED = 128
"""Exit codes from here on are a signal's number and this."""
_PREEMPTED = re.compile(r"\bPreemptTime=\d")
"""In what scontrol says of a job that was told to give way to one of higher priority."""


def decide(endings: Sequence[Ending], step_code: int, restart: int) -> Ending:
    """Judge a start that did not end well.

    Args:
        endings: what its ranks wrote.
        step_code: srun's exit code, not 0.
        restart: how often the job had been started before.
    Returns:
        The verdict. A mistake that a rank named ends the job; a stop, and ranks that ended without a word, put it back.
    """
    mistakes = [one for one in endings if one.exit_code not in (None, 0, STOPPED_EXIT_CODE, LOST_EXIT_CODE)]
    if mistakes:
        first = min(mistakes, key=lambda one: (one.finished_s or 0.0, one.rank or 0))
        return Ending(restart, None, exit_code=first.exit_code, error=first.error)
    stops = [one for one in endings if one.exit_code in (STOPPED_EXIT_CODE, LOST_EXIT_CODE)]
    if not endings and step_code < SIGNALLED:
        return Ending(restart, None, exit_code=step_code, error=f"could not start (exit code {step_code}); the log says why")
    why = stops[0].error if stops else _describe_silence(endings, step_code)
    code = (stops[0].exit_code if stops else None) or step_code
    return Ending(restart, None, exit_code=code, error=why, is_requeued=True)


def negotiate(verdict: Ending, endings: Sequence[Ending], slurms_word: str, spent: int, max_requeues: int) -> Ending:
    """Hold the wish to go back into the queue against what Slurm has done already, and against the bound.

    Args:
        verdict: of `decide`.
        endings: what the ranks wrote.
        slurms_word: what `scontrol show job` says.
        spent: earlier starts that count.
        max_requeues: how often the job may be started again.
    Returns:
        The verdict. A job that saved and gave way to another is not punished for it: such a start never counts.
    """
    # A job that somebody cancels stops and saves, too, and must not come back; one that gave way may have been put back by Slurm.
    is_ours = "JobState=RUNNING" in slurms_word
    # Those that are left when a node is lost are stopped, too: only where all have saved was it for others.
    has_saved = bool(endings) and all(one.exit_code == STOPPED_EXIT_CODE for one in endings)
    gave_way = has_saved and (not is_ours or bool(_PREEMPTED.search(slurms_word)))
    verdict = dataclasses.replace(verdict, is_requeued=is_ours, gave_way=gave_way)
    if is_ours and not verdict.gave_way and spent >= max_requeues:
        return dataclasses.replace(verdict, is_requeued=False, error=f"{verdict.error}; {_bound(spent, max_requeues)}")
    return verdict


def admit(folder: Path, max_requeues: int) -> int:
    """Refuse a start that is one too many: Slurm itself starts a job again whose node was lost, and knows no bound.

    Args:
        folder: of the attempt.
        max_requeues: how often the job may be started again.
    Returns:
        What the batch script shall end with; 0 where it shall go on.
    """
    start = find_start(os.environ)
    spent = count_spent(folder, start)
    if spent <= max_requeues:
        return 0
    why = f"its nodes were lost; {_bound(spent - 1, max_requeues)}"
    _write(folder, start, Ending(start.restart, None, exit_code=LaunchError.exit_code, error=why))
    return LaunchError.exit_code


def main(folder: Path, max_requeues: int, step_code: int) -> int:
    """Decide, write the verdict down and carry it out.

    Args:
        folder: of the attempt.
        max_requeues: how often the job may be started again.
        step_code: as in `decide`.
    Returns:
        What the batch script shall end with.
    """
    start = find_start(os.environ)
    endings = [one for one in read_endings(folder).get(start.job_id, ()) if one.restart == start.restart]
    verdict = decide(endings, step_code, start.restart)
    try:
        if verdict.is_requeued:
            word = ask("scontrol", "show", "job", "--oneliner", start.job_id)
            verdict = negotiate(verdict, endings, word, count_spent(folder, start), max_requeues)
        # Where the disk is full the next start would come to nothing, too.
        if _write(folder, start, verdict) and verdict.is_requeued:
            ask("scontrol", "requeue", start.job_id)
    except LaunchError as error:
        refused = f"{verdict.error}; not started again: {error}"
        _write(folder, start, dataclasses.replace(verdict, is_requeued=False, error=refused))
    return verdict.exit_code or step_code


def _write(folder: Path, start: Start, verdict: Ending) -> bool:
    """Write a verdict where `hipseg status` finds it, and into the job's log; says whether there was room for it."""
    then = f"; back into the queue, start {start.restart + 2}" if verdict.is_requeued else ""
    try:
        write_ending(folder, start.job_id, dataclasses.replace(verdict, finished_s=time.time()))
    except ConfigError as error:
        _say(f"{verdict.error}; {error}")
        return False
    _say(f"{verdict.error}{then}")
    return True


def _bound(spent: int, max_requeues: int) -> str:
    return f"started {spent + 1} times, --max-requeues is {max_requeues}; `hipseg resubmit` goes on from what is saved"


def _describe_silence(endings: Sequence[Ending], step_code: int) -> str:
    if step_code == LOST_EXIT_CODE:
        return "a rank lost the others; its log says whom"
    silent = [one.rank for one in endings if one.exit_code is None]
    who = f"rank {' and '.join(map(str, silent))}" if silent else "the step"
    return f"{who} ended without a word (exit code {step_code}): killed, perhaps for want of memory (--mem), or its node was lost"


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # a full disk
        print(f"hipseg: {' '.join(line.split())}", file=sys.stderr, flush=True)  # noqa: T201 - the job's log


if __name__ == "__main__":
    attempt, bound, *codes = sys.argv[1:]
    sys.exit(main(Path(attempt), int(bound), int(codes[0])) if codes else admit(Path(attempt), int(bound)))
