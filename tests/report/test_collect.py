import json
import shutil

import pytest

from hipseg.errors import ReportError
from hipseg.fsio import digest_file
from hipseg.report.collect import collect
from hipseg.runs import StudyPaths
from hipseg.score.overlap import Counts

from .results import PERFECT, POOR, write_fold, write_results


@pytest.fixture
def paths(tmp_path):
    write_results(tmp_path)
    return StudyPaths(tmp_path)


def change_summary(run, **facts):
    summary = json.loads(run.summary.read_text())
    summary["hipseg"].update(facts)
    run.summary.write_text(json.dumps(summary))


def test_every_fold_of_every_arm_is_found_in_the_order_of_the_thesis(paths):
    for fold in (0, 1):
        write_fold(paths.root, "another", fold, PERFECT[fold])
        write_fold(paths.root, "modified-unet", fold, PERFECT[fold])
    collection = collect(paths)
    assert [arm.arm for arm in collection.arms] == ["unet", "modified-unet-tl", "modified-unet", "another"]
    assert [[fold.fold for fold in arm.folds] for arm in collection.arms] == [[0, 1]] * 4
    assert [score.case for score in collection.arms[0].scores] == ["c0", "c1", "c2", "c3"]
    assert collection.gaps == ()


def test_the_facts_of_a_fold_come_from_its_summary(paths):
    fold = collect(paths).arms[0].folds[1]
    assert (fold.arm, fold.fold, fold.study, fold.method, fold.folds, fold.epochs) == ("unet", 1, "[18]", "U-Net", 2, 3)
    assert (fold.val_loss, fold.data_digest, fold.split_digest) == (0.75, "d" * 64, "e" * 64)


@pytest.mark.parametrize("allow_partial", [False, True])
def test_a_folder_without_results_is_refused(tmp_path, allow_partial):
    with pytest.raises(ReportError, match=f"no results at {tmp_path}/nowhere"):
        collect(StudyPaths(tmp_path / "nowhere"), allow_partial=allow_partial)
    with pytest.raises(ReportError, match=f"no fold of any arm in {tmp_path}"):
        collect(StudyPaths(tmp_path), allow_partial=allow_partial)


def make_partial(paths):
    paths.fold("unet", 1).summary.unlink()
    return "fold 1 of arm unet is partial (no summary.json)"


def make_missing(paths):
    shutil.rmtree(paths.fold("unet", 1).root)
    return "fold 1 of arm unet is missing"


def lose_a_line(paths):
    run = paths.fold("unet", 1)
    run.scores.write_text(run.scores.read_text().splitlines()[0] + "\n")
    return "fold 1 of arm unet is damaged (scores.jsonl is not the one that summary.json was made of)"


def lose_a_case(paths):
    write_fold(paths.root, "unet", 1, {"c2": POOR[1]["c2"]}, cases=2)
    return "fold 1 of arm unet is damaged (1 lines of scores for 2 cases)"


def score_nothing(paths):
    write_fold(paths.root, "unet", 1, {}, cases=0)
    return "fold 1 of arm unet is damaged (0 lines of scores for 0 cases)"


def copy_another_fold(paths):
    shutil.rmtree(paths.fold("unet", 1).root)
    shutil.copytree(paths.fold("unet", 0).root, paths.fold("unet", 1).root)
    return "fold 1 of arm unet is damaged (its folder holds results of fold 0 of arm unet)"


def lose_the_scores(paths):
    paths.fold("unet", 1).scores.unlink()
    return "fold 1 of arm unet is damaged ([Errno 2]"


def lose_the_facts(paths):
    paths.fold("unet", 1).summary.write_text('{"mean": {}}')
    return "fold 1 of arm unet is damaged (its summary has no part of hipseg's own)"


def lose_one_fact(paths):
    summary = json.loads(paths.fold("unet", 1).summary.read_text())
    del summary["hipseg"]["val_loss"]
    paths.fold("unet", 1).summary.write_text(json.dumps(summary))
    return "fold 1 of arm unet is damaged (its summary lacks val_loss)"


GAPS = [
    make_partial,
    make_missing,
    lose_a_line,
    lose_a_case,
    score_nothing,
    copy_another_fold,
    lose_the_scores,
    lose_the_facts,
    lose_one_fact,
]


