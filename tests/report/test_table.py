"""The blocks of the table, and every cell of them regenerated from the raw lines of scores by pandas alone."""

import json
import math

import pandas as pd
import pytest

from hipseg import __version__
from hipseg.report.collect import Collection, collect
from hipseg.report.pairs import PairedComparison
from hipseg.report.table import (
    DEFINITION,
    DISTANCE_TITLES,
    METRIC_TITLES,
    SLICE_TITLES,
    VOLUME_TITLES,
    Comparison,
    Joined,
    blocks,
    compare,
    define,
    describe_data,
)
from hipseg.runs import StudyPaths
from hipseg.score.overlap import Counts

from .results import LABELS, POOR, write_fold, write_pretraining, write_results


def block(comparison, title):
    (found,) = (one for one in blocks(comparison) if one.title.startswith(title))
    return found


def test_numbers_are_rounded_to_three_decimals(comparison):
    scores = block(comparison, "Scores over cases")
    half = Joined("0.500", "±", "0.500")
    assert scores.rows[0] == (
        "[18]",
        "U-Net",
        "unet",
        "hip, raw",
        half,
        Joined("0.444", "±", "0.509"),
        Joined("0.900", "±", "0.115"),
        Joined("0.800", "±", "0.163"),
        half,
        half,
        half,
        "0.500",
    )
    assert len(scores.rows[0]) == len(scores.words) + len(scores.numbers)


def test_every_row_says_how_many_cases_misses_and_undefined_values_it_has(comparison):
    behind = block(comparison, "Cases behind")
    assert behind.numbers == ("Folds", "Cases", "Patients", "Misses", "False alarms", "Undefined")
    assert behind.rows[0] == ("[18]", "U-Net", "unet", "hip, raw", "2/2", "4", "4", "1", "0", "1")
    assert behind.rows[1][4:] == ("2/2", "4", "4", "0", "0", "1")


def test_every_block_is_as_wide_as_its_titles(full_comparison):
    found = blocks(full_comparison)
    assert len(found) == 8
    for one in found:
        assert {len(row) for row in one.rows} == {len(one.words) + len(one.numbers)}


def test_a_study_without_repeats_has_no_block_of_them_and_one_arm_no_pairs(tmp_path):
    for fold in (0, 1):
        write_fold(tmp_path, "unet", fold, POOR[fold])
    titles = [one.title for one in blocks(compare(collect(StudyPaths(tmp_path))))]
    assert not any("repeats" in title or "compared over" in title for title in titles)


@pytest.mark.parametrize(
    ("p", "words"),
    [(0.0496, "0.0496"), (0.0504, "0.0504"), (0.0001, "0.0001"), (0.00009, "< 0.0001"), (0.0, "< 0.0001"), (1.0, "1.0000")],
)
def test_p_has_four_decimals_and_is_never_0(p, words):
    pair = PairedComparison("a", "b", 9, 0, 0, 0.1, 0.0, 0.2, 0.5, 0.0, "exact", p, p)
    (found,) = [one for one in blocks(Comparison((), (pair,))) if one.title.startswith("Arms compared")]
    assert found.rows[0][-2:] == (words, words)


def test_cleaned_answers_are_further_rows_after_the_headline(full_comparison):
    rows = block(full_comparison, "Scores over cases").rows
    assert [row[3] for row in rows] == ["hip, raw", "hip, raw", "hip, cleaned", "hip, cleaned"]
    assert [row[-1] for row in rows] == ["0.500", "0.500", "n/a", "n/a"]


def test_further_structures_are_further_rows(tmp_path):
    labels = [*LABELS, {"name": "femur", "numbers": [2]}]
    for fold in (0, 1):
        write_fold(tmp_path, "unet", fold, POOR[fold], structures=("hip", "femur"), labels=labels)
    rows = block(compare(collect(StudyPaths(tmp_path))), "Scores over cases").rows
    assert [row[3] for row in rows] == ["hip, raw", "femur, raw"]


def test_what_is_not_defined_is_said_so(tmp_path):
    for fold in (0, 1):
        write_fold(tmp_path, "unet", fold, {f"c{fold}": Counts(0, 0, 0, 10)}, val_loss=None)
    comparison = compare(collect(StudyPaths(tmp_path)))
    scores, intervals = block(comparison, "Scores over cases").rows[0], block(comparison, "Dice over cases").rows[0]
    assert (scores[4], scores[-1]) == ("n/a", "n/a")
    assert intervals[4] == "n/a"


