"""The comparison table as a LaTeX document that compiles as it stands; its tabulars can be copied out."""

import re
import unicodedata

from hipseg.report.table import DEFINITION, METRIC_TITLES, Comparison, TextRow, put_in_words

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
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\pagestyle{empty}
\begin{document}
\noindent"""


def to_latex(comparison: Comparison) -> str:
    """Write the table as LaTeX: the thesis's columns, then what stands behind them; the stamp above, the definition below."""
    rows = [put_in_words(row) for row in comparison.rows]
    stamp = [rf"\textbf{{{_escape(comparison.stamp)}}}\par\medskip\noindent"] if comparison.stamp else []
    scores = _tabular(
        ["Study", "Method", *METRIC_TITLES.values(), "Loss"],
        [[_escape(row.study), _escape(row.method), *map(_spread, row.metrics), row.loss] for row in rows],
    )
    behind = _tabular(
        ["Study", "Method", "Arm", "Folds", "Cases", "Undefined", "All-background accuracy", "Dice over folds"],
        [_behind(row) for row in rows],
    )
    definition = rf"\par\medskip\noindent\footnotesize {_escape(DEFINITION)}"
    return "\n".join([PREAMBLE, *stamp, *scores, r"\par\bigskip\noindent", *behind, definition, r"\end{document}", ""])


def _behind(row: TextRow) -> list[str]:
    words = [_escape(row.study), _escape(row.method), _escape(row.arm)]
    return [*words, row.folds, row.cases, row.undefined, _spread(row.background_accuracy), _spread(row.dice_over_folds)]


def _tabular(titles: list[str], rows: list[list[str]]) -> list[str]:
    left = sum(title in ("Study", "Method", "Arm") for title in titles)
    columns = "l" * left + "r" * (len(titles) - left)
    body = [rf"{' & '.join(row)} \\" for row in rows]
    head = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", rf"{' & '.join(titles)} \\", r"\midrule"]
    return [*head, *body, r"\bottomrule", r"\end{tabular}"]


def _spread(pair: tuple[str, str]) -> str:
    return rf"{pair[0]} $\pm$ {pair[1]}"


def _escape(text: str) -> str:
    words = " ".join(unicodedata.normalize("NFC", text).split())
    return "{}".join("".join(map(_escape_letter, part)) for part in LIGATURE.split(words))


def _escape_letter(letter: str) -> str:
    if letter in ESCAPES:
        return ESCAPES[letter]
    is_latin = ord(letter) <= LAST_LATIN and letter.isalpha() and letter not in NOT_IN_T1
    return letter if letter.isprintable() and (letter.isascii() or is_latin) else "?"
