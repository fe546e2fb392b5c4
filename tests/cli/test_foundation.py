import dataclasses

import pytest

from hipseg.cli.foundation import look_at_foundation
from hipseg.config import StudySettings
from hipseg.errors import ConfigError, LaunchError
from hipseg.fsio import digest_file
from hipseg.labels import ORGAN_LABELS
from hipseg.launch.graph import Part
from hipseg.runs import DatasetPaths, StudyPaths
from hipseg.shards.manifest import read_manifest, write_manifest
from hipseg.splits import digest_splits, split_patients, write_splits
from tests.shards.builders import describe_cases

PLAIN, TRANSFER = Part(("unet",), (0, 1)), Part(("modified-unet-tl",), (0, 1))


@pytest.fixture
def settings(tmp_path):
    places = {"shards": tmp_path / "shards", "results": tmp_path / "results", "pretrain": {"shards": tmp_path / "organs"}}
    return StudySettings.model_validate({**places, "folds": 2})


def test_folds_that_nobody_dealt_are_known_by_those_that_will_be(settings):
    paths = describe_cases(settings.shards, patients=4)
    manifest = read_manifest(paths)
    splits = split_patients(manifest.cases, 2, 0)
    foundation = look_at_foundation(settings, PLAIN)
    assert foundation.digests == {"data_digest": manifest.data_digest, "split_digest": digest_splits(splits)}
    assert foundation.manifests == {"shards": digest_file(paths.manifest)}
    assert foundation.warnings == ()
    write_splits(paths, splits)
    assert look_at_foundation(settings, PLAIN) == foundation


def test_folds_of_another_seed_count_and_are_told(settings):
    paths = describe_cases(settings.shards, patients=4)
    splits = split_patients(read_manifest(paths).cases, 2, 7)
    write_splits(paths, splits)
    foundation = look_at_foundation(settings, PLAIN)
    assert foundation.digests["split_digest"] == digest_splits(splits)
    assert ["not those that split_seed 0 would deal" in one for one in foundation.warnings] == [True]


def test_more_folds_than_patients_are_refused(settings):
    describe_cases(settings.shards, patients=1)
    with pytest.raises(ConfigError, match="cannot split 1 patient with a mask into 2 folds"):
        look_at_foundation(settings, PLAIN)


def test_organs_are_looked_at_where_they_are_still_to_be_learned(settings):
    describe_cases(settings.shards)
    with pytest.raises(LaunchError, match="no packed scans to pretrain"):
        look_at_foundation(settings, TRANSFER)
    describe_cases(settings.pretrain.shards, (77,))
    assert look_at_foundation(settings, PLAIN).warnings == ()
    with pytest.raises(ConfigError, match=r"pretrain\.organs asks for label 1, 2, 3, 4, 5, 6"):
        look_at_foundation(settings, TRANSFER)
    describe_cases(settings.pretrain.shards, set(ORGAN_LABELS.values()) - {6})
    assert ["has brain of pretrain.organs" in one for one in look_at_foundation(settings, TRANSFER).warnings] == [True]
    pretraining = StudyPaths(settings.results).pretraining
    pretraining.root.mkdir(parents=True)
    pretraining.summary.write_text("{}")
    assert look_at_foundation(settings, TRANSFER).warnings == ()


def test_of_scans_that_a_job_packs_only_folds_are_known_that_are_there(settings):
    assert look_at_foundation(settings, PLAIN, packs_first=True).digests == {}
    paths = describe_cases(settings.shards, patients=4)
    splits = split_patients(read_manifest(paths).cases, 2, 7)
    write_splits(paths, splits)
    assert look_at_foundation(settings, PLAIN, packs_first=True).digests == {"split_digest": digest_splits(splits)}


def test_structures_that_become_background_are_told(settings):
    paths = describe_cases(settings.shards, (1, 2))
    write_manifest(paths, dataclasses.replace(read_manifest(DatasetPaths(settings.shards)), rois={"pelvis": 1, "femur": 2}))
    assert ["label 2 (femur)" in one for one in look_at_foundation(settings, PLAIN).warnings] == [True]
