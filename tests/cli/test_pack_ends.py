"""How a packing ends: parts and their merge, refusals and what could not be read in its exit code, packing once more."""

import contextlib
import gc
import os
import resource
import shutil
from pathlib import Path

import click
import pytest

from hipseg.cli.main import run
from hipseg.errors import PARTIAL_EXIT_CODE, ConfigError, SeriesError, ShardError
from hipseg.ingest.cases import find_cases
from hipseg.ingest.source import SourceCase
from hipseg.pack.dataset import pack_cases
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import read_manifest
from tests.cli.test_pack import pack, write_patient
from tests.ingest.builders import cut, volume_hu, write_ct_series


@pytest.fixture(autouse=True)
def config_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def data_files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_parts_are_packed_and_merged_to_the_bytes_of_one_packing(tmp_path, capsys):
    for seed in range(7):
        write_patient(tmp_path / "data", f"patient {seed}", seed)
    cut(write_patient(tmp_path / "data", "Roe", 8)[0], -20)
    with pytest.raises(SystemExit):
        pack(tmp_path)
    cases = set()
    for part in ("1/3", "2/3", "3/3"):
        capsys.readouterr()
        with contextlib.suppress(SystemExit, SeriesError):
            run(["pack", str(tmp_path / "data"), "-o", str(tmp_path / "parts"), "--part", part])
        found = {line.split()[2].strip(":") for line in capsys.readouterr().out.splitlines() if line.startswith("packed case")}
        assert not cases & found
        cases |= found
    assert len(cases) == 7
    assert merge_code(tmp_path / "parts") == PARTIAL_EXIT_CODE
    assert capsys.readouterr().out == f"merged the parts in {tmp_path}/parts: 7 cases packed, 1 refused\n"
    assert data_files(tmp_path / "parts") == data_files(tmp_path / "shards")
    with contextlib.suppress(SystemExit):
        run(["pack", str(tmp_path / "data"), "-o", str(tmp_path / "parts")])
    assert "(7 of them before)" in capsys.readouterr().out


def test_of_many_cases_none_is_held_before_its_turn(tmp_path, monkeypatch):
    for seed in range(7):
        write_patient(tmp_path / "data", f"patient {seed}", seed)
    alive = []

    def count(cases, *rest):
        gc.collect()
        alive.append((len(cases), sum(isinstance(one, SourceCase) for one in gc.get_objects())))
        return pack_cases(cases, *rest)

    monkeypatch.setattr("hipseg.cli.pack.pack_cases", count)
    monkeypatch.setattr("hipseg.ingest.shelf.ITEMS_IN_MEMORY", 3)
    monkeypatch.setattr("hipseg.ingest.shelf.BLOCK_ITEMS", 1)
    gc.collect()
    before = sum(isinstance(one, SourceCase) for one in gc.get_objects())
    pack(tmp_path)
    # The last one waits to be written.
    assert alive == [(7, before + 1)]
    assert len(read_manifest(DatasetPaths(tmp_path / "shards")).cases) == 7


def merge_code(folder):
    with pytest.raises(SystemExit) as ended:
        run(["pack", "--merge", "-o", str(folder)])
    return ended.value.code


def merge_in_two_parts(tmp_path):
    """Pack in two parts and merge them; give the merge's exit code."""
    for part in ("1/2", "2/2"):
        with contextlib.suppress(SystemExit):
            run(["pack", str(tmp_path / "data"), "-o", str(tmp_path / "parts"), "--part", part])
    try:
        run(["pack", "--merge", "-o", str(tmp_path / "parts")])
    except SystemExit as ended:
        return ended.code
    return 0


def test_a_merge_tells_a_refused_case_that_was_packed_before_as_one_packing_does(tmp_path, capsys):
    files = [write_patient(tmp_path / "data", name, seed) for seed, name in enumerate(("Doe", "Roe", "Poe"))]
    pack(tmp_path)
    assert merge_in_two_parts(tmp_path) == 0
    files[1][2].unlink()
    with pytest.raises(SystemExit) as ended:
        pack(tmp_path)
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert merge_in_two_parts(tmp_path) == ended.value.code == PARTIAL_EXIT_CODE
    told = capsys.readouterr()
    assert warning.endswith("was refused now, but stays as it was packed before")
    assert told.err.splitlines()[-1] == warning
    assert told.out.endswith("merged the parts in " + f"{tmp_path}/parts: 2 cases packed, 1 refused\n")
    assert data_files(tmp_path / "parts") == data_files(tmp_path / "shards")


