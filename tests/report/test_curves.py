"""Learning curves, read from histories that may still grow."""

import numpy as np
import pytest

from hipseg.errors import ReportError
from hipseg.report.curves import COLUMNS, join_folds, read_curves
from hipseg.runs import StudyPaths

HEADING = "epoch,seconds,learning_rate," + ",".join(
    ("loss", "accuracy", "iou", "dice", "val_loss", "val_accuracy", "val_iou", "val_dice")
)


def write_history(root, arm, fold, lines):
    path = StudyPaths(root).fold(arm, fold).history
    path.parent.mkdir(parents=True)
    path.write_text("\n".join([HEADING, *lines]))


def epoch(number, loss, val_dice="0.5"):
    return f"{number},1.0,0.001,{loss},0.9,0.4,0.5,0.7,0.8,0.3,{val_dice}"


def test_runs_without_an_epoch_have_no_curve(tmp_path):
    write_history(tmp_path, "unet", 0, ["", ""])
    assert read_curves(StudyPaths(tmp_path), [("unet", 0, 0), ("unet", 0, 1)]) == ()


def test_a_line_that_is_still_being_written_is_left_out(tmp_path):
    write_history(tmp_path, "unet", 0, [epoch(1, 0.5), epoch(2, 0.25)[:20]])
    (curve,) = read_curves(StudyPaths(tmp_path), [("unet", 0, 0)])
    assert curve.epochs.tolist() == [1]
    assert set(curve.values) == set(COLUMNS)
    assert curve.values["loss"].tolist() == [0.5]


def test_a_damaged_history_is_named(tmp_path):
    write_history(tmp_path, "unet", 0, ["one,1.0,0.001", ""])
    with pytest.raises(ReportError, match=r"history at .*history\.csv is damaged .*train the fold again"):
        read_curves(StudyPaths(tmp_path), [("unet", 0, 0)])


@pytest.mark.parametrize("number", ["nan", "inf", "0", "2", "1.5"])
def test_a_history_whose_epochs_are_no_count_is_named(tmp_path, number):
    write_history(tmp_path, "unet", 0, [epoch(number, 0.5), ""])
    with pytest.raises(ReportError, match=r"history\.csv is damaged .*epochs are not 1, 2, 3"):
        read_curves(StudyPaths(tmp_path), [("unet", 0, 0)])


def test_the_band_ends_where_the_first_fold_does(tmp_path):
    write_history(tmp_path, "unet", 0, [epoch(1, 0.5), epoch(2, 0.25), ""])
    write_history(tmp_path, "unet", 1, [epoch(1, 0.25), ""])
    band = join_folds(read_curves(StudyPaths(tmp_path), [("unet", 0, 0), ("unet", 0, 1)]), "loss")
    assert band.epochs.tolist() == [1]
    assert band.mean.tolist() == [0.375]
    assert (band.low.tolist(), band.high.tolist()) == ([0.25], [0.5])


def test_an_epoch_without_any_defined_value_has_no_band(tmp_path):
    write_history(tmp_path, "unet", 0, [epoch(1, 0.5, "nan"), ""])
    band = join_folds(read_curves(StudyPaths(tmp_path), [("unet", 0, 0)]), "val_dice")
    assert np.isnan([band.mean[0], band.low[0], band.high[0]]).all()
