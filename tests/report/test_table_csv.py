import csv
import io

from hipseg.report.table import DEFINITION
from hipseg.report.table_csv import to_csv

HEAD = (
    "study,method,dice,iou,accuracy,precision,recall,f1,loss,arm,folds,folds_of,cases,undefined,background_accuracy,"
    "dice_folds_mean,dice_folds_sd,dice_sd,iou_sd,accuracy_sd,precision_sd,recall_sd,f1_sd,background_accuracy_sd,loss_sd,"
    "partial,definition\n"
)
# The SDs are the roots of 9/32, 7/27, 1/75, 2/75, 1/8 and 1/5000, to the last digits of double precision.
POOR = (
    "[18],U-Net,0.5,0.4444444444444444,0.9,0.5,0.5,0.5,0.5,unet,2,2,4,1,0.8,0.375,0.5303300858899106,"
    "0.5,0.5091750772173156,0.11547005383792512,0.5,0.5,0.5,0.16329931618554522,0.3535533905932738,"
)
PERFECT = (
    "This study (with TL),U-Net,1.0,1.0,1.0,1.0,1.0,1.0,0.02,modified-unet-tl,2,2,4,1,0.8,1.0,0.0,"
    "0.0,0.0,0.0,0.0,0.0,0.0,0.16329931618554522,0.014142135623730949,"
)


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_the_whole_table(comparison):
    assert to_csv(comparison) == f'{HEAD}{POOR},"{DEFINITION}"\n{PERFECT},"{DEFINITION}"\n'


def test_every_row_of_a_partial_table_says_so(partial_comparison):
    rows = read(to_csv(partial_comparison))
    assert [row["partial"] for row in rows] == ["PARTIAL: fold 1 of arm unet is partial (no summary.json)"] * 2
    assert [(row["folds"], row["folds_of"], row["cases"]) for row in rows] == [("1", "2", "2"), ("2", "2", "4")]


def test_a_number_that_is_not_defined_is_an_empty_cell(partial_comparison):
    assert read(to_csv(partial_comparison))[0]["dice_folds_sd"] == ""


def test_a_spreadsheet_takes_no_name_for_a_formula(hostile_comparison):
    (row,) = read(to_csv(hostile_comparison))
    assert row["study"] == "'=1+1 | [red]a_b*c"
    assert row["arm"] == "'-arm<b>"
    assert (row["method"], row["loss"]) == ("100% \\of $x & {y} # ~^ -- Żółć 测", "0.125")