def test_organs_of_the_pretraining_have_a_block_of_their_own(tmp_path):
    write_results(tmp_path)
    livers, bladders = (Counts(4, 0, 0, 6), Counts(1, 1, 1, 7)), (Counts(0, 0, 2, 8), Counts(0, 0, 0, 10))
    write_pretraining(tmp_path, val=("x2", "x3"), organs={"bladder": bladders, "liver": livers})
    comparison = compare(collect(StudyPaths(tmp_path)))
    (block,) = [one for one in blocks(comparison) if one.title.startswith("Organs of pretraining")]
    assert block.title.endswith("over its held-out cases, by which its epoch was chosen")
    assert block.numbers == ("Cases", "Patients", "Misses", "False alarms", "Undefined", "Dice", "IoU", "HD95 mm", "NSD 2 mm")
    # Of the bladder one case is a miss and the other has none; two livers of Dice 1 and 0.5, 2 mm apart or not.
    zero = Joined("0.000", "±", "n/a")
    means = (("0.750", "0.354"), ("0.667", "0.471"), ("1.000", "1.414"), ("0.938", "0.088"))
    liver = [Joined(mean, "±", sd) for mean, sd in means]
    assert block.rows == (
        ("bladder", "2", "2", "1", "0", "1", zero, zero, "n/a", zero),
        ("liver", "2", "2", "0", "0", "0", *liver),
    )


def test_an_answer_where_there_is_nothing_is_a_false_alarm(tmp_path):
    for fold in (0, 1):
        write_fold(tmp_path, "unet", fold, {f"c{fold}": Counts(0, 3, 0, 7), f"d{fold}": Counts(0, 0, 0, 10)})
    comparison = compare(collect(StudyPaths(tmp_path)))
    assert block(comparison, "Cases behind").rows[0][4:] == ("2/2", "4", "4", "0", "2", "2")


def test_the_data_behind_a_table_are_named_with_labels_and_scans_that_are_not_in_it(tmp_path):
    scans = {"packed": 6, "refused": 1, "without_mask": 2, "kept_for_testing": 0}
    for fold in (0, 1):
        labels = [{"name": "hip", "numbers": [1, 3]}]
        write_fold(tmp_path, "unet", fold, {f"c{fold}": Counts(1, 1, 1, 7)}, scans=scans, labels=labels)
    comparison = compare(collect(StudyPaths(tmp_path)))
    assert describe_data(comparison) == (
        "Structures: hip is label 1 and 3 of the masks. Scans: 6 of 7 were packed and 1 refused; of the packed, 2 without a mask "
        "and 0 kept for testing by their publisher are in no fold."
    )
    assert define(comparison) == f"{DEFINITION} {describe_data(comparison)}"


def test_whole_results_have_no_stamp_and_partial_ones_name_what_is_left_out(tmp_path):
    write_results(tmp_path)
    arms = collect(StudyPaths(tmp_path)).arms
    assert compare(Collection(arms)).stamp is None
    partial = compare(Collection(arms, ("fold 1 of arm a is missing", "b"), ("beware",)))
    assert (partial.stamp, partial.warnings) == ("PARTIAL: fold 1 of arm a is missing; b", ("beware",))


def test_the_definition_names_unit_averaging_empties_spacing_and_implementation():
    assert (
        "the highest Dice on the fold's validation cases, of all their pixels in the network's input together. These are the"
        in DEFINITION
    )
    assert "Effect size is the matched-pairs rank-biserial correlation" in DEFINITION
    assert "over patients, of the means of each patient's cases" in DEFINITION
    for words in ("Unit: ", "Averaging: ", "Empties: ", "Spacing: ", f"Implementation: hipseg {__version__}"):
        assert words in DEFINITION


# Regenerated from the raw lines, by definitions written once more.


