"""`hipseg audit`: which cells of a published table cannot be."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from hipseg.errors import PARTIAL_EXIT_CODE
from hipseg.report.audit import READINGS, Findings, RowAudit, audit_row
from hipseg.report.published import SCORE_COLUMNS, read_published

FORMAT_VERSION = 1
CONDITIONS = (
    "Each cell stands for every value that rounds to it. Pooled counts: each score from one sum of TP, FP, FN and TN. Means over "
    "cases (slices, folds): the same cases, weights and rule for empty masks in every column, accuracy with the background. "
    "Nothing found is no proof that a row is right."
)


@click.command("audit")
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def command(table: Path, as_json: bool) -> None:
    """Tell which cells of a published table cannot be.

    TABLE is CSV with a line of titles, among them two or more of dice, iou, accuracy, precision, recall and f1. Dice is held
    against IoU and against F1 from precision and recall at the printed rounding, each row read as pooled counts and as means
    over cases. Ends with exit code 10 where a row cannot be under either reading.
    """
    audits = [audit_row(row) for row in read_published(table)]
    if as_json:
        value = {"format_version": FORMAT_VERSION, "conditions": CONDITIONS, "rows": [_describe(audit) for audit in audits]}
        click.echo(json.dumps(value, indent=1, ensure_ascii=False))
    else:
        for audit in audits:
            click.echo(_put_in_words(audit))
        click.echo(CONDITIONS)
    if any(audit.is_impossible for audit in audits):
        raise SystemExit(PARTIAL_EXIT_CODE)


def _put_in_words(audit: RowAudit) -> str:
    lines = [f"line {audit.row.line}: {audit.row.name}"]
    for reading, title in READINGS.items():
        lines.append(f"  as {title}: {audit.judge(audit.findings[reading])}")
        lines += [f"    {finding.verdict}: {finding.arithmetic}" for finding in audit.findings[reading]]
        if audit.averaged and any("iou" in finding.columns for finding in audit.findings[reading]):
            lines.append(f"    were IoU the mean over structure and background: {audit.judge(audit.averaged[reading])}")
    if audit.implied:
        lines.append(f"  either way {audit.implied}")
    return "\n".join([*lines, ""])


def _describe(audit: RowAudit) -> dict[str, Any]:
    return {
        "line": audit.row.line,
        "name": audit.row.name,
        "cells": {name: audit.row.cells[name].text if name in audit.row.cells else None for name in SCORE_COLUMNS},
        "readings": _describe_findings(audit, audit.findings),
        "readings_of_iou_averaged_with_background": audit.averaged and _describe_findings(audit, audit.averaged),
        "implied": audit.implied,
    }


def _describe_findings(audit: RowAudit, findings: Findings) -> dict[str, Any]:
    return {
        reading: {"verdict": audit.judge(found), "findings": [dataclasses.asdict(one) for one in found]}
        for reading, found in findings.items()
    }
