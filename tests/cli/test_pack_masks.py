"""Masks of every kind through the command line: what is listed, the rules that are asked for, and what is recorded of them."""

import json

import nrrd
import numpy as np
import pytest

from hipseg.cli.main import run
from hipseg.errors import ConfigError, MaskError
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import read_manifest
from tests.ingest.builders import Plane, volume_hu, write_ct_series
from tests.ingest.seg_builder import read_sources, write_seg

A, B = np.zeros((10, 12), bool), np.zeros((10, 12), bool)
A[2:5, 3:9] = B[4:7, 3:9] = True
"""18 pixels each, 6 of them in both."""


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A case with overlapping overlay planes on two slices, a SEG of fractions and an NRRD."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    planes = [Plane(A, label="a"), Plane(B, 0x6002, label="b"), Plane(A, 0x6004, label="note")]
    paths = write_ct_series(tmp_path / "data" / "ct", volume_hu(3), overlays={0: planes, 2: planes}, change=annotate)
    fractions = np.full((3, 10, 12, 1), 0.4)
    fractions[:, 0] = 0.6
    write_seg(tmp_path / "data" / "seg.dcm", read_sources(paths), fractions, ["soft"], "FRACTIONAL")
    fields = {"space": "LPS", "space directions": np.diag([0.5, 0.75, 3.0]), "space origin": [-10, -20, 100]}
    nrrd.write(str(tmp_path / "data" / "labels.nrrd"), np.ones((12, 10, 3), np.uint8), fields)
    return tmp_path


def annotate(dataset, z):
    if z != 1:
        dataset[0x60040040].value = "G"


def pack(folder, *options, name="shards"):
    run(["pack", str(folder / "data"), "-o", str(folder / name), *options])
    return read_manifest(DatasetPaths(folder / name))


def test_every_kind_is_listed(data, capsys):
    run(["pack", str(data / "data"), "--list-roi"])
    assert capsys.readouterr().out.splitlines() == [
        "graphics     note  (1 of 1 cases)",
        "nrrd         labels  (1 of 1 cases)",
        "overlay      a  (1 of 1 cases)",
        "overlay      b  (1 of 1 cases)",
        "segmentation soft  (1 of 1 cases)",
    ]


@pytest.mark.parametrize(
    ("roi", "kind", "voxels"), [("soft=1", "segmentation", 36), ("labels=1", "nrrd", 360), ("note=1", "overlay", 36)]
)
def test_every_kind_is_packed_and_named_in_the_manifest(data, roi, kind, voxels):
    (record,) = pack(data, "--roi", roi).cases
    assert (record.mask_kind, record.label_voxels) == (kind, {1: voxels})


def test_the_share_of_a_fraction_is_asked_for_and_recorded(data):
    assert pack(data, "--roi", "soft=1").fraction == 0.5
    manifest = pack(data, "--roi", "soft=1", "--seg-fraction", "0.4", name="more")
    assert manifest.cases[0].label_voxels == {1: 360}
    assert json.loads((data / "more" / "manifest.json").read_text())["fraction"] == 0.4
    assert "fraction" not in json.loads((data / "shards" / "manifest.json").read_text())
    with pytest.raises(ConfigError, match=r"packed with --overlap refuse --seg-fraction 0\.5, this call has .* 0\.4"):
        pack(data, "--roi", "soft=1", "--seg-fraction", "0.4")


def test_overlaps_are_refused_with_their_count_until_an_order_is_asked_for(data):
    with pytest.raises(MaskError, match="none of the 1 cases could be packed"):
        pack(data, "--roi", "a=1", "--roi", "b=2")
    (refusal,) = read_manifest(DatasetPaths(data / "shards")).refusals
    assert "12 voxels on 2 of 3 slices of the case lie in structures of two labels" in refusal.reason
    for names, voxels in ((("a=1", "b=2"), {1: 36, 2: 24}), (("b=2", "a=1"), {1: 24, 2: 36})):
        manifest = pack(data, "--overlap", "first", "--roi", names[0], "--roi", names[1], name=f"first {names[0]}")
        assert manifest.cases[0].label_voxels == voxels
        assert manifest.precedence == tuple(name[0] for name in names)


def test_another_order_into_the_same_folder_is_refused(data):
    pack(data, "--overlap", "first", "--roi", "a=1", "--roi", "b=2")
    with pytest.raises(ConfigError, match=r"--overlap first in the order a, b .* in the order b, a"):
        pack(data, "--overlap", "first", "--roi", "b=2", "--roi", "a=1")


def test_a_share_beyond_a_voxel_is_refused_before_anything_is_read(data):
    with pytest.raises(ConfigError, match=r"fraction 1\.5 .* above 0 and at most 1"):
        pack(data, "--roi", "soft=1", "--seg-fraction", "1.5")
    assert not (data / "shards").exists()
