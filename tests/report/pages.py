"""A page for tests: two arms, one called after an attack, and three cases of which one is a miss and one undefined."""

import dataclasses

import numpy as np

from hipseg.report.outlines import encode_case
from hipseg.report.page import Page, Plot, Standing, list_patients, show_case
from hipseg.report.plots import draw_dice, save_figure
from hipseg.report.table import Block, Joined
from hipseg.score.overlap import Counts
from hipseg.views import CaseView, SliceView
from tests.score.builders import made_score

ATTACK = "<script>document.title='broken'</script>"
COUNTS = {"c-good": Counts(8, 1, 1, 90), "c-missed": Counts(0, 0, 10, 90), "c-empty": Counts(0, 0, 0, 100)}
SIDE = 40


def make_scores():
    """Two arms on three cases; the second arm does better on none but the missed one."""
    better = {**COUNTS, "c-missed": Counts(9, 1, 1, 89), "c-good": Counts(7, 2, 2, 89)}
    return {
        arm: tuple(made_score(case, f"p-{case}", "unet", 0, one) for case, one in counts.items())
        for arm, counts in (("unet", COUNTS), (ATTACK, better))
    }


def make_view(case):
    """Three slices of growing squares; the answers are the truth moved aside."""
    slices = []
    for z in range(3):
        truth = np.zeros((SIDE, SIDE), bool)
        truth[5 : 15 + 5 * z, 5:20] = True
        image = np.random.default_rng(z).integers(0, 255, (SIDE, SIDE)).astype(np.uint8)
        slices.append(SliceView(10 + z, image, truth, {"unet": np.roll(truth, 2, axis=0), ATTACK: np.roll(truth, 3, axis=1)}))
    return CaseView(case, 30, (0.8, 0.8), tuple(slices))


def make_page(folder, **changes):
    """A whole page; `changes` replace its fields."""
    scores = make_scores()
    patients = list_patients(scores)
    files = save_figure(draw_dice(scores), folder, "dice")
    page = Page(
        title="hipseg study",
        made="2026-11-22 20:00 UTC",
        stamp="PARTIAL: fold 1 of arm unet is missing",
        warnings=("arms were trained for 3 and 5 epochs",),
        standings=(
            Standing("train unet fold 0", "done, Dice 0.900"),
            Standing(f"train {ATTACK} fold 1", "failed", "no memory"),
        ),
        arms=tuple(scores),
        blocks=(Block("Scores over cases", ("Arm",), ("Dice",), ((ATTACK, Joined("0.900", "±", "0.100")), ("unet", "n/a"))),),
        definition="A case is one whole CT volume.",
        patients=patients,
        plots=(Plot("Dice of each patient by arm", "A dot is one patient.", files[-1].read_bytes()),),
        cases=tuple(show_case(encode_case(make_view(row.case)), row, tuple(scores)) for row in patients),
        why_no_cases="",
        checks=("Every case is scored once.",),
        provenance={"Commit": "0123abc"},
    )
    return dataclasses.replace(page, **changes)
