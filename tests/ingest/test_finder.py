"""Series are found by any of their images, wherever the hashes of a series lie among those of others."""

from dataclasses import replace

import pytest

from hipseg.ingest import finder as module
from hipseg.ingest.finder import ImageFinder
from hipseg.ingest.images import SeriesImages
from hipseg.ingest.scan import scan_tree
from hipseg.ingest.spill import Spill
from tests.ingest.builders import volume_hu, write_ct_series

COUNTS = {"one": 1, "five": 5, "three": 3, "more": 1, "ten": 10}


@pytest.fixture(params=[1, 4, 1 << 17])
def found(tmp_path, monkeypatch, request):
    monkeypatch.setattr(module, "BLOCK_HASHES", request.param)
    write_ct_series(tmp_path, volume_hu(1))
    (header,) = scan_tree(tmp_path).images
    series = {}
    for name, count in COUNTS.items():
        series["p", name] = SeriesImages(Spill())
        series["p", name].extend(replace(header, instance_uid=f"{name}.{n}") for n in range(count))
    return ImageFinder(series.items())


@pytest.mark.parametrize("name", COUNTS)
def test_every_image_finds_its_series_alone(found, name):
    for number in range(COUNTS[name]):
        assert list(found.find({f"{name}.{number}"})) == [("p", name)]


def test_images_of_several_series_and_of_none(found):
    assert list(found.find({"ten.9", "one.0", "nobody", "ten.0"})) == [("p", "one"), ("p", "ten")]
    assert list(found.find({"nobody"})) == list(found.find(set())) == []


def test_without_series_nothing_is_found():
    assert list(ImageFinder(()).find({"one.0"})) == []
