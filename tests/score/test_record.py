import dataclasses
import json
import math

import pytest

from hipseg.errors import ReportError
from hipseg.score.distances import DISTANCES, Distances
from hipseg.score.overlap import Counts
from hipseg.score.record import (
    BOTH_EMPTY,
    METRICS,
    NO_BACKGROUND,
    PREDICTION_EMPTY,
    TRUTH_EMPTY,
    VOLUMES,
    from_json,
    read_scores,
    to_json,
    write_scores,
)
from tests.score.builders import made_score

SCORE = made_score("c1", "p1", "unet", 2, Counts(tp=3, fp=1, fn=2, tn=12))
EMPTY = made_score("c2", "p1", "unet", 2, Counts(0, 0, 0, 18))
MISSED = made_score("c3", "p2", "unet", 2, Counts(0, 0, 5, 13), repeat=1, answer="cleaned", label="bone")
FALSE_ALARM = made_score("c4", "p3", "unet", 2, Counts(0, 5, 0, 13))
FULL = made_score("c5", "p4", "unet", 2, Counts(18, 0, 0, 0))
# One slice, one row of voxels 2 mm wide, 1 mm high and 5 mm thick.
DIAGONAL_MM = math.sqrt(5**2 + 1**2 + 36**2)


def test_scores_follow_from_the_counts():
    assert {name: getattr(SCORE, name) for name in METRICS} == pytest.approx(
        {
            "dice": 2 / 3,
            "iou": 1 / 2,
            "accuracy": 5 / 6,
            "precision": 3 / 4,
            "recall": 3 / 5,
            "specificity": 12 / 13,
            "f1": 2 / 3,
            "background_accuracy": 13 / 18,
        }
    )
    assert SCORE.undefined == {}


def test_volumes_follow_from_the_counts_and_the_spacing():
    # A voxel of 5 x 1 x 2 mm is 0.01 ml; 5 of them are in the truth, 4 in the prediction.
    assert (SCORE.volume_truth_ml, SCORE.volume_prediction_ml) == pytest.approx((0.05, 0.04))
    assert SCORE.volume_difference_ml == pytest.approx(-0.01)


def test_both_masks_empty_gives_nan_with_a_reason_for_overlap_and_surface_only():
    assert set(EMPTY.undefined) == {"dice", "iou", "precision", "recall", "f1", *DISTANCES}
    assert set(EMPTY.undefined.values()) == {BOTH_EMPTY}
    assert math.isnan(EMPTY.dice)
    assert math.isnan(EMPTY.nsd_1mm)
    assert math.isnan(EMPTY.hd95_or_diagonal_mm)
    assert (EMPTY.accuracy, EMPTY.specificity, EMPTY.volume_difference_ml) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize(("score", "reason"), [(MISSED, PREDICTION_EMPTY), (FALSE_ALARM, TRUTH_EMPTY)])
def test_one_mask_empty_gives_no_distance_but_the_diagonal_and_shares_of_zero(score, reason):
    assert score.undefined == {"hd95_mm": reason, "assd_mm": reason}
    assert (score.dice, score.nsd_1mm, score.nsd_2mm) == (0.0, 0.0, 0.0)
    assert score.hd95_or_diagonal_mm == score.assd_or_diagonal_mm == pytest.approx(DIAGONAL_MM)


def test_with_two_surfaces_the_diagonal_plays_no_part():
    assert (SCORE.hd95_or_diagonal_mm, SCORE.assd_or_diagonal_mm) == (SCORE.hd95_mm, SCORE.assd_mm)


def test_truth_that_fills_the_image_leaves_only_specificity_undefined():
    assert FULL.undefined == {"specificity": NO_BACKGROUND}
    assert FULL.dice == 1.0


def test_case_without_voxels_leaves_every_score_undefined():
    assert set(made_score("c3", "p1", "unet", 0, Counts(0, 0, 0, 0)).undefined) == {*METRICS, *DISTANCES}


@pytest.mark.parametrize("score", [SCORE, EMPTY, MISSED, FALSE_ALARM, FULL])
def test_what_is_written_is_read_back(score):
    again = from_json(to_json(score))
    assert to_json(again) == to_json(score)
    defined = {name: value for name, value in dataclasses.asdict(score).items() if value == value}
    assert {name: value for name, value in dataclasses.asdict(again).items() if value == value} == defined


