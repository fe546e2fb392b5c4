"""The `hipseg` and `hipseg-pack` programs: find the subcommand, load only its module, turn errors into exit codes."""

import gc
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from hipseg import __version__
from hipseg.cli.streams import fill_streams, naming_lost_output
from hipseg.errors import LOST_EXIT_CODE, OUTRANKING, STOPPED_EXIT_CODE, ConfigError, HipsegError
from hipseg.signals import StopRequests, ignore_stops

BUG_EXIT_CODE = 1
DEBUG = "HIPSEG_DEBUG"
INTERRUPTED_EXIT_CODE = 130
COMMANDS = {
    "pack": "Pack CT series and their masks into shards.",
    "phantom": "Write a made-up pediatric hip CT data set into DIR, a new or empty folder.",
    "inspect": "Show what is in a packed data set.",
    "verify": "Check every checksum and rule of a packed data set.",
    "unpack": "Give the packed cases back as NIfTI in their original grid.",
    "model": "Show the layers and parameters of the network NAME, as the settings make it.",
    "split": "Deal the patients of a packed data set into folds.",
    "prepare": "Check what a run needs before it is started, deal the folds if nobody has, and print its folder.",
    "train": "Train one arm on one fold and score the fold's validation cases.",
    "pretrain": "Train the network of the arms with transfer on organs, one output an organ.",
    "evaluate": "Score a fold's validation cases anew, from its best weights and with the settings it was trained with.",
    "submit": "Run the whole study: pretraining, every fold of every arm, the table, the page.",
    "status": "Show how far a submitted study is.",
    "cancel": "End what is queued or runs of a submitted study.",
    "resubmit": "Submit again what failed, was cancelled or never ran.",
    "doctor": "Show what this machine offers for a study, what is missing, and how to mend it.",
    "aggregate": "Write the methods-comparison table.",
    "report": "Write the page of a study and its figures.",
    "audit": "Tell which cells of a published table cannot be.",
}
"""Each subcommand is `command` in the module `hipseg.cli.<name>`; its one-line help stands here so that help loads nothing."""


class LazyGroup(click.Group):
    """A click group that imports a subcommand's module only when that subcommand is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Name the subcommands in the order a study uses them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Load one subcommand."""
        if cmd_name not in COMMANDS:
            return None
        # Loading makes no garbage, and what is loaded stays: collecting would only walk over it, a tenth of the time.
        gc.disable()
        try:
            command: click.Command = importlib.import_module(f"hipseg.cli.{cmd_name}").command
        finally:
            gc.freeze()
            gc.enable()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """List the subcommands without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hipseg")
def root() -> None:
    """Segment the hip in CT of children, from scans to the methods-comparison table."""


def run(arguments: Sequence[str]) -> None:
    """Run one `hipseg` command line inside this process.

    Args:
        arguments: what follows `hipseg` on the command line.
    Raises:
        HipsegError: as the command raises it; Stopped at a stop signal, also while the command's modules are being loaded.
        click.ClickException: the command line itself is wrong.
        SystemExit: the command ended with an exit code of its own.
    """
    with StopRequests().listening(), naming_lost_output():
        exit_code = root.main(args=list(arguments), prog_name="hipseg", standalone_mode=False)
    if exit_code:
        raise SystemExit(exit_code)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the `hipseg` program and end the process with its exit code."""
    fill_streams()
    try:
        run(sys.argv[1:] if arguments is None else arguments)
    except HipsegError as error:
        click.echo(str(error) if error.exit_code == STOPPED_EXIT_CODE else f"error: {error}", err=True)
        sys.exit(_outrank(error.exit_code))
    except click.ClickException as error:
        error.show()
        sys.exit(_outrank(error.exit_code))
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(INTERRUPTED_EXIT_CODE)
    except MemoryError:
        click.echo("error: there is no more memory to be had; give this command more, or less to do at once", err=True)
        sys.exit(_outrank(ConfigError.exit_code))
    except Exception as error:
        _report_bug(error)
        sys.exit(_outrank(BUG_EXIT_CODE))
    finally:
        if arguments is None:
            # One that comes now shall not turn the end of a finished command into a failure.
            ignore_stops()
    if arguments is None and sys.argv[1:2] == ["pack"]:
        _end()


def _report_bug(error: BaseException) -> None:
    """Show where an error came from that nobody foresaw, without its words: they may quote a file, and so a patient."""
    if os.environ.get(DEBUG) == "1":
        traceback.print_exception(error)
        return
    click.echo("Traceback (most recent call last):", err=True)
    click.echo("".join(traceback.format_tb(error.__traceback__)), err=True, nl=False)
    click.echo(
        f"{type(error).__name__}: this is a mistake in hipseg; its message is left out, since it may quote a patient's file: "
        f"{DEBUG}=1 in the environment shows it",
        err=True,
    )


def _end() -> NoReturn:
    """End a process whose files are closed and whose threads have ended; to take its modules apart takes Python 40 ms."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _outrank(exit_code: int) -> int:
    """Let the mistake of one rank of several that srun started stand above the ends of the others."""
    is_one_of_several = int(os.environ.get("SLURM_STEP_NUM_TASKS") or 1) > 1
    return exit_code + OUTRANKING * (is_one_of_several and exit_code not in (STOPPED_EXIT_CODE, LOST_EXIT_CODE))


def pack_main() -> None:
    """Run the `hipseg-pack` program, the same as `hipseg pack`."""
    sys.argv.insert(1, "pack")
    main()
