"""Images are put together by what they name as they are found; what is asked of every series is known without reading them."""

from dataclasses import replace

import pytest

from hipseg.ingest import images as module
from hipseg.ingest import spill
from hipseg.ingest.headers import OverlayName
from hipseg.ingest.images import FoundImages, SeriesImages
from hipseg.ingest.scan import scan_tree
from hipseg.ingest.spill import Spill
from tests.ingest.builders import volume_hu, write_ct_series


@pytest.fixture
def headers(tmp_path):
    write_ct_series(tmp_path, volume_hu(4), patient_id="P", series_uid="2.25.1", frame_uid="2.25.2")
    return tuple(scan_tree(tmp_path).images)


def collect(headers):
    found = SeriesImages(Spill())
    found.extend(headers)
    return found


def test_a_series_is_named_by_its_first_image(headers):
    other = replace(headers[1], patient_id="Q", series_uid="", frame_uid="2.25.3")
    found = collect((headers[0], other))
    assert (found.patient_id, found.series_uid, found.frame_uid) == ("P", "2.25.1", "2.25.2")
    assert (list(found.folders), list(found.frame_uids)) == (["."], ["2.25.2", "2.25.3"])
    assert list(found) == [headers[0], other]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"folder": "elsewhere", "instance_number": 9}, True),
        ({"stack_id": "2"}, False),
        ({"time_point": 2}, False),
        ({"acquisition_number": 2}, False),
        ({"orientation": (1.0, 0.0, 0.0, 0.0, 0.0, 1.0)}, False),
    ],
)
def test_images_that_may_be_of_several_stacks_are_not_alike(headers, change, expected):
    assert collect((*headers[:2], replace(headers[2], **change), headers[3])).is_alike is expected


def test_a_region_on_one_image_counts_and_graphics_do_not(headers):
    region, graphics = OverlayName(0x6000, "", ""), OverlayName(0x6000, "", "", is_graphics=True)
    assert not collect((headers[0], replace(headers[1], overlays=(graphics,)))).has_regions
    assert collect((headers[0], replace(headers[1], overlays=(graphics, region)), headers[2])).has_regions


@pytest.mark.parametrize("folders", [1, 2, 3, 4])
def test_more_folders_and_frames_than_are_kept_are_found_all_the_same(headers, monkeypatch, folders):
    monkeypatch.setattr(module, "MAX_KEPT", 2)
    monkeypatch.setattr(spill, "ITEMS_IN_MEMORY", 1)
    found = collect(replace(headers[n % folders], folder=str(n % folders), frame_uid=f"2.25.{n % folders}") for n in range(8))
    assert found.is_spilled
    assert set(found.folders) == {str(n) for n in range(folders)}
    assert set(found.frame_uids) == {f"2.25.{n}" for n in range(folders)}


def test_images_are_told_apart_by_series_or_folder_and_patient(headers):
    found = FoundImages(Spill())
    found.extend(headers[:2])
    found.extend((replace(headers[2], patient_id=""), replace(headers[3], series_uid="", folder="a/b")))
    assert len(found) == len(tuple(found)) == 4
    assert headers[0] in found
    assert headers[3] not in found
    assert {names: len(one) for names, one in found.take().items()} == {("2.25.1", "P"): 2, ("2.25.1", ""): 1, ("a/b", "P"): 1}
    assert len(found) == len(tuple(found)) == 0


def test_only_images_without_slope_of_the_series_named_are_dropped(headers):
    bare = [replace(one, slope=None) for one in headers]
    other = [replace(one, series_uid="2.25.9") for one in bare]
    found = FoundImages(Spill())
    found.extend((bare[0], headers[1], bare[2], headers[3], *other))
    assert found.drop_bare({("P", "2.25.8")}) == 0
    assert found.drop_bare({("P", "2.25.1")}) == 2
    assert list(found) == [headers[1], headers[3], *other]
    assert found.drop_bare({("P", "2.25.9")}) == 4
    assert list(found) == [headers[1], headers[3]]
    assert len(found) == 2
