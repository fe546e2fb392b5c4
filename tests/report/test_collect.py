import json
import math
import shutil

import pytest

from hipseg.errors import ReportError
from hipseg.fsio import digest_file
from hipseg.report.collect import collect, find_folds
from hipseg.runs import StudyPaths
from hipseg.score.overlap import Counts

from .results import PERFECT, POOR, forbid, write_fold, write_pretraining, write_results


@pytest.fixture
def paths(tmp_path):
    write_results(tmp_path)
    return StudyPaths(tmp_path)


def change_summary(run, **facts):
    summary = json.loads(run.summary.read_text())
    summary["hipseg"].update(facts)
    run.summary.write_text(json.dumps(summary))


def change_cases(run, change):
    """Change cases.json and what the summary says of it."""
    value = json.loads(run.cases.read_text())
    change(value)
    run.cases.write_text(json.dumps(value))
    change_summary(run, cases_digest=digest_file(run.cases))


def test_every_fold_of_every_arm_is_found_in_the_order_of_the_thesis(paths):
    for fold in (0, 1):
        write_fold(paths.root, "another", fold, PERFECT[fold])
        write_fold(paths.root, "modified-unet", fold, PERFECT[fold])
    collection = collect(paths)
    assert [arm.arm for arm in collection.arms] == ["unet", "modified-unet-tl", "modified-unet", "another"]
    assert [[fold.fold for fold in arm.folds] for arm in collection.arms] == [[0, 1]] * 4
    assert [score.case for score in collection.arms[0].scores] == ["c0", "c1", "c2", "c3"]
    assert collection.gaps == ()


def test_runs_are_found_in_the_order_of_the_table_complete_or_not(tmp_path):
    for arm in ("a", "modified-unet", "unet"):
        for place in ("fold_1", "fold_0", "repeat_1/fold_0"):
            (tmp_path / arm / place).mkdir(parents=True)
    of_arm = [(0, 0), (0, 1), (1, 0)]
    assert find_folds(StudyPaths(tmp_path)) == [(arm, *run) for arm in ("unet", "modified-unet", "a") for run in of_arm]


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


def edit_a_line(paths):
    run = paths.fold("unet", 1)
    run.scores.write_text(run.scores.read_text().replace('"pc2"', '"pc2" '))
    return "fold 1 of arm unet is damaged (scores.jsonl is not the one that summary.json was made of)"


def lose_a_line(paths):
    run = paths.fold("unet", 1)
    run.scores.write_text(run.scores.read_text().splitlines()[0] + "\n")
    return "fold 1 of arm unet is damaged (case c3 is not scored (hip, raw), 1 of 2 lines are missing)"


def double_a_line(paths):
    run = paths.fold("unet", 1)
    first, second = run.scores.read_text().splitlines()
    run.scores.write_text(f"{first}\n{second}\n{first}\n")
    return "fold 1 of arm unet is damaged (case c2 is scored twice (hip, raw))"


def add_a_case(paths):
    write_fold(paths.root, "unet", 1, {**POOR[1], "c9": POOR[1]["c3"]})
    change_cases(paths.fold("unet", 1), lambda value: value["val"].pop())
    return "fold 1 of arm unet is damaged (case c9 is scored (hip, raw) and is not of its validation side)"


def exchange_a_patient(paths):
    change_cases(paths.fold("unet", 1), lambda value: value["val"][0].update(patient="somebody else"))
    return "fold 1 of arm unet is damaged (its scores name other patients or images than its validation side)"


def exchange_an_image(paths):
    change_cases(paths.fold("unet", 1), lambda value: value["val"][0].update(image_digest="0" * 64))
    return "fold 1 of arm unet is damaged (its scores name other patients or images than its validation side)"


def exchange_two_patients(paths):
    def swap(value):
        first, second = value["val"]
        for name in ("patient", "image_digest"):
            first[name], second[name] = second[name], first[name]

    change_cases(paths.fold("unet", 1), swap)
    return "fold 1 of arm unet is damaged (its scores name other patients or images than its validation side)"


def edit_the_cases(paths):
    cases = paths.fold("unet", 1).cases
    cases.write_text(cases.read_text() + " ")
    return "fold 1 of arm unet is damaged (cases.json is not the one that summary.json was made of)"


def lose_the_cases(paths):
    paths.fold("unet", 1).cases.unlink()
    return "fold 1 of arm unet is damaged (cannot read cases.json"


def score_nothing(paths):
    write_fold(paths.root, "unet", 1, {})
    return "fold 1 of arm unet is damaged (it has no case)"


def lose_the_cleaned_answer_of_a_case(paths):
    run = write_fold(paths.root, "unet", 1, POOR[1], answers=("raw", "cleaned"))
    lines = run.scores.read_text().splitlines()
    run.scores.write_text("\n".join(lines[:-1]) + "\n")
    return "fold 1 of arm unet is damaged (case c3 is not scored (hip, cleaned), 1 of 4 lines are missing)"


