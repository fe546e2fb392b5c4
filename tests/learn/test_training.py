import contextlib
import dataclasses
import math

import keras
import numpy as np
import pytest

from hipseg.config import TrainSettings
from hipseg.errors import TrainError
from hipseg.learn.batches import open_feed, share_out
from hipseg.learn.beginning import Beginning
from hipseg.learn.checkpoints import load_checkpoint
from hipseg.learn.history import read_history
from hipseg.learn.networks import build_network
from hipseg.learn.passes import Way, run_pass
from hipseg.learn.ranks import ALONE
from hipseg.learn.runtime import prepare_runtime
from hipseg.learn.steps import compile_validation, count_pixels
from hipseg.learn.tally import begin_tally
from hipseg.learn.training import Feeds, train_model
from hipseg.runs import FoldPaths
from hipseg.score.overlap import NO_COUNTS, Counts, dice
from tests.learn.builders import pack_discs, quiet_session, small_settings

IDENTITY = {"train.seed": 0, "data": "d"}


@pytest.fixture(scope="module")
def feeds(tmp_path_factory):
    """Slices of three patients to learn from and of one to validate with."""
    root = tmp_path_factory.mktemp("shards")
    paths, manifest = pack_discs(root, 4)
    settings = small_settings(root)
    with contextlib.ExitStack() as stack:
        yield tuple(
            stack.enter_context(open_feed(paths, records, settings.feed, ((1,),)))
            for records in (manifest.cases[:3], manifest.cases[3:])
        )


def train(feeds, root, network="modified-unet", session=None, momentum=0.9, **changes):
    networks = small_settings(root).networks
    modified = networks.modified_unet.model_copy(update={"momentum": momentum})
    networks = networks.model_copy(update={"modified_unet": modified})
    options = TrainSettings(epochs=2, batch_size=4).model_copy(update=changes)
    prepare_runtime(options)
    model = build_network(network, networks, 256, seed=options.seed)
    paths = FoldPaths(root)
    history = train_model(
        model, Feeds(*feeds), options, Beginning(IDENTITY), paths=paths, title="toy", session=session or quiet_session()
    )
    return model, history, paths


def test_same_seed_gives_the_same_weights_and_history(feeds, tmp_path):
    first, again = (train(feeds, tmp_path / name, seed=5) for name in ("first", "again"))
    assert all(np.array_equal(a, b) for a, b in zip(first[0].get_weights(), again[0].get_weights(), strict=True))
    assert [dataclasses.replace(row, seconds=0) for row in first[1]] == [dataclasses.replace(row, seconds=0) for row in again[1]]


def test_run_leaves_history_checkpoints_and_the_best_model(feeds, tmp_path):
    session = quiet_session()
    model, history, paths = train(feeds, tmp_path, "unet", session, epochs=3)
    assert read_history(paths.history) == history
    assert [row.epoch for row in history] == [1, 2, 3]
    best = max(range(3), key=lambda index: history[index].val_dice)
    checkpoint = load_checkpoint(paths.checkpoint("best"))
    assert checkpoint.history == history[: best + 1]
    assert load_checkpoint(paths.checkpoint("last")).history == history
    assert load_checkpoint(paths.checkpoint("previous")).history == history[:2]
    saved = keras.saving.load_model(paths.model)
    for variable in saved.variables:
        assert np.array_equal(variable.value.numpy(), checkpoint.model[variable.path])
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), saved.get_weights(), strict=True))
    assert list((paths.tensorboard / "training").iterdir())
    lines = session.console.file.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("toy, epoch 1/3: ")
    assert lines[0].endswith("(best so far)")


def test_run_with_nothing_to_find_in_validation_comes_to_its_end(feeds, tmp_path):
    """Nothing there and nothing found: Dice is undefined, in memory and in the checkpoint that is read back."""
    root = tmp_path / "shards"
    paths, manifest = pack_discs(root, 1)
    with open_feed(paths, manifest.cases, small_settings(root).feed, ((9,),)) as nothing:
        _, history, run = train((feeds[0], nothing), tmp_path, "unet", epochs=1, threshold=1 - 1e-9)
    assert math.isnan(history[0].val_dice)
    assert run.model.is_file()


def test_scores_of_the_history_are_those_of_all_pixels(feeds, tmp_path):
    model, history, _ = train(feeds, tmp_path, "unet", epochs=1)
    way = Way(feeds[1], feeds[1].all_slices(), 4, "validation")
    measured = run_pass(compile_validation(model, 0.5), way, ALONE, begin_tally(1)).measure()
    by_hand = NO_COUNTS
    for images, truth in feeds[1].load(share_out(feeds[1].all_slices(), 2)):
        ((tp, fp, fn, tn),) = count_pixels(truth, model(images), 0.5).numpy().tolist()
        by_hand += Counts(tp, fp, fn, tn)
    assert measured.pooled == by_hand
    assert by_hand.total == len(feeds[1]) * 256 * 256
    assert history[0].val_dice == dice(by_hand)
    assert history[0].val_loss == pytest.approx(measured.loss, rel=1e-5)


def test_loss_that_is_no_number_ends_the_run_by_epoch_and_step(feeds, tmp_path):
    with pytest.raises(TrainError, match=r"loss is nan in .*epoch 1, step \d"):
        train(feeds, tmp_path, "unet", learning_rate=float("nan"))


def test_gradients_of_a_run_go_through_the_hook(feeds, tmp_path):
    settings = small_settings(tmp_path)
    model = build_network("unet", settings.networks, 256)
    before = [np.array(weight) for weight in model.get_weights()]
    silence = lambda gradients: [0 * gradient for gradient in gradients]  # noqa: E731
    options = TrainSettings(epochs=1, batch_size=8)
    beginning, paths = Beginning(IDENTITY), FoldPaths(tmp_path)
    train_model(model, Feeds(*feeds), options, beginning, paths=paths, title="toy", session=quiet_session(), average=silence)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.slow
def test_network_learns_and_its_moving_statistics_keep_up_with_its_weights(feeds, tmp_path):
    model, history, _ = train(feeds, tmp_path, epochs=20, learning_rate=0.01)
    assert history[-1].loss < 0.01 < 0.5 < history[0].loss
    by_moving, by_batch = dice_by_statistics(model, feeds[1])
    assert by_moving > 0.9
    assert abs(by_moving - by_batch) < 0.05


@pytest.mark.slow
def test_moving_statistics_of_a_momentum_of_0_99_lag_behind_so_that_inference_finds_nothing(feeds, tmp_path):
    """Why the momentum is 0.9: training looks perfect either way."""
    _, history, _ = train(feeds, tmp_path, epochs=20, learning_rate=0.01, momentum=0.99)
    assert history[-1].dice > 0.9
    assert history[-1].val_dice < 0.5


def dice_by_statistics(model, feed):
    """Dice in inference mode, with the moving statistics, and with those of each batch."""
    scores = []
    for is_training in (False, True):
        counts = NO_COUNTS
        for images, truth in feed.load(share_out(feed.all_slices(), 8)):
            ((tp, fp, fn, tn),) = count_pixels(truth, model(images, training=is_training), 0.5).numpy().tolist()
            counts += Counts(tp, fp, fn, tn)
        scores.append(dice(counts))
    return scores
