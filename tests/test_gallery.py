"""Pictures of packed cases: which slices, which part of them, and with which outlines."""

import numpy as np
import pytest

from hipseg.errors import ReportError
from hipseg.gallery import MARGIN_MM, Look, view_case
from hipseg.geometry import make_grid
from hipseg.ingest.nifti import write_volume
from hipseg.runs import DatasetPaths
from tests.shards.builders import pack_arrays

GRID = make_grid((12, 80, 100), (3.0, 1.0, 0.5), (0.0, 0.0, 0.0), np.eye(3))
LOOK = Look(window_hu=(-200.0, 1000.0), target_labels=(1, 2), slices=3)


@pytest.fixture
def packed(tmp_path):
    """A case whose mask has labels 1 and 2 on slices 4 to 8 and label 3, which is not wanted, everywhere."""
    image = np.full(GRID.shape_zyx, 400, np.int16)
    labels = np.full(GRID.shape_zyx, 3, np.uint8)
    labels[4:9, 40:44, 50:56] = 1
    labels[4:9, 44:46, 50:56] = 2
    dataset = DatasetPaths(tmp_path / "shards")
    return dataset, pack_arrays(dataset, "c1", "p1", image, labels, GRID)


def predict(folder, place):
    answer = np.zeros(GRID.shape_zyx, np.uint8)
    answer[place] = 1
    write_volume(folder / "answer.nii.gz", answer, GRID)
    return {"unet": folder / "answer.nii.gz"}


def test_the_slices_spread_over_those_with_truth_or_answer(packed, tmp_path):
    view = view_case(*packed, predict(tmp_path, np.s_[2:5, 40:44, 50:56]), LOOK)
    assert [one.z for one in view.slices] == [2, 5, 8]
    assert (view.case, view.depth, view.spacing_mm_yx) == ("c1", 12, (1.0, 0.5))


def pack_towers(folder, heights):
    """A case whose truth on each slice has so many rows."""
    labels = np.zeros(GRID.shape_zyx, np.uint8)
    for z, rows in heights.items():
        labels[z, 40 : 40 + rows, 50:56] = 1
    dataset = DatasetPaths(folder / "shards")
    return dataset, pack_arrays(dataset, "c1", "p1", np.zeros(GRID.shape_zyx, np.int16), labels, GRID)


def test_the_slice_with_most_truth_takes_the_place_of_the_nearest_of_the_spread(tmp_path):
    # Evenly spread are 1, 5 and 9; the peak at 4 lies between.
    towers = pack_towers(tmp_path, {z: 9 if z == 4 else 3 for z in range(1, 10)})
    view = view_case(*towers, predict(tmp_path, np.s_[2:9, 0:30, 50:56]), LOOK)
    assert [one.z for one in view.slices] == [1, 4, 9]
    assert view.largest.z == 4


def test_without_truth_the_slice_with_most_of_an_answer_is_shown(tmp_path):
    answer = np.zeros(GRID.shape_zyx, np.uint8)
    answer[1:10, 40:43, 50:56] = 1
    answer[8, 40:50, 50:56] = 1
    write_volume(tmp_path / "answer.nii.gz", answer, GRID)
    view = view_case(*pack_towers(tmp_path, {}), {"unet": tmp_path / "answer.nii.gz"}, LOOK)
    assert [one.z for one in view.slices] == [1, 5, 8]
    assert view.largest.z == 8


def test_the_rectangle_holds_all_outlines_with_its_margin_as_far_as_the_image_reaches(packed, tmp_path):
    view = view_case(*packed, predict(tmp_path, np.s_[5, 38:40, 60:62]), LOOK)
    rows, columns = slice(38 - round(MARGIN_MM), 46 + round(MARGIN_MM)), slice(0, 100)
    middle = view.slices[1]
    assert middle.image.shape == (rows.stop - rows.start, columns.stop)
    assert np.flatnonzero(middle.truth.any(axis=1)).tolist() == [row - rows.start for row in range(40, 46)]
    assert np.flatnonzero(middle.truth.any(axis=0)).tolist() == list(range(50, 56))


def test_labels_that_are_not_the_target_are_no_truth(packed, tmp_path):
    view = view_case(*packed, predict(tmp_path, np.s_[5, 40:44, 50:56]), LOOK)
    assert [int(one.truth.sum()) for one in view.slices] == [36, 36, 36]
    assert [int(one.answers["unet"].sum()) for one in view.slices] == [0, 0, 0]


def test_a_case_with_nothing_to_outline_shows_its_middle_slice_whole(tmp_path):
    dataset = DatasetPaths(tmp_path / "shards")
    record = pack_arrays(dataset, "c1", "p1", np.zeros(GRID.shape_zyx, np.int16), np.zeros(GRID.shape_zyx, np.uint8), GRID)
    view = view_case(dataset, record, {}, LOOK)
    assert [one.z for one in view.slices] == [6]
    assert view.slices[0].image.shape == GRID.shape_zyx[1:]


def test_a_missing_prediction_is_named(packed, tmp_path):
    with pytest.raises(ReportError, match=r"prediction of case c1 is missing: no .*gone\.nii\.gz; `hipseg evaluate` writes it"):
        view_case(*packed, {"unet": tmp_path / "gone.nii.gz"}, LOOK)


def test_a_prediction_on_another_grid_is_named(packed, tmp_path):
    write_volume(
        tmp_path / "answer.nii.gz", np.zeros((2, 3, 4), np.uint8), make_grid((2, 3, 4), (1.0,) * 3, (0.0,) * 3, np.eye(3))
    )
    with pytest.raises(ReportError, match="prediction of case c1 lies on another grid"):
        view_case(*packed, {"unet": tmp_path / "answer.nii.gz"}, LOOK)
