import io

from rich.console import Console

from hipseg.report.table import DEFINITION
from hipseg.report.table_text import print_comparison

TABLES = """
 Study                Method   Dice    IoU Accuracy Precision Recall     F1  Loss
 ────────────────────────────────────────────────────────────────────────────────
 [18]                 U-Net   0.500  0.444    0.900     0.500  0.500  0.500 0.500
                             ±0.500 ±0.509   ±0.115    ±0.500 ±0.500 ±0.500
 This study (with TL) U-Net   1.000  1.000    1.000     1.000  1.000  1.000 0.020
                             ±0.000 ±0.000   ±0.000    ±0.000 ±0.000 ±0.000


                                                                    All-back-
                                                                       ground Dice over
 Study                Method Arm              Folds Cases Undefined  accuracy     folds
 ──────────────────────────────────────────────────────────────────────────────────────
 [18]                 U-Net  unet               2/2     4         1     0.800     0.375
                                                                       ±0.163    ±0.530
 This study (with TL) U-Net  modified-unet-tl   2/2     4         1     0.800     1.000
                                                                       ±0.163    ±0.000

"""


def show(comparison, width=100):
    out = io.StringIO()
    print_comparison(comparison, Console(file=out, width=width, color_system=None))
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def test_the_whole_table(comparison):
    tables, definition = show(comparison).split("Scores are", 1)
    assert tables == TABLES
    assert " ".join(f"Scores are{definition}".split()) == DEFINITION


def test_a_partial_table_begins_with_its_stamp(partial_comparison):
    assert show(partial_comparison).startswith("PARTIAL: fold 1 of arm unet is partial (no summary.json)\n")


def test_a_name_is_no_markup(hostile_comparison):
    shown = show(hostile_comparison, width=200)
    assert "=1+1 | [red]a_b*c" in shown
    assert "-arm<b>" in shown


def test_no_number_is_cut_on_a_narrow_terminal(comparison):
    shown = show(comparison, width=80)
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("0.375") == 1