@pytest.mark.parametrize("is_merged", [False, True])
def test_a_refusal_goes_with_its_case(tmp_path, capsys, is_merged):
    write_patient(tmp_path / "data", "Doe", 1)
    write_patient(tmp_path / "other", "Roe", 2)
    archive = Path(shutil.make_archive(str(tmp_path / "data" / "Roe"), "zip", tmp_path / "other"))
    whole = archive.read_bytes()
    # What is left of it has no identifiers, so that its case has another key than the mended one.
    cut(archive, 2000)
    folder = tmp_path / ("parts" if is_merged else "shards")

    def pack_all():
        if is_merged:
            return merge_in_two_parts(tmp_path)
        with contextlib.suppress(SystemExit):
            return len(pack(tmp_path).refusals)
        return PARTIAL_EXIT_CODE

    assert pack_all() == PARTIAL_EXIT_CODE
    (refusal,) = read_manifest(DatasetPaths(folder)).refusals
    archive.write_bytes(whole)
    capsys.readouterr()
    assert pack_all() == 0
    manifest = read_manifest(DatasetPaths(folder))
    assert refusal.case not in {one.case for one in manifest.cases}
    assert (len(manifest.cases), manifest.refusals) == (2, ())
    words = "a case that was refused before: not found in DATA any more, and no longer listed as refused\n"
    assert capsys.readouterr().out.count(words) == 1


def test_an_interrupted_packing_keeps_the_refusals_of_before(tmp_path, monkeypatch):
    write_patient(tmp_path / "data", "Doe", 1)
    files = write_patient(tmp_path / "data", "Roe", 2)
    files[2].unlink()
    with pytest.raises(SystemExit):
        pack(tmp_path)
    before = read_manifest(DatasetPaths(tmp_path / "shards")).refusals
    shutil.rmtree(tmp_path / "data" / "Roe")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("hipseg.cli.pack.Tally.add", stop)
    with pytest.raises((KeyboardInterrupt, click.Abort)):
        pack(tmp_path)
    assert read_manifest(DatasetPaths(tmp_path / "shards")).refusals == before != ()


def test_a_part_of_which_all_is_refused_came_to_its_end_and_its_merge_says_what_is_wrong(tmp_path, capsys):
    cut(write_patient(tmp_path / "data", "Roe", 1)[0], -20)
    with pytest.raises(SystemExit) as ended:
        run(["pack", str(tmp_path / "data"), "-o", str(tmp_path / "parts"), "--part", "1/1"])
    assert ended.value.code == PARTIAL_EXIT_CODE
    with pytest.raises(SeriesError, match=r"none of the 1 cases could be packed; the reasons are above and in .*manifest.json"):
        run(["pack", "--merge", "-o", str(tmp_path / "parts")])
    (refusal,) = read_manifest(DatasetPaths(tmp_path / "parts")).refusals
    assert capsys.readouterr().err.count(f"refused case {refusal.case}: {refusal.reason}\n") == 2


def test_a_merge_points_out_equal_images(tmp_path, capsys):
    for name, uid in (("Doe", "2.25.1"), ("Roe", "2.25.2")):
        write_ct_series(tmp_path / "data" / name, volume_hu(), patient_id=name, series_uid=uid)
    for part in ("1/2", "2/2"):
        run(["pack", str(tmp_path / "data"), "-o", str(tmp_path / "shards"), "--part", part])
    assert "same image" not in capsys.readouterr().err
    run(["pack", "--merge", "-o", str(tmp_path / "shards")])
    assert "are the same image, voxel for voxel" in capsys.readouterr().err


def test_parts_that_saw_different_data_are_not_merged(tmp_path):
    for name, seed in (("Doe", 1), ("Roe", 2), ("Poe", 3)):
        write_patient(tmp_path / "data", name, seed)
    run(["pack", str(tmp_path / "data"), "-o", str(tmp_path / "shards"), "--part", "1/2"])
    shutil.rmtree(tmp_path / "data" / "Roe")
    run(["pack", str(tmp_path / "data"), "-o", str(tmp_path / "shards"), "--part", "2/2"])
    with pytest.raises(ConfigError, match="saw different cases in DATA"):
        run(["pack", "--merge", "-o", str(tmp_path / "shards")])
    run(["pack", str(tmp_path / "data"), "-o", str(tmp_path / "shards"), "--part", "1/2"])
    run(["pack", "--merge", "-o", str(tmp_path / "shards")])


