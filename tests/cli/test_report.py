import base64
import csv
import json
import re
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from hipseg.cli.report import command
from hipseg.config import dump_settings
from hipseg.errors import ReportError
from hipseg.ingest.nifti import write_volume
from hipseg.launch.graph import Job
from hipseg.launch.progress import Progress, StudyProgress
from hipseg.launch.state import Record, StudyState, write_state
from hipseg.runs import StudyPaths
from hipseg.score.overlap import count
from hipseg.shards.reader import open_reader

from ..learn.builders import pack_discs, small_settings
from ..report.results import forbid, write_fold
from ..report.test_curves import HEADING, epoch

CASES = ("c0", "c1", "c2")


def report(*arguments):
    return CliRunner().invoke(command, [str(one) for one in arguments])


def read_page(paths):
    text = paths.report.read_text(encoding="utf-8")
    (data,) = re.findall(r'id="case-data">(.*?)</script>', text, re.DOTALL) or ["[]"]
    return text, json.loads(data)


def read_truth(dataset, record):
    with open_reader(dataset, record) as reader:
        return np.stack([reader.read_labels(z) == 1 for z in range(reader.grid.shape_zyx[0])])


def write_run(root, fold, case, dataset, manifest):
    """One fold that validates one case: the first is predicted right, the others one voxel aside."""
    settings = small_settings(root)
    record = manifest.record(case)
    truth = read_truth(dataset, record)
    answer = np.roll(truth, 1 if fold else 0, axis=2)
    train = [other for other in CASES if other != case]
    patients = {one: f"p{one[1:]}" for one in CASES}
    facts = {"folds": len(CASES), "data_digest": manifest.data_digest}
    run = write_fold(root / "results", "unet", fold, {case: count(truth, answer)}, train=train, patients=patients, **facts)
    run.predictions.mkdir()
    write_volume(run.prediction(case), answer.astype(np.uint8), record.grid)
    run.settings.write_text(dump_settings(settings))
    run.provenance.write_text(
        json.dumps({"commit": "0123abc", "ranks": 2, "started": "2026-11-22T10:00:00+00:00", "resumed": []})
    )
    run.history.write_text("\n".join([HEADING, epoch(1, 0.5), epoch(2, 0.25), ""]))


@pytest.fixture
def study(tmp_path):
    """A study of one arm on three folds of one case each."""
    dataset, manifest = pack_discs(tmp_path / "shards", len(CASES))
    for fold, case in enumerate(CASES):
        write_run(tmp_path, fold, case, dataset, manifest)
    return StudyPaths(tmp_path / "results")


def test_a_whole_study_has_table_figures_and_pictures(study):
    ended = report(study.root)
    assert ended.exit_code == 0, ended.output
    text, cases = read_page(study)
    for name in ("learning-curves", "dice", "volumes", "examples"):
        for form in ("png", "svg"):
            assert (study.figures / f"{name}.{form}").stat().st_size > 1000
        assert base64.b64encode((study.figures / f"{name}.svg").read_bytes()).decode() in text
    # The case that was predicted right comes last.
    assert cases[-1]["case"] == "c0"
    assert {one["case"] for one in cases} == set(CASES)
    for one in cases:
        assert all((slice["truth"] == slice["answers"]["unet"]) == (one["case"] == "c0") for slice in one["slices"])
    assert "fold 0 of arm unet" in text
    assert "3 scores of 3 cases of 3 patients from 3 folds" in text
    assert "0123abc" in text
    assert str(study.root.parent) not in text


def test_a_study_before_its_first_complete_fold_has_a_page(study):
    for fold in range(len(CASES)):
        study.fold("unet", fold).summary.unlink()
    job = Job("train unet fold 0", ("train",), arm="unet", fold=0)
    write_state(study, StudyState((Record(job, "failed", error="out of memory"),), "elsewhere", 1, 0.0))
    ended = report(study.root)
    assert ended.exit_code == 0, ended.output
    text, cases = read_page(study)
    assert cases == []
    assert "No fold is complete yet." in text
    assert "out of memory" in text
    assert (study.figures / "learning-curves.svg").is_file()
    assert not (study.figures / "dice.svg").exists()


def test_the_job_that_writes_the_page_does_not_stand_on_it_as_running_for_ever(study):
    jobs = (Job("aggregate", ("aggregate",)), Job("report", ("report",), ("aggregate",)))
    records = (Record(jobs[0], "done"), Record(jobs[1], "running", pid=1, started_s=0.0))
    write_state(study, StudyState(records, "elsewhere", 1, 0.0))
    assert report(study.root, "--pictures", 0).exit_code == 0
    state = read_page(study)[0].partition('id="state"')[2].partition("</section>")[0]
    assert re.findall(r'<th scope="row">(.*?)</th><td>(.*?)</td>', state) == [("aggregate", "done")]


