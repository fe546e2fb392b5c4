"""The figures of a study: learning curves, Dice of each patient, agreement of volumes, outlines on cases.

Colours are those of Okabe and Ito, told apart by readers of every colour vision; each also has a line style or a marker of its
own, so that a print in grey is readable. Arms and cases may have any name: none is read as a formula.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hipseg.axes import SliceBool
from hipseg.fsio import replacing
from hipseg.report.curves import Curve, join_folds
from hipseg.score.record import CaseScore
from hipseg.views import CaseView

BLUE, ORANGE, GREEN, PURPLE, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#666666"
"""Source: Okabe and Ito, Color Universal Design, 2008."""
ARM_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""As many as share no divisor with the colours: 35 arms differ in one or the other."""
PAGE_WIDTH_IN = 6.9
"""Text width of an A4 page with 17 mm margins."""
DPI = 200
LineStyle = Literal["-", "--"]
STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "svg.hashsalt": "hipseg",
    "svg.fonttype": "none",
}
"""The salt makes equal figures equal bytes."""
VALIDATION = "val_"
"""What columns of validation begin with in history.csv."""
CURVE_TITLES = {"accuracy": "Accuracy", "loss": "Loss", "iou": "IoU"}
LIMITS_OF_AGREEMENT_SD = 1.96
"""Source: Bland and Altman, Lancet 1986; 327: 307-310."""
FORMS = ("png", "svg")


@dataclass(frozen=True)
class Example:
    """One case picked for showing: `place` says why, as "worst"."""

    place: str
    score: CaseScore
    view: CaseView


def save_figure(figure: Figure, folder: Path, name: str) -> tuple[Path, ...]:
    """Write a figure as PNG and as SVG, each whole or not at all, the same bytes for the same figure.

    Returns:
        The files.
    Raises:
        ConfigError: they cannot be written.
    """
    paths = tuple(folder / f"{name}.{form}" for form in FORMS)
    for path, form in zip(paths, FORMS, strict=True):
        stamp = {"Date": None} if form == "svg" else {"Software": None}
        with mpl.rc_context(STYLE), replacing(path) as temporary:
            figure.savefig(temporary, format=form, dpi=DPI, metadata=stamp)
    return paths


@mpl.rc_context(STYLE)
def draw_curves(curves: Sequence[Curve]) -> Figure:
    """Draw accuracy, loss and IoU of training and validation over the epochs: an arm a column, the folds as a band.

    Args:
        curves: at least one; the order of their arms is the order of the columns.
    """
    arms = list(dict.fromkeys(curve.arm for curve in curves))
    figure, axes = _make_figure(len(CURVE_TITLES), len(arms), height_in=1.7 * len(CURVE_TITLES), share_rows=True)
    for column, arm in enumerate(arms):
        members = [curve for curve in curves if curve.arm == arm]
        for axis, (name, title) in zip(axes[:, column], CURVE_TITLES.items(), strict=True):
            _draw_folds(axis, members, name)
            _draw_folds(axis, members, f"{VALIDATION}{name}")
            axis.set_ylabel(title if column == 0 else "")
            axis.xaxis.get_major_locator().set_params(integer=True)
        axes[0, column].set_title(f"{_plain(arm)} ({_count(len(members), 'fold')})")
        axes[-1, column].set_xlabel("epoch")
    axes[0, 0].legend(loc="lower right")
    return figure


@mpl.rc_context(STYLE)
def draw_dice(scores: Mapping[str, Sequence[CaseScore]]) -> Figure:
    """Draw the Dice of each patient, arm beside arm: dots for the patients, a box for quartiles and median.

    Args:
        scores: arm -> its cases; a patient with several cases stands with their mean, and one without a defined Dice is left out.
    """
    figure, axes = _make_figure(1, 1, height_in=3.0)
    axis = axes[0, 0]
    titles = []
    for place, (arm, lines) in enumerate(scores.items()):
        values = _dice_of_patients(lines)
        titles.append(f"{_plain(arm)}\n{_count(values.size, 'patient')}")
        if not values.size:
            continue
        axis.boxplot(values, positions=[place], widths=0.5, showfliers=False, medianprops={"color": "black"})
        shift = 0.16 * np.sin(np.arange(values.size) * 2.4)
        axis.plot(
            place + shift, values, linestyle="", marker=_turn(MARKERS, place), markersize=3.5, color=_turn(ARM_COLOURS, place)
        )
    axis.set_xticks(range(len(scores)), titles)
    axis.set_ylabel("Dice of a patient")
    axis.set_ylim(-0.02, 1.02)
    return figure


