import dataclasses
import errno
import itertools
import os

import numpy as np
import pytest

from hipseg.cli.main import run
from hipseg.errors import ConfigError, ShardError
from hipseg.pack.journal import Entry, open_journal
from hipseg.pack.plan import PackPlan, record_plan
from hipseg.shards.manifest import read_manifest, write_manifest
from hipseg.shards.storage import shard_digest
from hipseg.shards.verify import verify_dataset
from hipseg.splits import check_splits_digest
from tests.shards.builders import pack_noise


@pytest.fixture
def packed(tmp_path):
    paths, _ = pack_noise(tmp_path / "shards", {f"c{number}": f"p{number}" for number in range(4)})
    run(["split", str(paths.root), "--folds", "2"])
    return paths


def test_a_data_set_as_packed_is_praised(packed, capsys):
    capsys.readouterr()
    run(["verify", str(packed.root)])
    assert capsys.readouterr().out == f"{packed.root} is as it was packed: 4 cases, every checksum and rule holds\n"


def test_each_problem_is_a_line_and_the_end_is_an_error(packed, capsys):
    capsys.readouterr()
    packed.shard("c1.h5").unlink()
    packed.shard("c9.h5").write_bytes(b"")
    packed.splits_digest.unlink()
    packed.splits.write_text('[{"train": ["c0", "c1"], "val": ["c1"]}]')
    with pytest.raises(ShardError, match="3 problems in") as caught:
        run(["verify", str(packed.root)])
    assert caught.value.exit_code == 5
    missing, stray, split = capsys.readouterr().out.splitlines()
    assert "c1.h5 of case c1 is missing" in missing
    assert stray == "shard c9.h5 is not in the manifest; pack again, merge the parts, or delete it"
    assert "patient p1 is on both sides of fold 0" in split


def close(monkeypatch, *cases):
    """Let the system refuse to open the shards of some cases."""

    def refuse(path):
        if path.name.removesuffix(".h5") in cases:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return shard_digest(path)

    monkeypatch.setattr("hipseg.shards.verify.shard_digest", refuse)


def test_shards_that_cannot_be_opened_hide_no_problem_of_others(packed, capsys, monkeypatch):
    close(monkeypatch, "c0", "c2")
    packed.shard("c3.h5").unlink()
    capsys.readouterr()
    with pytest.raises(
        ShardError, match=r"1 problem in .*, as listed; delete .*; 2 of 4 shards in .* could not be checked, each"
    ):
        run(["verify", str(packed.root)])
    said = capsys.readouterr()
    assert "c3.h5 of case c3 is missing" in said.out
    assert [line.split(":")[0] for line in said.err.splitlines()] == ["not checked"] * 2


def test_shards_that_cannot_be_opened_are_not_praised(packed, capsys, monkeypatch):
    close(monkeypatch, "c1")
    capsys.readouterr()
    with pytest.raises(ConfigError, match=r"1 of 4 shards in .* could not be checked, each for the reason above"):
        run(["verify", str(packed.root)])
    assert "every checksum" not in capsys.readouterr().out


def test_shards_that_a_packing_has_finished_since_are_no_problem(packed, capsys):
    manifest = read_manifest(packed)
    with open_journal(packed.journal("1-of-2"), record_plan(PackPlan({}, "", {})), [Entry(one, "5") for one in manifest.cases]):
        pass
    packed.splits.unlink()
    packed.splits_digest.unlink()
    write_manifest(packed, dataclasses.replace(manifest, cases=manifest.cases[:2]))
    capsys.readouterr()
    run(["verify", str(packed.root)])
    said = capsys.readouterr()
    assert "2 cases, every checksum and rule holds" in said.out
    assert "warning: 2 shards are not in the manifest yet" in said.err
    packed.shard("c9.h5").write_bytes(b"")
    with pytest.raises(ShardError, match=r"1 problem in .*, as listed$"):
        run(["verify", str(packed.root)])


def test_a_flipped_bit_anywhere_is_found(packed, capsys):
    generator = np.random.default_rng(5)
    files = sorted(path for path in packed.root.iterdir() if path.stat().st_size)
    assert {path.suffix for path in files} == {".h5", ".json", ".sha256"}
    for path in files:
        good = path.read_bytes()
        for position in generator.integers(0, 8 * len(good), 30).tolist():
            damaged = bytearray(good)
            damaged[position // 8] ^= 1 << position % 8
            path.write_bytes(damaged)
            with pytest.raises(ShardError):
                run(["verify", str(packed.root)])
        path.write_bytes(good)
    run(["verify", str(packed.root)])
    assert "every checksum and rule holds" in capsys.readouterr().out


@pytest.mark.slow
def test_a_flipped_bit_in_every_single_byte_of_the_small_files_is_found(packed):
    """What `hipseg verify` asks of them, without the shards, which are whole."""
    generator = np.random.default_rng(6)
    manifest = read_manifest(packed)
    for path, check in (
        (packed.manifest, read_manifest),
        (packed.splits, check_splits_digest),
        (packed.splits_digest, check_splits_digest),
    ):
        good = path.read_bytes()
        for place, bit in enumerate(generator.integers(0, 8, len(good)).tolist()):
            path.write_bytes(good[:place] + bytes([good[place] ^ 1 << bit]) + good[place + 1 :])
            with pytest.raises(ShardError):
                check(packed)
        path.write_bytes(good)
    assert verify_dataset(packed, manifest) == ()


def test_a_flipped_bit_in_every_region_of_a_shard_is_found(packed):
    generator = np.random.default_rng(7)
    manifest = read_manifest(packed)
    record = manifest.cases[0]
    path = packed.shard(record.shard)
    good = path.read_bytes()
    alone = dataclasses.replace(manifest, cases=(record,))
    for other in manifest.cases[1:]:
        packed.shard(other.shard).unlink()
    # One bit in each stretch of a 120th of the file: head, tables, slices and the gaps between them.
    ends = np.linspace(0, len(good), 121).astype(int)
    for start, end in itertools.pairwise(ends.tolist()):
        place = int(generator.integers(start, end))
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << int(generator.integers(0, 8))]) + good[place + 1 :])
        problems = verify_dataset(packed, alone)
        assert problems, place
        assert all(record.case in line for line in problems)
    path.write_bytes(good)
    assert verify_dataset(packed, alone) == ()


def test_splits_of_another_program_need_no_digest(packed, capsys):
    packed.splits_digest.unlink()
    run(["verify", str(packed.root)])
    assert "every checksum and rule holds" in capsys.readouterr().out


def test_a_data_set_without_splits_is_whole(packed, capsys):
    packed.splits.unlink()
    run(["verify", str(packed.root)])
    assert "every checksum and rule holds" in capsys.readouterr().out