def copy_another_fold(paths):
    shutil.rmtree(paths.fold("unet", 1).root)
    shutil.copytree(paths.fold("unet", 0).root, paths.fold("unet", 1).root)
    return "fold 1 of arm unet is damaged (its folder holds results of fold 0 of arm unet)"


def lose_the_scores(paths):
    paths.fold("unet", 1).scores.unlink()
    return "fold 1 of arm unet is damaged (cannot read scores at unet/fold_1/scores.jsonl: No such file or directory; evaluate"


def lose_the_facts(paths):
    paths.fold("unet", 1).summary.write_text('{"mean": {}}')
    return "fold 1 of arm unet is damaged (its summary has no part of hipseg's own)"


def lose_one_fact(paths):
    summary = json.loads(paths.fold("unet", 1).summary.read_text())
    del summary["hipseg"]["val_loss"]
    paths.fold("unet", 1).summary.write_text(json.dumps(summary))
    return "fold 1 of arm unet is damaged (its summary lacks val_loss; `hipseg evaluate` writes it)"


def count_without_end(paths):
    run = paths.fold("unet", 1)
    run.scores.write_text(run.scores.read_text().replace('"tp": 0', '"tp": Infinity'))
    return "fold 1 of arm unet is damaged (line 1 of scores.jsonl: damaged line of scores (OverflowError); evaluate"


def count_less_than_nothing(paths):
    run = paths.fold("unet", 1)
    run.scores.write_text(run.scores.read_text().replace('"tp": 0', '"tp": -4'))
    return "fold 1 of arm unet is damaged (line 1 of scores.jsonl: damaged line of scores (impossible voxel counts Counts(tp=-4, "


def train_without_end(paths):
    change_summary(paths.fold("unet", 1), epochs=math.inf)
    return "fold 1 of arm unet is damaged (cannot convert float infinity to integer)"


def lose_the_loss(value):
    def damage(paths):
        change_summary(paths.fold("unet", 1), val_loss=value)
        shown = "no number" if isinstance(value, str) else value
        return f"fold 1 of arm unet is damaged (its val_loss is {shown}; a number from 0 on is needed, or null"

    return damage


def miscount_the_cases(value):
    def damage(paths):
        change_summary(paths.fold("unet", 1), cases=value)
        return "fold 1 of arm unet is damaged (its summary does not say that it has 2 cases, as its validation side has)"

    return damage


def be_dealt_into(folds):
    def damage(paths):
        change_summary(paths.fold("unet", 1), folds=folds)
        return f"fold 1 of arm unet is damaged (its summary says {folds} folds; between 1 and 10000 are possible)"

    return damage


def call_a_structure_what_a_terminal_obeys(paths):
    write_fold(paths.root, "unet", 1, POOR[1], structures=("\x1b[31m",), labels=[{"name": "\x1b[31m", "numbers": [1]}])
    return "fold 1 of arm unet is damaged (case c2 is not scored (?[31m, raw), 2 of 2 lines are missing)"


