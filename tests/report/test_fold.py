"""No form of the table hands on what a terminal would obey."""

import io
import json

import pytest
from rich.console import Console

from hipseg.report.table_csv import to_csv
from hipseg.report.table_json import to_json
from hipseg.report.table_latex import to_latex
from hipseg.report.table_markdown import to_markdown
from hipseg.report.table_text import print_comparison


def show(comparison):
    out = io.StringIO()
    print_comparison(comparison, Console(file=out, width=110, color_system=None))
    return out.getvalue()


def words_of_json(comparison):
    return "".join(json.dumps(json.loads(to_json(comparison)), ensure_ascii=False))


@pytest.mark.parametrize("write", [to_csv, words_of_json, to_latex, to_markdown, show])
def test_no_form_of_the_table_carries_what_a_terminal_obeys(write, obeyed_comparison):
    text = write(obeyed_comparison)
    assert "numpy?" in text
    assert [letter for letter in text if letter != "\n" and not letter.isprintable()] == []
