import keras
import numpy as np
import pytest
from keras import layers

from hipseg.config import FeedSettings
from hipseg.errors import ConfigError, TrainError
from hipseg.learn.prediction import compile_inference, load_model, predict_slices
from hipseg.shards.reader import open_reader
from tests.learn.builders import COLUMNS, ROWS, SLICES, disc_case, pack_discs


def window_network(side=256):
    """A network that answers with its own input, so that probabilities are windowed HU."""
    image = keras.Input((side, side, 1))
    return keras.Model(image, layers.Activation("linear")(image))


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return pack_discs(tmp_path_factory.mktemp("shards"), 1)


def predict(packed, feed, batch_size):
    paths, manifest = packed
    with open_reader(paths, manifest.cases[0]) as reader:
        return list(predict_slices(compile_inference(window_network(), feed), reader, feed, batch_size))


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_padded_slices_come_back_in_order_on_their_own_matrix(packed, batch_size):
    answers = predict(packed, FeedSettings(input_side=256, window_hu=(-200, 1000)), batch_size)
    assert [z for z, _ in answers] == list(range(SLICES))
    image = disc_case(0)[0]
    for z, (probabilities,) in answers:
        assert probabilities.shape == (ROWS, COLUMNS)
        assert np.allclose(probabilities, np.clip((image[z].astype(np.float32) + 200) / 1200, 0, 1), atol=1e-6)


def test_each_output_comes_back_by_itself(packed):
    image = keras.Input((256, 256, 1))
    network = keras.Model(image, layers.Concatenate()([image, 1 - image]))
    paths, manifest = packed
    feed = FeedSettings(input_side=256)
    with open_reader(paths, manifest.cases[0]) as reader:
        answers = list(predict_slices(compile_inference(network, feed), reader, feed, 2))
    for _, (first, second) in answers:
        assert np.allclose(first + second, 1.0, atol=1e-6)
        assert first.min() < 0.5 < first.max()


def test_resampled_slices_come_back_in_place(packed):
    # 0.8 mm pixels at 0.4 mm and back: the disc stays where it is, but for its edge.
    answers = predict(packed, FeedSettings(input_side=256, fit="resample", spacing_mm=0.4), 4)
    labels = disc_case(0)[1]
    for z, (probabilities,) in answers:
        assert probabilities.shape == (ROWS, COLUMNS)
        is_bright, truth = probabilities > (400 + 200) / 1200, labels[z] == 1
        assert np.count_nonzero(is_bright != truth) < 0.05 * np.count_nonzero(truth)


def test_model_of_another_input_is_refused():
    with pytest.raises(ConfigError, match=r"\(512, 512\).*feed.input_side is 256"):
        compile_inference(window_network(512), FeedSettings(input_side=256))


def test_missing_model_is_refused_with_its_remedy(tmp_path):
    with pytest.raises(TrainError, match=r"no trained model at .*model\.keras; do this"):
        load_model(tmp_path / "model.keras", "do this")


def test_damaged_model_is_refused_with_its_remedy(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"PK nothing")
    with pytest.raises(TrainError, match=r"cannot read the trained model at .*model\.keras.*do this"):
        load_model(tmp_path / "model.keras", "do this")
