"""A plane drawn elsewhere lies on one slice of a series, by its place or by the image that it names; else it is refused."""

from dataclasses import replace

import pytest

from hipseg.errors import MaskError
from hipseg.ingest.planes import Plane, is_drawn_in_steps, median_gap, number_slices, place_plane
from hipseg.ingest.scan import scan_tree
from hipseg.ingest.series import order_series
from hipseg.ingest.turning import AxisMatch
from tests.ingest.builders import AXIAL, volume_hu, write_ct_series

AS_IT_IS = AxisMatch((0, 1, 2), (False, False, False))


@pytest.fixture
def series(tmp_path):
    """Four slices of 10 x 12 pixels, 3 mm apart from z = 100 mm on; their first pixel lies at (-10, -20)."""
    write_ct_series(tmp_path, volume_hu(4))
    return order_series(tuple(scan_tree(tmp_path).images), "c0")


def plane_at(z_mm, **values):
    plain = Plane((10, 12), (-10.0, -20.0, z_mm), AXIAL, (0.75, 0.5), frozenset())
    return replace(plain, **values)


def place(plane, series, slice_by_uid=None):
    return place_plane(plane, series, slice_by_uid or number_slices(series.headers), "a plane")


@pytest.mark.parametrize(("z_mm", "z"), [(100.0, 0), (106.0, 2), (109.09, 3), (99.91, 0)])
def test_a_plane_lies_on_the_slice_of_its_height(series, z_mm, z):
    assert place(plane_at(z_mm), series) == (z, AS_IT_IS)


@pytest.mark.parametrize(("z_mm", "words"), [(106.11, r"0\.11 mm from slice 3 of 4"), (112.0, r"3\.00 mm from slice 4 of 4")])
def test_a_plane_between_or_beyond_the_slices_is_refused(series, z_mm, words):
    with pytest.raises(MaskError, match=f"a plane lies off the slices: {words} by position, the nearest one; at most 0.1 mm"):
        place(plane_at(z_mm), series)


def test_rows_that_run_the_other_way_are_turned(series):
    turned = plane_at(103.0, position_mm=(-10.0 + 11 * 0.5, -20.0, 103.0), orientation=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    z, axes = place(turned, series)
    assert (z, axes.sources_xyz, axes.are_flipped_xyz[:2]) == (1, (0, 1, 2), (True, False))


@pytest.mark.parametrize("values", [{"spacing_mm": (0.75, 0.6)}, {"shape_yx": (10, 11)}, {"position_mm": (-9.0, -20.0, 103.0)}])
def test_pixels_that_are_not_those_of_the_slice_are_refused(series, values):
    with pytest.raises(MaskError, match="a plane"):
        place(plane_at(103.0, **values), series)


def test_a_plane_without_extent_is_refused(series):
    with pytest.raises(MaskError, match="a plane has no extent: "):
        place(plane_at(103.0, spacing_mm=(0.0, 0.5)), series)


@pytest.mark.parametrize("missing", ["position_mm", "orientation", "spacing_mm"])
def test_without_a_place_the_one_image_that_is_named_decides(series, missing):
    nowhere = plane_at(103.0, **{missing: None})
    assert place(replace(nowhere, source_uids=frozenset({"2.25.77002.3", "2.25.1"})), series) == (2, AS_IT_IS)
    for uids in ((), ("2.25.1",), ("2.25.77002.3", "2.25.77002.4")):
        with pytest.raises(MaskError, match="a plane does not say where it lies"):
            place(replace(nowhere, source_uids=frozenset(uids)), series)
    with pytest.raises(MaskError, match="a plane does not say where it lies"):
        place(replace(nowhere, source_uids=frozenset({"2.25.77002.3"}), shape_yx=(12, 10)), series)


def test_place_and_named_image_must_not_contradict_each_other(series):
    assert place(plane_at(103.0, source_uids=frozenset({"2.25.77002.2"})), series)[0] == 1
    with pytest.raises(MaskError, match="by position it lies on slice 2 of 4, and it names the image of slice 3"):
        place(plane_at(103.0, source_uids=frozenset({"2.25.77002.3"})), series)
    # Several images, as a thicker slice was made of, leave it to the place.
    assert place(plane_at(103.0, source_uids=frozenset({"2.25.77002.3", "2.25.77002.4"})), series)[0] == 1


def test_on_tilted_slices_a_plane_is_looked_for_where_its_slice_was(series):
    headers = [replace(one, position_mm=(-10.0, -20.0 + 0.5 * z, 100.0 + 3 * z)) for z, one in enumerate(series.headers)]
    tilted = replace(series, headers=tuple(headers), shifts_mm_yx=tuple((0.5 * z, 0.0) for z in range(4)))
    assert place(plane_at(106.0, position_mm=(-10.0, -19.0, 106.0)), tilted) == (2, AS_IT_IS)
    with pytest.raises(MaskError, match="a plane"):
        place(plane_at(106.0, position_mm=(-10.0, -19.5, 106.0)), tilted)


def test_an_identifier_that_several_frames_share_names_no_slice(series):
    one, two, three, four = series.headers
    shared = (one, replace(two, instance_uid="2.25.5"), replace(three, instance_uid="2.25.5"), replace(four, instance_uid=""))
    assert number_slices(shared) == {"2.25.77002.1": 0}
    assert number_slices(series.headers) == {f"2.25.77002.{z + 1}": z for z in range(4)}


@pytest.mark.parametrize(
    ("heights", "gap", "is_in_steps"),
    [
        ((), 0, False),
        ((4,), 0, False),
        ((0, 2), 2, False),
        ((4, 0, 2), 2, True),
        ((0, 1, 2, 9), 1, False),
        ((0, 1, 3, 5), 2, True),
        ((0, 1, 3), 1, False),
        ((0, 1.4, 2.8), 1.4, False),
    ],
)
def test_the_usual_gap_is_the_lower_median_and_tells_a_step_from_three_places_on(heights, gap, is_in_steps):
    assert median_gap(heights) == pytest.approx(gap)
    assert is_drawn_in_steps(heights) is is_in_steps
