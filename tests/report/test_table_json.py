import json

import pytest

from hipseg.report.table import DEFINITION
from hipseg.report.table_json import to_json


def test_numbers_are_whole_and_lead_back_to_the_cases(comparison):
    value = json.loads(to_json(comparison))
    assert (value["format_version"], value["partial"], value["definition"]) == (1, None, DEFINITION)
    unet, transfer = value["arms"]
    assert (unet["arm"], transfer["arm"], unet["study"], unet["folds_of"]) == ("unet", "modified-unet-tl", "[18]", 2)
    assert unet["over_cases"]["iou"] == {
        "mean": pytest.approx(4 / 9, abs=1e-15),
        "sd": 0.5091750772173156,
        "counted": 3,
        "undefined": 1,
    }
    assert unet["over_folds"]["dice"] == {"mean": 0.375, "sd": 0.5303300858899106, "counted": 2, "undefined": 0}
    assert unet["folds"] == [{"fold": 0, "cases": 2, "val_loss": 0.25}, {"fold": 1, "cases": 2, "val_loss": 0.75}]
    assert unet["cases"][1] == {
        "case": "c1",
        "patient": "pc1",
        "fold": 0,
        "counts": {"tp": 1, "fp": 1, "fn": 1, "tn": 7},
        "dice": 0.5,
        "iou": 1 / 3,
        "accuracy": 0.8,
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "background_accuracy": 0.8,
    }


def test_a_score_that_is_not_defined_is_null(comparison):
    unet = json.loads(to_json(comparison))["arms"][0]
    assert unet["cases"][3]["dice"] is None
    assert unet["cases"][3]["accuracy"] == 1.0


def test_a_partial_table_says_so(partial_comparison):
    value = json.loads(to_json(partial_comparison))
    assert value["partial"] == "PARTIAL: fold 1 of arm unet is partial (no summary.json)"
    assert value["arms"][0]["over_folds"]["dice"]["sd"] is None
