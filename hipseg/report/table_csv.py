"""The comparison table as CSV: one line an arm, every number in full, the stamp and the definition in columns of their own."""

import csv
import io
import math

from hipseg.report.statistics import ArmStatistics
from hipseg.report.table import DEFINITION, METRIC_TITLES, Comparison

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes text that begins so for a formula. Source: OWASP, CSV Injection."""


def to_csv(comparison: Comparison) -> str:
    """Write the table as CSV (RFC 4180, lines ended by a line feed).

    The thesis's columns come first. `partial` is empty or the stamp; it stands in every line, so that no row can be taken out
    without it. A number that is not defined is an empty cell.
    """
    out = io.StringIO()
    lines = [_line(row, comparison.stamp) for row in comparison.rows]
    writer = csv.DictWriter(out, fieldnames=list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _line(row: ArmStatistics, stamp: str | None) -> dict[str, str]:
    first = row.result.folds[0]
    over_folds = row.over_folds["dice"]
    return {
        "study": _text(first.study),
        "method": _text(first.method),
        **{name: _number(row.over_cases[name].mean) for name in METRIC_TITLES},
        "loss": _number(row.loss.mean),
        "arm": _text(row.result.arm),
        "folds": str(len(row.result.folds)),
        "folds_of": str(first.folds),
        "cases": str(len(row.result.scores)),
        "undefined": str(row.over_cases["dice"].undefined),
        "background_accuracy": _number(row.over_cases["background_accuracy"].mean),
        "dice_folds_mean": _number(over_folds.mean),
        "dice_folds_sd": _number(over_folds.sd),
        **{f"{name}_sd": _number(row.over_cases[name].sd) for name in METRIC_TITLES},
        "background_accuracy_sd": _number(row.over_cases["background_accuracy"].sd),
        "loss_sd": _number(row.loss.sd),
        "partial": _text(stamp or ""),
        "definition": DEFINITION,
    }


def _text(value: str) -> str:
    return f"'{value}" if value.startswith(FORMULA_STARTS) else value


def _number(value: float) -> str:
    return "" if math.isnan(value) else repr(value)
