import dataclasses
import math

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hipseg.errors import ConfigError, TrainError
from hipseg.learn.history import COLUMNS, EpochRow, ScalarLog, append_row, best_row, read_history

ROW = EpochRow(1, 2.5, 0.001, 0.7, 0.6, 0.2, 1 / 3, 0.65, 0.55, 0.1, 0.2)


def rows(*val_dices, losses=None):
    losses = losses or [ROW.val_loss] * len(val_dices)
    pairs = enumerate(zip(val_dices, losses, strict=True), start=1)
    return [dataclasses.replace(ROW, epoch=number, val_dice=dice, val_loss=loss) for number, (dice, loss) in pairs]


def test_columns_are_those_of_the_interface():
    assert ",".join(COLUMNS) == "epoch,seconds,learning_rate,loss,accuracy,iou,dice,val_loss,val_accuracy,val_iou,val_dice"


def test_rows_are_read_back_bit_by_bit_under_one_heading(tmp_path):
    path = tmp_path / "history.csv"
    for row in rows(0.1, 0.2):
        append_row(path, row)
    assert read_history(path) == tuple(rows(0.1, 0.2))
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    assert len(path.read_text().splitlines()) == 3


def test_undefined_scores_are_read_back_as_undefined(tmp_path):
    append_row(tmp_path / "history.csv", dataclasses.replace(ROW, val_dice=math.nan))
    assert math.isnan(read_history(tmp_path / "history.csv")[0].val_dice)


@pytest.mark.parametrize(
    ("val_dices", "losses", "best"),
    [
        ((0.1, 0.3, 0.2), (0.1, 0.9, 0.2), 2),
        ((0.3, 0.3), (0.5, 0.5), 1),
        ((0.0, 0.0, 0.0), (0.7, 0.2, 0.3), 2),
        # Nothing is to be found: some pixels in epoch 1, none in 2 and 3, one in 4.
        ((0.0, math.nan, math.nan, 0.0), (0.6, 0.5, 0.2, 0.3), 3),
        ((0.0, math.nan, 0.0), (0.6, 0.5, 0.1), 3),
        ((math.nan, math.nan), (math.nan, 0.5), 2),
    ],
    ids=["highest Dice", "first of equals", "lowest loss of equals", "nothing to find", "nearly nothing found", "loss undefined"],
)
def test_best_epoch(val_dices, losses, best):
    assert best_row(rows(*val_dices, losses=losses)).epoch == best


def test_no_epoch_has_no_best():
    with pytest.raises(TrainError, match="no epoch"):
        best_row([])


@pytest.mark.parametrize("text", ["epoch,loss\n1,0.5\n", ",".join(COLUMNS) + "\n1,2\n", ",".join(COLUMNS) + "\nx" + ",1" * 10])
def test_damaged_history_is_refused(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(TrainError, match=r"history\.csv"):
        read_history(tmp_path / "history.csv")


def test_missing_history_is_refused(tmp_path):
    with pytest.raises(TrainError, match=r"history\.csv"):
        read_history(tmp_path / "history.csv")


def test_history_that_cannot_be_written_is_an_error_of_ours(tmp_path):
    with pytest.raises(ConfigError, match="cannot write"):
        append_row(tmp_path, ROW)


def test_tensorboard_has_training_and_validation_as_two_runs(tmp_path):
    log = ScalarLog(tmp_path)
    for row in rows(0.1, 0.25):
        log.write(row)
    log.close()
    for run, dices in (("training", [1 / 3, 1 / 3]), ("validation", [0.1, 0.25])):
        events = EventAccumulator(str(tmp_path / run), size_guidance={"tensors": 0}).Reload()
        assert set(events.Tags()["tensors"]) == {"loss", "accuracy", "iou", "dice"}
        found = events.Tensors("dice")
        assert [event.step for event in found] == [1, 2]
        assert [float(tf.make_ndarray(event.tensor_proto)) for event in found] == pytest.approx(dices)
