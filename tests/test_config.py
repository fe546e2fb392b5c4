from pathlib import Path

import pytest
from pydantic import ValidationError

from hipseg.config import ArmSettings, StudySettings, dump_settings, load_settings, repeat_settings, transfer_network
from hipseg.errors import ConfigError


@pytest.fixture
def settings_file(tmp_path):
    def write(text):
        path = tmp_path / "study.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_defaults_are_the_thesis_figures():
    settings = StudySettings()
    assert (settings.folds, settings.feed.input_side) == (5, 512)
    assert (settings.train.epochs, settings.train.learning_rate, settings.train.threshold) == (100, 0.001, 0.5)
    assert settings.networks.modified_unet.leaky_slope == 0.02
    assert list(settings.pretrain.organs) == ["liver", "bladder", "lungs", "kidneys", "bone", "brain"]
    assert list(settings.arms) == ["unet", "modified-unet-tl", "modified-unet"]


def test_what_is_dumped_is_read_back(settings_file):
    settings = load_settings(settings_file("train: {epochs: 3}\nfeed: {fit: resample, spacing_mm: 0.8}\n"))
    assert load_settings(settings_file(dump_settings(settings))) == settings


def test_no_file_gives_the_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_settings(None) == StudySettings()


def test_the_default_file_is_read_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "study.yaml").write_text("folds: 3\n")
    assert load_settings(None).folds == 3


