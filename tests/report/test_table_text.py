import io

import pytest
from rich.console import Console

from hipseg.report.table import DEFINITION, blocks
from hipseg.report.table_text import print_comparison

FIRST = """\
Scores over cases

                                                                           All-
                                                                     background
 Study          Method Arm           Scored     Dice    IoU Accuracy   accuracy Precision Recall     F1  Loss
 ────────────────────────────────────────────────────────────────────────────────────────────────────────────
 [18]           U-Net  unet          hip, raw  0.500  0.444    0.900      0.800     0.500  0.500  0.500 0.500
                                              ±0.500 ±0.509   ±0.115     ±0.163    ±0.500 ±0.500 ±0.500
 This study     U-Net  modified-unet hip, raw  1.000  1.000    1.000      0.800     1.000  1.000  1.000 0.020
 (with TL)             -tl                    ±0.000 ±0.000   ±0.000     ±0.163    ±0.000 ±0.000 ±0.000

"""


def show(comparison, width=110):
    out = io.StringIO()
    print_comparison(comparison, Console(file=out, width=width, color_system=None))
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def test_the_first_block(comparison):
    assert show(comparison).split("Cases behind")[0] == FIRST


def test_on_a_narrow_terminal_the_arm_alone_names_a_row(comparison):
    titles = [line.split()[:3] for line in show(comparison, width=80).splitlines()]
    assert ["Arm", "Scored", "Dice"] in titles
    assert not any("Study" in title for title in titles)


def test_every_block_is_shown_and_the_definition_last(full_comparison):
    shown = show(full_comparison)
    places = [shown.index(block.title) for block in blocks(full_comparison)]
    assert places == sorted(places)
    assert " ".join(shown[places[-1] :].split()).endswith(f"{DEFINITION} Structures: hip is label 1 of the masks.")


def test_a_partial_table_begins_with_its_stamp(partial_comparison):
    assert show(partial_comparison).startswith("PARTIAL: fold 1 of arm unet is partial (no summary.json)\n")


def test_warnings_come_before_the_table(full_comparison):
    assert show(full_comparison).startswith("warning: arms were trained for different numbers of epochs: unet 3, other 4\n")


def test_a_name_is_no_markup(hostile_comparison):
    shown = show(hostile_comparison, width=300)
    assert "=cmd()|' /C calc'!A0 | [red]a_b*c" in shown
    assert "-arm<script>" in shown


@pytest.mark.parametrize("width", [80, 60, 20])
@pytest.mark.parametrize("which", ["comparison", "full_comparison"])
def test_no_number_is_cut_on_a_narrow_terminal(which, width, request):
    comparison = request.getfixturevalue(which)
    shown = show(comparison, width=width)
    assert "…" not in shown
    # A narrower terminal breaks the lines, where less would cut the numbers.
    assert max(map(len, shown.splitlines())) <= 80
    for block in blocks(comparison):
        for row in block.rows:
            for cell in row[len(block.words) :]:
                assert (cell if isinstance(cell, str) else cell.left) in shown
