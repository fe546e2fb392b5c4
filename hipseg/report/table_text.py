"""The comparison table on the terminal."""

import dataclasses

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hipseg.report.table import Block, Cell, Comparison, blocks, define

FEWEST_COLUMNS = 80
ROOMY_COLUMNS = 100


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the table block by block; the stamp and the warnings first, the definition last.

    The second number of a cell stands below the first and titles break at their spaces, so that the table fits on 80 columns.
    A narrower terminal breaks its lines: fewer columns would cut numbers. Words out of the settings are set as they are: square
    brackets in them are no markup. Below ROOMY_COLUMNS the words of the settings give way to the arm's name, which would be
    broken at every other letter beside them; the files have both.
    """
    console.width = max(console.width, FEWEST_COLUMNS)
    if comparison.stamp:
        console.print(Text(comparison.stamp, style="bold red"))
    for warning in comparison.warnings:
        console.print(Text(f"warning: {warning}", style="yellow"))
    for block in blocks(comparison):
        console.print(Text(block.title, style="bold"))
        console.print(_make_table(block if console.width >= ROOMY_COLUMNS else _leave_out_names(block)))
    console.print(Text(define(comparison)))


def _leave_out_names(block: Block) -> Block:
    """Leave out the columns before that of the arm."""
    first = block.words.index("Arm") if "Study" in block.words else 0
    return dataclasses.replace(block, words=block.words[first:], rows=tuple(row[first:] for row in block.rows))


def _make_table(block: Block) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    for title in block.words:
        table.add_column(title, overflow="fold")
    for title in block.numbers:
        table.add_column(title.replace(" ", "\n").replace("-", "-\n"), justify="right", no_wrap=True)
    for row in block.rows:
        table.add_row(*map(_set_cell, row))
    return table


def _set_cell(cell: Cell) -> Text:
    if isinstance(cell, str):
        return Text(cell)
    gap = " " if cell.sign.isalpha() else ""
    return Text(f"{cell.left}\n{cell.sign}{gap}{cell.right}")
