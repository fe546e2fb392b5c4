"""What the page says was checked, chosen and drawn."""

from hipseg.report.audit import audit_row
from hipseg.report.collect import Collection, collect
from hipseg.report.compose import describe_checks
from hipseg.report.published import parse_published
from hipseg.runs import StudyPaths

from .results import PERFECT, write_fold, write_pretraining, write_results


def audit(text):
    return [audit_row(row) for row in parse_published(text, "the table")]


def say_checks(root, text="arm,dice,iou\nunet,0.8,0.7\n"):
    return "\n".join(describe_checks(collect(StudyPaths(root)), audit(text)))


def test_before_the_first_fold_nothing_was_checked():
    assert describe_checks(Collection(()), ()) == ("No fold is complete: nothing was checked yet.",)


def test_with_pretraining_patients_and_images_were_compared(tmp_path):
    write_results(tmp_path)
    assert "No patient and no image that a fold validates was among those of the pretraining" in say_checks(tmp_path)


def test_without_pretraining_no_comparison_with_it_is_claimed(tmp_path):
    for fold in (0, 1):
        write_fold(tmp_path, "unet", fold, PERFECT[fold])
    said = say_checks(tmp_path)
    assert "there was no pretraining to hold against the folds" in said
    assert "No patient and no image is on both sides of a fold." in said
    assert "was among those of the pretraining" not in said


def test_under_another_salt_only_images_were_compared(tmp_path):
    write_results(tmp_path)
    write_pretraining(tmp_path, salt_id="other")
    said = say_checks(tmp_path)
    assert "No image that a fold validates was among those of the pretraining" in said
    assert "No patient and no image that" not in said
    assert "whether a patient was, by another image, cannot be told" in said


def test_distances_are_not_said_to_be_computed_anew(tmp_path):
    write_results(tmp_path)
    said = say_checks(tmp_path)
    assert "overlap scores and volumes were computed anew" in said
    assert "distances were held against the range that they can have" in said


def test_rows_that_cannot_be_are_named_with_their_arithmetic(tmp_path):
    write_results(tmp_path)
    # A mean IoU is never above the mean Dice.
    said = say_checks(tmp_path, "arm,dice,iou\nright,0.8,0.7\nwrong,0.5,0.9\n")
    assert "The table's own rows (2), audited in full precision" in said
    assert "1 possible, 1 doubtful" in said
    assert "\nwrong: cannot be; " in said
    assert "right: " not in said


def test_rows_without_two_scores_are_not_called_possible(tmp_path):
    write_results(tmp_path)
    said = say_checks(tmp_path, "arm,dice,iou\nboth,0.8,0.7\nalone,0.5,\nnone,,\n")
    assert "1 possible, 0 doubtful, 2 with fewer than two scores to hold against each other." in said