def test_an_override_is_laid_over_the_file(settings_file):
    settings = load_settings(settings_file("train: {epochs: 3, batch_size: 4}\n"), ("train.epochs=7", "target_labels=[1, 2]"))
    assert (settings.train.epochs, settings.train.batch_size, settings.target_labels) == (7, 4, (1, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trian: {}", "unknown key 'trian' in .*did you mean 'train'"),
        ("train: {epoch: 3}", "unknown key 'train.epoch' in .*did you mean 'epochs'"),
        ("arms: {unet: {network: unet, stdy: a, method: m}}", "unknown key 'arms.unet.stdy' in .*did you mean 'study'"),
        ("pretrain: {train: {sed: 3}}", "unknown key 'pretrain.train.sed' in .*did you mean 'seed'"),
        ("zzz: 1", "unknown key 'zzz' in .*valid keys are arms, evaluate, feed, folds"),
        ("evaluate: {clean: {smoth_mm: 1}}", "unknown key 'evaluate.clean.smoth_mm' in .*did you mean 'smooth_mm'"),
        ("evaluate: {clean: {max_hole_ml: -1}}", "evaluate.clean.max_hole_ml.*found -1"),
        ("evaluate: {clean: {connectivity: 8}}", "evaluate.clean.connectivity.*found 8"),
        ("feed: {window_hu: [300, 100]}", "empty or reversed"),
        ("feed: {fit: resample}", "needs it"),
        ("train: {epochs: many}", "train.epochs.*found 'many'"),
        ("folds: 1", "folds.*found 1"),
        ("arms: {'../x': {network: unet, study: s, method: m}}", "arms"),
        ("arms: {pretraining: {network: unet, study: s, method: m}}", "arms.pretraining"),
        ("arms: {}", "arms"),
        ("target_labels: []", "target_labels"),
        ("target_labels: [1, 2, 1]", r"target_labels: \[1, 2, 1\] names a label more than once"),
        ("train: {epochs: true}", "train.epochs: a whole number is needed; found true"),
        ("folds: yes", "folds: a whole number is needed; found true"),
        ("networks: {modified_unet: {leaky_slope: -5}}", "leaky_slope.*found -5"),
        ("networks: {modified_unet: {leaky_slope: .nan}}", "leaky_slope.*found nan"),
        ("target_labels: [256]", "target_labels.*255; found 256"),
        ("pretrain: {organs: {}}", "organs"),
        ("pretrain: {organs: {liver: 1, bone: 1}}", "organs: liver and bone have one number, 1; each organ needs its own"),
        ("pretrain: {organs: {liver: 300}}", "organs.liver.*255; found 300"),
        ("feed: {window_hu: [.nan, 3]}", "window_hu.*finite"),
        ("train: {learning_rate: .inf}", "learning_rate.*finite"),
        ("feed: {input_side: 300}", "feed: input_side is 300; needed is a power of two of at least 256, as 512$"),
        ("feed: {input_side: 128}", "input_side is 128"),
        ("networks: {modified_unet: {encoder_filters: [1, 2, 3, 4, 5, 6, 7]}}", "encoder_filters is .*; 8 numbers are needed"),
        (
            "networks: {modified_unet: {encoder_filters: [1, 2, 2, 4, 5, 6, 7, 8]}}",
            "encoder_filters .* each above the one before",
        ),
        ("networks: {modified_unet: {decoder_filters: [7, 6, 5, 4, 3, 2]}}", "decoder_filters is .*; 7 numbers are needed"),
        ("networks: {modified_unet: {decoder_filters: [9, 8, 8, 5, 4, 3, 2]}}", "decoder_filters .* each below the one before"),
        ("networks: {modified_unet: {decoder_filters: [7, 6, 5, 4, 3, 2, 1]}}", "decoder_filters .* the last above 1"),
        ("[1, 2]", "holds a list"),
        ("a: [", "is not YAML"),
        (
            "train: {epochs: 7}\nfolds: 3\ntrain:\n  batch_size: 4\n",
            r"settings file \S+: key 'train' stands in line 1 and again in line 3; give it once",
        ),
        ("train:\n  seed: 1\n  seed: 1\n", "key 'seed' stands in line 2 and again in line 3"),
        ("train: {seed: 1, 'seed': 2}", "key 'seed' stands in line 1 and again in line 1"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(settings_file, text, message):
    with pytest.raises(ConfigError, match=message) as refusal:
        load_settings(settings_file(text))
    assert "\n" not in str(refusal.value)


def test_a_mapping_may_take_keys_of_another_and_replace_one(settings_file):
    text = "train: &it {epochs: 7, seed: 3}\npretrain: {train: {<<: *it, seed: 4}}\n"
    assert load_settings(settings_file(text)).pretrain.train.seed == 4


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no settings file at .*nowhere\.yaml"):
        load_settings(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("override", ["train.epochs", "=3", "folds.more=3", "train={seed: 1, seed: 2}"])
def test_a_wrong_override_is_refused(settings_file, override):
    with pytest.raises(ConfigError, match="override"):
        load_settings(settings_file("folds: 4"), (override,))


def test_a_wrong_value_may_come_from_the_options_and_not_the_file(settings_file):
    file = settings_file("folds: 4")
    with pytest.raises(ConfigError, match=rf"wrong value in {file} or the options given: train.epochs"):
        load_settings(file, ("train.epochs=0",))


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(ValidationError, match="frozen"):
        StudySettings().folds = 3


def test_an_unknown_arm_is_refused_with_the_arms_there_are():
    with pytest.raises(ConfigError, match="no arm 'vnet'; the arms are modified-unet, modified-unet-tl, unet"):
        StudySettings().arm("vnet")


def test_the_study_that_ships_says_what_the_defaults_are():
    shipped = Path(__file__).parent.parent / "configs" / "study.yaml"
    assert load_settings(shipped) == StudySettings()


@pytest.mark.parametrize("path", sorted((Path(__file__).parent.parent / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_config_is_read_and_its_head_says_command_time_and_score(path):
    load_settings(path)
    head = path.read_text(encoding="utf-8").partition("\n\n")[0]
    for word in ("hipseg submit", "Time:", "Score to expect:"):
        assert word in head


def test_cleaning_can_be_left_out(settings_file):
    settings = load_settings(settings_file("evaluate: {clean: null}\n"))
    assert settings.evaluate.clean is None
    assert load_settings(settings_file(dump_settings(settings))) == settings
    assert load_settings(settings_file("evaluate: {clean: {}}\n")) == StudySettings()


def test_a_repeat_differs_in_the_seed_of_training_alone():
    settings = load_settings(None, ("train.seed=5",))
    assert repeat_settings(settings, 0) == settings
    assert repeat_settings(settings, 2) == load_settings(None, ("train.seed=7",))


@pytest.mark.parametrize(("seed", "repeat"), [(0, -1), (2**32 - 1, 1)])
def test_a_repeat_without_a_seed_is_refused(seed, repeat):
    with pytest.raises(ConfigError, match=f"no repeat {repeat};"):
        repeat_settings(load_settings(None, (f"train.seed={seed}",)), repeat)


@pytest.mark.parametrize("key", ["shards", "results", "pretrain.shards"])
def test_a_home_folder_that_only_a_shell_knows_is_refused(key):
    with pytest.raises(ConfigError, match=rf"{key}: ~/study begins with ~, .*; write the whole path out"):
        load_settings(None, (f"{key}=~/study",))
    assert load_settings(None, (f"{key}=study~",)) != StudySettings()


def arms(**transfer):
    return StudySettings(
        arms={
            name.replace("_", "-"): ArmSettings(network=net, transfer=has, study="s", method="m")
            for name, (net, has) in transfer.items()
        }
    )


def test_network_of_the_transfer_arms_is_pretrained():
    assert transfer_network(StudySettings()) == "modified-unet"
    assert transfer_network(arms(a=("unet", True), b=("modified-unet", False))) == "unet"


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (arms(a=("unet", False)), "no arm"),
        (arms(a=("unet", True), b=("modified-unet", True)), "modified-unet and unet"),
    ],
)
def test_pretraining_needs_one_network(settings, found):
    with pytest.raises(ConfigError, match=found):
        transfer_network(settings)