def test_a_running_study_is_stamped_with_what_is_missing(study):
    study.fold("unet", 2).summary.unlink()
    assert report(study.root).exit_code == 0
    text, cases = read_page(study)
    assert "PARTIAL: fold 2 of arm unet is partial" in text
    assert {one["case"] for one in cases} == {"c0", "c1"}


def test_without_the_packed_data_the_page_says_why_it_has_no_pictures(study, tmp_path):
    assert report(study.root, "--shards", tmp_path / "gone").exit_code == 0
    text, cases = read_page(study)
    assert cases == []
    assert re.search(r"No pictures: .*manifest.*; name the packed data with --shards", text)
    assert str(tmp_path) not in text


def test_other_packed_data_than_was_scored_gives_no_pictures_and_the_page_says_why(study, tmp_path):
    """As after masks were mended and packed anew: the scores are of the masks of before."""
    _, other = pack_discs(tmp_path / "mended", len(CASES), first=1)
    scored = json.loads(study.fold("unet", 0).summary.read_text())["hipseg"]["data_digest"]
    ended = report(study.root, "--shards", tmp_path / "mended")
    assert ended.exit_code == 0, ended.output
    text, cases = read_page(study)
    assert cases == []
    assert f"No pictures: the packed data ({other.data_digest[:12]}) is not what was scored ({scored[:12]})" in text
    assert not (study.figures / "examples.svg").exists()


def test_where_the_packed_data_lay_is_not_told(study, tmp_path):
    """The settings name a folder whose name has blanks, commas and quotes, and which is gone."""
    for fold in range(len(CASES)):
        settings = small_settings(tmp_path, shards=tmp_path / "Doe, Jane's scans: 2" / "shards")
        study.fold("unet", fold).settings.write_text(dump_settings(settings))
    assert report(study.root).exit_code == 0
    text, _ = read_page(study)
    assert "No pictures: no manifest of a packed data set at manifest.json" in text
    assert "Doe" not in text


def test_pictures_can_be_left_out(study):
    assert report(study.root, "--pictures", 0).exit_code == 0
    text, cases = read_page(study)
    assert cases == []
    assert "Pictures were not asked for." in text


def test_a_page_that_would_be_too_large_shows_fewer_slices_and_says_so(study, monkeypatch):
    assert report(study.root).exit_code == 0
    before, cases = read_page(study)
    assert "Shown are" not in before
    limit = len(before.encode()) - sum(len(one["slices"][0]["image"]) for one in cases)
    monkeypatch.setattr("hipseg.cli.report.BYTES_A_MEGABYTE", limit)
    assert report(study.root, "--megabytes", 1).exit_code == 0
    after, fewer = read_page(study)
    assert len(after.encode()) <= limit
    assert {one["case"] for one in fewer} == {one["case"] for one in cases}
    shown, wanted = (sum(len(one["slices"]) for one in some) for some in (fewer, cases))
    assert f"Shown are {shown} of {wanted} slices" in after


def test_a_folder_without_results_is_refused(tmp_path):
    ended = report(tmp_path)
    assert isinstance(ended.exception, ReportError)
    assert not (tmp_path / "report.html").exists()


def spoil(path, text="{"):
    path.write_text(text)
    return path


def test_runs_with_other_seeds_are_no_folds_of_the_curves(study):
    shutil.copytree(study.fold("unet", 0).root, study.fold("unet", 0, 1).root)
    assert report(study.root).exit_code == 0
    assert "unet (3 folds)" in (study.figures / "learning-curves.svg").read_text()


def test_a_fold_that_may_not_be_read_is_named_and_the_others_are_shown(study, monkeypatch):
    forbid(monkeypatch, study.fold("unet", 1).root)
    ended = report(study.root)
    assert ended.exit_code == 0, ended.output
    text, cases = read_page(study)
    assert {one["case"] for one in cases} == {"c0", "c2"}
    assert "PARTIAL: fold 1 of arm unet is damaged (cannot look into unet/fold_1: Permission denied" in text
    assert '<th scope="row">fold 1 of arm unet</th><td>cannot look into unet/fold_1: Permission denied' in text
    assert "history at unet/fold_1/history.csv is damaged (PermissionError" in text
    assert str(study.root) not in text


def test_a_damaged_history_is_named_and_the_other_folds_are_drawn(study):
    spoil(study.fold("unet", 1).history, "\n".join([HEADING, epoch("nan", 0.5), ""]))
    ended = report(study.root)
    assert ended.exit_code == 0, ended.output
    assert "unet (2 folds)" in (study.figures / "learning-curves.svg").read_text()
    text, cases = read_page(study)
    assert "history at unet/fold_1/history.csv is damaged" in text
    assert len(cases) == 3


