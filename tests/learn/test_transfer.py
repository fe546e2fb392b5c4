import json

import numpy as np
import pytest

from hipseg.config import dump_settings, load_settings
from hipseg.errors import ConfigError, TrainError
from hipseg.fsio import digest_file, write_json, write_text
from hipseg.learn.networks import build_network
from hipseg.learn.training import save_model
from hipseg.learn.transfer import (
    check_pretraining,
    load_pretrained,
    read_source_digest,
    write_transfer,
)
from hipseg.runs import FoldPaths, StudyPaths
from tests.learn.builders import small_settings


@pytest.fixture
def pretraining(tmp_path):
    """A complete pretraining of the slim modified U-Net on two organs; its weights are fresh ones of seed 1."""
    paths = StudyPaths(tmp_path / "results").pretraining
    save_model(network(tmp_path, outputs=2, seed=1), paths)
    write_text(paths.settings, dump_settings(small_settings(tmp_path)))
    write_json(paths.summary, {"model_digest": digest_file(paths.model)})
    return paths


def network(root, outputs=1, seed=2, **modified):
    networks = small_settings(root).networks
    changed = networks.model_copy(update={"modified_unet": networks.modified_unet.model_copy(update=modified)})
    return build_network("modified-unet", changed, 256, outputs, seed)


def test_everything_but_the_head_comes_from_the_pretraining(tmp_path, pretraining):
    model, fresh, source = network(tmp_path), network(tmp_path), network(tmp_path, outputs=2, seed=1)
    transfer = load_pretrained(model, "modified-unet", pretraining, ())
    for layer in model.layers:
        if layer.weights:
            expected = fresh if layer.name == "dec8_conv" else source
            for found, wanted in zip(layer.get_weights(), expected.get_layer(layer.name).get_weights(), strict=True):
                assert np.array_equal(found, wanted), layer.name
    # 8 blocks down with a convolution and a normalisation each, 7 up of which 4 are normalised.
    assert len(transfer.loaded) == 8 * 2 + 7 + 4
    assert [skipped.name for skipped in transfer.skipped] == ["dec8_conv"]
    assert "head" in transfer.skipped[0].reason
    assert transfer.source_digest == digest_file(pretraining.model)


def test_record_says_what_was_loaded_skipped_and_frozen(tmp_path, pretraining):
    transfer = load_pretrained(network(tmp_path), "modified-unet", pretraining, ("enc1",))
    write_transfer(FoldPaths(tmp_path), transfer)
    record = json.loads((tmp_path / "transfer.json").read_text())
    assert record["source"] == "pretraining/model.keras"
    assert record["source_digest"] == digest_file(pretraining.model)
    assert "enc1_conv" in record["loaded"]
    assert record["skipped"][0]["name"] == "dec8_conv"
    assert record["frozen"] == ["enc1_conv", "enc1_norm"]


def test_source_is_read_back_from_the_record(tmp_path, pretraining):
    paths = FoldPaths(tmp_path)
    with pytest.raises(TrainError, match=r"no record of what the run started from"):
        read_source_digest(paths)
    write_transfer(paths, load_pretrained(network(tmp_path), "modified-unet", pretraining, ()))
    assert read_source_digest(paths) == digest_file(pretraining.model)
    paths.transfer.write_text('["nothing"]')
    with pytest.raises(TrainError, match=r"damaged record.*transfer\.json"):
        read_source_digest(paths)


def test_frozen_layers_do_not_learn_and_the_others_do(tmp_path, pretraining):
    model = network(tmp_path)
    load_pretrained(model, "modified-unet", pretraining, ("enc1", "dec7"))
    fixed = {variable.path.split("/")[0] for variable in model.weights} - {
        variable.path.split("/")[0] for variable in model.trainable_weights
    }
    assert fixed == {"enc1_conv", "enc1_norm", "dec7_conv", "dec7_norm"}


