import dataclasses
import json

import pytest

from hipseg.fsio import digest_file
from hipseg.report.collect import collect
from hipseg.report.statistics import summarise_organs
from hipseg.report.table import DEFINITION, compare
from hipseg.report.table_json import to_json
from hipseg.runs import StudyPaths
from hipseg.score.overlap import Counts
from hipseg.score.record import MEASURES

from ..score.builders import made_score
from .metrics_page import PAGE, named
from .results import write_pretraining, write_results


def test_numbers_are_whole_and_lead_back_to_the_files_of_scores(comparison, tmp_path):
    value = json.loads(to_json(comparison))
    assert (value["format_version"], value["partial"], value["confidence"]) == (4, None, 0.95)
    assert value["definition"] == f"{DEFINITION} Structures: hip is label 1 of the masks."
    unet, transfer = value["rows"]
    assert (unet["arm"], transfer["arm"], unet["study"], unet["folds_of"]) == ("unet", "modified-unet-tl", "[18]", 2)
    assert (unet["structure"], unet["answer"], unet["cases"], unet["patients"], unet["misses"]) == ("hip", "raw", 4, 4, 1)
    assert set(unet["over_cases"]["dice"]) == {"mean", "sd", "counted", "undefined"}
    assert unet["over_patients"]["dice"]["low"] == pytest.approx(0.5 - 4.3027 * 0.5 / 3**0.5, abs=1e-4)
    iou = unet["over_cases"]["iou"]
    assert (iou["mean"], iou["sd"]) == pytest.approx((4 / 9, 0.5091750772173156))
    assert (iou["counted"], iou["undefined"]) == (3, 1)
    assert unet["over_folds"]["dice"]["mean"] == 0.375
    run = StudyPaths(tmp_path).fold("unet", 1)
    assert unet["folds"][1] == {
        "fold": 1,
        "cases": 2,
        "val_loss": 0.75,
        "settings_digest": "f" * 64,
        "scores_digest": digest_file(run.scores),
    }
    assert unet["slices"]["empty_as_one"]["dice"] == 0.625


def test_pairs_and_repeats_stand_apart_from_the_rows(full_comparison):
    value = json.loads(to_json(full_comparison))
    (pair,) = value["pairs"]
    assert (pair["first"], pair["second"], pair["patients"], pair["undefined"]) == ("unet", "other", 3, 1)
    assert (pair["p"], pair["smallest_p"]) == (None, 0.5)
    # One patient without a difference has rank 1 of 1 + 2 + 3, the two who gain the others.
    assert pair["effect_size"] == pytest.approx(5 / 6)
    (repeated,) = value["repeats"]
    assert (repeated["arm"], repeated["repeats"], repeated["cases"]) == ("unet", 2, 3)
    assert value["warnings"] == ["arms were trained for different numbers of epochs: unet 3, other 4"]


def test_organs_of_the_pretraining_are_whole_numbers_apart_from_the_rows(tmp_path):
    write_results(tmp_path)
    write_pretraining(tmp_path, organs={"liver": (Counts(2, 1, 0, 7),)})
    value = json.loads(to_json(compare(collect(StudyPaths(tmp_path)))))
    (liver,) = value["organs"]
    assert (liver["organ"], liver["cases"], liver["misses"], liver["over_cases"]["dice"]["mean"]) == ("liver", 1, 0, 0.8)
    assert len(value["rows"]) == 2


def test_a_partial_table_says_so(partial_comparison):
    value = json.loads(to_json(partial_comparison))
    assert value["partial"] == "PARTIAL: fold 1 of arm unet is partial (no summary.json)"
    assert value["rows"][0]["over_folds"]["dice"]["sd"] is None


def keys_of(value):
    if isinstance(value, dict):
        return {*value, *(key for one in value.values() for key in keys_of(one))}
    return {key for one in value for key in keys_of(one)} if isinstance(value, list) else set()


def test_every_key_has_its_place_on_the_page_of_metrics(full_comparison):
    lines = [made_score("x0", "p0", "pretraining", 0, Counts(1, 1, 1, 7), label="liver")]
    value = json.loads(to_json(dataclasses.replace(full_comparison, organs=summarise_organs(lines))))
    assert keys_of(value) - {*MEASURES, "mean_iou"} <= named("comparison.json")
    assert f"Format {value['format_version']} " in PAGE
