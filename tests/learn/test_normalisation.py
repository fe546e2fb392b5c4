"""What several ranks do together is in tests/horovod; here is what one process can show."""

import keras
import numpy as np
import pytest

from hipseg.errors import TrainError
from hipseg.learn.normalisation import HOOK, ONE_RANK, Moments
from hipseg.learn.rank_env import find_place
from hipseg.learn.ranks import Ranks
from tests.horovod.starting import srun_variables

TWO = Ranks(find_place(srun_variables(0, 2)))


def network():
    image = keras.Input((4, 4, 2))
    return keras.Model(image, keras.layers.BatchNormalization(momentum=0.5, name="norm")(image))


def is_hooked(model):
    return HOOK in vars(model.get_layer("norm"))


@pytest.mark.parametrize(
    ("moments", "expected"),
    [(ONE_RANK, False), (Moments(TWO, "local"), False), (Moments(TWO, "synchronised"), True)],
    ids=["one rank", "local", "synchronised"],
)
def test_only_several_synchronised_ranks_change_where_moments_come_from(moments, expected):
    model = network()
    moments.prepare(model)
    assert is_hooked(model) is expected


def test_a_frozen_layer_keeps_to_its_own_statistics():
    model = network()
    model.get_layer("norm").trainable = False
    Moments(TWO, "synchronised").prepare(model)
    assert not is_hooked(model)


def test_a_prepared_model_is_saved_as_plain_keras(tmp_path):
    model = network()
    Moments(TWO, "synchronised").prepare(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("norm")) is keras.layers.BatchNormalization
    images = np.random.default_rng(0).normal(size=(3, 4, 4, 2)).astype(np.float32)
    assert np.array_equal(loaded(images, training=False), model(images, training=False))


def test_keras_calls_the_method_that_is_replaced():
    model, called = network(), []
    layer = model.get_layer("norm")
    original = layer._moments
    layer._moments = lambda inputs, mask: called.append(inputs.shape) or original(inputs, mask)
    model(np.ones((3, 4, 4, 2), np.float32), training=True)
    assert called == [(3, 4, 4, 2)]


def test_a_keras_without_that_method_is_refused(monkeypatch):
    monkeypatch.setattr(keras.layers.BatchNormalization, HOOK, None)
    with pytest.raises(TrainError, match=r"batch normalisation of Keras .* has no _moments.*train\.normalisation to local"):
        Moments(TWO, "synchronised").prepare(network())