def test_freezing_a_layer_that_is_not_there_is_refused(tmp_path, pretraining):
    with pytest.raises(ConfigError, match=r"pretrain.freeze names 'encoder'.*enc1_conv"):
        load_pretrained(network(tmp_path), "modified-unet", pretraining, ("encoder",))


def test_missing_pretraining_is_refused_with_the_command(tmp_path):
    with pytest.raises(TrainError, match=r"is missing.*run `hipseg pretrain` .* and `--results \S+`$"):
        check_pretraining(StudyPaths(tmp_path).pretraining, small_settings(tmp_path))


def test_unfinished_pretraining_is_refused(tmp_path, pretraining):
    pretraining.summary.unlink()
    with pytest.raises(TrainError, match=r"is unfinished: no summary\.json.*run `hipseg pretrain`"):
        check_pretraining(pretraining, small_settings(tmp_path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("feed.window_hu=[-1000, 3000]", r"feed\.window_hu was \[-200\.0, 1000\.0\], is now \[-1000\.0, 3000\.0\]"),
        ("networks.modified_unet.leaky_slope=0.3", r"leaky_slope was 0\.02, is now 0\.3"),
        ("pretrain.organs.other=3", r"pretrain\.organs\.other was not set, is now 3"),
        ("pretrain.train.epochs=500", r"pretrain\.train\.epochs was 2, is now 500.*run `hipseg pretrain`"),
    ],
)
def test_pretraining_made_with_other_settings_is_refused_with_the_first_difference(pretraining, change, said):
    with pytest.raises(TrainError, match=f"made with other settings: .*{said}"):
        check_pretraining(pretraining, load_settings(pretraining.settings, (change,)))


@pytest.mark.parametrize("change", ["train.learning_rate=0.1", "pretrain.freeze=[enc1]", "pretrain.train.threads=2", "folds=7"])
def test_settings_that_the_pretraining_does_not_depend_on_are_free(pretraining, change):
    check_pretraining(pretraining, load_settings(pretraining.settings, (change,)))


def test_pretraining_whose_settings_are_gone_is_refused(tmp_path, pretraining):
    pretraining.settings.unlink()
    with pytest.raises(TrainError, match="cannot use the settings of the pretraining: no settings file"):
        check_pretraining(pretraining, small_settings(tmp_path))


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"other")], ids=["lost", "changed"])
def test_pretrained_model_other_than_the_one_of_the_summary_is_refused(tmp_path, pretraining, damage):
    damage(pretraining.model)
    with pytest.raises(TrainError, match=r"is not the model that its summary names.*run `hipseg pretrain`"):
        load_pretrained(network(tmp_path), "modified-unet", pretraining, ())


@pytest.mark.parametrize("text", ["[]", "3", '{"network": "unet"}'])
def test_summary_of_a_pretraining_that_names_no_model_is_refused(tmp_path, pretraining, text):
    pretraining.summary.write_text(text)
    with pytest.raises(TrainError, match=r"is not the model that its summary names.*run `hipseg pretrain`"):
        load_pretrained(network(tmp_path), "modified-unet", pretraining, ())


def test_pretraining_with_other_filters_is_refused_by_layer_and_both_shapes(tmp_path, pretraining):
    other = network(tmp_path, encoder_filters=(4, 6, 8, 9, 10, 11, 12, 20))
    with pytest.raises(TrainError, match=r"layer enc8_conv .*\(4, 4, 12, 13\).*\(4, 4, 12, 20\).*run `hipseg pretrain`"):
        load_pretrained(other, "modified-unet", pretraining, ())


def test_pretraining_of_another_network_is_refused_by_layer(tmp_path, pretraining):
    model = build_network("unet", small_settings(tmp_path).networks, 256)
    with pytest.raises(TrainError, match=r"layer enc1_conv1 .*no such layer"):
        load_pretrained(model, "unet", pretraining, ())
