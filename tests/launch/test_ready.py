import dataclasses
import json
import os
import socket
import time
from pathlib import Path

import pytest

from hipseg.config import StudySettings, dump_settings, load_settings, repeat_settings
from hipseg.errors import ConfigError, LaunchError, ShardError
from hipseg.fsio import digest_file
from hipseg.launch.graph import choose_part, plan_study
from hipseg.launch.ready import check_earlier, check_shards, find_done, has_splits, refuse_odd_paths
from hipseg.launch.state import Record, StudyState, read_state, write_state
from hipseg.runs import DatasetPaths, StudyPaths


@pytest.fixture
def settings(tmp_path):
    pretrain = {"shards": tmp_path / "organs"}
    return StudySettings.model_validate(
        {"shards": tmp_path / "shards", "results": tmp_path / "results", "folds": 2, "pretrain": pretrain}
    )


def change(settings, *overrides):
    file = settings.results.parent / "study.yaml"
    file.write_text(dump_settings(settings))
    return load_settings(file, overrides)


def pack(folder):
    folder.mkdir()
    DatasetPaths(folder).manifest.write_text("{}")


def finish(run, settings):
    run.root.mkdir(parents=True)
    run.settings.write_text(dump_settings(settings))
    run.summary.write_text("{}")


def plan(settings):
    paths = StudyPaths(settings.results)
    return paths, plan_study(settings, paths.settings, choose_part(settings), has_splits=True)


def test_a_study_needs_packed_scans(settings):
    with pytest.raises(
        LaunchError, match=r"no packed scans at .*/shards \(no manifest.json\); pack them with `hipseg-pack DATA -o"
    ):
        check_shards(settings, choose_part(settings))


def test_a_transfer_arm_needs_pretraining_scans_or_is_left_out(settings):
    pack(settings.shards)
    with pytest.raises(LaunchError, match=r"pretrain modified-unet-tl at .*/organs .*--arm unet --arm modified-unet$"):
        check_shards(settings, choose_part(settings))
    part = choose_part(settings, ("unet", "modified-unet"))
    assert check_shards(settings, part) == {"shards": digest_file(settings.shards / "manifest.json")}


def test_scans_that_are_packed_are_known_by_their_manifests(settings):
    pack(settings.shards)
    pack(settings.pretrain.shards)
    assert sorted(check_shards(settings, choose_part(settings))) == ["pretraining shards", "shards"]


def test_a_pretraining_run_that_is_complete_needs_no_scans(settings):
    pack(settings.shards)
    finish(StudyPaths(settings.results).pretraining, settings)
    assert list(check_shards(settings, choose_part(settings))) == ["shards"]


def test_folds_are_dealt_once_there_is_a_file_of_them(settings):
    pack(settings.shards)
    assert not has_splits(settings)
    DatasetPaths(settings.shards).splits.write_text(json.dumps([{}, {}]))
    assert has_splits(settings)


def test_another_number_of_folds_is_refused_with_both_numbers(settings):
    pack(settings.shards)
    DatasetPaths(settings.shards).splits.write_text(json.dumps([{}, {}, {}]))
    with pytest.raises(
        ConfigError, match=r"into 3 folds, the study asks for 2; submit with --folds 3, or deal anew with `hipseg split "
    ):
        has_splits(settings)


def test_splits_of_another_form_are_refused(settings):
    pack(settings.shards)
    DatasetPaths(settings.shards).splits.write_text("{}")
    with pytest.raises(ShardError, match="are a dict; a list with one entry a fold is needed"):
        has_splits(settings)


def test_complete_runs_are_done_and_partial_ones_are_not(settings):
    paths, jobs = plan(settings)
    finish(paths.fold("unet", 1), settings)
    finish(paths.pretraining, settings)
    paths.fold("unet", 0).root.mkdir()
    assert find_done(paths, settings, jobs) == {"train unet fold 1", "pretraining"}


@pytest.mark.parametrize(
    "free", ["train.threads=7", "pretrain.train.threads=7", "shards=elsewhere", "pretrain.shards=there", "arms.unet.study=X"]
)
def test_paths_threads_and_words_do_not_make_a_run_another(settings, free):
    paths, jobs = plan(settings)
    for run in (paths.fold("unet", 0), paths.fold("modified-unet-tl", 0), paths.pretraining):
        finish(run, settings)
    expected = {"train unet fold 0", "train modified-unet-tl fold 0", "pretraining"}
    assert find_done(paths, change(settings, free), jobs) == expected


