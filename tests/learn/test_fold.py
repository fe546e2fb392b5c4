import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

from hipseg.config import FeedSettings, dump_settings, load_settings
from hipseg.errors import ConfigError, ShardError, TrainError
from hipseg.fsio import digest_file, write_json, write_text
from hipseg.learn.course import run_course
from hipseg.learn.fold import prepare_fold
from hipseg.learn.history import read_history
from hipseg.learn.networks import build_network
from hipseg.learn.provenance import digest_settings, list_cases, read_provenance
from hipseg.learn.training import save_model
from hipseg.runs import DatasetPaths, StudyPaths
from hipseg.shards.manifest import read_manifest
from hipseg.splits import Split, digest_splits, read_splits
from tests.learn.builders import pack_discs, quiet_session, small_settings


def settings_of(root):
    return small_settings(root, train={"epochs": 1, "batch_size": 8})


def train(settings, arm, fold):
    course, session = prepare_fold(settings, arm, fold), quiet_session(environment={"SLURM_JOB_ID": "7"})
    run_course(course, session)
    return course.paths, session.console.file.getvalue()


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Three patients in three folds, and fold 0 of the U-Net trained but not scored."""
    root = tmp_path_factory.mktemp("study")
    pack_discs(root / "shards", 3, folds=3)
    train(settings_of(root), "unet", 0)
    return root


@pytest.fixture
def study(template, tmp_path):
    """Settings of a copy of the data."""
    shutil.copytree(template / "shards", tmp_path / "shards")
    return settings_of(tmp_path)


@pytest.fixture
def trained(template, study):
    """The paths of the trained run, copied into the study."""
    shutil.copytree(template / "results", study.results)
    return StudyPaths(study.results).fold("unet", 0)


def test_run_leaves_settings_and_provenance(template):
    settings = settings_of(template)
    paths = StudyPaths(settings.results).fold("unet", 0)
    assert paths.root == settings.results / "unet" / "fold_0"
    assert load_settings(paths.settings) == settings
    provenance = read_provenance(paths)
    manifest = read_manifest(DatasetPaths(settings.shards))
    assert provenance.data_digest == manifest.data_digest
    assert provenance.split_digest == digest_splits(read_splits(DatasetPaths(settings.shards), manifest))
    assert provenance.settings_digest == digest_settings(settings)
    assert (provenance.ranks, provenance.slurm) == (1, {"SLURM_JOB_ID": "7"})
    assert provenance.seconds > 0
    assert not paths.transfer.exists()
    assert not paths.is_complete
    cases = json.loads(paths.cases.read_text())
    split = read_splits(DatasetPaths(settings.shards), manifest)[0]
    assert [one["case"] for one in cases["train"]] == list(split.train)
    assert [one["image_digest"] for one in cases["val"]] == [manifest.record(case).image_digest for case in split.val]


def test_a_repeat_has_another_seed_and_a_folder_of_its_own(study):
    run = prepare_fold(study, "unet", 0, 2)
    assert run.settings.train.seed == study.train.seed + 2
    assert run.paths == StudyPaths(study.results).fold("unet", 0, 2)
    assert run.title == "unet fold 0 repeat 2"
    first = prepare_fold(study, "unet", 0)
    assert (first.settings, first.title) == (study, "unet fold 0")
    # The seed reaches the weights, and the split is the same.
    assert not all(np.array_equal(a, b) for a, b in zip(run.model.get_weights(), first.model.get_weights(), strict=True))
    assert run.split == first.split


def test_unfinished_run_goes_on_and_says_so(study, trained):
    before, weights = read_provenance(trained), keras.saving.load_model(trained.model).get_weights()
    trained.model.unlink()
    _, said = train(study, "unet", 0)
    assert "unet fold 0: going on in epoch 2 after 0 steps" in said
    assert len(trained.history.read_text().splitlines()) == 2
    after = read_provenance(trained)
    assert (after.started, len(after.resumed)) == (before.started, 1)
    assert 0 < sum(row.seconds for row in read_history(trained.history)) < after.seconds
    again = keras.saving.load_model(trained.model).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(weights, again, strict=True))


def test_unfinished_run_without_a_checkpoint_starts_anew(study, trained):
    shutil.rmtree(trained.checkpoints)
    _, said = train(study, "unet", 0)
    assert "removed the unfinished earlier run" in said
    assert read_provenance(trained).resumed == ()


def test_complete_run_is_refused_and_stays(study, trained):
    trained.summary.write_text("{}")
    model = trained.model.read_bytes()
    with pytest.raises(ConfigError, match=r"unet fold 0 is complete already.*--overwrite"):
        train(study, "unet", 0)
    assert trained.is_complete
    assert trained.model.read_bytes() == model


def test_fine_tuning_starts_from_the_pretraining_and_says_so(study):
    pretraining = StudyPaths(study.results).pretraining
    save_model(build_network("modified-unet", study.networks, 256, outputs=2, seed=9), pretraining)
    write_text(pretraining.settings, dump_settings(study))
    organs = pack_discs(study.pretrain.shards, 2, first=3)[1]
    write_json(pretraining.cases, list_cases(organs, Split(("c3",), ("c4",))))
    write_json(pretraining.summary, {"model_digest": digest_file(pretraining.model)})
    with pytest.raises(TrainError, match="made with other settings"):
        prepare_fold(study.model_copy(update={"feed": FeedSettings(input_side=256, window_hu=(0, 900))}), "modified-unet-tl", 0)
    write_json(pretraining.cases, list_cases(read_manifest(DatasetPaths(study.shards)), Split(("c0", "c1"), ("c2",))))
    with pytest.raises(TrainError, match="was seen in pretraining"):
        prepare_fold(study, "modified-unet-tl", 0)
    write_json(pretraining.cases, list_cases(organs, Split(("c3",), ("c4",))))
    paths, _ = train(
        study.model_copy(update={"pretrain": study.pretrain.model_copy(update={"freeze": ("enc",)})}), "modified-unet-tl", 0
    )
    record = json.loads(paths.transfer.read_text())
    assert record["source_digest"] == digest_file(pretraining.model)
    assert len(record["frozen"]) == 16


@pytest.mark.parametrize(
    ("arm", "fold", "error", "message"),
    [
        ("unet", 7, ConfigError, "no fold 7"),
        ("unet", -1, ConfigError, "no fold -1"),
        ("resnet", 0, ConfigError, "no arm 'resnet'"),
        ("modified-unet-tl", 0, TrainError, "hipseg pretrain"),
    ],
)
def test_what_cannot_start_leaves_nothing_behind(study, arm, fold, error, message):
    with pytest.raises(error, match=message):
        prepare_fold(study, arm, fold)
    assert not study.results.exists()


def test_a_wrong_label_number_is_refused_before_a_network_learns_nothing(study):
    with pytest.raises(ConfigError, match="target_labels asks for label 9"):
        prepare_fold(study.model_copy(update={"target_labels": (9,)}), "unet", 0)


def test_missing_splits_are_refused_with_the_command(tmp_path):
    pack_discs(tmp_path / "shards", 3)
    with pytest.raises(ShardError, match="hipseg split"):
        prepare_fold(small_settings(tmp_path), "unet", 0)


def test_earlier_run_stays_when_the_data_of_the_next_cannot_be_read(study, trained):
    trained.summary.write_text("{}")
    course, session = with_damaged_shards(prepare_fold(study, "unet", 0)), quiet_session(overwrite=True)
    with pytest.raises(ShardError, match="damaged"):
        run_course(dataclasses.replace(course, warnings=()), session)
    assert trained.is_complete
    assert trained.model.exists()
    assert session.console.file.getvalue() == ""


def test_structures_that_become_background_and_folds_of_another_seed_are_told_with_the_run(study):
    said = prepare_fold(study.model_copy(update={"split_seed": 5}), "unet", 0).warnings
    assert [one.partition(", not in target_labels")[0] for one in said[1:]] == ["the masks have label 2"]
    assert "not those that split_seed 5 would deal" in said[0]


def test_validation_side_without_what_is_learned_is_said_to_choose_by_its_loss(study):
    course, session = with_damaged_shards(prepare_fold(study, "unet", 0)), quiet_session()
    with pytest.raises(ShardError, match="damaged"):
        run_course(dataclasses.replace(course, targets=((9,),), warnings=("something else",)), session)
    said = " ".join(session.console.file.getvalue().split())
    assert said.startswith("WARNING unet fold 0: something else WARNING unet fold 0: no case to choose the best epoch by")
    assert said.endswith("the epoch of the lowest validation loss is taken")


def with_damaged_shards(course):
    """The same run, which ends as soon as it opens its data."""
    for record in course.manifest.cases:
        course.dataset.shard(record.shard).write_bytes(b"damaged")
    return course
