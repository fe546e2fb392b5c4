import dataclasses

import pytest

from hipseg.errors import ConfigError, ShardError
from hipseg.learn.pretraining import check_organs, hold_out, organ_targets, prepare_pretraining
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import write_manifest
from tests.learn.builders import pack_discs, small_settings


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return pack_discs(tmp_path_factory.mktemp("shards"), 12)[1].cases


def test_one_patient_in_ten_is_held_out(records):
    split = hold_out(records, seed=0)
    assert len(split.val) == 2
    assert sorted(split.train + split.val) == sorted(one.case for one in records)


def test_at_least_one_patient_is_held_out_and_one_is_left(records):
    split = hold_out(records[:2], seed=0)
    assert (len(split.train), len(split.val)) == (1, 1)


def test_hold_out_follows_from_the_seed(records):
    assert hold_out(records, seed=1) == hold_out(records, seed=1)
    assert len({hold_out(records, seed=seed).val for seed in range(6)}) > 1


def test_cases_without_a_mask_are_left_out(records):
    bare = dataclasses.replace(records[0], mask_digest=None, mask_kind=None, label_voxels={})
    split = hold_out((bare, *records[1:]), seed=0)
    assert bare.case not in split.train + split.val


def test_cases_that_their_publisher_keeps_for_testing_are_left_out(records):
    kept = dataclasses.replace(records[0], subset="test")
    split = hold_out((kept, *records[1:]), seed=0)
    assert kept.case not in split.train + split.val
    assert len(split.train + split.val) == len(records) - 1


def test_cases_of_one_patient_stay_on_one_side(records):
    one_patient = [dataclasses.replace(one, patient="p0") for one in records[:6]]
    for seed in range(6):
        split = hold_out((*one_patient, *records[6:]), seed)
        sides = {case in split.val for case in (one.case for one in one_patient)}
        assert len(sides) == 1


def test_a_single_patient_is_refused(records):
    with pytest.raises(ShardError, match=r"at least 2 patients.*found 1"):
        hold_out([dataclasses.replace(one, patient="p0") for one in records], seed=0)


def test_one_patient_packed_twice_is_refused_as_one(records):
    twin = dataclasses.replace(records[1], image_digest=records[0].image_digest)
    with pytest.raises(ShardError, match=r"at least 2 patients.*found 1"):
        hold_out([records[0], twin], seed=0)


def test_organs_have_outputs_in_the_order_of_their_names():
    assert organ_targets({"liver": 1, "bone": 5, "kidneys": 4}) == ((5,), (4,), (1,))


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


def test_organs_of_other_names_and_unnamed_structures_are_taken_by_their_numbers(tmp_path):
    check_organs({"bone": 1, "liver": 2}, {"Os coxae": 1, "liver": 2}, DatasetPaths(tmp_path))
    check_organs({"bone": 1}, {}, DatasetPaths(tmp_path))


def test_nothing_is_left_where_no_data_is(tmp_path):
    with pytest.raises(ShardError):
        prepare_pretraining(small_settings(tmp_path))
    assert not (tmp_path / "results").exists()
