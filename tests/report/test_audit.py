"""What a row of published scores cannot be, by hand and by made-up cases."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipseg.report.audit import audit_row, dice_of_iou, harmonic_mean, iou_of_dice, worst
from hipseg.report.published import SCORE_COLUMNS, PublishedRow, read_cell

THESIS = {
    "Table 1": {"dice": "0.99", "iou": "0.99", "accuracy": "0.98", "precision": "0.99", "recall": "0.98", "f1": "0.99"},
    "U-Net": {"dice": "0.95", "iou": "0.92", "accuracy": "0.99", "precision": "0.92", "recall": "0.97"},
    "with TL": {"dice": "0.98", "iou": "0.97", "accuracy": "0.98", "precision": "0.97", "recall": "0.98"},
    "without TL": {"dice": "0.99", "iou": "0.99", "accuracy": "0.98", "precision": "0.99", "recall": "0.98"},
}
"""The rows of the thesis that this project starts from."""


def audit(**cells):
    return audit_row(PublishedRow(2, "row", {name: read_cell(text, name) for name, text in cells.items()}))


def judge(reading, **cells):
    return {finding.columns: finding.verdict for finding in audit(**cells).findings[reading]}


IOU_AGAINST_RATES = ("iou", "precision", "recall")


@pytest.mark.parametrize(
    ("row", "pooled", "means", "share"),
    [
        (
            "Table 1",
            {IOU_AGAINST_RATES: "cannot be", ("iou", "accuracy"): "at the edge"},
            {("iou", "recall"): "at the edge", ("iou", "accuracy"): "at the edge"},
            "0.015/0.015 = 100.0 %",
        ),
        ("U-Net", {("dice", "iou"): "cannot be", IOU_AGAINST_RATES: "cannot be"}, {}, "0.005/0.085 = 5.9 %"),
        ("with TL", {IOU_AGAINST_RATES: "cannot be"}, {}, "0.015/0.035 = 42.9 %"),
        (
            "without TL",
            {IOU_AGAINST_RATES: "cannot be", ("iou", "accuracy"): "at the edge"},
            {("iou", "recall"): "at the edge", ("iou", "accuracy"): "at the edge"},
            "0.015/0.015 = 100.0 %",
        ),
    ],
)
def test_no_row_of_the_thesis_can_be_pooled_counts_and_two_are_at_the_edge_as_means(row, pooled, means, share):
    found = audit(**THESIS[row])
    assert {one.columns: one.verdict for one in found.findings["pooled"]} == pooled
    assert {one.columns: one.verdict for one in found.findings["means"]} == means
    assert not found.is_impossible
    assert share in found.implied


def test_the_arithmetic_of_the_u_net_row():
    # 2 * 0.915 / 1.915 = 0.955613 > 0.955; 2 * 0.925 * 0.975 / 1.9 = 0.949342.
    dice_iou, iou_rates = audit(**THESIS["U-Net"]).findings["pooled"]
    assert dice_iou.arithmetic == (
        "Dice 0.95 (0.945 to 0.955); IoU 0.92 (0.915 to 0.925) gives Dice 2J/(1+J) = 0.95561 to 0.96104: "
        "0.95561 > 0.955, no value in common"
    )
    assert iou_rates.arithmetic.endswith("give F1 2PR/(P+R) = 0.93934 to 0.94934: 0.95561 > 0.94934, no value in common")


def test_an_iou_averaged_with_the_background_would_explain_the_thesis_but_for_the_accuracy():
    for row, verdict in (("Table 1", "at the edge"), ("U-Net", "possible"), ("with TL", "possible")):
        averaged = audit(**THESIS[row]).averaged
        assert [worst(averaged[reading]) for reading in ("pooled", "means")] == [verdict] * 2


def test_a_right_row_has_no_finding():
    # P = 0.9, R = 0.8: D = 1.44 / 1.7 = 0.847, J = 0.72 / 0.98 = 0.735.
    cells = {"dice": "0.847", "iou": "0.735", "precision": "0.900", "recall": "0.800", "f1": "0.847", "accuracy": "0.99"}
    found = audit(**cells)
    assert found.findings == {"pooled": (), "means": ()}
    assert not found.is_impossible


@pytest.mark.parametrize(
    ("cells", "columns"),
    [
        ({"dice": "0.80", "iou": "0.90"}, ("dice", "iou")),  # IoU beyond Dice
        ({"dice": "0.80", "iou": "0.50"}, ("dice", "iou")),  # 0.795 / 1.205 = 0.66 > 0.505
        ({"dice": "0.90", "precision": "0.80", "recall": "0.80"}, ("dice", "precision", "recall")),
        ({"dice": "0.50", "precision": "0.90", "recall": "0.90"}, ("dice", "precision", "recall")),  # below P + R - 1
        ({"dice": "0.90", "precision": "0.70"}, ("dice", "precision")),  # 2 * 0.705 / 1.705 = 0.827
        ({"dice": "0.90", "f1": "0.80"}, ("dice", "f1")),
        ({"f1": "0.90", "precision": "0.80", "recall": "0.80"}, ("f1", "precision", "recall")),
        ({"iou": "0.90", "recall": "0.80"}, ("iou", "recall")),
        ({"iou": "0.90", "precision": "0.80"}, ("iou", "precision")),
        ({"iou": "0.90", "accuracy": "0.80"}, ("iou", "accuracy")),
        ({"dice": "0.90", "accuracy": "0.70"}, ("dice", "accuracy")),  # 0.895 / 1.105 = 0.81
    ],
)
def test_what_can_be_under_no_reading(cells, columns):
    assert judge("pooled", **cells)[columns] == "cannot be"
    assert judge("means", **cells)[columns] == "cannot be"
    assert audit(**cells).is_impossible


def test_means_may_differ_where_pooled_counts_may_not():
    # Cases of Dice 1 and 0 in equal number: mean Dice and mean IoU are both 0.5.
    assert judge("pooled", dice="0.500", iou="0.500") == {("dice", "iou"): "cannot be"}
    assert judge("means", dice="0.500", iou="0.500") == {}
    # An F1 out of the means of P = 1, R = 0.5 and P = 0.5, R = 1 is 0.75; the mean of Dice is 2/3.
    cells = {"dice": "0.667", "f1": "0.750", "precision": "0.750", "recall": "0.750"}
    assert judge("pooled", **cells)["dice", "f1"] == "cannot be"
    assert judge("means", **cells) == {}


def test_digits_that_tell_two_numbers_apart_are_shown():
    (finding,) = audit(dice="0.80000000", iou="0.66666668").findings["pooled"]
    # 2 * 0.666666675 / 1.666666675 = 0.800000006
    assert finding.arithmetic.endswith("0.800000006 > 0.800000005, no value in common")


def test_a_row_with_one_score_has_nothing_to_hold_it_against():
    found = audit(dice="0.9")
    assert found.findings == {"pooled": (), "means": ()}
    assert (found.averaged, found.implied) == (None, None)


# Any cases at all: none has to be a likely one.
voxels = st.integers(0, 40)
cases = st.lists(
    st.tuples(voxels, voxels, voxels, voxels).filter(lambda counts: counts[0] + counts[1] + counts[2] > 0), min_size=1, max_size=6
)


def score(tp, fp, fn, tn):
    """Score counts in exact fractions, by the definitions."""
    p = Fraction(tp, tp + fp) if tp + fp else Fraction(0)
    r = Fraction(tp, tp + fn) if tp + fn else Fraction(0)
    dice = Fraction(2 * tp, 2 * tp + fp + fn)
    return {
        "dice": dice,
        "iou": Fraction(tp, tp + fp + fn),
        "accuracy": Fraction(tp + tn, tp + fp + fn + tn),
        "precision": p,
        "recall": r,
        "f1": dice,
    }


def printed(values, decimals):
    return {name: f"{float(round(values[name], decimals)):.{decimals}f}" for name in SCORE_COLUMNS}


@given(cases, st.integers(1, 4))
def test_no_true_mean_over_cases_is_ever_accused(counts, decimals):
    scores = [score(*one) for one in counts]
    means = {name: sum(one[name] for one in scores) / len(scores) for name in SCORE_COLUMNS}
    assert "cannot be" not in judge("means", **printed(means, decimals)).values()
    of_means = means | {"f1": harmonic_mean(means["precision"], means["recall"])}
    assert "cannot be" not in judge("means", **printed(of_means, decimals)).values()


@given(cases, st.integers(1, 4))
def test_no_true_pooled_counts_are_ever_accused(counts, decimals):
    pooled = score(*map(sum, zip(*counts, strict=True)))
    assert "cannot be" not in judge("pooled", **printed(pooled, decimals)).values()


@given(cases, st.integers(1, 4))
def test_an_iou_averaged_with_the_background_is_never_accused_as_such(counts, decimals):
    counts = [(tp, fp, fn, tn + tp) for tp, fp, fn, tn in counts]
    scores = [score(*one) for one in counts]
    means = {name: sum(one[name] for one in scores) / len(scores) for name in SCORE_COLUMNS}
    background = sum(Fraction(tn, tn + fp + fn) if tn + fp + fn else Fraction(1) for _, fp, fn, tn in counts) / len(counts)
    cells = printed(means | {"iou": (means["iou"] + background) / 2}, decimals)
    assert worst(audit(**cells).averaged["means"]) != "cannot be"


@given(st.fractions(0, 1), st.fractions(0, 1))
def test_dice_and_iou_lead_to_each_other_and_the_harmonic_mean_keeps_its_bounds(p, r):
    assert iou_of_dice(dice_of_iou(p)) == p
    assert max(p + r - 1, 0) <= harmonic_mean(p, r) <= 1
