"""What a job does once it runs: one `hipseg` command line, whose ending it hands back."""

import contextlib
import dataclasses
import importlib
import os
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

from hipseg.errors import HipsegError
from hipseg.launch.endings import Ending, find_start, write_ending
from hipseg.launch.private import masking

BUG_EXIT_CODE = 1
INTERRUPTED_EXIT_CODE = 130
"""What a shell gives for a command that was interrupted."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended: its exit code, and one line of why where that is not 0."""

    exit_code: int
    error: str | None = None


@dataclass(frozen=True)
class RunCommand:
    """The whole of what is pickled for a job on this machine, so that no data and no patient can be in there.

    Args:
        arguments: what follows `hipseg`.
        umask: permissions withheld from the files that the command writes; the job's own files are private.
        gpus: what CUDA_VISIBLE_DEVICES shall say; submitit's local executor would hide every card.
    """

    arguments: tuple[str, ...]
    umask: int = 0o022
    gpus: str = ""

    def __call__(self) -> Outcome:
        """Run the command line in this process and hand its ending back."""
        os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus
        return run_command(self.arguments, self.umask)


@dataclass(frozen=True)
class RunRank:
    """The whole of what is pickled for a job on the cluster: one rank of it.

    Nobody waits for what it hands back, so it writes its ending beside its log and ends the process with the exit code, by which
    Slurm ends the other ranks and lets the jobs behind it start or not.

    Args:
        arguments: what follows `hipseg`.
        umask: permissions withheld from the files that the command writes; the job's own files are private.
        summary: what the run writes last, from the working folder; None for jobs that may be done twice.
        accepted: exit codes besides 0 with which the jobs behind may start.
    """

    arguments: tuple[str, ...]
    umask: int = 0o022
    summary: str | None = None
    accepted: tuple[int, ...] = ()

    def __call__(self) -> NoReturn:
        """Run the command line in this process and end it."""
        folder, start = Path(os.environ["SUBMITIT_FOLDER"]), find_start(os.environ)
        begun = Ending(start.restart, start.rank, started_s=time.time())
        _leave(folder, start.job_id, begun)
        if start.restart and self.summary is not None and Path(self.summary).is_file():
            # The node was lost, or the job taken away, between the run's last file and the job's end.
            outcome = Outcome(0)
        else:
            outcome = run_command(self.arguments, self.umask)
        ended = dataclasses.replace(begun, finished_s=time.time(), exit_code=outcome.exit_code, error=outcome.error)
        _leave(folder, start.job_id, ended)
        raise SystemExit(0 if outcome.exit_code in self.accepted else outcome.exit_code)


def run_command(arguments: tuple[str, ...], umask: int) -> Outcome:
    """Run one command line in this process; its errors become the outcome, and a line or a traceback in the log.

    Args:
        arguments: what follows `hipseg`.
        umask: permissions withheld from the files that it writes.
    """
    with masking(umask):
        try:
            importlib.import_module("hipseg.cli.main").run(arguments)
            return Outcome(0)
        except HipsegError as error:
            return _fail(error.exit_code, str(error))
        except click.ClickException as error:
            return _fail(error.exit_code, error.format_message())
        except (click.Abort, KeyboardInterrupt):
            return _fail(INTERRUPTED_EXIT_CODE, "stopped")
        except SystemExit as ending:
            return _read_exit(ending)
        except Exception as error:
            # A mistake of ours: its text may quote a source file, so only its kind leaves the private log.
            traceback.print_exc()
            return Outcome(BUG_EXIT_CODE, f"unexpected {type(error).__name__}; the traceback is in the log")


def _leave(folder: Path, job_id: str, ending: Ending) -> None:
    # A full disk must not put another exit code in the place of the command's own.
    with contextlib.suppress(HipsegError):
        write_ending(folder, job_id, ending)


def _read_exit(ending: SystemExit) -> Outcome:
    if isinstance(ending.code, int) and ending.code:
        return Outcome(ending.code, f"ended with exit code {ending.code}")
    return _fail(BUG_EXIT_CODE, ending.code) if isinstance(ending.code, str) else Outcome(0)


def _fail(exit_code: int, error: str) -> Outcome:
    with contextlib.suppress(OSError):  # a full disk
        print(f"error: {error}", file=sys.stderr, flush=True)  # noqa: T201 - a job's stderr is its log
    return Outcome(exit_code, " ".join(error.split()))
