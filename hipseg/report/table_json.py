"""The comparison table as JSON: every number in full, and the scores of each case that it was made of."""

import dataclasses
import json
from typing import Any

from hipseg.fsio import without_nan
from hipseg.report.statistics import ArmStatistics
from hipseg.report.table import DEFINITION, Comparison
from hipseg.score.record import METRICS

FORMAT_VERSION = 1


def to_json(comparison: Comparison) -> str:
    """Write the table as JSON; a number that is not defined is null."""
    value = {
        "format_version": FORMAT_VERSION,
        "partial": comparison.stamp,
        "definition": DEFINITION,
        "arms": [_describe(row) for row in comparison.rows],
    }
    return json.dumps(without_nan(value), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _describe(row: ArmStatistics) -> dict[str, Any]:
    first = row.result.folds[0]
    return {
        "arm": row.result.arm,
        "study": first.study,
        "method": first.method,
        "folds_of": first.folds,
        "data_digest": first.data_digest,
        "split_digest": first.split_digest,
        "over_cases": {name: dataclasses.asdict(row.over_cases[name]) for name in METRICS},
        "over_folds": {name: dataclasses.asdict(row.over_folds[name]) for name in METRICS},
        "loss": dataclasses.asdict(row.loss),
        "folds": [{"fold": fold.fold, "cases": len(fold.scores), "val_loss": fold.val_loss} for fold in row.result.folds],
        "cases": [
            {
                "case": score.case,
                "patient": score.patient,
                "fold": score.fold,
                "counts": dataclasses.asdict(score.counts),
                **score.metrics(),
            }
            for score in row.result.scores
        ],
    }
