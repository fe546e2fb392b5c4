import numpy as np
import pytest

from hipseg.cli.main import run
from hipseg.errors import ShardError
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


def test_splits_of_another_program_need_no_digest(packed, capsys):
    packed.splits_digest.unlink()
    run(["verify", str(packed.root)])
    assert "every checksum and rule holds" in capsys.readouterr().out


def test_a_data_set_without_splits_is_whole(packed, capsys):
    packed.splits.unlink()
    run(["verify", str(packed.root)])
    assert "every checksum and rule holds" in capsys.readouterr().out
