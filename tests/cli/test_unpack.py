import errno
import json

import pytest

from hipseg.cli.main import run
from hipseg.errors import ConfigError, ShardError
from hipseg.ingest.nifti import write_volume
from hipseg.pack.table import KeyRow, merge_key_table
from hipseg.shards.reader import open_reader, unreadable
from tests.shards.builders import pack_noise


@pytest.fixture
def packed(tmp_path):
    paths, _ = pack_noise(tmp_path / "shards", {"c1": "p1", "c2": "p2", "c3": "p3"})
    return paths


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_every_case_has_its_folder(packed, tmp_path, capsys):
    run(["unpack", str(packed.root), "-o", str(tmp_path / "out")])
    assert names(tmp_path / "out") == [f"c{n}/{what}.nii.gz" for n in (1, 2, 3) for what in ("image", "mask")]
    assert capsys.readouterr().out == "".join(f"unpacked case c{n}: image.nii.gz and mask.nii.gz\n" for n in (1, 2, 3))


def test_only_the_cases_asked_for_are_unpacked(packed, tmp_path):
    run(["unpack", str(packed.root), "-o", str(tmp_path / "out"), "--case", "c3", "--case", "c1", "--case", "c3"])
    assert names(tmp_path / "out") == ["c1/image.nii.gz", "c1/mask.nii.gz", "c3/image.nii.gz", "c3/mask.nii.gz"]


def test_an_unknown_case_is_refused_and_nothing_is_written(packed, tmp_path):
    with pytest.raises(ShardError, match="no case 'c9' among the 3 packed cases"):
        run(["unpack", str(packed.root), "-o", str(tmp_path / "out"), "--case", "c1", "--case", "c9"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("damaged", "kind"), [(None, ConfigError), ("c3", ShardError)])
def test_a_shard_that_cannot_be_opened_does_not_stop_the_others(packed, tmp_path, capsys, monkeypatch, damaged, kind):
    def open_some(paths, record):
        if record.case == "c1":
            raise unreadable(paths.shard(record.shard), record, PermissionError(errno.EACCES, "Permission denied"))
        return open_reader(paths, record)

    if damaged:
        packed.shard(f"{damaged}.h5").write_bytes(b"")
    monkeypatch.setattr("hipseg.pack.unpack.open_reader", open_some)
    with pytest.raises(kind, match=rf"{1 + bool(damaged)} of 3 cases could not be unpacked, each for the reason above"):
        run(["unpack", str(packed.root), "-o", str(tmp_path / "out")])
    said = capsys.readouterr()
    assert "not unpacked: cannot open shard c1.h5 of case c1: Permission denied" in said.err
    assert "unpacked case c2" in said.out


def test_source_paths_come_out_of_the_key_table(packed, tmp_path):
    merge_key_table(tmp_path / "keys.csv", [KeyRow(f"c{n}", f"p{n}", "Doe", "1.2", f"ward/{n}") for n in (1, 2, 3)])
    options = ["--source-paths", "--key-table", str(tmp_path / "keys.csv")]
    run(["unpack", str(packed.root), "-o", str(tmp_path / "out"), "--case", "c2", *options])
    assert json.loads((tmp_path / "out" / "source_paths.json").read_text()) == {"c2": "ward/2"}


@pytest.mark.parametrize("options", [["--source-paths"], ["--key-table", "keys.csv"]])
def test_source_paths_and_key_table_go_together(packed, tmp_path, options):
    with pytest.raises(ConfigError, match="go together; keep a table by packing with `hipseg-pack --keep-key-table FILE`"):
        run(["unpack", str(packed.root), "-o", str(tmp_path / "out"), *options])


def test_an_unpacking_that_broke_off_is_finished_by_the_same_command(packed, tmp_path, capsys, monkeypatch):
    out, write = tmp_path / "out", write_volume

    def fill(path, *rest):
        if path.parent.name == "c2" and path.name == "mask.nii.gz":
            raise OSError(28, "No space left on device")
        write(path, *rest)

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
        patched.setattr("hipseg.pack.unpack.write_volume", fill)
        run(["unpack", str(packed.root), "-o", str(out)])
    assert names(out) == ["c1/image.nii.gz", "c1/mask.nii.gz", "c2/image.nii.gz"]
    (out / "c3").mkdir()
    capsys.readouterr()
    run(["unpack", str(packed.root), "-o", str(out)])
    kept, *written = capsys.readouterr().out.splitlines()
    assert kept == "kept case c1: there already, the same"
    assert written == [f"unpacked case c{n}: image.nii.gz and mask.nii.gz" for n in (2, 3)]
    run(["unpack", str(packed.root), "-o", str(tmp_path / "straight")])
    assert {name: (out / name).read_bytes() for name in names(out)} == {
        name: (tmp_path / "straight" / name).read_bytes() for name in names(tmp_path / "straight")
    }


def test_a_damaged_case_does_not_stop_the_others(packed, tmp_path, capsys):
    packed.shard("c2.h5").write_bytes(b"nothing")
    with pytest.raises(ShardError, match="1 of 3 cases could not be unpacked, each for the reason above"):
        run(["unpack", str(packed.root), "-o", str(tmp_path / "out")])
    assert names(tmp_path / "out") == [f"c{n}/{what}.nii.gz" for n in (1, 3) for what in ("image", "mask")]
    assert capsys.readouterr().err.startswith("not unpacked: shard c2.h5 of case c2 is damaged")


def test_an_output_that_cannot_be_written_is_refused(packed, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ConfigError, match="cannot write"):
        run(["unpack", str(packed.root), "-o", str(tmp_path / "out")])


def test_source_paths_never_lie_among_the_shards(packed, tmp_path):
    merge_key_table(tmp_path / "keys.csv", [KeyRow(f"c{n}", f"p{n}", "Doe", "1.2", f"ward/{n}") for n in (1, 2, 3)])
    options = ["--source-paths", "--key-table", str(tmp_path / "keys.csv")]
    before = names(packed.root)
    for inside in (packed.root, packed.root / "nifti"):
        with pytest.raises(ConfigError, match=r"source_paths.json would lie in .*, which is passed on; name a private folder"):
            run(["unpack", str(packed.root), "-o", str(inside), *options])
    assert names(packed.root) == before
