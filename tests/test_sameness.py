import pytest

from hipseg.config import StudySettings, load_settings
from hipseg.sameness import decisive_settings, first_difference

SETTINGS = StudySettings()


def difference(override, arm):
    return first_difference(decisive_settings(SETTINGS, arm), decisive_settings(load_settings(None, (override,)), arm))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("override", "arm"),
    [
        ("results=other", "unet"),
        ("train.threads=3", "unet"),
        ("train.save_every_min=1", "unet"),
        ("arms.unet={network: unet, study: other words, method: m}", "unet"),
        ("pretrain.freeze=[enc1]", None),
        ("networks.unet.base_filters=8", "modified-unet"),
    ],
)
def test_what_decides_no_weight_is_free(override, arm):
    assert difference(override, arm) is None


@pytest.mark.parametrize(
    ("override", "arm", "said"),
    [
        ("train.seed=4", "unet", "train.seed was 0, is now 4"),
        ("pretrain.train.seed=4", None, "pretrain.train.seed was 0, is now 4"),
        ("pretrain.freeze=[enc1]", "modified-unet-tl", 'pretrain.freeze was [], is now ["enc1"]'),
    ],
)
def test_first_difference_is_named_with_both_values(override, arm, said):
    assert difference(override, arm) == said


UNET_TRANSFER = "arms={tl: {network: unet, transfer: true, study: s, method: m}}"
MODIFIED_TRANSFER = "arms={tl: {network: modified-unet, transfer: true, study: s, method: m}}"


def of_pretraining(*overrides):
    return decisive_settings(load_settings(None, overrides), None)


def test_pretraining_of_another_network_differs():
    assert first_difference(of_pretraining(UNET_TRANSFER), of_pretraining(MODIFIED_TRANSFER)) is not None


def test_pretraining_differs_by_the_settings_of_its_own_network_alone():
    unet = of_pretraining(UNET_TRANSFER)
    assert first_difference(unet, of_pretraining(UNET_TRANSFER, "networks.modified_unet.leaky_slope=0.1")) is None
    said = first_difference(unet, of_pretraining(UNET_TRANSFER, "networks.unet.base_filters=8"))
    assert said == "networks.unet.base_filters was 64, is now 8"


def test_value_that_is_missing_on_one_side_is_said_to_be_not_set():
    assert first_difference({"a": 1}, {"a": 1, "b": None}) is None
    assert first_difference({"a": 1}, {}) == "a was 1, is now not set"
