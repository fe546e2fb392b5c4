import dataclasses

import pytest

from hipseg.config import StudySettings
from hipseg.demands import check_hip, check_labels, check_numbers, check_organs, hold_out, organ_targets
from hipseg.errors import ConfigError, ShardError
from hipseg.runs import DatasetPaths
from tests.shards.builders import make_grid_of, make_manifest, make_record


def settings_of(**changes):
    return StudySettings.model_validate(changes)


def manifest_with(*labels, rois=None, **fields):
    """Three patients, whose masks have these labels."""
    voxels = dict.fromkeys(labels, 1)
    records = (make_record(f"c{one}", f"p{one}", label_voxels=voxels, **fields) for one in range(3))
    return make_manifest(*records, rois=rois or {})


def test_what_is_learned_whole_is_nothing_to_warn_of():
    assert check_hip(manifest_with(1), settings_of()) == ()
    assert check_hip(manifest_with(1, 2), settings_of(target_labels=[2, 1])) == ()


def test_structures_that_become_background_are_named_with_the_setting_that_takes_them_in():
    (said,) = check_hip(manifest_with(1, 2, 3, rois={"bone": 1, "kidneys": 2}), settings_of())
    assert said == (
        "the masks have labels 2 (kidneys), 3, not in target_labels [1] and so background; to learn that, too, as one structure "
        "with the rest: --set target_labels=[1,2,3]"
    )


def test_structures_of_cases_that_are_in_no_fold_are_nothing_to_warn_of():
    kept = make_record("c9", "p9", label_voxels={7: 1}, subset="test")
    manifest = manifest_with(1)
    assert check_hip(dataclasses.replace(manifest, cases=(*manifest.cases, kept)), settings_of()) == ()


def test_a_target_label_that_no_mask_has_is_named():
    (said,) = check_hip(manifest_with(1), settings_of(target_labels=[1, 9]))
    assert said.startswith("target_labels has label 9, which no mask has")


@pytest.mark.parametrize(
    ("fields", "changes", "message"),
    [
        ({}, {"target_labels": [7]}, "target_labels asks for label 7, the 3 cases to train on have label 1; set target_labels"),
        (
            {"grid": make_grid_of((2, 300, 300))},
            {"feed": {"input_side": 256}},
            "case c0 are larger than the network's input",
        ),
        (
            {"window_hu": (-100, 500)},
            {},
            "case c0 is stored as uint8 over -100 to 500 HU and feed.window_hu is -200 to 1000; set feed.window_hu within",
        ),
    ],
)
def test_what_no_run_could_learn_from_is_refused(fields, changes, message):
    with pytest.raises(ConfigError, match=message):
        check_hip(manifest_with(1, **fields), settings_of(**changes))


def test_labels_that_are_not_there_are_not_among_those_to_set():
    assert check_hip(manifest_with(1, 2), settings_of(target_labels=[1, 9]))[0].endswith("--set target_labels=[1,2]")


def test_organs_that_are_all_there_are_nothing_to_warn_of(tmp_path):
    settings = settings_of(pretrain={"organs": {"bone": 1, "liver": 2}})
    assert check_organs(manifest_with(1, 2), settings, DatasetPaths(tmp_path)) == ()


def test_organs_that_no_mask_has_are_named_with_those_to_keep(tmp_path):
    settings = settings_of(pretrain={"organs": {"bone": 1, "liver": 2, "brain": 6, "lungs": 3}})
    (said,) = check_organs(manifest_with(1, 2), settings, DatasetPaths(tmp_path))
    assert said.startswith(f"no mask of {tmp_path} has brain or lungs of pretrain.organs: learned from background alone")
    assert said.endswith("pretrain.organs in the settings file is to be {bone: 1, liver: 2}")


def test_organs_are_fed_as_the_hip_is(tmp_path):
    manifest = manifest_with(1, grid=make_grid_of((2, 300, 300)))
    with pytest.raises(ConfigError, match="are larger than the network's input"):
        check_organs(manifest, settings_of(feed={"input_side": 256}, pretrain={"organs": {"bone": 1}}), DatasetPaths(tmp_path))


def test_organs_of_other_names_and_unnamed_structures_are_taken_by_their_numbers(tmp_path):
    check_numbers({"bone": 1, "liver": 2}, {"Os coxae": 1, "liver": 2}, DatasetPaths(tmp_path))
    check_numbers({"bone": 1}, {}, DatasetPaths(tmp_path))


def test_labels_that_no_case_has_are_refused_and_a_missing_organ_is_not():
    manifest = manifest_with(1, 2)
    check_labels(manifest.cases, ((1,), (6,)), "pretrain.organs")
    with pytest.raises(
        ConfigError, match=r"target_labels asks for label 3, 4, the 3 cases to train on have label 1, 2; set target"
    ):
        check_labels(manifest.cases, ((4, 3),), "target_labels")


@pytest.fixture
def records():
    return tuple(make_record(f"c{one:02d}", f"p{one}") for one in range(12))


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
