"""Figures: what they draw, and that they are written alike each time."""

from xml.etree import ElementTree

import numpy as np
import pytest

from hipseg.report.curves import COLUMNS, Curve
from hipseg.report.plots import Example, draw_curves, draw_dice, draw_examples, draw_volumes, save_figure
from hipseg.score.overlap import Counts
from hipseg.views import CaseView, SliceView
from tests.score.builders import made_score


def curve(arm, fold, losses):
    values = {name: np.linspace(0.2, 0.8, len(losses)) for name in COLUMNS}
    return Curve(arm, fold, 0, np.arange(1, len(losses) + 1), {**values, "loss": np.array(losses)})


def score(case, counts, patient=None):
    return made_score(case, patient or f"p{case}", "unet", 0, Counts(*counts))


SCORES = {"unet": [score("c0", (4, 0, 0, 6)), score("c1", (1, 1, 1, 7)), score("c2", (0, 0, 2, 8)), score("c3", (0, 0, 0, 10))]}


def test_curves_have_a_column_an_arm_and_a_row_a_quantity():
    figure = draw_curves([curve("unet", 0, [0.5, 0.3]), curve("unet", 1, [0.7, 0.1]), curve("modified-unet", 0, [0.4])])
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:2] == ["unet (2 folds)", "modified-unet (1 fold)"]
    assert [axis.get_ylabel() for axis in figure.axes[::2]] == ["Accuracy", "Loss", "IoU"]
    training, validation = figure.axes[2].lines
    assert np.allclose(training.get_ydata(), [0.6, 0.2])
    assert (training.get_linestyle(), validation.get_linestyle()) == ("-", "--")


def test_the_mean_ends_where_the_first_fold_does_and_the_others_go_on_as_thin_lines():
    """Else the mean would fall where a good fold ends, which reads as a collapse."""
    figure = draw_curves([curve("unet", 0, [0.2] * 4), curve("unet", 1, [0.8] * 2)])
    means, beyond = ([line for line in figure.axes[1].lines if (line.get_linewidth() < 1) == thin] for thin in (False, True))
    assert [line.get_xdata().tolist() for line in means] == [[1, 2], [1, 2]]
    assert np.allclose(means[0].get_ydata(), [0.5, 0.5])
    # One fold goes on, from the last epoch that both have: its training and its validation.
    assert [line.get_xdata().tolist() for line in beyond] == [[2, 3, 4], [2, 3, 4]]
    assert np.allclose(beyond[0].get_ydata(), [0.2, 0.2, 0.2])
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["training", "validation"]


def test_a_run_of_one_epoch_is_a_visible_point():
    figure = draw_curves([curve("unet", 0, [0.5])])
    assert figure.axes[0].lines[0].get_marker() == "."


def test_a_dot_is_the_mean_of_a_patient_and_the_undefined_are_left_out():
    doubled = {"unet": [*SCORES["unet"][:2], score("c4", (4, 0, 0, 6), "pc1"), SCORES["unet"][3]]}
    figure = draw_dice(doubled)
    dots = figure.axes[0].lines[-1].get_ydata()
    assert sorted(dots) == [0.75, 1.0]


def test_an_arm_without_any_defined_dice_keeps_its_place():
    figure = draw_dice({"unet": [SCORES["unet"][3]], "other": SCORES["unet"][:1]})
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["unet\n0 patients", "other\n1 patient"]


def test_many_arms_differ_in_colour_or_in_marker():
    figure = draw_dice({f"arm {number}": SCORES["unet"] for number in range(12)})
    dots = [line for line in figure.axes[0].lines if line.get_linestyle() == "None"]
    assert len({(line.get_color(), line.get_marker()) for line in dots}) == len(dots) == 12


def test_volumes_show_bias_and_limits_of_agreement():
    figure = draw_volumes(SCORES)
    dots, bias, low, high = (line.get_ydata() for line in figure.axes[0].lines)
    differences = np.array([line.volume_difference_ml for line in SCORES["unet"]])
    assert np.allclose(sorted(dots), sorted(differences))
    assert bias[0] == pytest.approx(differences.mean())
    assert (high[0] - low[0]) / 2 == pytest.approx(1.96 * differences.std(ddof=1))
    limits = (differences.mean() + side * 1.96 * differences.std(ddof=1) for side in (-1, 1))
    title = "unet\nbias {:z.1f} ml, limits {:z.1f} to {:z.1f} ml".format(differences.mean(), *limits)
    assert figure.axes[0].get_title() == title


def example(place, arm="unet", case="c0"):
    mask = np.zeros((8, 8), bool)
    mask[2:5, 2:5] = True
    view = CaseView(case, 9, (1.0, 1.0), (SliceView(4, np.zeros((8, 8), np.uint8), mask, {arm: ~mask}),))
    return Example(place, SCORES["unet"][0], view)


def test_examples_draw_truth_and_prediction_on_the_largest_slice():
    figure = draw_examples({"unet": [example("best")]})
    # Slice 4 from 0 is the fifth.
    assert figure.axes[0].get_title() == "unet, best: Dice 1.000\nc0, slice 5 of 9"
    assert len(figure.axes[0].collections) == 2


def test_an_arm_with_fewer_examples_leaves_the_rest_of_its_row_empty():
    rows = {"unet": [example(place) for place in ("best", "median", "worst")], "late": [example("best", "late")]}
    axes = draw_examples(rows).axes
    assert [len(axis.images) for axis in axes] == [1, 1, 1, 1, 0, 0]
    assert not any(axis.axison for axis in axes)


@pytest.mark.parametrize("name", ["$x$", r"\$a$b$", "$\\frac{$", "\x1b[31mred\x00", "two\nlines", "<b>&amp;"])
def test_names_are_drawn_as_names(tmp_path, name):
    figures = {
        "curves": draw_curves([curve(name, 0, [0.5, 0.3])]),
        "dice": draw_dice({name: SCORES["unet"]}),
        "volumes": draw_volumes({name: SCORES["unet"]}),
        "examples": draw_examples({name: [example("best", name, name)]}),
    }
    shown = "".join(letter if letter.isprintable() else "?" for letter in name)
    for kind, figure in figures.items():
        _, svg = save_figure(figure, tmp_path, kind)
        assert shown in "".join(ElementTree.parse(svg).getroot().itertext())


def test_equal_figures_are_equal_files(tmp_path):
    first = save_figure(draw_dice(SCORES), tmp_path / "first", "dice")
    second = save_figure(draw_dice(SCORES), tmp_path / "second", "dice")
    assert [path.name for path in first] == ["dice.png", "dice.svg"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_words_on_figures_are_of_the_size_of_the_page():
    figure = draw_curves([curve("unet", 0, [0.5, 0.3])])
    words = [figure.axes[0].title, *figure.axes[0].get_legend().get_texts()]
    assert {word.get_fontsize() for word in words} == {8.0}