@pytest.mark.parametrize("spoiled", [None, "", "[]"])
def test_a_record_that_cannot_be_read_is_counted_and_the_others_stand(study, spoiled):
    study.fold("unet", 1).provenance.unlink()
    if spoiled is not None:
        spoil(study.fold("unet", 1).provenance, spoiled)
    ended = report(study.root, "--pictures", 0)
    assert ended.exit_code == 0, ended.output
    text, _ = read_page(study)
    assert "2 of 3" in text.split("Runs whose record can be read")[1][:30]


def test_without_any_record_the_provenance_is_unknown(study):
    for fold in range(len(CASES)):
        study.fold("unet", fold).provenance.unlink()
    assert report(study.root, "--pictures", 0).exit_code == 0
    assert "<dt>Begun</dt><dd>unknown</dd>" in read_page(study)[0]


def test_damaged_settings_leave_the_page_without_pictures_and_say_so(study):
    spoil(study.fold("unet", 0).settings, "[train")
    ended = report(study.root)
    assert ended.exit_code == 0, ended.output
    text, cases = read_page(study)
    assert cases == []
    assert "No pictures: " in text
    assert "--shards" not in text
    assert str(study.root) not in text


def test_a_damaged_summary_or_study_leaves_the_state_to_the_folders(study):
    job = Job("train unet fold 1", ("train",), arm="unet", fold=1)
    write_state(study, StudyState((Record(job, "done"),), "elsewhere", 1, 0.0))
    spoil(study.fold("unet", 1).summary)
    ended = report(study.root)
    assert ended.exit_code == 0, ended.output
    text, cases = read_page(study)
    assert "<td>done</td><td>cannot read summary at unet/fold_1/summary.json" in text
    assert {one["case"] for one in cases} == {"c0", "c2"}
    assert str(study.root) not in text


def test_where_no_fold_can_be_read_the_page_still_has_state_and_curves(study):
    for fold in range(len(CASES)):
        spoil(study.fold("unet", fold).summary)
    ended = report(study.root)
    assert ended.exit_code == 0, ended.output
    assert "no complete fold" in ended.output
    text, _ = read_page(study)
    assert re.search(r'class="stamp"><strong>No table: no complete fold in results: fold 0 of arm unet is damaged', text)
    assert '<th scope="row">fold 2 of arm unet</th><td>done</td>' in text
    assert (study.figures / "learning-curves.svg").is_file()


def test_a_cluster_that_could_not_be_asked_is_told_of(study, monkeypatch):
    job = Job("train unet fold 0", ("train",), arm="unet", fold=0)
    write_state(study, StudyState((Record(job, "done"),), "elsewhere", 1, 0.0))
    blind = StudyProgress((Progress(Record(job, "done"), "done"),), "squeue does not answer")
    monkeypatch.setattr("hipseg.cli.report.read_progress", lambda paths, state: blind)
    assert report(study.root).exit_code == 0
    assert "squeue does not answer; this is what the study&#39;s own files say" in read_page(study)[0]


def test_a_missing_prediction_takes_the_pictures_of_its_own_case_only(study):
    study.fold("unet", 1).prediction("c1").unlink()
    ended = report(study.root)
    assert ended.exit_code == 0, ended.output
    text, cases = read_page(study)
    assert {one["case"] for one in cases} == {"c0", "c2"}
    assert "No pictures of case c1 (prediction of case c1 is missing: no unet/fold_1/predictions/c1" in text
    assert "--shards" not in text
    assert (study.figures / "examples.svg").is_file()


def test_figures_that_are_not_drawn_any_more_are_taken_away(study):
    assert report(study.root).exit_code == 0
    assert report(study.root, "--pictures", 0).exit_code == 0
    assert sorted(path.stem for path in study.figures.glob("*.svg")) == ["dice", "learning-curves", "volumes"]
    assert not (study.figures / "examples.png").exists()


def test_the_line_of_a_failed_job_tells_nothing_of_the_machine(study):
    job = Job("train unet fold 2", ("train",), arm="unet", fold=2)
    error = f"no weights at {study.root}/unet/fold_2/last.h5 nor in /scratch/somebody/weights.h5"
    write_state(study, StudyState((Record(job, "failed", error=error),), "elsewhere", 1, 0.0))
    assert report(study.root).exit_code == 0
    assert "no weights at unet/fold_2/last.h5 nor in weights.h5" in read_page(study)[0]


def test_a_stamp_longer_than_a_field_of_csv_is_shown(study):
    arm = "x" * 200
    jobs = (Job(f"train {fold}", ("train",), arm=arm, fold=fold) for fold in range(csv.field_size_limit() // len(arm)))
    write_state(study, StudyState(tuple(Record(job, "queued") for job in jobs), "elsewhere", 1, 0.0))
    ended = report(study.root, "--pictures", 0)
    assert ended.exit_code == 0, ended.output
    assert f"PARTIAL: fold 0 of arm {arm} is missing" in read_page(study)[0]
