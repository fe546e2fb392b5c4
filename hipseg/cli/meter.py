"""How fast a packing is: a bar with rate and remaining time on a terminal, nothing but its sum elsewhere."""

import sys
import time
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress

MEGABYTE = 1_000_000


class Meter:
    """Counts slices; a context manager that shows the bar while it is open."""

    def __init__(self, slices: int) -> None:
        """Expect that many slices; the bar only, so a guess will do."""
        self._expected = slices
        self._slices, self._bytes, self._skipped = 0, 0, 0
        self._started = time.monotonic()
        self._stack = ExitStack()
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._progress = self._stack.enter_context(_make_bar())
            self._bar = self._progress.add_task("packing", total=self._expected, rate="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    @property
    def has_packed(self) -> bool:
        """Say whether any slice was packed."""
        return self._slices > 0

    def tick(self, slices: int, slice_bytes: int) -> None:
        """Count slices of so many bytes in Hounsfield units, all together."""
        self._slices += slices
        self._bytes += slice_bytes
        self._show()

    def skip(self, slices: int) -> None:
        """Count slices that need not be packed; they are no part of the rate."""
        self._skipped += slices
        self._show()

    def summary(self) -> str:
        """Give one line: slices, seconds, and the rate."""
        slices = f"{self._slices} {'slice' if self._slices == 1 else 'slices'}"
        return f"packed {slices} in {self._seconds():.1f} s: {self._rate()}"

    def refresh(self) -> None:
        """Draw the bar now, where there is one."""
        if self._progress is not None:
            self._progress.refresh()

    def _seconds(self) -> float:
        return max(time.monotonic() - self._started, 1e-3)

    def _rate(self) -> str:
        seconds = self._seconds()
        return f"{self._slices / seconds:.0f} slices/s, {self._bytes / seconds / MEGABYTE:.0f} MB/s"

    def _show(self) -> None:
        if self._progress is not None:
            self._progress.update(self._bar, completed=self._slices + self._skipped, rate=self._rate())


def _make_bar() -> "Progress":
    from rich.console import Console  # noqa: PLC0415 - a packing without a terminal starts sooner without it
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - same

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("slices, {task.fields[rate]}, left"),
        TimeRemainingColumn(),
    )
    return Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        redirect_stderr=True,
    )
