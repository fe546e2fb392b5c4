"""Which series are parts of one volume under two identifiers, and which only lie in line."""

import pytest

from hipseg.ingest.cases import find_cases, open_case
from hipseg.ingest.continuing import find_parts
from hipseg.ingest.grouping import group_images
from hipseg.ingest.scan import scan_tree
from tests.ingest.builders import volume_hu, write_ct_series

SLICES, GAP_MM = 8, 3.0
GOES_ON = "another series of the same study goes on right {} it, with {} slices"
IN_GAPS = (
    "contradictory identifiers: its slices and those of another series (0020,000E) of the same study lie in each other's gaps"
)


def split(folder, *others, **values):
    """Write a series of which some slices have another identifier, and more that differs."""

    def change(dataset, z):
        if z in others:
            dataset.SeriesInstanceUID = "2.25.99"
            for keyword, value in values.items():
                setattr(dataset, keyword, value)

    write_ct_series(folder, volume_hu(SLICES), change=change, series_uid="2.25.1")


def write_above(folder, height_mm, **options):
    write_ct_series(folder, volume_hu(4), origin_mm_xyz=(-10.0, -20.0, height_mm), **options)


def parts(root):
    """Give what is said of the first series and of the second, up to the first comma; empty where nothing is."""
    series = group_images(scan_tree(root).images)
    assert len(series) == 2
    found = find_parts(series)
    assert not found.faults or not found.warnings
    return [(found.faults | found.warnings).get(key, "") for key in sorted(series, key=lambda one: one[1])]


@pytest.mark.parametrize(("others", "sides"), [((6, 7), ("above", "below")), ((0, 1, 2), ("below", "above"))])
def test_slices_cut_off_at_an_end_are_warned_of_on_both_sides(tmp_path, others, sides):
    split(tmp_path, *others)
    first, second = parts(tmp_path)
    assert first.startswith(GOES_ON.format(sides[0], len(others)))
    assert second.startswith(GOES_ON.format(sides[1], SLICES - len(others)))


def test_they_are_seen_in_a_folder_of_their_own_and_without_instance_numbers(tmp_path):
    split(tmp_path / "a", 6, 7, InstanceNumber=None)
    (tmp_path / "b").mkdir()
    for path in (tmp_path / "a").iterdir():
        if b"2.25.99\0" in path.read_bytes():
            path.rename(tmp_path / "b" / path.name)
    assert len(list((tmp_path / "b").iterdir())) == 2
    assert all(parts(tmp_path))


@pytest.mark.parametrize("others", [(3, 4), (2, 5), (1, 7), (1, 2, 4, 6)])
def test_slices_that_fill_the_gaps_of_the_others_refuse_both(tmp_path, others):
    split(tmp_path, *others)
    assert all(words.startswith(IN_GAPS) for words in parts(tmp_path))


def test_a_series_that_counts_its_images_anew_is_a_station_of_its_own(tmp_path):
    write_above(tmp_path / "a", 100.0, series_uid="2.25.1")
    write_above(tmp_path / "b", 112.0, series_uid="2.25.2")
    assert parts(tmp_path) == ["", ""]


@pytest.mark.parametrize(
    "differing",
    [
        {"StudyInstanceUID": "2.25.5"},
        {"FrameOfReferenceUID": "2.25.5"},
        {"PatientID": "Q"},
        {"PixelSpacing": [0.75, 0.6]},
        {"Columns": 6, "Rows": 20},
        {"ImageOrientationPatient": [0, 1, 0, -1, 0, 0]},
    ],
)
def test_what_is_of_another_study_or_geometry_is_no_part(tmp_path, differing):
    split(tmp_path, 6, 7, **differing)
    assert parts(tmp_path) == ["", ""]


@pytest.mark.parametrize("height_mm", [100.0, 100.0 + GAP_MM / 2, 106.0, 113.5, 115.0, 124.0])
def test_series_that_lie_in_each_other_or_apart_are_no_parts(tmp_path, height_mm):
    """The same places, between them (two passes), some of the same, half a slice too far, one slice missing, far away."""
    write_above(tmp_path / "a", 100.0, series_uid="2.25.1")
    write_ct_series(
        tmp_path / "b",
        volume_hu(4),
        origin_mm_xyz=(-10.0, -20.0, height_mm),
        series_uid="2.25.2",
        change=lambda dataset, z: setattr(dataset, "InstanceNumber", z + 5),
    )
    assert parts(tmp_path) == ["", ""]


UNNAMED = "contradictory identifiers: its images have no series identifier (0020,000E), and {} others of another folder"
IDENTIFIERS = ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "PatientID")


def write_unnamed(folder, first_count, *emptied, change=None):
    """Write a series that names no series into two folders."""

    def empty(dataset, z):
        for keyword in ("SeriesInstanceUID", *emptied):
            setattr(dataset, keyword, "")
        if change is not None:
            change(dataset, z)

    paths = write_ct_series(folder / "a", volume_hu(SLICES), change=empty)
    (folder / "b").mkdir()
    for path in paths[first_count:]:
        path.rename(folder / "b" / path.name)


def said_in_turn(root):
    series = group_images(scan_tree(root).images)
    assert len(series) == 2
    found = find_parts(series)
    # The key of a patient who is not named is the folder.
    by_folder = sorted(series, key=lambda key: min(series[key].folders))
    return [(key in found.faults, (found.faults | found.warnings).get(key, "").partition(" that")[0]) for key in by_folder]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("emptied", [(), IDENTIFIERS[1:2], IDENTIFIERS[2:3], IDENTIFIERS[1:]])
@pytest.mark.parametrize("count", [4, 7])
def test_images_without_series_that_go_on_in_another_folder_are_refused(tmp_path, emptied, count):
    write_unnamed(tmp_path, count, *emptied)
    assert said_in_turn(tmp_path) == [(True, UNNAMED.format(SLICES - count)), (True, UNNAMED.format(count))]


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_where_they_are_counted_anew_it_is_said(tmp_path):
    def count_anew(dataset, z):
        dataset.InstanceNumber = z % 4 + 1

    write_unnamed(tmp_path, 4, *IDENTIFIERS, change=count_anew)
    assert said_in_turn(tmp_path) == [(False, UNNAMED.format(4))] * 2


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_two_named_patients_without_series_are_no_parts(tmp_path):
    write_unnamed(tmp_path, 4, "FrameOfReferenceUID", change=lambda dataset, z: setattr(dataset, "PatientID", f"P{z // 4}"))
    assert said_in_turn(tmp_path) == [(False, "")] * 2


def test_both_cases_are_packed_with_the_warning(tmp_path):
    split(tmp_path, 6, 7)
    opened = [open_case(source, "c", {}) for source in find_cases(tmp_path).cases]
    assert [(one.grid.shape_zyx[0], len(one.warnings)) for one in opened] == [(6, 1), (2, 1)]
    assert opened[0].warnings[0].startswith(GOES_ON.format("above", 2))
