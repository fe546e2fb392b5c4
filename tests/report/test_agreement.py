"""Folds that no table may hold side by side."""

import pytest

from hipseg.config import StudySettings, dump_settings
from hipseg.errors import ReportError
from hipseg.report.collect import collect
from hipseg.runs import StudyPaths
from hipseg.score.overlap import Counts

from .results import PERFECT, POOR, VERSIONS, write_fold, write_pretraining, write_results
from .test_collect import change_cases, change_summary


@pytest.fixture
def paths(tmp_path):
    write_results(tmp_path)
    return StudyPaths(tmp_path)


def refuse(paths, message):
    """Check that a table is refused, also where partial ones are allowed."""
    for allow_partial in (False, True):
        with pytest.raises(ReportError, match=message):
            collect(paths, allow_partial=allow_partial)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"data_digest": "f" * 64}, "fold 1 of arm unet and .* come of different packed data .f{12} and d{12}."),
        ({"split_digest": "f" * 64}, "fold 1 of arm unet and .* come of different splits .f{12} and e{12}."),
        ({"code_digest": "f" * 64}, "fold 1 of arm unet and .* come of different code .f{12} and c{12}."),
        (
            {"labels": [{"name": "hip", "numbers": [1, 2]}]},
            r"fold 1 of arm unet and .* come of different structures .hip \[1, 2\] and hip \[1\]",
        ),
        ({"epochs": 4}, "fold 1 of arm unet and fold 0 of arm unet come of different numbers of epochs .4 and 3."),
    ],
)
def test_an_edited_digest_or_fact_is_refused_by_name(paths, facts, message):
    change_summary(paths.fold("unet", 1), **facts)
    refuse(paths, message)


def test_folds_of_different_numbers_of_folds_are_refused(paths):
    change_summary(paths.fold("unet", 1), folds=3)
    with pytest.raises(ReportError, match=r"fold 1 of arm unet and .* come of different numbers of folds \(3 and 2\)"):
        collect(paths, allow_partial=True)


def test_folds_with_and_without_cleaning_are_refused(paths):
    write_fold(paths.root, "unet", 1, POOR[1], answers=("raw", "cleaned"))
    refuse(paths, 'fold 1 of arm unet and .* come of different cleaning .{"smallest_part_ml": 1.0} and null.')


def test_a_case_scored_by_two_folds_is_refused(tmp_path):
    write_fold(tmp_path, "unet", 0, POOR[0])
    write_fold(tmp_path, "unet", 1, {"c1": Counts(1, 0, 0, 9), "c3": POOR[1]["c3"]}, train=["c0", "c2"])
    refuse(StudyPaths(tmp_path), "case c1 is scored by fold 0 of arm unet and fold 1 of arm unet")


def test_a_swapped_split_is_refused(paths):
    """Fold 1 of one arm validated with what is fold 0 everywhere else, each whole in itself."""
    write_fold(paths.root, "unet", 1, POOR[0])
    refuse(paths, "fold 1 of arm modified-unet-tl scores 2 cases and fold 1 of arm unet 2, 4 of them not in both, c0 first")


def test_arms_that_scored_other_cases_are_refused(paths):
    write_fold(paths.root, "unet", 1, {"c2": POOR[1]["c2"], "c9": POOR[1]["c3"]}, train=["c0", "c1"])
    refuse(paths, "fold 1 of arm modified-unet-tl scores 2 cases and fold 1 of arm unet 2, 2 of them not in both, c3 first")


def test_a_fold_beyond_the_splits_is_refused(paths):
    write_fold(paths.root, "unet", 2, {"c5": Counts(1, 0, 0, 9)})
    refuse(paths, "fold 2 of arm unet is none of 2 folds")


def test_a_patient_on_both_sides_of_a_fold_is_refused(paths):
    change_cases(paths.fold("unet", 1), lambda value: value["train"][0].update(patient="pc2"))
    refuse(paths, "patient pc2 is on both sides of fold 1 of arm unet")


