import contextlib
import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hipseg.config import TrainSettings
from hipseg.errors import ConfigError, Stopped, TrainError
from hipseg.learn.batches import open_feed
from hipseg.learn.beginning import Beginning, make_ready
from hipseg.learn.checkpoints import load_checkpoint
from hipseg.learn.history import read_history
from hipseg.learn.networks import build_network
from hipseg.learn.provenance import Provenance
from hipseg.learn.resume import find_start
from hipseg.learn.runtime import prepare_runtime
from hipseg.learn.training import Feeds, train_model
from hipseg.runs import FoldPaths
from hipseg.signals import StopRequests
from tests.conftest import REPOSITORY
from tests.learn.builders import pack_discs, quiet_console, quiet_session, small_settings

IDENTITY = {"train.learning_rate": 0.001, "data": "d"}
SETTINGS = TrainSettings(epochs=3, batch_size=4, warmup_epochs=2)
PROVENANCE = Provenance({}, None, ("c",), "d", "s", "x", {}, 1, "2026-01-01T00:00:00+00:00")


@pytest.fixture(scope="module")
def feeds(tmp_path_factory):
    """15 slices to learn from, in 4 steps an epoch; 5 to validate with, in 2."""
    root = tmp_path_factory.mktemp("shards")
    paths, manifest = pack_discs(root, 4)
    settings = small_settings(root)
    with contextlib.ExitStack() as stack:
        yield Feeds(
            *(
                stack.enter_context(open_feed(paths, records, settings.feed, ((1,),)))
                for records in (manifest.cases[:3], manifest.cases[3:])
            )
        )


class StopsAfter(StopRequests):
    """A signal that comes while some step is taken, counted over training and validation."""

    def __init__(self, steps):
        super().__init__()
        self._left = steps

    @property
    def is_asked(self):
        self._left -= 1
        return self._left < 0


def go(feeds, root, stops=None, resume="auto", identity=IDENTITY, console=None, overwrite=False):
    session = quiet_session(console=console or quiet_console(), stops=stops or StopRequests())
    paths = FoldPaths(root)
    prepare_runtime(SETTINGS)
    beginning = Beginning(identity, find_start(paths, "toy", identity, resume, overwrite=overwrite, console=session.console))
    make_ready(paths, "toy", small_settings(root), beginning, provenance=PROVENANCE, console=session.console)
    # Weights of another seed: what a run goes on from comes out of the checkpoint alone.
    model = build_network("modified-unet", small_settings(root).networks, 256, seed=9 if beginning.start else 0)
    train_model(model, feeds, SETTINGS, beginning, paths=paths, title="toy", session=session)
    return paths


@pytest.fixture(scope="module")
def straight(feeds, tmp_path_factory):
    """A run that was never stopped."""
    return go(feeds, tmp_path_factory.mktemp("straight"))


def assert_equal_runs(paths, other):
    for which in ("last", "best"):
        ours, theirs = (load_checkpoint(one.checkpoint(which)) for one in (paths, other))
        for a, b in ((ours.model, theirs.model), (ours.optimizer, theirs.optimizer)):
            assert a.keys() == b.keys()
            assert all(np.array_equal(a[name], b[name]) for name in a)
    rows, expected = ([dataclasses.replace(row, seconds=0) for row in read_history(one.history)] for one in (paths, other))
    assert rows == expected
    assert [row.epoch for row in rows] == [1, 2, 3]
    for part in ("training", "validation"):
        assert read_events(paths, part) == read_events(other, part)


