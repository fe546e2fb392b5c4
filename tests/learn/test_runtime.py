import keras
import numpy as np
import pytest
import tensorflow as tf

from hipseg.config import TrainSettings
from hipseg.errors import TrainError
from hipseg.learn.rank_env import find_place
from hipseg.learn.runtime import prepare_runtime, take_card
from tests.horovod.starting import srun_variables


def test_the_seed_fixes_what_is_drawn_afterwards():
    prepare_runtime(TrainSettings(seed=7))
    first = keras.random.normal((3,)).numpy()
    prepare_runtime(TrainSettings(seed=7))
    assert np.array_equal(first, keras.random.normal((3,)).numpy())


def test_other_threads_than_those_of_a_running_tensorflow_are_refused():
    tf.constant(1) + 1
    with pytest.raises(TrainError, match=r"train.threads to 97.*already runs"):
        prepare_runtime(TrainSettings(threads=97))


class Cards:
    """TensorFlow's list of graphics cards, on a machine without any."""

    def __init__(self, monkeypatch, number):
        self.visible = [f"GPU:{card}" for card in range(number)]
        self.growing = []
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: list(self.visible) if kind == "GPU" else [])
        monkeypatch.setattr(tf.config, "set_visible_devices", self._show)
        monkeypatch.setattr(tf.config.experimental, "set_memory_growth", self._grow)

    def _show(self, devices, kind):
        assert kind == "GPU"
        self.visible = devices if isinstance(devices, list) else [devices]

    def _grow(self, card, is_growing):
        assert is_growing
        self.growing.append(card)


@pytest.mark.parametrize(("rank", "card"), [(0, "GPU:0"), (1, "GPU:1"), (2, "GPU:0"), (3, "GPU:1")])
def test_each_rank_takes_the_card_of_its_number_on_its_node_and_no_more_memory_than_it_needs(monkeypatch, rank, card):
    cards = Cards(monkeypatch, 2)
    take_card(find_place(srun_variables(rank, 4, nodes=2)))
    prepare_runtime(TrainSettings())
    assert cards.visible == [card]
    assert cards.growing == [card]


def test_one_process_alone_keeps_all_cards_and_grows_in_each(monkeypatch):
    cards = Cards(monkeypatch, 2)
    take_card(None)
    prepare_runtime(TrainSettings())
    assert cards.visible == cards.growing == ["GPU:0", "GPU:1"]


@pytest.mark.parametrize("number", [0, 1])
def test_a_rank_that_is_shown_one_card_or_none_leaves_it_at_that(monkeypatch, number):
    cards = Cards(monkeypatch, number)
    take_card(find_place(srun_variables(3, 4)))
    assert len(cards.visible) == number


def test_fewer_cards_than_ranks_on_a_node_are_refused(monkeypatch):
    Cards(monkeypatch, 2)
    with pytest.raises(TrainError, match="4 ranks on this node share 2 graphics cards; start one rank a card"):
        take_card(find_place(srun_variables(3, 4)))
