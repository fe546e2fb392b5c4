"""Format 2 stays readable, and the writer keeps its bytes.

The files in golden/format-2 were written once, for the first release, and are never written again. Those in golden/written are
what the writer makes today, with the libraries that are pinned; where a change of the writer is wanted, replace them knowingly.
"""

import dataclasses
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hipseg.geometry import Grid
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import Refusal, read_manifest, write_manifest
from hipseg.shards.reader import open_reader, read_image_volume, read_label_volume
from hipseg.shards.storage import LOSSLESS, Storage
from hipseg.shards.verify import verify_dataset
from hipseg.shards.writer import write_shard
from tests.conftest import REPOSITORY

GOLDEN = DatasetPaths(Path(__file__).parent / "golden" / "format-2")
WRITTEN = GOLDEN.root.parent / "written"
SHAPE = (4, 9, 11)
GRID = Grid(SHAPE, (3.27, 0.976562, 0.7), (-120.1, 33.3, -500.7), ((1.0, 0.0, 0.0), (0.0, 0.8, 0.6), (0.0, -0.6, 0.8)))


def golden_image():
    """Products of primes, folded onto -1024..3071: as irregular as noise, and the same on every machine."""
    z, y, x = np.indices(SHAPE)
    return ((z * 7919 + y * 104729 + x * 1299709) % 4096 - 1024).astype(np.int16)


def golden_labels():
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[1:3, 2:7, 3:8] = 1
    labels[3, 8, 10] = 5
    return labels


def test_the_manifest_of_format_2_is_read():
    manifest = read_manifest(GOLDEN)
    masked, bare, small = manifest.cases
    assert (masked.case, masked.patient, masked.mask_kind) == ("c00000000000a", "p00000000000a", "overlay")
    assert masked.grid == GRID
    assert masked.label_voxels == {1: 50, 5: 1}
    assert (bare.case, bare.patient, bare.has_mask) == ("c00000000000b", "p00000000000b", False)
    assert (small.window_hu, small.warnings, small.subset) == ((-200, 1300), ("uneven slices",), "test")
    assert (masked.window_hu, masked.warnings, masked.subset) == (None, (), None)
    assert manifest.refusals == (Refusal("c00000000000c", "SeriesError", "slice gap in case c00000000000c"),)
    assert (manifest.set_aside, manifest.rois, manifest.salt_id) == ({"not DICOM or NIfTI": 2}, {"femur": 1}, "0123456789ab")


@pytest.mark.parametrize(("case", "change_hu"), [("c00000000000a", 0), ("c00000000000b", 1)])
def test_the_images_of_format_2_are_read(case, change_hu):
    with open_reader(GOLDEN, read_manifest(GOLDEN).record(case)) as reader:
        np.testing.assert_array_equal(read_image_volume(reader), golden_image() + change_hu)


def test_the_small_image_of_format_2_is_read():
    with open_reader(GOLDEN, read_manifest(GOLDEN).record("c00000000000d")) as reader:
        found = read_image_volume(reader)
    # 256 steps over 1500 HU: half a step is 2.94 HU, and rounding to whole units adds half of one.
    assert np.abs(found - np.clip(golden_image(), -200, 1300)).max() <= 3


def test_the_labels_of_format_2_are_read():
    with open_reader(GOLDEN, read_manifest(GOLDEN).record("c00000000000a")) as reader:
        np.testing.assert_array_equal(read_label_volume(reader), golden_labels())


def test_every_checksum_of_format_2_holds():
    assert verify_dataset(GOLDEN, read_manifest(GOLDEN)) == ()


def test_the_manifest_is_still_written_in_the_same_words(tmp_path):
    paths = DatasetPaths(tmp_path)
    write_manifest(paths, read_manifest(GOLDEN))
    assert paths.manifest.read_text() == GOLDEN.manifest.read_text()


def written_image():
    """A bowl of rising HU with a grain of a few units: unlike noise, it is compressed, and each level gives other bytes."""
    z, y, x = np.indices((3, 48, 40))
    return (z * 20 + (y - 24) ** 2 + (x - 20) ** 2 - 300 + (y * 104729 + x * 1299709) % 7).astype(np.int16)


def written_labels():
    labels = np.zeros((3, 48, 40), dtype=np.uint8)
    labels[1, 10:30, 8:30] = 1
    labels[2, 40:, 30:] = 3
    return labels


STORAGES = {"int16-lz4.h5": LOSSLESS, "int16-zstd.h5": Storage("zstd"), "uint8-lz4.h5": Storage("lz4", (-200, 1300))}


def write_all(folder):
    """Write the files of golden/written anew."""
    grid = dataclasses.replace(GRID, shape_zyx=(3, 48, 40))
    for name, storage in STORAGES.items():
        slices = zip(written_image(), written_labels(), strict=True)
        write_shard(folder / name, "c00000000000e", "p00000000000e", grid, slices, has_mask=True, storage=storage)


@pytest.mark.parametrize("has_plugins", [False, True], ids=["no plugins", "plugins"])
def test_the_writer_keeps_every_byte(tmp_path, has_plugins):
    # In a process of its own, in which nobody has registered a filter, as importing hdf5plugin does.
    plugins = str(Path(importlib.util.find_spec("hdf5plugin").origin).parent / "plugins")
    words = "import pathlib, sys; from tests.shards.test_golden import write_all; write_all(pathlib.Path(sys.argv[1]))"
    environment = os.environ | ({"HDF5_PLUGIN_PATH": plugins} if has_plugins else {})
    subprocess.run([sys.executable, "-c", words, str(tmp_path)], env=environment, cwd=REPOSITORY, check=True)
    assert [name for name in STORAGES if (tmp_path / name).read_bytes() != (WRITTEN / name).read_bytes()] == []
