"""The error tree: one class a kind of mistake, each with the exit code that the command line ends with.

A message says, in this order: what is wrong, where, what was found, what would be accepted. It names a case by its key
and never carries text that comes out of a source file.
"""

from typing import ClassVar

PARTIAL_EXIT_CODE = 10
"""Exit code of a command that finished its good input and refused some of it by name."""
STOPPED_EXIT_CODE = 75
"""Exit code of a run that a signal stopped and that goes on when it is started again. Source: sysexits.h, EX_TEMPFAIL."""


class HipsegError(Exception):
    """Something that a user can mend; the command line prints it as one line and ends with `exit_code`."""

    exit_code: ClassVar[int] = 1


class ConfigError(HipsegError):
    """A setting, an option or a path given by the user cannot be used."""

    exit_code = 2


class SeriesError(HipsegError):
    """A CT series cannot be read as one volume."""

    exit_code = 3


class MaskError(HipsegError):
    """A mask cannot be brought onto the grid of its series."""

    exit_code = 4


class ShardError(HipsegError):
    """A shard, a manifest or the splits beside them are missing, damaged or do not fit together."""

    exit_code = 5


class TrainError(HipsegError):
    """Training, pretraining, evaluation or prediction cannot go on."""

    exit_code = 6


class LaunchError(HipsegError):
    """A study or one of its jobs cannot be started, or ended badly."""

    exit_code = 7


class ReportError(HipsegError):
    """Fold results are missing, partial or do not fit together."""

    exit_code = 8


class Stopped(HipsegError):  # noqa: N818 - asked for, no error
    """A signal asked a run to stop; the same command goes on from what it saved."""

    exit_code = STOPPED_EXIT_CODE
