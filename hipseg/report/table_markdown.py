"""The comparison table as Markdown."""

import re

from hipseg.report.table import DEFINITION, METRIC_TITLES, Comparison, put_in_words

SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~&$])")
"""Punctuation that means something to Markdown inside a line; a backslash takes that from it. Source: CommonMark 0.31, 2.4."""
TITLES = (
    "Study",
    "Method",
    *METRIC_TITLES.values(),
    "Loss",
    "Arm",
    "Folds",
    "Cases",
    "Undefined",
    "All-background accuracy",
    "Dice over folds",
)
WORDS = ("Study", "Method", "Arm")


def to_markdown(comparison: Comparison) -> str:
    """Write the table as Markdown, the stamp above it and the definition below."""
    lines = [_line(TITLES), _line(["---" if title in WORDS else "---:" for title in TITLES])]
    for row in map(put_in_words, comparison.rows):
        numbers = [_spread(pair) for pair in row.metrics]
        behind = [row.folds, row.cases, row.undefined, _spread(row.background_accuracy), _spread(row.dice_over_folds)]
        lines.append(_line([_escape(row.study), _escape(row.method), *numbers, row.loss, _escape(row.arm), *behind]))
    stamp = [f"**{_escape(comparison.stamp)}**", ""] if comparison.stamp else []
    return "\n".join([*stamp, *lines, "", DEFINITION, ""])


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _spread(pair: tuple[str, str]) -> str:
    return f"{pair[0]} ± {pair[1]}"


def _escape(text: str) -> str:
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))