@pytest.mark.parametrize("damage", GAPS)
def test_a_fold_that_is_not_whole_is_refused_by_name(paths, damage):
    words = damage(paths)
    with pytest.raises(ReportError) as caught:
        collect(paths)
    assert str(caught.value).startswith(words)
    assert "--allow-partial" in str(caught.value)


@pytest.mark.parametrize("damage", GAPS)
def test_what_is_not_whole_is_left_out_and_named_when_allowed(paths, damage):
    words = damage(paths)
    collection = collect(paths, allow_partial=True)
    assert [[fold.fold for fold in arm.folds] for arm in collection.arms] == [[0], [0, 1]]
    assert len(collection.gaps) == 1
    assert collection.gaps[0].startswith(words)


def test_a_case_scored_twice_in_a_fold_is_refused(paths):
    run = paths.fold("unet", 1)
    first = run.scores.read_text().splitlines()[0]
    run.scores.write_text(f"{first}\n{first}\n")
    change_summary(run, scores_digest=digest_file(run.scores))
    with pytest.raises(ReportError, match=r"fold 1 of arm unet is damaged \(case c2 is scored twice\)"):
        collect(paths)


def test_an_arm_that_was_planned_and_left_nothing_is_missing(paths):
    planned = [("unet", 0), ("unet", 1), ("modified-unet", 1), ("modified-unet", 0)]
    with pytest.raises(ReportError, match=r"^fold 0 of arm modified-unet is missing; fold 1 of arm modified-unet is missing; "):
        collect(paths, planned)
    assert len(collect(paths, planned, allow_partial=True).gaps) == 2
    assert collect(paths, planned[:2]).gaps == ()


def test_every_gap_is_named_at_once(paths):
    make_partial(paths)
    shutil.rmtree(paths.fold("modified-unet-tl", 0).root)
    with pytest.raises(ReportError, match=r"fold 1 of arm unet is partial .*; fold 0 of arm modified-unet-tl is missing; "):
        collect(paths)


def test_results_without_a_single_whole_fold_give_no_table(tmp_path):
    StudyPaths(tmp_path).fold("unet", 0).root.mkdir(parents=True)
    with pytest.raises(ReportError, match=r"no complete fold in .*fold 0 of arm unet is partial"):
        collect(StudyPaths(tmp_path), allow_partial=True)


@pytest.mark.parametrize("allow_partial", [False, True])
@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"data_digest": "f" * 64}, "fold 1 of arm unet and .* come of different packed data .f{12} and d{12}."),
        ({"split_digest": "f" * 64}, "fold 1 of arm unet and .* come of different splits"),
        ({"epochs": 4}, "fold 1 of arm unet and fold 0 of arm unet come of different numbers of epochs .4 and 3."),
    ],
)
def test_folds_that_do_not_belong_together_are_refused_even_when_partial_ones_are_allowed(paths, facts, message, allow_partial):
    change_summary(paths.fold("unet", 1), **facts)
    with pytest.raises(ReportError, match=message):
        collect(paths, allow_partial=allow_partial)


def test_a_case_scored_by_two_folds_is_refused(paths):
    write_fold(paths.root, "unet", 1, {"c1": Counts(1, 0, 0, 9), "c3": POOR[1]["c3"]})
    with pytest.raises(ReportError, match="case c1 is scored by fold 0 and fold 1 of arm unet"):
        collect(paths)


def test_arms_that_scored_other_cases_are_refused(paths):
    write_fold(paths.root, "unet", 1, {"c2": POOR[1]["c2"], "c9": POOR[1]["c3"]})
    with pytest.raises(
        ReportError, match="fold 1 scores 2 cases in arm unet and 2 in arm modified-unet-tl, 2 of them not in both"
    ):
        collect(paths)


def test_a_fold_beyond_the_splits_is_refused(paths):
    write_fold(paths.root, "unet", 2, {"c5": Counts(1, 0, 0, 9)})
    with pytest.raises(ReportError, match="fold 2 of arm unet is none of 2 folds"):
        collect(paths)


def test_folders_that_are_no_folds_are_passed_by(paths):
    (paths.root / "pretraining" / "fold_0").mkdir()
    (paths.jobs / "fold_0").mkdir(parents=True)
    (paths.root / "unet" / "fold_x").mkdir()
    (paths.root / "unet" / "fold_7").write_text("a file")
    assert [arm.arm for arm in collect(paths).arms] == ["unet", "modified-unet-tl"]
