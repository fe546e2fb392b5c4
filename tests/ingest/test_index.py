"""Series are found by what mask files say of them, the same whether their headers are in memory or on disk."""

from dataclasses import replace

import pytest

from hipseg.ingest import index as module
from hipseg.ingest import spill
from hipseg.ingest.images import SeriesImages
from hipseg.ingest.index import SeriesIndex
from hipseg.ingest.scan import scan_tree
from hipseg.ingest.spill import Spill
from tests.ingest.builders import volume_hu, write_ct_series

FOLDERS = {("a", "1"): ("p", "p/x"), ("a", "2"): ("p0",), ("b", "1"): (".",), ("ab", "3"): ("p/x/y", "q")}


@pytest.fixture(params=[1, 1000], ids=["on disk", "in memory"])
def series(tmp_path, monkeypatch, request):
    monkeypatch.setattr(spill, "ITEMS_IN_MEMORY", request.param)
    monkeypatch.setattr(module, "MAX_ORDERED", 2)
    write_ct_series(tmp_path, volume_hu(4))
    headers, room, found = tuple(scan_tree(tmp_path).images), Spill(), {}
    for (patient_id, uid), folders in FOLDERS.items():
        found[patient_id, uid] = SeriesImages(room)
        found[patient_id, uid].extend(
            replace(
                header,
                folder=folders[n % len(folders)],
                series_uid=f"2.25.{uid}",
                instance_uid=f"2.25.{patient_id}.{uid}.{n}",
                frame_uid=f"2.25.8.{patient_id}",
            )
            for n, header in enumerate(headers)
        )
    return found


@pytest.mark.parametrize(
    ("patient_id", "expected"), [("a", [("a", "1"), ("a", "2")]), ("ab", [("ab", "3")]), ("", []), ("c", [])]
)
def test_series_of_a_patient(series, patient_id, expected):
    assert SeriesIndex(series).find_patient(patient_id) == expected


def test_series_of_one_study_frame_and_geometry(series):
    # Those of a patient here have one frame of reference.
    index = SeriesIndex(series)
    found = {key: index.find_alike(images.likeness) for key, images in series.items()}
    assert found == {key: (("a", "1"), ("a", "2")) if key[0] == "a" else (key,) for key in series}


@pytest.mark.parametrize(
    ("folder", "below", "inside"),
    [
        ("p", {("a", "1"), ("ab", "3")}, {("a", "1")}),
        ("p/x", {("a", "1"), ("ab", "3")}, {("a", "1")}),
        ("p/x/y", {("ab", "3")}, {("ab", "3")}),
        ("p/x/y/none", {("ab", "3")}, set()),
        ("p/none", {("a", "1"), ("ab", "3")}, set()),
        ("p0", {("a", "2")}, {("a", "2")}),
        ("p1", set(FOLDERS), set()),
        (".", set(FOLDERS), {("b", "1")}),
    ],
)
def test_series_below_the_nearest_folder_that_has_some_and_in_a_folder_itself(series, folder, below, inside):
    assert SeriesIndex(series).find_below(folder) == tuple(sorted(below))
    assert SeriesIndex(series).find_in(folder) == tuple(sorted(inside))


def test_series_by_their_identifiers_images_and_frames(series):
    index = SeriesIndex(series)
    assert index.find_named({"2.25.1", "2.25.7", ""}) == (("a", "1"), ("b", "1"))
    assert index.find_framed({"2.25.8.ab", "2.25.8"}) == (("ab", "3"),)
    assert index.find_imaged({"2.25.a.1.3", "2.25.ab.3.0", "2.25.a.1"}) == (("a", "1"), ("ab", "3"))
    assert index.find_imaged(frozenset()) == index.find_imaged({"2.25.a.1.4"}) == ()
    assert index.has_image(("a", "1"), {"2.25.a.1.0"})
    assert not index.has_image(("a", "2"), {"2.25.a.1.0"})


def test_of_series_on_disk_only_the_last_few_stay_in_order(series):
    index = SeriesIndex(series)
    first, *others = series
    kept = index.ordered(first)
    assert index.ordered(others[0]) is index.ordered(others[0])
    assert index.ordered(first) is kept
    assert index.ordered(others[1]) is not None
    assert (index.ordered(first) is kept) == (not series[first].is_spilled)


def test_each_series_is_put_in_order_whatever_was_asked_before(series):
    index = SeriesIndex(series)
    for key in (*series, *reversed(series)):
        assert {header.series_uid for header in index.ordered(key).headers} == {f"2.25.{key[1]}"}
        assert index.grid(key) == index.ordered(key).grid