def read_lines(root, arm, answer):
    lines = [json.loads(line) for path in sorted(root.glob(f"{arm}/fold_*/scores.jsonl")) for line in path.open()]
    frame = pd.json_normalize([line for line in lines if line["answer"] == answer])
    tp, fp, fn, tn = (frame[f"counts.{name}"] for name in ("tp", "fp", "fn", "tn"))
    both_empty = (tp + fp + fn) == 0
    precision = (tp / (tp + fp)).where(tp + fp > 0, 0.0).mask(both_empty)
    recall = (tp / (tp + fn)).where(tp + fn > 0, 0.0).mask(both_empty)
    total = tp + fp + fn + tn
    voxel_ml = frame["spacing_mm_zyx"].map(math.prod) / 1000
    diagonal = [
        math.dist((0, 0, 0), [n * s for n, s in zip(*pair, strict=True)])
        for pair in zip(frame.shape_zyx, frame.spacing_mm_zyx, strict=True)
    ]
    one_empty = ((tp + fp) == 0) != ((tp + fn) == 0)
    distances = {name: pd.to_numeric(frame[f"distances.{name}"]) for name in ("hd95_mm", "assd_mm", "nsd_1mm", "nsd_2mm")}
    return frame.assign(
        dice=2 * tp / (2 * tp + fp + fn),
        iou=tp / (tp + fp + fn),
        precision=precision,
        recall=recall,
        f1=2 * tp / (2 * tp + fp + fn),
        accuracy=(tp + tn) / total,
        background_accuracy=(tn + fp) / total,
        specificity=tn / (tn + fp),
        volume_truth_ml=(tp + fn) * voxel_ml,
        volume_prediction_ml=(tp + fp) * voxel_ml,
        volume_difference_ml=(fp - fn) * voxel_ml,
        **distances,
        hd95_or_diagonal_mm=distances["hd95_mm"].where(~one_empty, diagonal),
        assd_or_diagonal_mm=distances["assd_mm"].where(~one_empty, diagonal),
        is_miss=(tp + fp == 0) & (tp + fn > 0),
        is_false_alarm=(tp + fp > 0) & (tp + fn == 0),
    )


def in_words(values):
    return Joined(f"{values.mean():z.3f}", "±", f"{values.std():.3f}")


@pytest.mark.parametrize("answer", ["raw", "cleaned"])
@pytest.mark.parametrize("arm", ["unet", "other"])
def test_every_cell_over_cases_follows_from_the_lines(full_comparison, tmp_path, arm, answer):
    lines = read_lines(tmp_path, arm, answer)
    place = [(row.result.arm, row.answer) for row in full_comparison.rows].index((arm, answer))
    scores = block(full_comparison, "Scores over cases").rows[place][4:-1]
    assert scores == tuple(
        in_words(lines[name]) for name in ("dice", "iou", "accuracy", "background_accuracy", "precision", "recall", "f1")
    )
    assert set(METRIC_TITLES) < set(lines)
    behind = block(full_comparison, "Cases behind").rows[place][4:]
    patients = lines["patient"].nunique()
    counted = (len(lines), patients, lines["is_miss"].sum(), lines["is_false_alarm"].sum(), lines["dice"].isna().sum())
    assert behind == ("2/2", *map(str, counted))
    patient_means, fold_means = (lines.groupby(key)["dice"].mean() for key in ("patient", "fold"))
    over_cases, over_patients, _, over_folds, _ = block(full_comparison, "Dice over cases").rows[place][2:]
    assert (over_cases, over_patients) == (in_words(lines["dice"]), in_words(patient_means))
    assert over_folds == in_words(fold_means)
    distances = block(full_comparison, "Distances").rows[place][2:]
    assert distances == (*(in_words(lines[name]) for name in DISTANCE_TITLES), str(lines["hd95_mm"].isna().sum()))
    assert block(full_comparison, "Volumes").rows[place][2:] == tuple(in_words(lines[name]) for name in VOLUME_TITLES)
    slices, empty = lines["slices.slices"].sum(), lines["slices.both_empty"].sum()
    sums = [lines[f"slices.sums.{name}"].sum() for name in SLICE_TITLES]
    left_out, as_one = block(full_comparison, "Slice-wise").rows[2 * place : 2 * place + 2]
    assert left_out[3:] == (str(slices), str(empty), *(f"{one / (slices - empty):.3f}" for one in sums))
    assert as_one[3:] == (str(slices), str(empty), *(f"{(one + empty) / slices:.3f}" for one in sums))