GAPS = [
    make_partial,
    make_missing,
    edit_a_line,
    lose_a_line,
    double_a_line,
    add_a_case,
    exchange_a_patient,
    exchange_an_image,
    exchange_two_patients,
    edit_the_cases,
    lose_the_cases,
    score_nothing,
    lose_the_cleaned_answer_of_a_case,
    copy_another_fold,
    lose_the_scores,
    lose_the_facts,
    lose_one_fact,
    count_without_end,
    count_less_than_nothing,
    train_without_end,
    *map(lose_the_loss, (math.inf, math.nan, -5, True, "0.1")),
    *map(miscount_the_cases, (3, None)),
    *map(be_dealt_into, (2_000_000_000, 0)),
    call_a_structure_what_a_terminal_obeys,
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


def test_a_fold_that_may_not_be_read_is_a_gap_like_others(paths, monkeypatch):
    forbid(monkeypatch, paths.fold("unet", 1).root)
    words = "fold 1 of arm unet is damaged (cannot look into unet/fold_1: Permission denied; ask its owner for leave to read it)"
    with pytest.raises(ReportError) as caught:
        collect(paths)
    assert str(caught.value).startswith(words)
    assert collect(paths, allow_partial=True).gaps == (words,)


def test_a_pretraining_that_may_not_be_read_is_refused_by_name(paths, monkeypatch):
    forbid(monkeypatch, paths.pretraining.root)
    with pytest.raises(ReportError, match=r"^the pretraining is damaged \(cannot look into .*pretraining: Permission denied"):
        collect(paths)


def test_an_arm_whose_folder_a_terminal_would_obey_is_refused(paths):
    for fold in (0, 1):
        write_fold(paths.root, "\x1b[31m", fold, POOR[fold])
    with pytest.raises(
        ReportError, match=r"^fold 0 of arm \?\[31m lies in a folder whose name a terminal would obey; .*plain name"
    ):
        collect(paths)
    (first, second) = collect(paths, allow_partial=True).gaps
    assert first.isprintable()
    assert second.isprintable()


def test_an_arm_that_was_planned_and_left_nothing_is_missing(paths):
    planned = [("unet", 0, 0), ("unet", 0, 1), ("modified-unet", 0, 1), ("modified-unet", 0, 0)]
    with pytest.raises(ReportError, match=r"^fold 0 of arm modified-unet is missing; fold 1 of arm modified-unet is missing; "):
        collect(paths, planned)
    with pytest.raises(
        ReportError, match=r"; to go on without modified-unet, take that out of `arms` in the settings and submit"
    ):
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


def test_repeats_of_an_arm_stand_apart_from_its_folds(paths):
    for fold in (0, 1):
        write_fold(paths.root, "unet", fold, POOR[fold], repeat=2)
    (unet, other) = collect(paths).arms
    assert [(fold.fold, fold.repeat) for fold in unet.folds] == [(0, 0), (1, 0)]
    assert [(fold.fold, fold.repeat, fold.title) for fold in unet.repeats] == [
        (0, 2, "fold 0 of arm unet, repeat 2"),
        (1, 2, "fold 1 of arm unet, repeat 2"),
    ]
    assert other.repeats == ()
    assert len(unet.scores) == 4


def test_a_repeat_must_have_every_fold_and_so_must_the_arm(paths):
    write_fold(paths.root, "unet", 0, POOR[0], repeat=1)
    with pytest.raises(ReportError, match=r"^fold 1 of arm unet, repeat 1 is missing; "):
        collect(paths)
    shutil.rmtree(paths.fold("unet", 0).root)
    shutil.rmtree(paths.fold("unet", 1).root)
    with pytest.raises(
        ReportError, match=r"^fold 0 of arm unet is missing; fold 1 of arm unet is missing; fold 1 of arm unet, re"
    ):
        collect(paths)
    assert [arm.arm for arm in collect(paths, allow_partial=True).arms] == ["modified-unet-tl"]


def test_a_damaged_pretraining_is_refused(paths):
    paths.pretraining.summary.write_text("{}")
    with pytest.raises(ReportError, match="the pretraining is damaged"):
        collect(paths)


def test_a_damaged_pretraining_that_no_fold_started_from_is_told_and_left_out(tmp_path):
    for fold in (0, 1):
        write_fold(tmp_path, "unet", fold, POOR[fold])
    write_pretraining(tmp_path, val=("x2", "x3"), organs=ORGANS).cases.write_text("[]")
    collection = collect(StudyPaths(tmp_path))
    assert collection.organs == ()
    assert collection.warnings == (
        "the pretraining is damaged (cases.json is not the one that summary.json was made of); run `hipseg pretrain` again",
    )


ORGANS = {"liver": (Counts(4, 0, 0, 6), Counts(1, 1, 1, 7)), "lungs": (Counts(2, 0, 0, 8), Counts(2, 0, 0, 8))}


def test_the_organs_of_the_pretraining_are_read_with_it(paths):
    write_pretraining(paths.root, val=("x2", "x3"), organs=ORGANS)
    lines = collect(paths).organs
    assert [(one.case, one.label) for one in lines] == [("x2", "liver"), ("x2", "lungs"), ("x3", "liver"), ("x3", "lungs")]
    write_pretraining(paths.root)
    assert collect(paths).organs == ()


@pytest.mark.parametrize("change", [lambda lines: lines[:-1], lambda lines: [*lines, lines[0]]])
def test_organs_that_are_not_scored_or_scored_twice_are_refused(paths, change):
    run = write_pretraining(paths.root, val=("x2", "x3"), organs=ORGANS)
    run.scores.write_text("".join(change(run.scores.read_text().splitlines(keepends=True))))
    with pytest.raises(ReportError, match=r"the pretraining is damaged \(scores.jsonl is not the one that summary.json"):
        collect(paths)
    summary = json.loads(run.summary.read_text())
    run.summary.write_text(json.dumps({**summary, "scores_digest": digest_file(run.scores)}))
    with pytest.raises(ReportError, match=r"scores.jsonl has not one line for each held-out case and organ"):
        collect(paths)


def test_a_line_of_an_organ_that_was_edited_is_refused(paths):
    run = write_pretraining(paths.root, val=("x2", "x3"), organs=ORGANS)
    run.scores.write_text(run.scores.read_text().replace('"dice": 0.5', '"dice": 0.6'))
    with pytest.raises(
        ReportError, match=r"the pretraining is damaged \(line 3 of scores.jsonl: dice of case x3 is 0.6, its counts give 0.5"
    ):
        collect(paths)


def test_folders_that_are_no_folds_are_passed_by(paths):
    (paths.root / "pretraining" / "fold_0").mkdir()
    (paths.jobs / "fold_0").mkdir(parents=True)
    (paths.root / "unet" / "fold_x").mkdir()
    (paths.root / "unet" / "repeat_x" / "fold_0").mkdir(parents=True)
    (paths.root / "unet" / "repeat_0" / "fold_0").mkdir(parents=True)
    (paths.root / "unet" / "fold_00").mkdir()
    (paths.root / "figures" / "fold_0").mkdir(parents=True)
    (paths.root / "unet" / "fold_7").write_text("a file")
    assert [arm.arm for arm in collect(paths).arms] == ["unet", "modified-unet-tl"]
