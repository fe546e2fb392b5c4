import dataclasses

from hipseg.config import StudySettings
from hipseg.launch.graph import choose_part, plan_study
from hipseg.launch.state import Record
from hipseg.launch.wanted import drop_unwanted
from hipseg.runs import StudyPaths

THREE = StudySettings(folds=3)


def records_of(settings, paths, *arms):
    return tuple(Record(job) for job in plan_study(settings, paths.settings, choose_part(settings, arms), has_splits=False))


def names(records):
    return {record.job.name for record in records}


def test_folds_that_the_settings_have_no_longer_and_that_never_began_are_dropped(tmp_path):
    paths = StudyPaths(tmp_path)
    before = records_of(StudySettings(folds=5), paths, "unet")
    kept, said = drop_unwanted(paths, THREE, before)
    assert names(before) - names(kept) == {"train unet fold 3", "train unet fold 4"}
    assert said == (
        "no longer of this study, since its settings are without it and it never began: train unet fold 3, train unet fold 4",
    )


def test_a_run_with_a_folder_and_one_in_the_queue_stay(tmp_path):
    paths = StudyPaths(tmp_path)
    before = records_of(StudySettings(folds=5), paths, "unet")
    paths.fold("unet", 3).root.mkdir(parents=True)
    assert drop_unwanted(paths, THREE, before, {"train unet fold 4"}) == (before, ())


def test_an_arm_that_was_renamed_is_dropped_and_with_the_last_that_has_transfer_the_pretraining(tmp_path):
    paths = StudyPaths(tmp_path)
    before = records_of(THREE, paths, "modified-unet-tl", "unet")
    renamed = THREE.model_copy(update={"arms": {"unet": THREE.arms["unet"], "ours": THREE.arms["modified-unet"]}})
    kept, said = drop_unwanted(paths, renamed, before)
    assert names(before) - names(kept) == {"pretraining", *(f"train modified-unet-tl fold {fold}" for fold in range(3))}
    assert said[0].endswith("never began: pretraining, " + ", ".join(f"train modified-unet-tl fold {fold}" for fold in range(3)))


def test_an_arm_of_the_settings_stays_whatever_was_asked_for_last(tmp_path):
    paths = StudyPaths(tmp_path)
    before = records_of(THREE, paths)
    assert drop_unwanted(paths, THREE, [dataclasses.replace(one, stage="not run") for one in before])[1] == ()


def test_of_many_the_first_are_named(tmp_path):
    paths = StudyPaths(tmp_path)
    _, (said,) = drop_unwanted(paths, THREE, records_of(StudySettings(folds=10), paths, "unet"))
    assert said.endswith("train unet fold 7 and 2 more")
