import hashlib
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from hipseg.errors import TrainError
from hipseg.learn import checkpoints
from hipseg.learn.checkpoints import Point, capture, checksum_path, load_checkpoint, restore, save_best, save_last
from hipseg.learn.steps import compile_training
from hipseg.learn.tally import Tally
from hipseg.runs import FoldPaths
from hipseg.score.overlap import Counts
from tests.learn.test_history import rows

RNG = np.random.default_rng(0)
IMAGES = RNG.random((4, 8, 8, 1), np.float32)
IDENTITY = {"train.seed": 5, "data": "d", "feed.window_hu": [-200.0, 1000.0], "pretraining": None}
TRUTH = (IMAGES > 0.5).astype(np.float32)


class Run:
    """A small network with batch normalisation and its Adam, as a run has them."""

    def __init__(self, filters=3, seed=0):
        initial = keras.initializers.GlorotUniform(seed=seed)
        image = keras.Input((8, 8, 1))
        x = layers.Conv2D(filters, 3, padding="same", kernel_initializer=initial, name="conv")(image)
        x = layers.BatchNormalization(name="norm")(x)
        x = layers.Conv2D(1, 1, activation="sigmoid", kernel_initializer=initial, name="head")(x)
        self.model = keras.Model(image, x)
        self.optimizer = keras.optimizers.Adam(0.01, name="adam")
        self.optimizer.build(self.model.trainable_variables)
        self.step = compile_training(self.model, self.optimizer, 0.5)

    def train(self, steps):
        for _ in range(steps):
            self.step(IMAGES, TRUTH)

    def state(self, *val_dices, point=None):
        return capture(self.model, self.optimizer, rows(*val_dices), point or Point(len(val_dices) + 1), IDENTITY)


def assert_equal_state(a, b):
    assert (a.identity, a.point, a.history) == (b.identity, b.point, b.history)
    for one, other in ((a.model, b.model), (a.optimizer, b.optimizer)):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name].dtype == other[name].dtype
            assert np.array_equal(one[name], other[name]), name


def test_state_is_read_back_bit_by_bit(tmp_path):
    run, paths = Run(), FoldPaths(tmp_path)
    run.train(2)
    save_best(paths, run.state(0.1, 0.4))
    assert_equal_state(load_checkpoint(paths.checkpoint("best")), run.state(0.1, 0.4))


def test_point_within_an_epoch_is_read_back_to_the_last_digit(tmp_path):
    run, paths = Run(), FoldPaths(tmp_path)
    trained = Tally(7, 0.1 + 0.2, (Counts(1, 2, 3, 4), Counts(0, 0, 2**40, 1)))
    state = run.state(0.1, point=Point(epoch=2, steps=3, seconds=1 / 3, trained=trained))
    save_last(paths, state)
    assert_equal_state(load_checkpoint(paths.checkpoint("last")), state)


def test_checkpoint_of_another_format_is_refused(tmp_path, monkeypatch):
    paths = FoldPaths(tmp_path)
    monkeypatch.setattr(checkpoints, "FORMAT_VERSION", 1)
    save_last(paths, Run().state(0.1))
    monkeypatch.undo()
    with pytest.raises(TrainError, match="its format is 1, this version reads 2"):
        load_checkpoint(paths.checkpoint("last"))


def test_state_holds_moving_statistics_moments_and_the_step_count():
    run = Run()
    run.train(3)
    state = run.state(0.1)
    assert {"norm/moving_mean", "norm/moving_variance"} <= state.model.keys()
    assert int(state.optimizer["adam/iteration"]) == 3
    assert len(state.optimizer) == 2 + 2 * len(run.model.trainable_variables)


def test_going_on_from_a_checkpoint_is_the_same_as_never_stopping(tmp_path):
    straight, stopped, resumed = Run(), Run(), Run(seed=1)
    straight.train(5)
    stopped.train(3)
    save_last(FoldPaths(tmp_path), stopped.state(0.1))
    restore(load_checkpoint(FoldPaths(tmp_path).checkpoint("last")), resumed.model, resumed.optimizer)
    resumed.train(2)
    assert_equal_state(resumed.state(0.1), straight.state(0.1))