def read_events(paths, part):
    events = EventAccumulator(str(paths.tensorboard / part), size_guidance={"tensors": 0}).Reload()
    return {
        tag: [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


@pytest.mark.slow
def test_run_stopped_in_training_in_validation_and_between_is_the_same_as_one_never_stopped(feeds, straight, tmp_path):
    """An epoch has four steps of training and two of validation; the second stop comes in validation, the third at its door."""
    points = []
    for steps in (2, 2, 5):
        with pytest.raises(Stopped, match="and saved; the same command goes on"):
            go(feeds, tmp_path, StopsAfter(steps))
        point = load_checkpoint(FoldPaths(tmp_path).checkpoint("last")).point
        points.append((point.epoch, point.steps))
    assert points == [(1, 3), (1, 4), (2, 4)]
    assert_equal_runs(go(feeds, tmp_path), straight)


@pytest.mark.slow
def test_the_rate_rises_over_the_epochs_of_the_warm_up(straight):
    assert [row.learning_rate for row in read_history(straight.history)] == pytest.approx([0.0005, 0.001, 0.001])


@pytest.mark.slow
def test_run_that_only_had_to_write_its_model_does_that(feeds, straight, tmp_path):
    paths = go(feeds, tmp_path)
    paths.model.unlink()
    go(feeds, tmp_path, resume="must")
    assert paths.model.is_file()
    assert_equal_runs(paths, straight)


@pytest.mark.slow
def test_damaged_last_falls_back_to_previous_and_both_are_named(feeds, straight, tmp_path):
    paths, console = FoldPaths(tmp_path), quiet_console()
    with pytest.raises(Stopped):
        go(feeds, tmp_path, StopsAfter(8))
    last = paths.checkpoint("last")
    last.write_bytes(last.read_bytes()[:-100])
    go(feeds, tmp_path, resume="must", console=console)
    warning = next(line for line in console.file.getvalue().splitlines() if line.startswith("WARNING"))
    assert str(last) in warning
    assert f"going on from {paths.checkpoint('previous')} instead: epoch 2, 0 steps" in warning
    assert_equal_runs(paths, straight)


@pytest.mark.slow
def test_without_a_whole_checkpoint_must_fails_and_auto_starts_loudly(feeds, straight, tmp_path):
    with pytest.raises(TrainError, match="toy cannot go on: no whole checkpoint in"):
        go(feeds, tmp_path, resume="must")
    with pytest.raises(Stopped):
        go(feeds, tmp_path, StopsAfter(8))
    paths, console = FoldPaths(tmp_path), quiet_console()
    for which in ("last", "previous"):
        paths.checkpoint(which).write_bytes(b"damaged")
    with pytest.raises(TrainError, match="no whole checkpoint"):
        go(feeds, tmp_path, resume="must")
    go(feeds, tmp_path, console=console)
    assert "WARNING toy: no whole checkpoint" in console.file.getvalue()
    assert_equal_runs(paths, straight)


@pytest.fixture
def stopped(feeds, tmp_path):
    """The folder of a run stopped in its second epoch."""
    with pytest.raises(Stopped):
        go(feeds, tmp_path, StopsAfter(8))
    return tmp_path


def test_checkpoint_of_other_settings_is_refused_with_the_difference(feeds, stopped):
    before = FoldPaths(stopped).checkpoint("last").read_bytes()
    with pytest.raises(TrainError, match=r"train\.learning_rate was 0\.001, is now 0\.01.*--resume never --overwrite"):
        go(feeds, stopped, identity={**IDENTITY, "train.learning_rate": 0.01})
    with pytest.raises(TrainError, match='data was "d", is now "e"'):
        go(feeds, stopped, resume="must", identity={**IDENTITY, "data": "e"})
    assert FoldPaths(stopped).checkpoint("last").read_bytes() == before


@pytest.mark.slow
def test_never_starts_only_where_nothing_is_there_or_may_be_overwritten(feeds, straight, stopped):
    with pytest.raises(ConfigError, match=r"toy has been begun: .*last\.npz is there; add --overwrite"):
        go(feeds, stopped, resume="never")
    assert_equal_runs(go(feeds, stopped, resume="never", overwrite=True), straight)


def test_missing_best_weights_are_told_of_before_training_goes_on(feeds, stopped):
    FoldPaths(stopped).checkpoint("best").unlink()
    with pytest.raises(TrainError, match=r"best\.npz, the weights of epoch 1, is missing or damaged"):
        go(feeds, stopped)


def test_a_checkpoint_within_an_epoch_is_saved_when_it_is_time(feeds, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        "hipseg.learn.keeper.save_last", lambda paths, state: saved.append((state.point.epoch, state.point.steps))
    )
    paths = FoldPaths(tmp_path)
    model = build_network("unet", small_settings(tmp_path).networks, 256)
    settings = SETTINGS.model_copy(update={"epochs": 1, "save_every_min": 1e-9})
    train_model(model, feeds, settings, Beginning(IDENTITY), paths=paths, title="toy", session=quiet_session())
    assert saved == [(1, 1), (1, 2), (1, 3), (1, 4), (1, 4), (1, 4), (2, 0)]


@pytest.mark.slow
def test_killed_runs_come_out_the_same():
    """A killed process, one stopped by SIGTERM and one by SIGUSR1, each at a random instant; more by hand with the tool."""
    tool = [sys.executable, "tools/kill_and_resume.py", "--kills", "3", "--seed", "1"]
    done = subprocess.run(tool, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "run complete: identical, bit by bit" in done.stdout
