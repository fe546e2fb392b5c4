import dataclasses

import pytest

from hipseg.errors import ConfigError, ShardError
from hipseg.learn.pretraining import prepare_pretraining
from hipseg.shards.manifest import write_manifest
from tests.learn.builders import pack_discs, small_settings


def test_organs_that_are_nowhere_are_refused(tmp_path):
    pack_discs(tmp_path / "organs", 3)
    settings = small_settings(tmp_path)
    pretraining = settings.pretrain.model_copy(update={"organs": {"liver": 8, "brain": 9}})
    with pytest.raises(ConfigError, match=r"pretrain\.organs asks for label 8, 9"):
        prepare_pretraining(settings.model_copy(update={"pretrain": pretraining}))
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", ["bright", "Bright"])
def test_organ_packed_under_another_number_is_refused_with_both(tmp_path, name):
    paths, manifest = pack_discs(tmp_path / "organs", 3)
    write_manifest(paths, dataclasses.replace(manifest, rois={name: 2, "dark": 1}))
    with pytest.raises(
        ConfigError, match=rf"says bright: 1, and \S+organs was packed with {name}=2; set pretrain\.organs\.bright=2"
    ):
        prepare_pretraining(small_settings(tmp_path))


def test_nothing_is_left_where_no_data_is(tmp_path):
    with pytest.raises(ShardError):
        prepare_pretraining(small_settings(tmp_path))
    assert not (tmp_path / "results").exists()


def test_an_organ_that_no_mask_has_is_told_with_the_run(tmp_path):
    pack_discs(tmp_path / "organs", 3)
    settings = small_settings(tmp_path)
    pretraining = settings.pretrain.model_copy(update={"organs": {"bright": 1, "brain": 6}})
    course = prepare_pretraining(settings.model_copy(update={"pretrain": pretraining}))
    assert ["has brain of pretrain.organs" in one for one in course.warnings] == [True]