def test_last_becomes_previous(tmp_path):
    run, paths = Run(), FoldPaths(tmp_path)
    for epochs in (1, 2, 3):
        save_last(paths, run.state(*[0.1] * epochs))
    assert len(load_checkpoint(paths.checkpoint("last")).history) == 3
    assert len(load_checkpoint(paths.checkpoint("previous")).history) == 2
    assert {path.name for path in paths.checkpoints.iterdir()} == {
        "last.npz",
        "last.npz.sha256",
        "previous.npz",
        "previous.npz.sha256",
    }


def test_checksum_is_what_sha256sum_reads(tmp_path):
    paths = FoldPaths(tmp_path)
    save_best(paths, Run().state(0.1))
    digest = hashlib.sha256(paths.checkpoint("best").read_bytes()).hexdigest()
    assert checksum_path(paths.checkpoint("best")).read_text() == f"{digest}  best.npz\n"


def test_however_a_save_is_interrupted_one_of_the_two_stays_whole(tmp_path, monkeypatch):
    run = Run()
    replace, interrupted = Path.replace, 0

    class Interruption(BaseException):
        pass

    for allowed in range(10):
        paths = FoldPaths(tmp_path / str(allowed))
        save_last(paths, run.state(0.1))
        save_last(paths, run.state(0.1, 0.2))
        left = [allowed]

        def replace_some(source, target, left=left):
            if left[0] == 0:
                raise Interruption
            left[0] -= 1
            return replace(source, target)

        monkeypatch.setattr(Path, "replace", replace_some)
        try:
            save_last(paths, run.state(0.1, 0.2, 0.3))
        except Interruption:
            interrupted += 1
        finally:
            monkeypatch.setattr(Path, "replace", replace)
        assert usable(paths), f"nothing usable after {allowed} of the renames"
    # The two checksums, last to previous, and the new last.
    assert interrupted == 4


def usable(paths):
    found = []
    for which in ("last", "previous"):
        try:
            found.append(load_checkpoint(paths.checkpoint(which)))
        except TrainError:
            continue
    return found


def test_damaged_checkpoint_is_refused(tmp_path):
    paths = FoldPaths(tmp_path)
    save_best(paths, Run().state(0.1))
    path = paths.checkpoint("best")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(TrainError, match=r"best\.npz is damaged.*SHA-256"):
        load_checkpoint(path)


@pytest.mark.parametrize("lost", ["best.npz", "best.npz.sha256"])
def test_missing_checkpoint_or_checksum_is_refused(tmp_path, lost):
    paths = FoldPaths(tmp_path)
    save_best(paths, Run().state(0.1))
    (paths.checkpoints / lost).unlink()
    with pytest.raises(TrainError, match=r"cannot read checkpoint.*best\.npz"):
        load_checkpoint(paths.checkpoint("best"))


def test_file_that_is_no_checkpoint_is_refused_even_with_its_checksum(tmp_path):
    path = tmp_path / "best.npz"
    path.write_bytes(b"nothing of the kind")
    checksum_path(path).write_text(checkpoints.digest_file(path) + "  best.npz\n")
    with pytest.raises(TrainError, match="cannot read checkpoint"):
        load_checkpoint(path)


def test_checkpoint_of_another_network_is_refused_and_changes_nothing(tmp_path):
    save_best(FoldPaths(tmp_path), Run(filters=3).state(0.1))
    other = Run(filters=5)
    before = other.state(0.1)
    with pytest.raises(TrainError, match=r"another network: conv/\w+ has shape .*3.* in the checkpoint and .*5.* in the network"):
        restore(load_checkpoint(FoldPaths(tmp_path).checkpoint("best")), other.model, other.optimizer)
    assert_equal_state(other.state(0.1), before)