@pytest.mark.parametrize(
    ("override", "arm", "message"),
    [
        ("train.epochs=5", "unet", "train.epochs was 100, is now 5"),
        ("feed.window_hu=[0, 500]", "unet", r"feed.window_hu was \[-200.0, 1000.0\], is now \[0.0, 500.0\]"),
        ("networks.unet.base_filters=8", "unet", "networks.unet.base_filters was 64, is now 8"),
        ("target_labels=[1, 2]", "unet", r"target_labels was \[1\], is now \[1, 2\]"),
        ("arms.unet.network=modified-unet", "unet", "arms.unet.network was .unet., is now .modified-unet."),
        ("pretrain.train.epochs=5", "modified-unet-tl", "pretrain.train.epochs was 100, is now 5"),
        ("pretrain.organs={bone: 1}", None, "pretrain.organs.bladder was 2, is now not set"),
    ],
)
def test_a_run_made_with_other_settings_is_never_taken_or_overwritten(settings, override, arm, message):
    paths, jobs = plan(settings)
    finish(paths.fold(arm, 0) if arm else paths.pretraining, settings)
    with pytest.raises(LaunchError, match=rf"is complete but was made with other settings: .*{message}; choose another"):
        find_done(paths, change(settings, override), jobs)


def test_an_unfinished_run_goes_on_only_with_its_own_settings(settings):
    paths, jobs = plan(settings)
    run = paths.fold("unet", 0)
    finish(run, settings)
    run.summary.unlink()
    run.checkpoints.mkdir()
    run.checkpoint("last").write_text("weights")
    assert find_done(paths, settings, jobs) == frozenset()
    with pytest.raises(LaunchError, match=r"is unfinished and was begun with other settings: train.epochs was 100, is now 5"):
        find_done(paths, change(settings, "train.epochs=5"), jobs)
    run.checkpoint("last").unlink()
    assert find_done(paths, change(settings, "train.epochs=5"), jobs) == frozenset()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("split_digest", "on other folds than are there now: their digest was old and is now new"),
        ("data_digest", "on other packed data than are there now: their digest was old and is now new"),
    ],
)
def test_a_run_of_other_folds_or_data_is_never_taken(settings, key, message):
    paths, jobs = plan(settings)
    run = paths.fold("unet", 0)
    finish(run, settings)
    run.provenance.write_text(json.dumps({key: "old"}))
    assert find_done(paths, settings, jobs, {key: "old"}) == {"train unet fold 0"}
    assert find_done(paths, settings, jobs) == {"train unet fold 0"}
    with pytest.raises(LaunchError, match=rf"unet/fold_0 is complete but was made {message}; choose another folder"):
        find_done(paths, settings, jobs, {key: "new"})
    run.summary.unlink()
    run.checkpoints.mkdir()
    run.checkpoint("last").write_text("weights")
    with pytest.raises(LaunchError, match=rf"is unfinished and was begun {message}"):
        find_done(paths, settings, jobs, {key: "new"})


def test_the_pretraining_has_data_and_a_side_of_its_own(settings):
    paths, jobs = plan(settings)
    finish(paths.pretraining, settings)
    paths.pretraining.provenance.write_text(json.dumps({"split_digest": "its own", "data_digest": "its own"}))
    assert find_done(paths, settings, jobs, {"split_digest": "new", "data_digest": "new"}) == {"pretraining"}


def test_what_fine_tuning_holds_fixed_is_no_matter_of_the_pretraining_run(settings):
    paths, jobs = plan(settings)
    finish(paths.pretraining, settings)
    assert find_done(paths, change(settings, "pretrain.freeze=[down1]"), jobs) == {"pretraining"}


def fine_tune(paths, settings, fold, digest):
    run = paths.fold("modified-unet-tl", fold)
    finish(run, settings)
    run.transfer.write_text(json.dumps({"source_digest": digest}))


def test_a_run_that_started_from_another_pretraining_is_found_out(settings):
    paths, jobs = plan(settings)
    finish(paths.pretraining, settings)
    paths.pretraining.summary.write_text(json.dumps({"model_digest": "new"}))
    fine_tune(paths, settings, 0, "new")
    assert find_done(paths, settings, jobs) == {"pretraining", "train modified-unet-tl fold 0"}
    fine_tune(paths, settings, 1, "old")
    with pytest.raises(LaunchError, match=r"fold 1 started from another pretraining than .*trained anew since"):
        find_done(paths, settings, jobs)


def test_a_pretraining_that_is_gone_is_missed_only_by_runs_that_are_left_to_do(settings):
    paths, jobs = plan(settings)
    fine_tune(paths, settings, 0, "old")
    with pytest.raises(LaunchError, match=r"fold 0 started from a pretraining that is no longer in .*, and others need one"):
        find_done(paths, settings, jobs)
    fine_tune(paths, settings, 1, "old")
    assert find_done(paths, settings, jobs) == {"pretraining", "train modified-unet-tl fold 0", "train modified-unet-tl fold 1"}


def test_scans_that_a_job_packs_need_not_be_there(settings):
    assert check_shards(settings, choose_part(settings, ("unet",)), packs_first=True) == {}


