"""Put a job that saved and stopped, or lost a rank or a node, back into the queue: `python -m hipseg.launch.requeue`.

The batch script calls this where its srun did not end well. It decides by what the ranks wrote, since srun's own code is that of
the ranks which it shot after the first had ended.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hipseg.errors import LOST_EXIT_CODE, STOPPED_EXIT_CODE, LaunchError
from hipseg.launch.cluster import ask
from hipseg.launch.endings import Ending, find_start, read_endings, write_ending

SIGNALLED = 128
"""Exit codes from here on are a signal's number and this."""


def decide(endings: Sequence[Ending], step_code: int, restart: int, max_requeues: int) -> Ending:
    """Judge a start that did not end well.

    Args:
        endings: what its ranks wrote.
        step_code: srun's exit code, not 0.
        restart: how often the job had been started before.
        max_requeues: how often it may be started again.
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
    if restart >= max_requeues:
        bound = (
            f"{why}; started {restart + 1} times, --max-requeues is {max_requeues}; `hipseg resubmit` goes on from what is saved"
        )
        return Ending(restart, None, exit_code=code, error=bound)
    return Ending(restart, None, exit_code=code, error=why, is_requeued=True)


def main(folder: Path, max_requeues: int, step_code: int) -> int:
    """Decide, write the verdict down and carry it out.

    Args:
        folder: of the attempt.
        max_requeues, step_code: as in `decide`.
    Returns:
        What the batch script shall end with.
    """
    start = find_start(os.environ)
    endings = [one for one in read_endings(folder).get(start.job_id, ()) if one.restart == start.restart]
    verdict = decide(endings, step_code, start.restart, max_requeues)
    try:
        # A job that somebody cancels stops and saves, too, and must not come back; one that gives way is put back by Slurm.
        if verdict.is_requeued and _runs(start.job_id):
            _write(folder, start.job_id, verdict)
            _say(f"{verdict.error}; back into the queue, start {start.restart + 2}")
            ask("scontrol", "requeue", start.job_id)
            return verdict.exit_code or step_code
    except LaunchError as error:
        verdict = Ending(start.restart, None, exit_code=verdict.exit_code, error=f"{verdict.error}; not started again: {error}")
    else:
        verdict = Ending(start.restart, None, exit_code=verdict.exit_code, error=verdict.error)
    _write(folder, start.job_id, verdict)
    _say(f"{verdict.error}")
    return verdict.exit_code or step_code


def _write(folder: Path, job_id: str, verdict: Ending) -> None:
    write_ending(folder, job_id, Ending(**{**vars(verdict), "finished_s": time.time()}))


def _runs(job_id: str) -> bool:
    return "JobState=RUNNING" in ask("scontrol", "show", "job", "--oneliner", job_id)


def _describe_silence(endings: Sequence[Ending], step_code: int) -> str:
    if step_code == LOST_EXIT_CODE:
        return "a rank lost the others; its log says whom"
    silent = [one.rank for one in endings if one.exit_code is None]
    who = f"rank {' and '.join(map(str, silent))}" if silent else "the step"
    return f"{who} ended without a word (exit code {step_code}): killed, perhaps for want of memory (--mem), or its node was lost"


def _say(line: str) -> None:
    print(f"hipseg: {' '.join(line.split())}", file=sys.stderr, flush=True)  # noqa: T201 - the job's log


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
