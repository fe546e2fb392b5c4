import dataclasses
import errno
import os

import h5py
import numpy as np
import pytest

from hipseg.errors import ConfigError
from hipseg.shards.codec import encode_slice
from hipseg.shards.manifest import read_manifest, write_manifest
from hipseg.shards.storage import shard_digest
from hipseg.shards.verify import find_strays, verify_dataset
from tests.shards.builders import pack_noise


@pytest.fixture
def packed(tmp_path):
    return pack_noise(tmp_path, {"c1": "p1", "c2": "p2"})


def test_a_data_set_as_packed_has_no_problem(packed):
    assert verify_dataset(*packed) == ()


def test_a_changed_slice_with_a_right_checksum_is_still_found(packed):
    paths, manifest = packed
    with h5py.File(paths.shard("c1.h5"), "a") as file:
        dataset = file["cases/c1/image"]
        dataset.id.write_direct_chunk((2, 0, 0), encode_slice(np.zeros((12, 14), dtype=np.int16)))
    assert verify_dataset(paths, manifest) == (
        "image of case c1 is not what was packed: its digest differs",
        "shard c1.h5 of case c1 is not the file that was packed: its digest differs",
    )


def test_changed_labels_and_their_counts_are_found(packed):
    paths, manifest = packed
    with h5py.File(paths.shard("c2.h5"), "a") as file:
        file["cases/c2/labels"].id.write_direct_chunk((0, 0, 0), encode_slice(np.full((12, 14), 7, dtype=np.uint8)))
    mask, counts, shard = verify_dataset(paths, manifest)
    assert mask == "mask of case c2 is not what was packed: its digest differs"
    # The box of 3 slices, 8 rows and 8 columns is 192 voxels; the new slice has 12 x 14 = 168.
    assert counts == "mask of case c2 holds the label counts {1: 192, 7: 168}, the manifest says {1: 192}"
    assert shard.startswith("shard c2.h5")


def test_one_flipped_byte_anywhere_in_a_shard_is_found(packed):
    paths, manifest = packed
    good = paths.shard("c1.h5").read_bytes()
    for position in np.random.default_rng(0).integers(0, len(good), 25).tolist():
        damaged = bytearray(good)
        damaged[position] ^= 0x40
        paths.shard("c1.h5").write_bytes(damaged)
        problems = verify_dataset(paths, manifest)
        assert problems, position
        assert all("c1" in line for line in problems)


def test_every_case_is_checked_after_the_first_problem(packed):
    paths, manifest = packed
    paths.shard("c1.h5").unlink()
    paths.shard("c2.h5").write_bytes(b"nothing")
    first, second = verify_dataset(paths, manifest)
    assert "c1.h5 of case c1 is missing" in first
    assert "c2.h5 of case c2 is damaged" in second


def test_a_shard_that_no_case_needs_is_named(packed):
    paths, manifest = packed
    write_manifest(paths, dataclasses.replace(manifest, cases=manifest.cases[:1]))
    assert find_strays(paths, read_manifest(paths)) == ("c2.h5",)
    assert find_strays(paths, manifest) == ()


def test_a_problem_is_told_when_it_is_found_and_a_shard_that_is_out_of_reach_is_skipped(packed, monkeypatch):
    fail_to_read(monkeypatch, errno.EACCES)
    packed[0].shard("c2.h5").unlink()
    told, skipped = [], []
    found = verify_dataset(*packed, lambda line: told.append((line, len(skipped))), skipped.append)
    assert [line for line, _ in told] == list(found)
    assert "c2.h5 of case c2 is missing" in found[0]
    assert [str(one).startswith("cannot open shard c1.h5 of case c1") for one in skipped] == [True]


def fail_to_read(monkeypatch, number, case="c1"):
    """Let the system answer so to whoever reads the shard of a case."""

    def refuse(path, *_):
        if path.name.startswith(case):
            raise OSError(number, os.strerror(number), str(path))
        return shard_digest(path)

    monkeypatch.setattr("hipseg.shards.verify.shard_digest", refuse)


def test_a_failing_disk_is_a_problem_of_its_case_alone(packed, monkeypatch):
    fail_to_read(monkeypatch, errno.EIO)
    packed[0].shard("c2.h5").unlink()
    first, second = verify_dataset(*packed)
    assert first.startswith("shard c1.h5 of case c1 cannot be read: Input/output error; check its disk, then restore the shard")
    assert "c2.h5 of case c2 is missing" in second


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, "cannot open shard c1.h5 of case c1: Permission denied; ask its owner for leave to read it"),
        (errno.ESTALE, "cannot read shard c1.h5 of case c1: Stale file handle; its file system was lost: repeat"),
    ],
)
def test_a_shard_that_is_out_of_reach_is_not_called_damaged(packed, monkeypatch, number, words):
    fail_to_read(monkeypatch, number)
    with pytest.raises(ConfigError, match=words):
        verify_dataset(*packed)


def test_a_pipe_in_the_place_of_a_shard_is_no_shard(packed):
    packed[0].shard("c1.h5").unlink()
    os.mkfifo(packed[0].shard("c1.h5"))
    assert verify_dataset(*packed) == ("shard c1.h5 of case c1 is no file; delete it, and pack the case again",)
