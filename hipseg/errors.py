"""The error tree: one class a kind of mistake, each with the exit code that the command line ends with.

A message says, in this order: what is wrong, where, what was found, what would be accepted. It names a case by its key
and never carries text that comes out of a source file.
"""

from typing import ClassVar

PARTIAL_EXIT_CODE = 10
"""Exit code of a command that finished its good input and refused some of it by name."""
STOPPED_EXIT_CODE = 75
"""Exit code of a run that a signal stopped and that goes on when it is started again. Source: sysexits.h, EX_TEMPFAIL."""

LOST_EXIT_CODE = 76
"""Exit code of a rank that lost the others. Source: sysexits.h, EX_PROTOCOL, the other side broke off."""
OUTRANKING = 192
"""Added to the exit code of a rank of several that failed by itself. When one ends badly srun ends the others and gives a code
that may be theirs, but it names each: such a code can be told from those of ranks that were ended."""


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


class RankLost(TrainError):  # noqa: N818 - what happened, to another process
    """Another rank was killed, froze or failed; the run can go on from its last checkpoint."""

    exit_code = LOST_EXIT_CODE


class LaunchError(HipsegError):
    """A study or one of its jobs cannot be started, or ended badly."""

    exit_code = 7


class ReportError(HipsegError):
    """Fold results are missing, partial or do not fit together."""

    exit_code = 8


class Stopped(HipsegError):  # noqa: N818 - asked for, no error
    """A signal asked a run to stop; the same command goes on from what it saved."""

    exit_code = STOPPED_EXIT_CODE
