"""Two stacks under one series identifier: told apart where the headers do so cleanly, never by a guess."""

import numpy as np
import pytest

from hipseg.errors import SeriesError
from hipseg.ingest.cases import find_cases, open_case
from tests.ingest.builders import AXIAL, cut, volume_hu, write_ct_series

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def write_two(folder, first=None, second=None, origin=(-10.0, -20.0, 100.0), **options):
    """Write two stacks of one series; `first` and `second` are header values."""

    def setting(values, offset):
        def change(dataset, z):
            dataset.SOPInstanceUID = f"2.25.77002.{offset + z}"
            for keyword, value in (values or {}).items():
                setattr(dataset, keyword, value)

        return change

    write_ct_series(folder / "a", volume_hu(4, seed=1), change=setting(first, 1))
    return write_ct_series(folder / "b", volume_hu(4, seed=2), change=setting(second, 50), origin_mm_xyz=origin, **options)


def read_all(folder):
    found = find_cases(folder).cases
    opened = [open_case(source, f"c{n}", {}) for n, source in enumerate(found)]
    return found, opened, [np.array([image for image, _ in one.slices]) for one in opened]


@pytest.mark.parametrize("offset_mm", [0.0, 1.5])
@pytest.mark.parametrize("keyword", ["AcquisitionNumber", "TemporalPositionIdentifier"])
def test_passes_over_one_place_are_told_apart_by_their_number(tmp_path, keyword, offset_mm):
    write_two(tmp_path, {keyword: 1}, {keyword: 2}, origin=(-10.0, -20.0, 100.0 + offset_mm))
    found, opened, volumes = read_all(tmp_path)
    assert len({one.series_uid for one in found}) == 2
    np.testing.assert_array_equal(volumes[0], volume_hu(4, seed=1))
    np.testing.assert_array_equal(volumes[1], volume_hu(4, seed=2))
    assert all(one.warnings == ("one of 2 stacks of one series, each packed as a case of its own",) for one in opened)


def test_stacks_of_two_orientations_are_told_apart(tmp_path):
    write_two(tmp_path, orientation=SAGITTAL)
    _, opened, volumes = read_all(tmp_path)
    assert {tuple(np.round(one.grid.directions_xyz[0], 3)) for one in opened} == {AXIAL[:3], SAGITTAL[:3]}
    assert sorted(int(one[0, 0, 0]) for one in volumes) == sorted(int(volume_hu(4, seed=n)[0, 0, 0]) for n in (1, 2))


def test_keys_do_not_depend_on_names_and_order_of_files(tmp_path):
    paths = write_two(tmp_path, {"AcquisitionNumber": 1}, {"AcquisitionNumber": 2})
    before = [(one.series_uid, len(one.images)) for one in find_cases(tmp_path).cases]
    for n, path in enumerate(paths):
        path.rename(tmp_path / f"z{9 - n}")
    assert [(one.series_uid, len(one.images)) for one in find_cases(tmp_path).cases] == before


def test_without_a_number_they_are_refused_by_name(tmp_path):
    write_two(tmp_path)
    with pytest.raises(SeriesError, match=r"duplicate positions in case c0: .*4 such pairs"):
        read_all(tmp_path)


def test_a_gap_between_two_acquisitions_is_a_gap_and_no_two_stacks(tmp_path):
    write_two(tmp_path, {"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, origin=(-10.0, -20.0, 115.0))
    with pytest.raises(SeriesError, match=r"slice gap in case c0: 6\.00 mm between slices 4 and 5 of 8"):
        read_all(tmp_path)


def test_one_volume_in_two_acquisitions_stays_one_case(tmp_path):
    write_two(tmp_path, {"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, origin=(-10.0, -20.0, 112.0))
    found, opened, volumes = read_all(tmp_path)
    assert found[0].series_uid == "2.25.77002"
    assert volumes[0].shape == (8, 10, 12)
    assert opened[0].warnings == ()


def test_a_series_with_a_damaged_file_is_not_split(tmp_path):
    path = write_two(tmp_path, {"AcquisitionNumber": 1}, {"AcquisitionNumber": 2})[0]
    cut(path, 300)
    (source,) = find_cases(tmp_path).cases
    with pytest.raises(SeriesError, match="damaged file in case c0"):
        open_case(source, "c0", {})


def test_a_third_acquisition_clear_of_two_that_lie_in_each_other_leaves_the_series_whole(tmp_path):
    write_two(tmp_path, {"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}, origin=(-10.0, -20.0, 101.5))

    def third(dataset, z):
        dataset.SOPInstanceUID, dataset.AcquisitionNumber = f"2.25.77002.{90 + z}", 3

    write_ct_series(tmp_path / "c", volume_hu(4, seed=3), change=third, origin_mm_xyz=(-10.0, -20.0, 200.0))
    (source,) = find_cases(tmp_path).cases
    assert len(source.images) == 12
    with pytest.raises(SeriesError, match="slice gap in case c0"):
        open_case(source, "c0", {})