def test_a_folder_that_cannot_be_listed_is_pointed_out_by_the_exit_code(tmp_path, capsys, monkeypatch):
    write_patient(tmp_path / "data", "Doe", 1)
    (tmp_path / "data" / "closed").mkdir()
    # Permissions do not hold a superuser back, who may be running this.
    listed = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SystemExit) as ended:
        pack(tmp_path)
    assert ended.value.code == PARTIAL_EXIT_CODE
    words = "warning: what lies in no case and could not be read may be CT (1 cannot be opened); mend or remove it\n"
    assert capsys.readouterr().err == words


def write_other_archive(root):
    (root / "p2.tar.gz").write_bytes(b"\x1f\x8b and what follows")


def write_link(root):
    write_patient(root.parent / "store", "Roe", 2)
    (root / "p2").symlink_to(root.parent / "store")


def write_pointers(root):
    (root / "p2").mkdir()
    for number in range(4):
        (root / "p2" / f"IM{number}").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (write_other_archive, "1 archive of another kind than ZIP, or a part of one, not looked into: unpack it"),
        (write_link, "1 symbolic link to data elsewhere, not followed: put the files themselves in its place"),
        (write_pointers, "4 pointer of git-lfs or git-annex in the place of a file"),
    ],
)
def test_a_patient_who_may_lie_where_nothing_is_read_is_pointed_out_by_the_exit_code(tmp_path, capsys, write, words):
    write_patient(tmp_path / "data", "Doe", 1)
    write(tmp_path / "data")
    with pytest.raises(SystemExit) as ended:
        pack(tmp_path)
    assert ended.value.code == PARTIAL_EXIT_CODE
    assert f"warning: what lies in no case and could not be read may be CT ({words}); mend" in capsys.readouterr().err


def test_a_slice_that_is_added_damaged_refuses_the_case_that_was_packed_before(tmp_path, capsys):
    path = write_patient(tmp_path / "data", "Doe", 1)[3]
    pack(tmp_path)
    (path.parent / "more").write_bytes(path.read_bytes()[:300])
    with pytest.raises(SeriesError, match="none of the 1 cases"):
        pack(tmp_path)
    assert "damaged file in case" in capsys.readouterr().err


def test_a_shard_that_is_cut_is_packed_again(tmp_path):
    write_patient(tmp_path / "data", "Doe", 1)
    (record,) = pack(tmp_path).cases
    cut(tmp_path / "shards" / record.shard, -100)
    pack(tmp_path)
    run(["verify", str(tmp_path / "shards")])


def test_the_cure_of_a_flipped_bit_is_one(tmp_path):
    write_patient(tmp_path / "data", "Doe", 1)
    (record,) = pack(tmp_path).cases
    shard = tmp_path / "shards" / record.shard
    good = shard.read_bytes()
    shard.write_bytes(good[:-9] + bytes([good[-9] ^ 1]) + good[-8:])
    with pytest.raises(ShardError, match=r"as listed; delete the shards of the cases named, and pack the same DATA again"):
        run(["verify", str(tmp_path / "shards")])
    shard.unlink()
    pack(tmp_path)
    assert shard.read_bytes() == good


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--keep-key-table", "keys.csv"], "--merge takes -o alone, not --keep-key-table: give that to the packing of each part"),
        (["--store", "int16", "--roi", "femur=3"], "not --roi, --store"),
    ],
)
def test_merging_takes_no_option_that_it_would_not_heed(tmp_path, options, words):
    with pytest.raises(click.UsageError, match=words):
        run(["pack", "--merge", "-o", str(tmp_path), *options])


@pytest.mark.parametrize("options", [[], ["--list-roi"]])
def test_a_crash_leaves_no_image_of_the_memory_that_identifiers_are_read_into(tmp_path, monkeypatch, options):
    asked, find = [], find_cases

    def find_after(*arguments):
        assert asked == [(resource.RLIMIT_CORE, (0, 7))]
        return find(*arguments)

    write_patient(tmp_path / "data", "Doe", 1)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (7, 7))
    monkeypatch.setattr(resource, "setrlimit", lambda *what: asked.append(what))
    monkeypatch.setattr("hipseg.cli.pack.find_cases", find_after)
    run(["pack", str(tmp_path / "data"), "-o", str(tmp_path / "shards"), "--salt-file", str(tmp_path / "salt"), *options])
    assert len(asked) == 1