def test_an_image_on_both_sides_of_a_fold_is_refused(paths):
    change_cases(paths.fold("unet", 1), lambda value: value["train"][0].update(image_digest=f"{'c2':0>64}"))
    refuse(paths, "image 000000000000 is on both sides of fold 1 of arm unet")


@pytest.mark.parametrize("side", ["train", "val"])
def test_a_patient_of_the_test_that_pretraining_saw_is_refused(paths, side):
    write_pretraining(paths.root, **{side: ("x0", "c2")}, patients={})
    refuse(paths, "patient pc2 is validated by fold 1 of arm modified-unet-tl and was seen in pretraining")


def test_an_image_of_the_test_that_pretraining_saw_is_refused_whatever_its_patient_is_called(paths):
    write_pretraining(paths.root, train=("x0", "c2"), patients={"c2": "another key"}, salt_id="another salt")
    refuse(paths, "image 000000000000 is validated by fold 1 of arm modified-unet-tl and was seen in pretraining")


def test_keys_of_patients_under_another_salt_are_not_compared_and_that_is_told(paths):
    write_pretraining(paths.root, train=("x0",), patients={"x0": "pc2"}, salt_id="another salt")
    (warning,) = collect(paths).warnings
    assert "packed with another salt: its patients cannot be compared" in warning


def test_a_pretraining_that_is_not_the_one_is_refused(paths):
    write_pretraining(paths.root, model_digest="b" * 64)
    refuse(paths, "fold 0 of arm modified-unet-tl started from pretraining a{12}, and beside it in the results that one is b{12}")
    paths.pretraining.summary.unlink()
    refuse(paths, "fold 0 of arm modified-unet-tl started from pretraining a{12}, and beside it in the results there is none")


def test_arms_without_transfer_need_no_pretraining(tmp_path):
    for fold in (0, 1):
        write_fold(tmp_path, "unet", fold, PERFECT[fold])
    assert collect(StudyPaths(tmp_path)).warnings == ()


def test_other_versions_of_a_library_are_told(paths):
    change_summary(paths.fold("unet", 1), versions=VERSIONS | {"numpy": "1.0"})
    assert collect(paths).warnings == (
        "folds were made with different versions of numpy: 2.4.6 in fold 0 of arm unet, 1.0 in fold 1 of arm unet",
    )


def test_arms_of_different_numbers_of_epochs_are_told(paths):
    for fold in (0, 1):
        change_summary(paths.fold("unet", fold), epochs=7)
    assert collect(paths).warnings == ("arms were trained for different numbers of epochs: unet 7, modified-unet-tl 3",)


def give_arms(paths, **settings):
    """Write arms of two folds, each trained with settings of its own."""
    for place, (arm, values) in enumerate(settings.items()):
        for fold in (0, 1):
            run = write_fold(paths.root, arm, fold, POOR[fold], settings_digest=f"{place}" * 64)
            run.settings.write_text(dump_settings(StudySettings.model_validate(values)))
    return collect(paths).warnings


def test_arms_trained_with_other_settings_are_told_by_the_settings(tmp_path):
    mine = {"train": {"learning_rate": 0.1, "threshold": 0.2, "seed": 5}, "feed": {"window_hu": [0, 100]}}
    (warning,) = give_arms(StudyPaths(tmp_path), **{"unet": {}, "modified-unet": mine})
    assert warning == (
        "arms were trained with different settings: feed.window_hu unet [-200.0, 1000.0], modified-unet [0.0, 100.0]; "
        "train.learning_rate unet 0.001, modified-unet 0.1; train.seed unet 0, modified-unet 5; "
        "train.threshold unet 0.5, modified-unet 0.2"
    )


def test_what_arms_are_meant_to_differ_in_is_no_warning(tmp_path):
    arms = {"unet": {}, "modified-unet": {}, "modified-unet-tl": {"pretrain": {"freeze": ["enc"]}}}
    write_pretraining(tmp_path)
    assert give_arms(StudyPaths(tmp_path), **arms) == ()


