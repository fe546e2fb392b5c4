"""What a pretraining leaves behind: a model with an output an organ, scores of the held-out cases, a summary."""

import json

import keras
import numpy as np
import pytest

from hipseg.errors import ConfigError
from hipseg.fsio import digest_file
from hipseg.learn.course import run_course
from hipseg.learn.history import best_row, read_history
from hipseg.learn.prediction import compile_inference, predict_slices
from hipseg.learn.pretraining import prepare_pretraining
from hipseg.learn.provenance import digest_code
from hipseg.organs import finish_pretraining
from hipseg.runs import StudyPaths
from hipseg.score.masks import measure_masks
from hipseg.score.record import read_scores
from hipseg.shards.reader import open_reader
from tests.learn.builders import disc_case, pack_discs, quiet_session, small_settings


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A pretraining of two organs on two of three patients; its course and session."""
    root = tmp_path_factory.mktemp("pretraining")
    pack_discs(root / "organs", 3)
    course, session = prepare_pretraining(small_settings(root)), quiet_session()
    finish_pretraining(course, run_course(course, session), session.console)
    return course, session


def test_a_model_with_an_output_an_organ_and_a_summary_are_left(pretrained):
    course, session = pretrained
    paths = StudyPaths(course.settings.results).pretraining
    summary, history = json.loads(paths.summary.read_text()), read_history(paths.history)
    assert keras.saving.load_model(paths.model).output_shape == (None, 256, 256, 2)
    assert summary["network"] == "modified-unet"
    assert summary["model_digest"] == digest_file(paths.model)
    assert (len(summary["cases"]["train"]), len(summary["cases"]["val"])) == (2, 1)
    assert summary["cases_digest"] == digest_file(paths.cases)
    listed = json.loads(paths.cases.read_text())
    assert {side: [one["case"] for one in listed[side]] for side in ("train", "val")} == summary["cases"]
    assert summary["code_digests"] == [digest_code()]
    assert summary["best_epoch"] == best_row(history).epoch
    with pytest.raises(ConfigError, match="pretraining is complete already"):
        run_course(course, session)


def test_each_organ_of_each_held_out_case_has_a_line_scored_on_the_grid_of_the_case(pretrained):
    course, session = pretrained
    scores = read_scores(course.paths.scores)
    assert [(one.case, one.label) for one in scores] == [
        (case, organ) for case in course.split.val for organ in ("bright", "dark")
    ]
    assert {(one.arm, one.fold, one.repeat, one.answer) for one in scores} == {("pretraining", 0, 0, "raw")}
    for one in scores:
        record = course.manifest.record(one.case)
        output = ("bright", "dark").index(one.label)
        with open_reader(course.dataset, record) as reader:
            answers = predict_slices(compile_inference(course.model, course.settings.feed), reader, course.settings.feed, 4)
            prediction = np.stack([probabilities[output] >= 0.5 for _, probabilities in answers])
        truth = disc_case(int(one.case[1:]))[1] == {"bright": 1, "dark": 2}[one.label]
        measured = measure_masks(truth, prediction, record.grid.spacing_mm_zyx)
        # NaN, where nothing is found, equals nothing but its own text.
        assert (one.counts, str(one.distances)) == (measured.counts, str(measured.distances))
        assert (one.patient, one.image_digest) == (record.patient, record.image_digest)
        assert f"pretraining, case {one.case}: {one.label} dice" in session.console.file.getvalue()


def test_the_summary_averages_each_organ_over_its_cases(pretrained):
    course, _ = pretrained
    summary, scores = json.loads(course.paths.summary.read_text()), read_scores(course.paths.scores)
    assert summary["scores_digest"] == digest_file(course.paths.scores)
    assert {name: organ["label"] for name, organ in summary["organs"].items()} == {"bright": 1, "dark": 2}
    for one in scores:  # one case is held out, so that the mean is its own
        organ = summary["organs"][one.label]
        assert (organ["dice"], organ["cases_with_dice"]) == (one.dice, 1)
        assert (organ["tp"], organ["fp"], organ["fn"]) == (one.counts.tp, one.counts.fp, one.counts.fn)