def test_a_folder_that_may_not_be_entered_is_named(closed):
    places = {"shards": closed / "shards", "results": closed / "results"}
    settings = StudySettings.model_validate({**places, "folds": 2, "pretrain": {"shards": closed / "organs"}})
    paths, jobs = plan(settings)
    checks = [
        ("shards/manifest.json", lambda: check_shards(settings, choose_part(settings))),
        ("shards/splits_final.json", lambda: has_splits(settings)),
        ("results/pretraining", lambda: find_done(paths, settings, jobs)),
        ("results/study.json", lambda: check_earlier(paths, {}, frozenset())),
    ]
    for file, check in checks:
        with pytest.raises(
            ConfigError,
            match=rf"cannot look (at|into) .*/closed/{file}: Permission denied; (name a folder that you may|ask its owner)",
        ):
            check()


def test_a_line_break_in_a_path_is_refused(settings):
    refuse_odd_paths({"scans": settings.shards})
    with pytest.raises(ConfigError, match=r"path of the scans holds a line break .*; rename it"):
        refuse_odd_paths({"scans": Path("a\nb")})


def test_a_line_break_above_the_working_folder_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "a\nb" / "study"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError, match=r"the path of the scans holds a line break .*a\\nb/study/shards'; rename it"):
        refuse_odd_paths({"scans": Path("shards")})


def test_a_folder_that_commands_would_take_for_an_option_is_refused():
    with pytest.raises(ConfigError, match=r"the path of the results, '-x', begins with a dash, .*; rename it"):
        refuse_odd_paths({"results": Path("-x")})
    refuse_odd_paths({"results": Path("/a/-x"), "scans": Path("a-b")})


@pytest.mark.parametrize("other", ["networks.unet.base_filters=8", "pretrain.train.epochs=5"])
def test_settings_of_other_arms_are_free(settings, other):
    paths, jobs = plan(settings)
    finish(paths.fold("modified-unet", 0), settings)
    assert find_done(paths, change(settings, other), jobs) == {"train modified-unet fold 0"}


def remember(paths, record, manifests, pid=None):
    state = StudyState((record,), socket.gethostname(), 1, time.time(), manifests)
    paths.root.mkdir(parents=True, exist_ok=True)
    write_state(paths, state)


def test_data_packed_anew_does_not_mix_with_runs_that_are_done(settings):
    paths, jobs = plan(settings)
    remember(paths, Record(jobs[1], "done"), {"shards": "old"})
    check_earlier(paths, {"shards": "old"}, frozenset({"a run"}))
    check_earlier(paths, {"shards": "new"}, frozenset())
    with pytest.raises(LaunchError, match=r"the shards have been packed anew since .*, and 1 of its runs are done"):
        check_earlier(paths, {"shards": "new"}, frozenset({"a run"}))


def test_a_job_of_a_machine_that_may_be_gone_is_no_dead_end(settings):
    paths, jobs = plan(settings)
    remember(paths, Record(jobs[1], "running", pid=7, started_s=time.time()), {})
    write_state(paths, dataclasses.replace(read_state(paths), host="elsewhere"))
    with pytest.raises(LaunchError, match=r"process 7 on elsewhere.*or delete .*study\.json if nothing runs there any more"):
        check_earlier(paths, {}, frozenset())


def test_a_job_that_outlived_its_study_is_not_started_twice(settings):
    paths, jobs = plan(settings)
    remember(paths, Record(jobs[1], "running", pid=os.getpid(), started_s=time.time()), {})
    said = rf"{jobs[1].name} of an earlier submit still runs \(process {os.getpid()} on .*stop it with `hipseg cancel .*results`"
    with pytest.raises(LaunchError, match=said):
        check_earlier(paths, {}, frozenset())


def test_a_job_whose_process_is_gone_is_free_to_start(settings):
    paths, jobs = plan(settings)
    remember(paths, Record(jobs[1], "running", pid=os.getpid(), started_s=0.0), {})
    check_earlier(paths, {}, frozenset())


def test_without_an_earlier_study_there_is_nothing_to_hold_against(settings):
    check_earlier(StudyPaths(settings.results), {}, frozenset({"a run"}))


def test_a_repeat_is_held_against_the_settings_with_its_own_seed(settings):
    paths = StudyPaths(settings.results)
    jobs = plan_study(settings, paths.settings, choose_part(settings, ("unet",), (0,), 2), has_splits=True)
    finish(paths.fold("unet", 0, 1), repeat_settings(settings, 1))
    assert find_done(paths, settings, jobs) == {"train unet fold 0 repeat 1"}
    finish(paths.fold("unet", 0), repeat_settings(settings, 1))
    with pytest.raises(LaunchError, match=r"other settings: train\.seed"):
        find_done(paths, settings, jobs)
