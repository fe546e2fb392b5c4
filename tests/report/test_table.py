from hipseg import __version__
from hipseg.report.collect import Collection, collect
from hipseg.report.table import DEFINITION, TextRow, compare, put_in_words
from hipseg.runs import StudyPaths
from hipseg.score.overlap import Counts

from .results import write_fold, write_results

HALF = ("0.500", "0.500")


def test_a_row_in_words_is_rounded_to_three_decimals(comparison):
    assert put_in_words(comparison.rows[0]) == TextRow(
        study="[18]",
        method="U-Net",
        arm="unet",
        metrics=(HALF, ("0.444", "0.509"), ("0.900", "0.115"), HALF, HALF, HALF),
        loss="0.500",
        folds="2/2",
        cases="4",
        undefined="1",
        background_accuracy=("0.800", "0.163"),
        dice_over_folds=("0.375", "0.530"),
    )


def test_what_is_not_defined_is_said_so(tmp_path):
    for fold in (0, 1):
        write_fold(tmp_path, "unet", fold, {f"c{fold}": Counts(0, 0, 0, 10)}, val_loss=None)
    row = put_in_words(compare(collect(StudyPaths(tmp_path))).rows[0])
    assert row.metrics[0] == ("n/a", "n/a")
    assert (row.loss, row.undefined, row.dice_over_folds) == ("n/a", "2", ("n/a", "n/a"))


def test_whole_results_have_no_stamp_and_partial_ones_name_what_is_left_out(tmp_path):
    write_results(tmp_path)
    arms = collect(StudyPaths(tmp_path)).arms
    assert compare(Collection(arms)).stamp is None
    assert compare(Collection(arms, ("fold 1 of arm a is missing", "b"))).stamp == "PARTIAL: fold 1 of arm a is missing; b"


def test_the_definition_names_unit_averaging_empties_grid_and_program():
    for words in ("one whole CT volume", "original grid", "mean ± sample SD", "both empty", "undefined", f"hipseg {__version__}"):
        assert words in DEFINITION
