"""The comparison table as a LaTeX document that compiles as it stands; its tabulars can be copied out."""

import re
import unicodedata
from collections.abc import Sequence

from hipseg.report.table import Block, Cell, Comparison, Joined, blocks, define

ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{EN DASH}": "--",
    "\N{EM DASH}": "---",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
}
"""Characters that LaTeX takes for commands, does not know, or takes for an option where a line of a table begins with them."""
LIGATURE = re.compile("(?<=[-'])(?=[-'])")
"""Between two of these LaTeX would join them into a dash or a quotation mark."""
LAST_LATIN = 0x17F
NOT_IN_T1 = frozenset("ĦħĸĿŀŉŦŧſ")
"""pdfLaTeX stops at a letter that its T1 fonts lack: these, and those beyond `LAST_LATIN`. They become a question mark."""
PREAMBLE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\pagestyle{empty}
\raggedright\small
\begin{document}
\noindent"""

SHRINK = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Makes what follows, up to its closing brace, as wide as the page where it is wider: names may be long."""

MOST_ROWS = 30
"""Of a tabular, which LaTeX does not break: so many fit on a page of 180 mm, each about 4 mm high."""


def to_latex(comparison: Comparison) -> str:
    """Write the table as LaTeX, block by block: the stamp and the warnings above, the definition below."""
    stamp = [rf"\textbf{{{_escape(comparison.stamp)}}}\par\medskip\noindent"] if comparison.stamp else []
    warnings = [rf"{_escape(warning)}\par\medskip\noindent" for warning in comparison.warnings]
    body = [line for block in blocks(comparison) for line in _set_block(block)]
    definition = rf"\footnotesize {_escape(define(comparison))}"
    return "\n".join([PREAMBLE, *stamp, *warnings, *body, definition, r"\end{document}", ""])


def _set_block(block: Block) -> list[str]:
    """Set one block, in pieces that each fit on a page under a head of their own."""
    lines = _set_rows(block, block.title, block.rows[:MOST_ROWS])
    for start in range(MOST_ROWS, len(block.rows), MOST_ROWS):
        lines += _set_rows(block, f"{block.title}, continued", block.rows[start : start + MOST_ROWS])
    return lines


def _set_rows(block: Block, title: str, rows: Sequence[Sequence[Cell]]) -> list[str]:
    columns = "l" * len(block.words) + "r" * len(block.numbers)
    return [
        rf"\textbf{{{_escape(title)}}}\par\smallskip\noindent",
        SHRINK,
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _line([*block.words, *block.numbers]),
        r"\midrule",
        *(_line(row) for row in rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\bigskip\noindent",
    ]


def _line(cells: Sequence[Cell]) -> str:
    return rf"{' & '.join(map(_set_cell, cells))} \\"


def _set_cell(cell: Cell) -> str:
    return f"{cell.left} {_escape(cell.sign)} {cell.right}" if isinstance(cell, Joined) else _escape(cell)


def _escape(text: str) -> str:
    words = " ".join(unicodedata.normalize("NFC", text).split())
    return "{}".join("".join(map(_escape_letter, part)) for part in LIGATURE.split(words))


def _escape_letter(letter: str) -> str:
    if letter in ESCAPES:
        return ESCAPES[letter]
    is_latin = ord(letter) <= LAST_LATIN and letter.isalpha() and letter not in NOT_IN_T1
    return letter if letter.isprintable() and (letter.isascii() or is_latin) else "?"