@mpl.rc_context(STYLE)
def draw_volumes(scores: Mapping[str, Sequence[CaseScore]]) -> Figure:
    """Draw how far predicted and true volumes agree: their difference over their mean, with bias and limits of agreement.

    Args:
        scores: arm -> its cases.
    Source: Bland and Altman, Lancet 1986; 327: 307-310.
    """
    figure, axes = _make_figure(1, len(scores), height_in=2.6, share_rows=True)
    for place, (arm, lines) in enumerate(scores.items()):
        axis = axes[0, place]
        difference = np.array([line.volume_difference_ml for line in lines])
        mean = np.array([(line.volume_truth_ml + line.volume_prediction_ml) / 2 for line in lines])
        axis.plot(mean, difference, linestyle="", marker=_turn(MARKERS, place), markersize=3.5, color=_turn(ARM_COLOURS, place))
        bias = difference.mean()
        axis.axhline(bias, color="black", linewidth=0.8)
        title = f"{_plain(arm)}\nbias {bias:z.1f} ml"
        if difference.size > 1:
            reach = LIMITS_OF_AGREEMENT_SD * difference.std(ddof=1)
            for limit in (bias - reach, bias + reach):
                axis.axhline(limit, color="black", linewidth=0.8, linestyle=":")
            title += f", limits {bias - reach:z.1f} to {bias + reach:z.1f} ml"
        axis.set_title(title)
        axis.set_xlabel("mean of truth and prediction, ml")
    axes[0, 0].set_ylabel("prediction minus truth, ml")
    return figure


@mpl.rc_context(STYLE)
def draw_examples(examples: Mapping[str, Sequence[Example]]) -> Figure:
    """Draw the outlines of truth and prediction on one slice of chosen cases: an arm a row.

    Args:
        examples: arm -> its cases to show, at least one over all; a row stays empty where its arm has fewer than the others.
    """
    columns = max(len(row) for row in examples.values())
    figure, axes = _make_figure(len(examples), columns, height_in=PAGE_WIDTH_IN / columns * 0.9 * len(examples))
    for axis in axes.flat:
        axis.set_axis_off()
    for line, (arm, row) in enumerate(examples.items()):
        for axis, example in zip(axes[line], row, strict=False):
            chosen = example.view.largest
            height_mm, width_mm = example.view.spacing_mm_yx
            axis.imshow(chosen.image, cmap="gray", vmin=0, vmax=255, aspect=height_mm / width_mm)
            _outline(axis, chosen.truth, SKY, "-")
            _outline(axis, chosen.answers[arm], ORANGE, "--")
            place = f"{_plain(example.view.case)}, slice {chosen.z + 1} of {example.view.depth}"
            axis.set_title(f"{_plain(arm)}, {example.place}: Dice {example.score.dice:.3f}\n{place}")
    figure.legend(handles=[_sample("truth", SKY, "-"), _sample("prediction", ORANGE, "--")], loc="outside lower center", ncols=2)
    return figure


def _make_figure(rows: int, columns: int, height_in: float, *, share_rows: bool = False) -> tuple[Figure, "np.ndarray[Any, Any]"]:
    figure = Figure(figsize=(PAGE_WIDTH_IN, height_in), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, sharey="row" if share_rows else "none")


def _draw_folds(axis: Axes, curves: Sequence[Curve], column: str) -> None:
    """Draw the mean in its band as far as all folds came, and those that came farther as lines of their own."""
    is_validation = column.startswith(VALIDATION)
    label, colour, style = ("validation", ORANGE, "--") if is_validation else ("training", BLUE, "-")
    band = join_folds(curves, column)
    last = band.epochs.size
    axis.fill_between(band.epochs, band.low, band.high, color=colour, alpha=0.2, linewidth=0)
    # A line of one epoch would not be seen.
    axis.plot(band.epochs, band.mean, color=colour, linestyle=style, label=label, marker="." if last == 1 else None)
    for curve in curves:
        if curve.epochs.size > last:
            axis.plot(curve.epochs[last - 1 :], curve.values[column][last - 1 :], color=colour, linestyle=style, linewidth=0.5)


def _outline(axis: Axes, mask: SliceBool, colour: str, style: LineStyle) -> None:
    if mask.any() and not mask.all():
        axis.contour(mask.astype(np.float32), levels=[0.5], colors=[colour], linestyles=[style], linewidths=[0.9])


def _sample(label: str, colour: str, style: LineStyle) -> Any:
    return mpl.lines.Line2D([], [], color=colour, linestyle=style, label=label)


def _dice_of_patients(lines: Sequence[CaseScore]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    of_patient: defaultdict[str, list[float]] = defaultdict(list)
    for line in lines:
        if not np.isnan(line.dice):
            of_patient[line.patient].append(line.dice)
    return np.array([np.mean(of_patient[patient]) for patient in sorted(of_patient)], dtype=np.float64)


def _plain(name: str) -> str:
    """Make a name safe to draw: dollars would start a formula, and XML knows no control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in name).replace("$", r"\$")


def _turn(kinds: Sequence[str], place: int) -> str:
    return kinds[place % len(kinds)]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
