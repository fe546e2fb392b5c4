"""The comparison table as Markdown."""

import re
from collections.abc import Sequence

from hipseg.report.table import DEFINITION, Block, Cell, Comparison, Joined, blocks, describe_data

SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~&$])")
"""Punctuation that means something to Markdown inside a line; a backslash takes that from it. Source: CommonMark 0.31, 2.4."""


def to_markdown(comparison: Comparison) -> str:
    """Write the table as Markdown, block by block, the stamp and the warnings above and the definition below."""
    stamp = [f"**{_escape(comparison.stamp)}**", ""] if comparison.stamp else []
    warnings = [f"- {_escape(warning)}" for warning in comparison.warnings]
    head = [*stamp, *warnings, *([""] if warnings else [])]
    definition = f"{DEFINITION} {_escape(describe_data(comparison))}"
    return "\n".join([*head, *(line for block in blocks(comparison) for line in _set_block(block)), definition, ""])


def _set_block(block: Block) -> list[str]:
    rule = ["---"] * len(block.words) + ["---:"] * len(block.numbers)
    rows = [_line([_set_cell(cell) for cell in row]) for row in block.rows]
    return [f"**{block.title}**", "", _line([*block.words, *block.numbers]), _line(rule), *rows, ""]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _set_cell(cell: Cell) -> str:
    return f"{cell.left} {cell.sign} {cell.right}" if isinstance(cell, Joined) else _escape(cell)


def _escape(text: str) -> str:
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))