def test_nan_is_written_as_null():
    line = json.loads(to_json(EMPTY))
    assert (line["metrics"]["dice"], line["distances"]["hd95_mm"]) == (None, None)


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


def test_counts_of_another_number_of_voxels_than_the_shape_are_refused():
    with pytest.raises(ReportError, match=r"c1 has shape \(1, 2, 18\).*18 voxels"):
        dataclasses.replace(SCORE, shape_zyx=(1, 2, 18))


def test_spacing_that_is_no_length_is_refused():
    with pytest.raises(ReportError, match=r"spacing of case c1.*positive"):
        dataclasses.replace(SCORE, spacing_mm_zyx=(5.0, 0.0, 2.0))


@pytest.mark.parametrize(
    ("part", "name", "value", "complaint"),
    [
        ("metrics", "recall", 0.9, r"recall of case c1 is 0.9.*its counts give 0.6"),
        ("volumes", "volume_truth_ml", 4.0, r"volume_truth_ml of case c1 is 4.0.*its counts give 0.05"),
        ("distances", "hd95_or_diagonal_mm", 3.0, r"hd95_or_diagonal_mm of case c1 is 3.0.*2.0"),
        ("distances", "hd95_mm", 99.0, r"hd95_mm of case c1 is 99.0; between 0 and 36.3593"),
    ],
)
def test_score_that_does_not_follow_from_its_line_is_refused(part, name, value, complaint):
    line = json.loads(to_json(SCORE))
    line[part][name] = value
    with pytest.raises(ReportError, match=complaint):
        from_json(json.dumps(line))


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        '{"counts": {"tp": 1}}',
        to_json(SCORE).replace('"raw"', '"polished"'),
        to_json(SCORE)[:-2] + "]",
        to_json(SCORE).replace('"fold": ', '"fold": 1e999'),
        json.dumps({**json.loads(to_json(SCORE)), "counts": {"tp": float("inf"), "fp": 0, "fn": 0, "tn": 0}}),
        json.dumps({**json.loads(to_json(SCORE)), "counts": {"tp": -1, "fp": 0, "fn": 0, "tn": 19}}),
    ],
)
def test_damaged_line_is_refused(line):
    with pytest.raises(ReportError, match="damaged line"):
        from_json(line)


@pytest.mark.parametrize(
    "line",
    [
        '{"case": "John Doe',
        to_json(SCORE).replace('"raw"', '"John Doe"'),
        to_json(SCORE).replace('"tp": 3', '"tp": "John Doe"'),
        to_json(SCORE).replace('"tp": 3', '"John Doe": 3'),
        json.dumps({**json.loads(to_json(SCORE)), "metrics": {"dice": "John Doe"}}),
        json.dumps({**json.loads(to_json(SCORE)), "volumes": dict.fromkeys(VOLUMES, "John Doe")}),
    ],
)
def test_what_is_said_of_a_damaged_line_quotes_nothing_of_it(line):
    with pytest.raises(ReportError) as caught:
        from_json(line)
    assert "Doe" not in str(caught.value)


def test_a_damaged_line_is_named_by_its_number(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_text(f"{to_json(EMPTY)}\n{{\n")
    with pytest.raises(ReportError, match=r"^line 2 of scores\.jsonl: damaged line of scores"):
        read_scores(path)


def test_missing_file_of_scores_is_refused(tmp_path):
    with pytest.raises(ReportError, match=r"scores\.jsonl"):
        read_scores(tmp_path / "scores.jsonl")


def test_a_distance_of_a_case_without_prediction_is_refused():
    with pytest.raises(ReportError, match=r"case c3.*empty mask"):
        made_score("c3", "p2", "unet", 2, Counts(0, 0, 5, 13), distances=Distances(1.0, 1.0, 0.5, 0.5))


@pytest.mark.parametrize(
    ("score", "slices"),
    [(SCORE, EMPTY.slices), (EMPTY, SCORE.slices), (SCORE, MISSED.slices), (MISSED, SCORE.slices)],
)
def test_slices_that_found_something_else_than_the_case_are_refused(score, slices):
    with pytest.raises(ReportError, match=rf"slices of case {score.case} are .* its counts"):
        dataclasses.replace(score, slices=slices)
