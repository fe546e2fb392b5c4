"""Volumes turned on disk are those turned in memory, for every turn and block; nothing is left, and a full disk is said."""

import errno
import gc
import itertools
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from hipseg.errors import ConfigError
from hipseg.ingest import scratch
from hipseg.ingest.scratch import Scratch, StoredShape, TurnedVolume
from hipseg.ingest.turning import AxisMatch, turn_volume


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
@pytest.mark.parametrize("block_bytes", [1, 70, 1 << 20])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_every_turn_in_blocks_of_any_size_equals_the_turn_in_memory(monkeypatch, dtype, block_bytes, order):
    monkeypatch.setattr(scratch, "BLOCK_BYTES", block_bytes)
    volume = np.random.default_rng(3).integers(0, 3, (5, 3, 4)).astype(dtype)
    volume[2] = 0
    room = Scratch()
    for flips in itertools.product((False, True), repeat=3):
        axes = AxisMatch(order, flips)
        turned = TurnedVolume(room, iter(volume), StoredShape(volume.shape, volume.dtype), axes)
        found = np.stack([turned.read(z) for z in range(turned.slices)])
        assert found.dtype == dtype
        assert np.array_equal(found, turn_volume(volume, axes))


def count_open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_file_has_no_name_and_is_closed_with_its_last_volume(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = count_open_files()
    shape = StoredShape((2, 2, 2), np.dtype(np.uint8))
    turned = TurnedVolume(Scratch(), iter(np.ones((2, 2, 2), np.uint8)), shape, AxisMatch((0, 1, 2), (False,) * 3))
    assert list(tmp_path.iterdir()) == []
    assert count_open_files() == before + 1
    assert turned.read(1).tolist() == [[1, 1], [1, 1]]
    del turned
    gc.collect()
    assert count_open_files() == before


def test_a_full_disk_is_said_with_its_folder_and_is_no_fault_of_the_source(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "pwrite", full)
    shape = StoredShape((1, 1, 1), np.dtype(np.uint8))
    with pytest.raises(ConfigError, match=rf"cannot write {tmp_path}: No space left on device; free some space"):
        TurnedVolume(Scratch(), iter(np.ones((1, 1, 1), np.uint8)), shape, AxisMatch((0, 1, 2), (False,) * 3))


def test_a_folder_for_temporary_files_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    with pytest.raises(ConfigError, match="cannot write /nonexistent: No such file or directory"):
        Scratch()
