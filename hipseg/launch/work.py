"""What a job does once it runs: one `hipseg` command line, whose ending it hands back."""

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass

import click

from hipseg.errors import HipsegError

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
    """The whole of what is pickled for a job, so that no data and no patient can be in there.

    Args:
        arguments: what follows `hipseg`.
        umask: permissions withheld from the files that the command writes; the job's own files are private.
        gpus: what CUDA_VISIBLE_DEVICES shall say; submitit's local executor would hide every card.
    """

    arguments: tuple[str, ...]
    umask: int = 0o022
    gpus: str = ""

    def __call__(self) -> Outcome:
        """Run the command line in this process; its errors become the outcome, and a line or a traceback in the log."""
        os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus
        with masking(self.umask):
            try:
                importlib.import_module("hipseg.cli.main").run(self.arguments)
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


@contextlib.contextmanager
def masking(umask: int) -> Iterator[int]:
    """Withhold permissions from every file made while the block runs; gives what was withheld before."""
    before = os.umask(umask)
    try:
        yield before
    finally:
        os.umask(before)


def _read_exit(ending: SystemExit) -> Outcome:
    if isinstance(ending.code, int) and ending.code:
        return Outcome(ending.code, f"ended with exit code {ending.code}")
    return _fail(BUG_EXIT_CODE, ending.code) if isinstance(ending.code, str) else Outcome(0)


def _fail(exit_code: int, error: str) -> Outcome:
    print(f"error: {error}", file=sys.stderr, flush=True)  # noqa: T201 - a job's stderr is its log
    return Outcome(exit_code, " ".join(error.split()))
