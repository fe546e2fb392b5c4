import base64
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from hipseg.cli.report import command
from hipseg.config import dump_settings
from hipseg.errors import ReportError
from hipseg.ingest.nifti import write_volume
from hipseg.launch.graph import Job
from hipseg.launch.state import Record, StudyState, write_state
from hipseg.runs import StudyPaths
from hipseg.score.overlap import count
from hipseg.shards.reader import open_reader

from ..learn.builders import pack_discs, small_settings
from ..report.results import write_fold
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
    run = write_fold(
        root / "results", "unet", fold, {case: count(truth, answer)}, train=train, patients=patients, folds=len(CASES)
    )
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
    assert re.search(r"No pictures: .*gone.*; name the packed data with --shards", text)


def test_pictures_can_be_left_out(study):
    assert report(study.root, "--pictures", 0).exit_code == 0
    text, cases = read_page(study)
    assert cases == []
    assert "Pictures were not asked for." in text


def test_a_folder_without_results_is_refused(tmp_path):
    ended = report(tmp_path)
    assert isinstance(ended.exception, ReportError)
    assert not (tmp_path / "report.html").exists()
