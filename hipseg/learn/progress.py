"""What a run shows: a bar on a terminal, and one plain line an epoch everywhere."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hipseg.learn.history import COLUMNS, CURVES, EpochRow


class EpochProgress:
    """Shows how far a run is; a context manager that takes the bar off the terminal at its end.

    Args:
        console: where to.
        title: the run in words.
        epochs: how many the run has.
    """

    def __init__(self, console: Console, title: str, epochs: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._console = console
        self._title = title
        self._epochs = epochs
        self._task = self._bar.add_task(title, visible=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def begin_epoch(self, epoch: int, steps: int, done: int = 0) -> None:
        """Start an epoch's bar; `steps` counts training and validation, `done` those that an earlier process took."""
        self._bar.reset(
            self._task, total=steps, completed=done, visible=True, description=f"{self._title}, epoch {epoch}/{self._epochs}"
        )

    def step(self) -> None:
        """Count one batch."""
        self._bar.advance(self._task)

    def end_epoch(self, row: EpochRow, *, is_best: bool) -> None:
        """Print an epoch's line."""
        scores = ", ".join(f"{name} {getattr(row, name):.4f}" for name in COLUMNS if name.removeprefix("val_") in CURVES)
        best = " (best so far)" if is_best else ""
        say(self._console, f"{self._title}, epoch {row.epoch}/{self._epochs}: {row.seconds:.1f} s, {scores}{best}")


def say(console: Console, line: str) -> None:
    """Print one plain line, whole however narrow the console is."""
    console.print(line, soft_wrap=True, highlight=False, markup=False)
