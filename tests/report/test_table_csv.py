import csv
import io
import re

import numpy as np
import pytest

from hipseg.report.audit import audit_row, worst
from hipseg.report.collect import collect
from hipseg.report.published import parse_published
from hipseg.report.table import DEFINITION, compare
from hipseg.report.table_csv import to_csv
from hipseg.runs import StudyPaths
from hipseg.score.overlap import Counts
from hipseg.score.record import MEASURES

from .metrics_page import PAGE, named
from .results import write_fold

THESIS_COLUMNS = ["study", "method", "dice", "iou", "accuracy", "precision", "recall", "f1", "loss"]


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_the_columns_of_the_thesis_come_first_and_the_definition_last(comparison):
    titles = to_csv(comparison).splitlines()[0].split(",")
    assert titles[:9] == THESIS_COLUMNS
    assert titles[-3:] == ["partial", "warnings", "definition"]
    assert len(titles) == len(set(titles))


def test_a_row_over_cases_has_every_number_in_full(comparison):
    row = read(to_csv(comparison))[0]
    assert [row[name] for name in THESIS_COLUMNS] == [
        "[18]", "U-Net", "0.5", "0.4444444444444444", "0.9", "0.5", "0.5", "0.5", "0.5",
    ]  # fmt: skip
    assert [row[name] for name in ("arm", "structure", "answer", "unit")] == ["unet", "hip", "raw", "case"]
    assert [row[name] for name in ("folds", "folds_of", "cases", "patients", "misses", "undefined")] == [
        "2", "2", "4", "4", "1", "1",
    ]  # fmt: skip
    # Dice 1, 1/2 and 0 of three patients: 1/2 ± 4.3027 * 0.5 / sqrt(3).
    assert float(row["dice_patients_high"]) == pytest.approx(0.5 + 4.3027 * 0.5 / 3**0.5, abs=1e-4)
    # The SDs are the roots of 9/32 and 7/27; HD95 is 0 and 2 mm in the two cases that have one.
    assert float(row["dice_folds_sd"]) ** 2 == pytest.approx(9 / 32)
    assert float(row["iou_sd"]) ** 2 == pytest.approx(7 / 27)
    assert (row["background_accuracy"], row["hd95_mm"], row["hd95_mm_undefined"]) == ("0.8", "1.0", "2")
    assert (row["volume_difference_ml"], row["definition"]) == (
        "-0.005",
        f"{DEFINITION} Structures: hip is label 1 of the masks.",
    )


def test_slices_are_rows_of_their_own_with_no_number_over_cases(comparison):
    rows = read(to_csv(comparison))
    assert [row["unit"] for row in rows] == [
        "case",
        "case",
        *["slice, empty ones left out", "slice, empty ones counted as 1"] * 2,
    ]
    skipping, as_one = rows[2:4]
    assert (skipping["arm"], skipping["dice"], as_one["dice"], as_one["slices"], as_one["empty_slices"]) == (
        "unet", "0.5", "0.625", "4", "1",
    )  # fmt: skip
    assert [as_one[name] for name in ("loss", "misses", "dice_sd", "hd95_mm", "dice_folds_mean")] == [""] * 5
    assert rows[0]["mean_iou"] == ""


def test_every_row_of_a_partial_table_says_so(partial_comparison):
    rows = read(to_csv(partial_comparison))
    assert {row["partial"] for row in rows} == {"PARTIAL: fold 1 of arm unet is partial (no summary.json)"}
    assert [(row["folds"], row["folds_of"], row["cases"]) for row in rows[:2]] == [("1", "2", "2"), ("2", "2", "4")]


def test_every_row_carries_the_warnings(full_comparison):
    assert {row["warnings"] for row in read(to_csv(full_comparison))} == {
        "arms were trained for different numbers of epochs: unet 3, other 4"
    }


def test_a_number_that_is_not_defined_is_an_empty_cell(partial_comparison):
    assert read(to_csv(partial_comparison))[0]["dice_folds_sd"] == ""


def test_a_spreadsheet_takes_no_name_for_a_formula(hostile_comparison):
    rows = read(to_csv(hostile_comparison))
    assert {row["study"] for row in rows} == {"'=cmd()|' /C calc'!A0 | [red]a_b*c"}
    assert {row["arm"] for row in rows} == {"'-arm<script>", r"'@\input{x}"}
    for row in rows:
        assert not any(cell.startswith(("=", "+", "@", "\t", "\r")) for cell in row.values())


def test_the_audit_reads_it(comparison):
    rows = parse_published(to_csv(comparison), "comparison.csv")
    assert [row.name for row in rows[:2]] == [
        "[18], U-Net, unet, hip, raw",
        "This study (with TL), U-Net, modified-unet-tl, hip, raw",
    ]
    assert len(rows) == 6


def random_counts(random):
    """Make counts of a case that is empty in both masks, missed, a false alarm, perfect, or anything."""
    some, more = random.integers(1, 40, 2).tolist()
    background = int(random.integers(0, 60))
    kinds = (
        Counts(0, 0, 0, background + 1),
        Counts(0, 0, some, background),
        Counts(0, some, 0, background),
        Counts(some, 0, 0, background),
        Counts(some - 1, more, some, background),
    )
    return kinds[random.integers(len(kinds))]


@pytest.mark.parametrize("seed", range(12))
def test_the_audit_accuses_no_study_of_ours_whatever_its_cases_lack(seed, tmp_path):
    random = np.random.default_rng(seed)
    number_of_cases = int(random.integers(1, 7))
    for arm in ("a", "b"):
        counts = {f"c{number}": random_counts(random) for number in range(number_of_cases)}
        write_fold(tmp_path, arm, 0, counts, train=[], folds=1)
    rows = parse_published(to_csv(compare(collect(StudyPaths(tmp_path)))), "comparison.csv")
    assert len(rows) == 6
    for row in rows:
        assert worst(audit_row(row).findings["means"]) == "possible"


def test_every_column_has_its_place_on_the_page_of_metrics_and_every_name_there_a_column(full_comparison):
    columns, scores = set(next(csv.reader(io.StringIO(to_csv(full_comparison))))), named("Scores of a case")
    assert set(MEASURES) <= scores
    spreads = {f"{name}_{kind}" for name in (*MEASURES, "loss") for kind in ("sd", "undefined")}
    assert columns - spreads - set(MEASURES) <= named("comparison.csv")
    titles = {
        name for row in re.findall(r"^\|([^|]+)\|", PAGE.split("| column |")[1], re.M) for name in re.findall("`([a-z_]+)`", row)
    }
    assert len(titles) > 20
    assert titles <= columns
