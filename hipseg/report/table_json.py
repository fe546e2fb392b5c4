"""The comparison table as JSON: every number in full, and the files of scores that it was made of."""

import dataclasses
import json
from typing import Any

from hipseg.fsio import without_nan
from hipseg.report.fold import FoldResult
from hipseg.report.statistics import CONFIDENCE, ArmStatistics
from hipseg.report.table import READINGS, Comparison, define
from hipseg.score.slicewise import SLICE_METRICS

FORMAT_VERSION = 4


def to_json(comparison: Comparison) -> str:
    """Write the table as JSON; a number that is not defined is null."""
    value = {
        "format_version": FORMAT_VERSION,
        "partial": comparison.stamp,
        "warnings": comparison.warnings,
        "definition": define(comparison),
        "confidence": CONFIDENCE,
        "rows": [_describe(row) for row in comparison.rows],
        "pairs": [dataclasses.asdict(pair) for pair in comparison.pairs],
        "repeats": [{"arm": arm.arm, **dataclasses.asdict(parts)} for arm, parts in comparison.repeats],
        "organs": [dataclasses.asdict(row) for row in comparison.organs],
    }
    return json.dumps(without_nan(value), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _describe(row: ArmStatistics) -> dict[str, Any]:
    first = row.result.folds[0]
    return {
        "arm": row.result.arm,
        "structure": row.label,
        "answer": row.answer,
        "study": first.study,
        "method": first.method,
        "folds_of": first.folds,
        "data_digest": first.data_digest,
        "split_digest": first.split_digest,
        "code_digest": first.code_digest,
        "cases": row.cases,
        "patients": row.patients,
        "misses": row.misses,
        "false_alarms": row.false_alarms,
        "over_cases": {name: dataclasses.asdict(values) for name, values in row.over_cases.items()},
        "over_patients": {name: dataclasses.asdict(values) for name, values in row.over_patients.items()},
        "over_folds": {name: dataclasses.asdict(values) for name, values in row.over_folds.items()},
        "loss": dataclasses.asdict(row.loss),
        "slices": {
            "slices": row.slices.slices,
            "both_empty": row.slices.both_empty,
            **{reading: {name: row.slices.mean(name, reading) for name in SLICE_METRICS} for reading in READINGS},
        },
        "folds": [_describe_fold(fold) for fold in row.result.folds],
    }


def _describe_fold(fold: FoldResult) -> dict[str, Any]:
    return {
        "fold": fold.fold,
        "cases": len(fold.sides.val.cases),
        "val_loss": fold.val_loss,
        "settings_digest": fold.settings_digest,
        "scores_digest": fold.scores_digest,
    }
