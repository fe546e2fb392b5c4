"""The comparison table as CSV: one line an arm, structure, answer and unit, every number in full."""

import csv
import io
import math

from hipseg.report.statistics import ArmStatistics, Estimate
from hipseg.report.table import METRIC_TITLES, READINGS, Comparison, define
from hipseg.score.record import MEASURES
from hipseg.score.slicewise import SLICE_METRICS, Reading

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes text that begins so for a formula. Source: OWASP, CSV Injection."""


def to_csv(comparison: Comparison) -> str:
    """Write the table as CSV (RFC 4180, lines ended by a line feed).

    The thesis's columns come first. `unit` says what a line's scores are averaged over: cases, or single slices. `partial` is
    empty or the stamp; it stands in every line, so that no row can be taken out without it. A number that is not defined is an
    empty cell.
    """
    lines = [_case_line(row) for row in comparison.rows]
    lines += [_slice_line(row, reading) for row in comparison.rows for reading in READINGS]
    about = {
        "partial": _text(comparison.stamp or ""),
        "warnings": _text("; ".join(comparison.warnings)),
        "definition": define(comparison),
    }
    out = io.StringIO()
    # Dictionaries in place of a set, which has no order.
    writer = csv.DictWriter(out, list({**lines[0], **lines[-1], **about}), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**line, **about} for line in lines)
    return out.getvalue()


def _names(row: ArmStatistics) -> dict[str, str]:
    first = row.result.folds[0]
    return {"study": _text(first.study), "method": _text(first.method)}


def _origin(row: ArmStatistics, unit: str) -> dict[str, str]:
    return {
        "arm": _text(row.result.arm),
        "structure": _text(row.label),
        "answer": row.answer,
        "unit": unit,
        "folds": str(len(row.result.folds)),
        "folds_of": str(row.result.folds[0].folds),
        "cases": str(row.cases),
        "patients": str(row.patients),
    }


def _case_line(row: ArmStatistics) -> dict[str, str]:
    further = [name for name in MEASURES if name not in METRIC_TITLES]
    return {
        **_names(row),
        **{name: _number(row.over_cases[name].mean) for name in METRIC_TITLES},
        "loss": _number(row.loss.mean),
        **_origin(row, "case"),
        "misses": str(row.misses),
        "false_alarms": str(row.false_alarms),
        "undefined": str(row.over_cases["dice"].undefined),
        **_estimate("dice_patients", row.over_patients["dice"]),
        **_estimate("dice_folds", row.over_folds["dice"]),
        **{name: _number(row.over_cases[name].mean) for name in further},
        **{f"{name}_sd": _number(row.over_cases[name].sd) for name in (*METRIC_TITLES, *further)},
        **{f"{name}_undefined": str(row.over_cases[name].undefined) for name in further},
        "loss_sd": _number(row.loss.sd),
    }


def _slice_line(row: ArmStatistics, reading: Reading) -> dict[str, str]:
    return {
        **_names(row),
        **{name: _number(row.slices.mean(name, reading)) for name in SLICE_METRICS},
        **_origin(row, f"slice, empty ones {READINGS[reading]}"),
        "slices": str(row.slices.slices),
        "empty_slices": str(row.slices.both_empty),
    }


def _estimate(prefix: str, values: Estimate) -> dict[str, str]:
    return {f"{prefix}_{name}": _number(getattr(values, name)) for name in ("mean", "sd", "low", "high")}


def _text(value: str) -> str:
    return f"'{value}" if value.startswith(FORMULA_STARTS) else value


def _number(value: float) -> str:
    return "" if math.isnan(value) else repr(value)