def test_two_arms_of_one_network_of_different_widths_are_told(tmp_path):
    write_pretraining(tmp_path)
    wide = {"networks": {"modified_unet": {"decoder_filters": [200, 100, 90, 80, 70, 60, 50]}}}
    (warning,) = give_arms(StudyPaths(tmp_path), **{"modified-unet": {}, "modified-unet-tl": wide})
    assert warning.startswith(
        "arms were trained with different settings: networks.modified_unet.decoder_filters modified-unet-tl [200, "
    )


def test_settings_that_cannot_be_read_leave_the_table_and_are_told(tmp_path):
    paths = StudyPaths(tmp_path)
    give_arms(paths, **{"unet": {}, "modified-unet": {}})
    paths.fold("unet", 0).settings.unlink()
    assert collect(paths).warnings == (
        "the settings of arm unet cannot be read: whether it was trained as the other arms cannot be told",
    )


def give_settings(paths, digests, **train):
    """Write other settings into fold 1 of `unet`."""
    settings = StudySettings()
    changed = settings.model_copy(update={"train": settings.train.model_copy(update=train)})
    for (fold, repeat), digest in digests.items():
        run = paths.fold("unet", fold, repeat)
        change_summary(run, settings_digest=digest)
        run.settings.write_text(dump_settings(changed if digest != "f" * 64 else settings))


def test_folds_of_an_arm_with_other_settings_are_refused_by_the_setting(paths):
    give_settings(paths, {(0, 0): "f" * 64, (1, 0): "0" * 64}, learning_rate=0.5)
    refuse(
        paths,
        "fold 0 of arm unet and fold 1 of arm unet were trained with other settings: train.learning_rate was .*, is now 0.5",
    )


def test_settings_that_do_not_decide_the_weights_may_differ(paths):
    give_settings(paths, {(0, 0): "f" * 64, (1, 0): "0" * 64})
    assert len(collect(paths).arms) == 2


def test_repeats_differ_in_the_seed_and_in_nothing_else(paths):
    for fold in (0, 1):
        write_fold(paths.root, "unet", fold, POOR[fold], repeat=1)
    digests = {(fold, repeat): str(repeat) * 64 if repeat else "f" * 64 for fold in (0, 1) for repeat in (0, 1)}
    give_settings(paths, digests, seed=8)
    assert len(collect(paths).arms[0].repeats) == 2
    give_settings(paths, digests, seed=8, learning_rate=0.5)
    refuse(paths, "fold 0 of arm unet and fold 0 of arm unet, repeat 1 were trained with other settings: train.learning_rate")


def test_folds_of_one_repeat_have_one_seed(paths):
    give_settings(paths, {(0, 0): "f" * 64, (1, 0): "0" * 64}, seed=8)
    refuse(paths, "were trained with other settings: train.seed")


def test_folds_of_a_later_repeat_have_one_seed_too(paths):
    for fold, seed in ((0, 8), (1, 99)):
        write_fold(paths.root, "unet", fold, POOR[fold], repeat=1, seed=seed)
    refuse(paths, r"fold 1 of arm unet, repeat 1 and fold 0 of arm unet, repeat 1 come of different seeds \(99 and 8\)")


def test_settings_of_a_later_repeat_have_one_seed_too(paths):
    for fold, seed in ((0, 8), (1, 99)):
        write_fold(paths.root, "unet", fold, POOR[fold], repeat=1)
        give_settings(paths, {(fold, 0): "f" * 64, (fold, 1): str(fold) * 64}, seed=seed)
    refuse(
        paths,
        r"fold 0 of arm unet, repeat 1 and fold 1 of arm unet, repeat 1 were trained with other settings: "
        r"train\.seed was 8, is now 99",
    )


def test_a_repeat_with_the_seed_of_another_is_refused(paths):
    for fold in (0, 1):
        write_fold(paths.root, "unet", fold, POOR[fold], repeat=1, seed=7)
    refuse(paths, "fold 0 of arm unet and fold 0 of arm unet, repeat 1 were trained with one seed, 7")


def test_settings_that_cannot_be_read_are_refused(paths):
    change_summary(paths.fold("unet", 1), settings_digest="0" * 64)
    refuse(paths, "cannot use the settings of fold 0 of arm unet: .*; train the fold again")
