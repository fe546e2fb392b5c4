from pathlib import Path

import pytest

from hipseg.config import StudySettings, load_settings
from hipseg.errors import ConfigError
from hipseg.launch.graph import Job, Packing, Part, choose_part, give_ranks, in_order, plan_study, share_threads

FILE = Path("results/settings.yaml")
SETTINGS = StudySettings(folds=2, split_seed=7)
CONFIG = ("--config", "results/settings.yaml")


def names(jobs):
    return [job.name for job in jobs]


def test_a_whole_study_is_dealt_pretrained_trained_aggregated_and_reported_in_that_order():
    jobs = plan_study(SETTINGS, FILE, choose_part(SETTINGS), has_splits=False)
    trained = {
        arm: [Job(f"train {arm} fold {k}", ("train", *CONFIG, "--arm", arm, "--fold", str(k)), after, arm, k) for k in (0, 1)]
        for arm, after in (("unet", ("split",)), ("modified-unet-tl", ("split", "pretraining")), ("modified-unet", ("split",)))
    }
    runs = (*trained["unet"], *trained["modified-unet-tl"], *trained["modified-unet"])
    assert jobs == (
        Job("split", ("split", "shards", "--folds", "2", "--seed", "7")),
        Job("pretraining", ("pretrain", *CONFIG)),
        *runs,
        Job("aggregate", ("aggregate", "results"), tuple(run.name for run in runs)),
        Job("report", ("report", "results"), ("aggregate",)),
    )


def test_scans_are_packed_in_parts_joined_and_only_then_dealt():
    jobs = plan_study(SETTINGS, FILE, choose_part(SETTINGS, ("unet",)), has_splits=False, packing=Packing(Path("my scans"), 2))
    assert jobs[:4] == (
        Job("pack part 1", ("pack", "my scans", "-o", "shards", "--part", "1/2")),
        Job("pack part 2", ("pack", "my scans", "-o", "shards", "--part", "2/2")),
        Job("pack", ("pack", "--merge", "-o", "shards"), ("pack part 1", "pack part 2")),
        Job("split", ("split", "shards", "--folds", "2", "--seed", "7"), ("pack",)),
    )
    assert jobs[0].command == "hipseg pack 'my scans' -o shards --part 1/2"
    dealt = plan_study(SETTINGS, FILE, choose_part(SETTINGS, ("unet",)), has_splits=True, packing=Packing(Path("d"), 2))
    assert [job.after for job in dealt if job.arm] == [("pack",), ("pack",)]


def test_each_job_stands_behind_those_it_waits_for():
    jobs = plan_study(SETTINGS, FILE, choose_part(SETTINGS), has_splits=False)
    for place, job in enumerate(jobs):
        assert set(job.after) <= set(names(jobs[:place]))


def test_jobs_are_put_behind_those_they_wait_for_and_else_stay():
    jobs = [Job("b", ("x",), ("split", "gone")), Job("a", ("x",), ("split",)), Job("c", ("x",)), Job("split", ("x",), ("pack",))]
    jobs.append(Job("pack", ("x",)))
    assert names(in_order(jobs)) == ["pack", "split", "b", "a", "c"]
    assert in_order(in_order(jobs)) == in_order(jobs)


def test_folds_that_are_dealt_are_not_dealt_again():
    jobs = plan_study(SETTINGS, FILE, choose_part(SETTINGS), has_splits=True)
    assert "split" not in names(jobs)
    assert all("split" not in job.after for job in jobs)


def test_without_a_transfer_arm_there_is_no_pretraining():
    jobs = plan_study(SETTINGS, FILE, choose_part(SETTINGS, arms=("unet",)), has_splits=True)
    assert names(jobs) == ["train unet fold 0", "train unet fold 1", "aggregate", "report"]


def test_neither_table_nor_page_is_made_while_a_fold_is_left_out():
    jobs = plan_study(SETTINGS, FILE, choose_part(SETTINGS, folds=(1,)), has_splits=True)
    assert names(jobs) == [
        "pretraining",
        "train unet fold 1",
        "train modified-unet-tl fold 1",
        "train modified-unet fold 1",
    ]


def test_a_part_is_in_the_order_of_the_study_whatever_the_order_asked_for():
    assert choose_part(SETTINGS, ("modified-unet", "unet", "unet"), (1, 0, 1)) == Part(("unet", "modified-unet"), (0, 1))


@pytest.mark.parametrize("fold", [-1, 2, 7])
def test_a_fold_that_is_not_there_is_refused(fold):
    with pytest.raises(ConfigError, match=rf"no fold {fold} of 2; the folds are 0 to 1"):
        choose_part(SETTINGS, folds=(fold,))


def test_a_repeat_whose_seed_is_none_is_refused():
    settings = load_settings(None, ("train.seed=4294967294",))
    assert choose_part(settings, repeats=2).repeats == 2
    with pytest.raises(ConfigError, match=r"no repeat 2; .* here 4294967296, must be below 2\*\*32"):
        choose_part(settings, repeats=3)


def test_an_arm_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="no arm 'nnunet'; the arms are modified-unet, modified-unet-tl, unet"):
        choose_part(SETTINGS, arms=("nnunet",))


def test_ranks_do_the_runs_and_the_pretraining_only():
    jobs = plan_study(SETTINGS, FILE, choose_part(SETTINGS, ("modified-unet-tl",)), has_splits=False)
    assert {job.name: job.ranks for job in give_ranks(jobs, 4)} == {
        "split": 1,
        "pretraining": 4,
        "train modified-unet-tl fold 0": 4,
        "train modified-unet-tl fold 1": 4,
        "aggregate": 1,
        "report": 1,
    }


@pytest.mark.parametrize(
    ("chosen", "pretraining", "run"),
    [
        ((), ("--set", "pretrain.train.threads=3"), ("--set", "train.threads=3")),
        (("train.threads=2",), ("--set", "pretrain.train.threads=3"), ()),
        (("pretrain.train.threads=2",), (), ("--set", "train.threads=3")),
    ],
)
def test_threads_go_to_the_runs_and_the_pretraining_unless_the_settings_say_how_many(chosen, pretraining, run):
    settings = load_settings(None, ("folds=2", *chosen))
    jobs = plan_study(settings, FILE, choose_part(settings, ("modified-unet-tl",)), has_splits=False)
    shared = share_threads(jobs, settings, 3)
    assert {new.name: new.arguments[len(old.arguments) :] for old, new in zip(jobs, shared, strict=True)} == {
        "split": (),
        "pretraining": pretraining,
        "train modified-unet-tl fold 0": run,
        "train modified-unet-tl fold 1": run,
        "aggregate": (),
        "report": (),
    }


def test_a_repeated_study_runs_each_fold_with_each_seed():
    jobs = plan_study(SETTINGS, FILE, choose_part(SETTINGS, ("unet",), (0, 1), 2), has_splits=True)
    runs = [(job.name, job.repeat, job.arguments[-2:]) for job in jobs if job.arm]
    assert runs == [
        ("train unet fold 0", 0, ("--fold", "0")),
        ("train unet fold 1", 0, ("--fold", "1")),
        ("train unet fold 0 repeat 1", 1, ("--repeat", "1")),
        ("train unet fold 1 repeat 1", 1, ("--repeat", "1")),
    ]
