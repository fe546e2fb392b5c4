import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hipseg.errors import ConfigError, ShardError
from hipseg.runs import DatasetPaths
from hipseg.splits import Split, choose_fold, digest_splits, read_splits, say_whose_folds, split_patients, write_splits
from tests.shards.builders import make_manifest, make_record

TEN = tuple(make_record(f"c{number}", f"p{number // 2}") for number in range(10))


def test_what_a_publisher_keeps_for_testing_is_in_no_fold():
    kept = [dataclasses.replace(one, subset="test") for one in TEN[:4]]
    named = [dataclasses.replace(one, subset="train") for one in TEN[4:]]
    splits = split_patients((*kept, *named), folds=3, seed=0)
    assert {case for split in splits for case in split.train + split.val} == {one.case for one in TEN[4:]}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=30), st.integers(2, 5), st.integers(0, 1000))
def test_every_case_is_validated_once_and_no_patient_is_on_both_sides(patients, folds, seed):
    records = [make_record(f"c{number:02d}", f"p{patient}") for number, patient in enumerate(patients)]
    if len(set(patients)) < folds:
        with pytest.raises(ConfigError):
            split_patients(records, folds, seed)
        return
    splits = split_patients(records, folds, seed)
    patient_of = {one.case: one.patient for one in records}
    assert len(splits) == folds
    assert sorted(case for split in splits for case in split.val) == sorted(patient_of)
    for split in splits:
        assert sorted(split.train + split.val) == sorted(patient_of)
        assert not {patient_of[case] for case in split.train} & {patient_of[case] for case in split.val}
    sizes = [len({patient_of[case] for case in split.val}) for split in splits]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("seed", "validated"),
    [
        (0, [[2], [0], [1], [3], [4]]),
        (0, [[1, 2, 6], [0, 3], [4, 5]]),
        (12345, [[3, 4, 6], [0, 1], [2, 5]]),
        (0, [[1, 8, 11, 13, 20], [6, 10, 14, 18], [2, 4, 5, 19], [7, 9, 16, 17], [0, 3, 12, 15]]),
        (2**32 - 1, [[1, 4, 14, 18, 20], [5, 8, 13, 17], [11, 15, 16, 19], [0, 6, 9, 10], [2, 3, 7, 12]]),
    ],
)
def test_folds_are_those_that_scikit_learn_deals(seed, validated):
    """By its KFold(folds, shuffle=True, random_state=seed) of release 1.9.1, over patients in the order of their images."""
    everyone = [number for fold in validated for number in fold]
    cases = [make_record(f"c{number}", f"p{number}") for number in everyone]
    in_order = [one.case for one in sorted(cases, key=lambda one: one.image_digest)]
    expected = [{in_order[number] for number in fold} for fold in validated]
    splits = split_patients(cases, len(validated), seed)
    assert [set(one.val) for one in splits] == expected
    assert [set(one.train) for one in splits] == [set(in_order) - fold for fold in expected]


def test_the_same_seed_gives_the_same_folds_whatever_the_order_of_the_cases():
    assert split_patients(TEN, 5, seed=3) == split_patients(TEN[::-1], 5, seed=3)
    assert split_patients(TEN, 5, seed=3) != split_patients(TEN, 5, seed=4)


def test_another_salt_leaves_every_image_in_its_fold():
    rekeyed = [make_record(f"c{(number * 7) % 10 + 50}", f"p{9 - number // 2}", image=f"c{number}") for number in range(10)]

    def images_of(records):
        image_of = {one.case: one.image_digest for one in records}
        return [{image_of[case] for case in split.val} for split in split_patients(records, 5, seed=0)]

    assert images_of(rekeyed) == images_of(TEN)


def test_cases_without_mask_are_left_out():
    splits = split_patients([*TEN, make_record("c99", "p99", has_mask=False)], 5, seed=0)
    assert all("c99" not in split.train + split.val for split in splits)


def test_patients_who_share_an_image_stay_together():
    # p0 and p7 share an image, p7 and p8 another: all three are one patient, so five patients remain of seven.
    twins = [make_record("c70", "p7", image="c0"), make_record("c71", "p7"), make_record("c80", "p8", image="c71")]
    together = {"c0", "c1", "c70", "c71", "c80"}
    splits = split_patients([*TEN, *twins], 5, seed=0)
    assert [split for split in splits if together <= set(split.val)]
    with pytest.raises(ConfigError, match="5 patients with a mask into 6"):
        split_patients([*TEN, *twins], 6, seed=0)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (TEN[:2], "cannot split 1 patient with a mask into 3 folds: at least 2 are needed; pack scans with masks of more"),
        ((make_record("a", "p", has_mask=False),), "none of the 1 packed cases has a mask; pack the scans together with"),
        ((make_record("a", "p", subset="test"),), "has a mask, but for 1 that their publisher keeps for testing; pack"),
    ],
)
def test_too_few_patients_are_told_with_what_helps(records, message):
    with pytest.raises(ConfigError, match=message):
        split_patients(records, 3, seed=0)


@pytest.mark.parametrize(("folds", "message"), [(6, "cannot split 5 patients .* into 6 folds; choose fewer"), (1, "at least 2")])
def test_impossible_numbers_of_folds_are_refused(folds, message):
    with pytest.raises(ConfigError, match=message):
        split_patients(TEN, folds, seed=0)


def test_the_file_has_nnunets_form_and_reads_back(tmp_path):
    paths, splits = DatasetPaths(tmp_path), split_patients(TEN, 5, seed=0)
    write_splits(paths, splits)
    value = json.loads((tmp_path / "splits_final.json").read_text())
    assert value == [{"train": list(split.train), "val": list(split.val)} for split in splits]
    assert read_splits(paths, make_manifest(*TEN)) == splits


