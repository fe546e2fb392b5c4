import json

import pytest
from click.testing import CliRunner

from hipseg.cli.aggregate import command
from hipseg.errors import ReportError
from hipseg.launch.graph import Job
from hipseg.launch.state import Record, StudyState, write_state
from hipseg.runs import StudyPaths

from ..report.results import write_results

FORMS = ("csv", "json", "md", "tex")


def aggregate(*arguments):
    return CliRunner().invoke(command, [str(one) for one in arguments])


def test_the_table_is_shown_and_written_in_every_form(tmp_path):
    write_results(tmp_path)
    ended = aggregate(tmp_path)
    assert ended.exit_code == 0
    assert "PARTIAL" not in ended.output
    paths = StudyPaths(tmp_path)
    for form in FORMS:
        assert str(paths.comparison(form)) in ended.output
        assert "0.444" in paths.comparison(form).read_text()
        assert "PARTIAL" not in paths.comparison(form).read_text()


def test_a_partial_fold_is_an_error_and_no_table_is_written(tmp_path):
    write_results(tmp_path)
    paths = StudyPaths(tmp_path)
    paths.fold("unet", 1).summary.unlink()
    ended = aggregate(tmp_path)
    assert isinstance(ended.exception, ReportError)
    assert ReportError.exit_code == 8
    assert "fold 1 of arm unet is partial" in str(ended.exception)
    assert not any(paths.comparison(form).exists() for form in FORMS)


def test_a_refusal_sets_the_table_of_before_aside(tmp_path):
    """It would stand there as if it held."""
    write_results(tmp_path)
    paths = StudyPaths(tmp_path)
    assert aggregate(tmp_path).exit_code == 0
    before, scores = paths.comparison("csv").read_text(), paths.fold("unet", 1).scores.read_text()
    paths.fold("unet", 1).scores.write_text("")
    ended = aggregate(tmp_path)
    assert isinstance(ended.exception, ReportError)
    assert str(ended.exception).endswith(f"; the table of before is set aside as {tmp_path}/comparison.*.stale")
    assert not any(paths.comparison(form).exists() for form in FORMS)
    assert paths.stale_comparison("csv").read_text() == before
    paths.fold("unet", 1).scores.write_text(scores)
    assert aggregate(tmp_path).exit_code == 0
    assert not any(paths.stale_comparison(form).exists() for form in FORMS)


def test_an_arm_that_was_submitted_and_never_begun_is_an_error(tmp_path):
    write_results(tmp_path)
    job = Job("train modified-unet fold 0", ("train",), arm="modified-unet", fold=0)
    write_state(StudyPaths(tmp_path), StudyState((Record(job, "not run"), Record(Job("split", ("split",)))), "here", 1, 0.0))
    ended = aggregate(tmp_path)
    assert isinstance(ended.exception, ReportError)
    assert "fold 0 of arm modified-unet is missing" in str(ended.exception)
    assert "PARTIAL: fold 0 of arm modified-unet is missing" in aggregate(tmp_path, "--allow-partial").output


def test_allowing_partial_folds_stamps_every_output(tmp_path):
    write_results(tmp_path)
    paths = StudyPaths(tmp_path)
    paths.fold("unet", 1).summary.unlink()
    ended = aggregate(tmp_path, "--allow-partial")
    assert ended.exit_code == 0
    stamp = "PARTIAL: fold 1 of arm unet is partial (no summary.json)"
    assert ended.output.startswith(stamp)
    for form in FORMS:
        assert stamp in paths.comparison(form).read_text()


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text('{"case": "c2", "patient": "pc2"')])
def test_no_form_tells_of_the_machine_its_users_or_a_line_of_the_scores(tmp_path, damage):
    paths = StudyPaths(tmp_path / "jane doe" / "results")
    write_results(paths.root)
    damage(paths.fold("unet", 1).scores)
    assert aggregate(paths.root, "--allow-partial").exit_code == 0
    for form in FORMS:
        text = paths.comparison(form).read_text()
        assert "PARTIAL: fold 1 of arm unet is damaged (" in text
        assert "jane" not in text
        assert "pc2" not in text


def test_every_form_holds_the_same_means(tmp_path):
    write_results(tmp_path)
    aggregate(tmp_path)
    paths = StudyPaths(tmp_path)
    value = json.loads(paths.comparison("json").read_text())["rows"][0]["over_cases"]["iou"]["mean"]
    assert f"{value:.3f} ± 0.509" in paths.comparison("md").read_text()
    assert rf"{value:.3f} $\pm$ 0.509" in paths.comparison("tex").read_text()
    assert f",{value!r}," in paths.comparison("csv").read_text()


def test_an_empty_folder_is_an_error(tmp_path):
    ended = aggregate(tmp_path)
    assert isinstance(ended.exception, ReportError)
    assert list(tmp_path.iterdir()) == []
