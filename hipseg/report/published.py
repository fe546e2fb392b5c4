"""A published table of scores, read from CSV: each cell as the exact range of values that its printed digits stand for."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from hipseg.errors import ReportError
from hipseg.fsio import printable

SCORE_COLUMNS = ("dice", "iou", "accuracy", "precision", "recall", "f1")
WORD_COLUMNS = ("source", "study", "method", "arm", "structure", "answer")
"""What a row is called by; a table may have any of them."""
ABSENT = frozenset(("", "-", "--", "\N{EN DASH}", "\N{EM DASH}", "n/a", "na", "nan"))
CELL = re.compile(
    r"(?P<number>\d*\.?\d+(?:[eE][+-]?\d{1,3})?)\s*(?P<percent>%?)(?:\s*(?:±|\+/-|\+-|\()(?P<behind>.*?)(?P<last>%?))?"
)
"""A number, perhaps with its deviation or interval behind it; a % behind the number or at the end belongs to the whole cell."""
FINEST_DECIMALS = 12
"""Digits beyond these are no roundings of the value but of the arithmetic (means of float64)."""
PERCENT = Fraction(1, 100)


@dataclass(frozen=True)
class Range:
    """All values from `low` to `high`, both included, as exact fractions."""

    low: Fraction
    high: Fraction


@dataclass(frozen=True)
class Cell:
    """A printed score.

    Args:
        text: as printed, without what a terminal would obey.
        values: what was rounded to it, both ends included, since tables round halves either way; within 0..1.
    """

    text: str
    values: Range


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table.

    Args:
        line: in the file, from 1.
        name: its words, joined.
        cells: column of SCORE_COLUMNS -> cell; absent ones are left out.
    """

    line: int
    name: str
    cells: Mapping[str, Cell]


def read_published(path: Path) -> tuple[PublishedRow, ...]:
    """Read a table of scores from a file; see `parse_published`.

    Raises:
        ReportError: besides, the file cannot be read.
    """
    try:
        return parse_published(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"cannot read the table {path}: {error}; CSV in UTF-8 is needed") from error


def parse_published(text: str, where: str) -> tuple[PublishedRow, ...]:
    """Read a table of scores.

    Args:
        text: CSV with a line of titles. Scores stand in the columns of SCORE_COLUMNS, whatever their case and order; other
            columns are passed by.
        where: it comes from, for messages.
    Returns:
        Its rows.
    Raises:
        ReportError: it is no CSV, has fewer than two columns of scores, two columns of one title, or no row, or a cell is no
            score.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
    try:
        titles = [title.strip().lower() for title in reader.fieldnames or ()]
        reader.fieldnames = titles
        _refuse_doubled(titles, where)
        rows = tuple(_read_row(reader.line_num, line) for line in reader)
    except csv.Error as error:
        raise ReportError(f"cannot read the table {where} at line {reader.line_num + 1}: {error}; CSV is needed") from error
    if sum(name in titles for name in SCORE_COLUMNS) < 2:
        commas = "; its titles stand between semicolons, and commas are needed" if any(";" in title for title in titles) else ""
        raise ReportError(
            f"{where} has fewer than two columns of scores; name them by a first line, out of {', '.join(SCORE_COLUMNS)}{commas}"
        )
    if not rows:
        raise ReportError(f"{where} has no row below its titles; one row a method is needed")
    return rows


def _refuse_doubled(titles: Sequence[str], where: str) -> None:
    for name in (*WORD_COLUMNS, *SCORE_COLUMNS):
        if titles.count(name) > 1:
            raise ReportError(f"{where} has {titles.count(name)} columns titled {name}; keep the one that counts")


def _read_row(line: int, values: Mapping[str, str]) -> PublishedRow:
    words = [printable(values.get(name, "")) for name in WORD_COLUMNS]
    cells = {}
    for name in SCORE_COLUMNS:
        text = values.get(name, "").strip()
        if text.lower() not in ABSENT:
            cells[name] = read_cell(text, f"{name} in line {line}")
    return PublishedRow(line, ", ".join(word for word in words if word) or f"line {line}", cells)


def read_cell(text: str, where: str) -> Cell:
    """Read one printed score.

    Args:
        text: such as 0.95, 95.2%, 95.2 ± 1.3 %, .95 ± .02 or 9.5e-01 (0.9 to 1).
        where: it stands, for the message.
    Returns:
        The score with half a unit of its last digit to either side.
    Raises:
        ReportError: it is no number, is not between 0 and 1, or has a % that may belong to its deviation alone.
    """
    match = CELL.fullmatch(text)
    if match is None:
        raise ReportError(f"{where} is {printable(text)[:40]!r}; a number such as 0.95 or 95 % is needed, or an empty cell")
    is_percent = bool(match["percent"] or match["last"])
    if not is_percent and "%" in (match["behind"] or ""):
        raise ReportError(f"{where} is {printable(text)[:40]!r}; put the % behind the number or at the end if it belongs to both")
    number = Decimal(match["number"])
    scale = PERCENT if is_percent else Fraction(1)
    half_unit = Fraction(1, 2) * max(Fraction(10) ** int(number.as_tuple().exponent), Fraction(10) ** -FINEST_DECIMALS)
    value = Fraction(number) * scale
    if value > 1:
        raise ReportError(f"{where} is {match['number']}; a score lies between 0 and 1, or ends in %")
    return Cell(printable(text), Range(max(value - half_unit * scale, Fraction(0)), min(value + half_unit * scale, Fraction(1))))
