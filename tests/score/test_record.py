import dataclasses
import json
import math

import pytest

from hipseg.errors import ReportError
from hipseg.score.overlap import Counts
from hipseg.score.record import BOTH_EMPTY, METRICS, from_json, read_scores, score_case, to_json, write_scores

SCORE = score_case("c1", "p1", "unet", 2, Counts(tp=3, fp=1, fn=2, tn=12))
EMPTY = score_case("c2", "p1", "unet", 2, Counts(0, 0, 0, 18))


def test_scores_follow_from_the_counts():
    assert SCORE.metrics() == pytest.approx(
        {
            "dice": 2 / 3,
            "iou": 1 / 2,
            "accuracy": 5 / 6,
            "precision": 3 / 4,
            "recall": 3 / 5,
            "f1": 2 / 3,
            "background_accuracy": 13 / 18,
        }
    )
    assert SCORE.undefined == {}


def test_both_masks_empty_gives_nan_with_a_reason_for_overlap_only():
    assert set(EMPTY.undefined) == {"dice", "iou", "precision", "recall", "f1"}
    assert set(EMPTY.undefined.values()) == {BOTH_EMPTY}
    assert math.isnan(EMPTY.dice)
    assert EMPTY.accuracy == 1.0


def test_case_without_voxels_leaves_every_score_undefined():
    assert set(score_case("c3", "p1", "unet", 0, Counts(0, 0, 0, 0)).undefined) == set(METRICS)


@pytest.mark.parametrize("score", [SCORE, EMPTY])
def test_what_is_written_is_read_back(score):
    again = from_json(to_json(score))
    assert to_json(again) == to_json(score)
    assert again.counts == score.counts
    assert again.undefined == score.undefined


def test_nan_is_written_as_null():
    assert json.loads(to_json(EMPTY))["metrics"]["dice"] is None


def test_file_of_scores_keeps_its_order(tmp_path):
    path = tmp_path / "scores.jsonl"
    write_scores(path, [EMPTY, SCORE])
    assert [score.case for score in read_scores(path)] == ["c2", "c1"]
    assert path.read_text().count("\n") == 2


def test_f1_other_than_dice_is_refused():
    with pytest.raises(ReportError, match=r"c1.*F1 0.5.*Dice"):
        dataclasses.replace(SCORE, f1=0.5)


def test_iou_that_does_not_follow_from_dice_is_refused():
    with pytest.raises(ReportError, match=r"c1.*IoU 0.6.*D / \(2 - D\)"):
        dataclasses.replace(SCORE, iou=0.6)


def test_nan_without_a_reason_is_refused():
    with pytest.raises(ReportError, match=r"c1.*recall"):
        dataclasses.replace(SCORE, recall=math.nan)


def test_score_outside_its_range_is_refused():
    with pytest.raises(ReportError, match=r"accuracy of case c1 is 1.5"):
        dataclasses.replace(SCORE, accuracy=1.5)


def test_score_that_does_not_follow_from_its_counts_is_refused():
    line = json.loads(to_json(SCORE))
    line["metrics"]["recall"] = 0.9
    with pytest.raises(ReportError, match=r"recall of case c1 is 0.9.*its counts give 0.6"):
        from_json(json.dumps(line))


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"counts": {"tp": 1}}'])
def test_damaged_line_is_refused(line):
    with pytest.raises(ReportError, match="damaged line"):
        from_json(line)


def test_missing_file_of_scores_is_refused(tmp_path):
    with pytest.raises(ReportError, match=r"scores\.jsonl"):
        read_scores(tmp_path / "scores.jsonl")
