"""The comparison table on the terminal."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hipseg.report.table import DEFINITION, METRIC_TITLES, Comparison, put_in_words


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the thesis's columns, then what stands behind them; the stamp first, the definition last.

    Each SD stands below its mean, so that the table fits on 80 columns. Words out of the settings are set as they are: square
    brackets in them are no markup.
    """
    if comparison.stamp:
        console.print(Text(comparison.stamp, style="bold red"))
    console.print(_make_scores(comparison))
    console.print(_make_behind(comparison))
    console.print(Text(DEFINITION))


def _make_scores(comparison: Comparison) -> Table:
    table = _make_table(("Study", "Method"), (*METRIC_TITLES.values(), "Loss"))
    for row in map(put_in_words, comparison.rows):
        table.add_row(Text(row.study), Text(row.method), *map(_stack, row.metrics), row.loss)
    return table


def _make_behind(comparison: Comparison) -> Table:
    numbers = ("Folds", "Cases", "Undefined", "All-back-\nground\naccuracy", "Dice over\nfolds")
    table = _make_table(("Study", "Method", "Arm"), numbers)
    for row in map(put_in_words, comparison.rows):
        words = (Text(row.study), Text(row.method), Text(row.arm))
        accuracy, over_folds = _stack(row.background_accuracy), _stack(row.dice_over_folds)
        table.add_row(*words, row.folds, row.cases, row.undefined, accuracy, over_folds)
    return table


def _make_table(words: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    for title in words:
        table.add_column(title, overflow="fold")
    for title in numbers:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _stack(pair: tuple[str, str]) -> str:
    return f"{pair[0]}\n±{pair[1]}"