def test_digest_tells_folds_apart():
    assert digest_splits(split_patients(TEN, 5, seed=0)) == digest_splits(split_patients(TEN, 5, seed=0))
    assert digest_splits(split_patients(TEN, 5, seed=0)) != digest_splits(split_patients(TEN, 4, seed=0))


def test_missing_splits_name_the_command_that_writes_them(tmp_path):
    with pytest.raises(ShardError, match=r"no splits at .*; write them with `hipseg split"):
        read_splits(DatasetPaths(tmp_path), make_manifest(*TEN))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "damaged"),
        ([{"train": ["c0"]}], r"damaged: 0\.val"),
        ([{"train": ["c0"], "val": []}], r"damaged: 0\.val"),
        ([{"train": [], "val": ["c0"]}], r"damaged: 0\.train"),
        ([], "case c0 has a mask and is validated in no fold"),
        ([{"train": ["c0"], "val": ["c77"]}], "case c77 of fold 0 is not packed"),
        ([{"train": ["c0"], "val": ["c4"]}, {"train": ["c2"], "val": ["c90"]}], "case c90 of fold 1 has no mask"),
        ([{"train": ["c0", "c92"], "val": ["c4"]}], "case c92 of fold 0 is kept for testing by its publisher"),
        ([{"train": ["c0"], "val": ["c92"]}], "case c92 of fold 0 is kept for testing by its publisher"),
        ([{"train": ["c0", "c1", "c0"], "val": ["c4"]}], "case c0 is named more than once in fold 0"),
        ([{"train": ["c0", "c4"], "val": ["c4"]}], "patient p2 is on both sides of fold 0"),
        ([{"train": ["c0"], "val": ["c4", "c4"]}], "case c4 is named more than once in fold 0"),
        ([{"train": ["c0", "c2"], "val": ["c1"]}], "patient p0 is on both sides of fold 0"),
        ([{"train": ["c0"], "val": ["c91"]}], "one image is on both sides of fold 0"),
        ([{"train": ["c0"], "val": ["c4"]}, {"train": ["c0"], "val": ["c4"]}], "case c4 is validated more than once"),
    ],
)
def test_wrong_splits_are_refused(tmp_path, value, message):
    kept = dataclasses.replace(make_record("c92", "p92"), subset="test")
    manifest = make_manifest(*TEN, make_record("c90", "p90", has_mask=False), make_record("c91", "p91", image="c0"), kept)
    (tmp_path / "splits_final.json").write_text(json.dumps(value))
    cure = rf"deal all cases anew with `hipseg split {tmp_path}( --folds 2)? --overwrite`$"
    with pytest.raises(ShardError, match=f"{message}.*; {cure}"):
        read_splits(DatasetPaths(tmp_path), manifest)


def test_splits_that_are_no_json_name_the_command_that_writes_others(tmp_path):
    (tmp_path / "splits_final.json").write_text("[{]")
    with pytest.raises(
        ShardError, match=rf"cannot read splits .*; deal all cases anew with `hipseg split {tmp_path} --overwrite`$"
    ):
        read_splits(DatasetPaths(tmp_path), make_manifest(*TEN))


def test_cases_packed_after_the_folds_were_dealt_are_not_left_out_silently(tmp_path):
    paths = DatasetPaths(tmp_path)
    write_splits(paths, split_patients(TEN, 5, seed=0))
    later = (make_record("c95", "p95"), make_record("c96", "p95"), make_record("c97", "p97", has_mask=False))
    with pytest.raises(ShardError, match=r"case c95 .* in no fold \(2 such cases\), by .*--folds 5 --overwrite"):
        read_splits(paths, make_manifest(*TEN, *later))


def test_a_fold_is_chosen_by_its_number():
    splits = (Split(("a",), ("b",)), Split(("b",), ("a",)))
    assert choose_fold(splits, 1) is splits[1]


@pytest.mark.parametrize("fold", [-1, 2, 7])
def test_fold_7_of_2_is_refused(fold):
    with pytest.raises(ConfigError, match=f"no fold {fold}: there are 2 folds, 0 to 1"):
        choose_fold((Split(("a",), ("b",)), Split(("b",), ("a",))), fold)


def test_a_record_changed_after_splitting_is_noticed(tmp_path):
    paths = DatasetPaths(tmp_path)
    write_splits(paths, split_patients(TEN, 5, seed=0))
    one_patient = make_manifest(*(dataclasses.replace(one, patient="p") for one in TEN))
    with pytest.raises(ShardError, match="patient p is on both sides"):
        read_splits(paths, one_patient)


def test_folds_that_are_not_those_of_the_seed_are_said_to_win_with_the_command_for_the_others(tmp_path):
    paths, manifest = DatasetPaths(tmp_path), make_manifest(*TEN)
    splits = split_patients(TEN, 2, 7)
    assert say_whose_folds(paths, manifest, splits, 7) == ()
    (said,) = say_whose_folds(paths, manifest, splits, 8)
    assert f"the folds are those of {paths.splits}, not those that split_seed 8 would deal, which is not used" in said
    assert f"`hipseg split {tmp_path} --folds 2 --seed 8 --overwrite`" in said


def test_a_single_fold_of_another_program_is_no_seeds(tmp_path):
    split = Split(tuple(one.case for one in TEN[:8]), tuple(one.case for one in TEN[8:]))
    assert len(say_whose_folds(DatasetPaths(tmp_path), make_manifest(*TEN), (split,), 0)) == 1
