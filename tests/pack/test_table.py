import contextlib
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hipseg.errors import ConfigError
from hipseg.pack.keys import create_salt
from hipseg.pack.table import KeyRow, check_key_table, merge_key_table, read_key_table
from hipseg.runs import DatasetPaths

ONE = KeyRow("c1", "p1", 'Doe, "J"\nJr', "1.2.3", "a/b")
TWO = KeyRow("c2", "p2", "Röe", "", "c")


def test_rows_read_back_whatever_they_hold(tmp_path):
    path = tmp_path / "keys.csv"
    merge_key_table(path, [TWO, ONE])
    assert read_key_table(path) == {"c1": ONE, "c2": TWO}
    assert path.read_text().startswith("case,patient,patient_id,series_uid,folder\nc1,p1,")


def test_the_table_is_private_even_where_it_was_open_before(tmp_path):
    path = tmp_path / "keys.csv"
    merge_key_table(path, [ONE])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    merge_key_table(path, [TWO])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_merging_keeps_other_cases_and_replaces_the_same(tmp_path):
    path = tmp_path / "keys.csv"
    merge_key_table(path, [ONE, TWO])
    moved = KeyRow("c2", "p2", "Röe", "", "elsewhere")
    merge_key_table(path, [moved])
    assert read_key_table(path) == {"c1": ONE, "c2": moved}


def test_a_row_shows_nothing_in_a_log():
    assert "Doe" not in f"{ONE} {ONE!r}"


@pytest.mark.parametrize("text", ["", "name,age\nx,1\n", "case,patient,patient_id,series_uid,folder\nc1,p1\n"])
def test_another_file_is_never_taken_for_a_table_nor_overwritten(tmp_path, text):
    path = tmp_path / "notes.csv"
    path.write_text(text)
    for use in (
        read_key_table,
        lambda one: merge_key_table(one, [ONE]),
        lambda one: check_key_table(one, DatasetPaths(tmp_path / "s")),
    ):
        with pytest.raises(ConfigError, match="is no key table; its first line must be case,patient"):
            use(path)
    assert path.read_text() == text


def test_a_binary_file_is_refused(tmp_path):
    (tmp_path / "keys.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"cannot read key table .*UnicodeDecodeError"):
        read_key_table(tmp_path / "keys.csv")


def test_a_missing_table_says_how_to_keep_one(tmp_path):
    with pytest.raises(ConfigError, match=r"no key table at .*; keep one with `hipseg-pack --keep-key-table"):
        read_key_table(tmp_path / "keys.csv")


def test_a_table_may_not_lie_among_the_shards(tmp_path):
    paths = DatasetPaths(tmp_path / "shards")
    paths.root.mkdir()
    (tmp_path / "link").symlink_to(paths.root)
    for inside in (paths.root / "keys.csv", paths.root / "deep" / "keys.csv", tmp_path / "link" / "keys.csv"):
        with pytest.raises(ConfigError, match="which is passed on; keep it in a private folder"):
            check_key_table(inside, paths)
    assert check_key_table(tmp_path / "keys.csv", paths) == tmp_path / "keys.csv"


@pytest.mark.parametrize("is_there", [False, True])
def test_a_link_to_a_table_is_followed_and_none_may_lie_among_the_shards(tmp_path, is_there):
    paths, private = DatasetPaths(tmp_path / "shards"), tmp_path / "private" / "keys.csv"
    for folder in (paths.root, private.parent, tmp_path / "handy"):
        folder.mkdir()
    if is_there:
        merge_key_table(private, [ONE])
    for folder in (paths.root, tmp_path / "handy"):
        (folder / "keys.csv").symlink_to(private)
    with pytest.raises(ConfigError, match="which is passed on; keep it in a private folder"):
        check_key_table(paths.root / "keys.csv", paths)
    assert check_key_table(tmp_path / "handy" / "keys.csv", paths) == private


def test_packings_that_write_one_table_at_once_lose_no_row(tmp_path, monkeypatch):
    path, both_read = tmp_path / "t", threading.Barrier(2)
    merge_key_table(path, [ONE])
    read = read_key_table

    def read_together(one):
        rows = read(one)
        with contextlib.suppress(threading.BrokenBarrierError):
            both_read.wait(0.3)
        return rows

    monkeypatch.setattr("hipseg.pack.table.read_key_table", read_together)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda case: merge_key_table(path, [replace(ONE, case=case)]), ("c8", "c9")))
    assert sorted(read(path)) == [ONE.case, "c8", "c9"]


def test_rows_that_are_there_are_not_written_again(tmp_path):
    rows = [ONE, replace(ONE, case="c8", folder=b"caf\xe9".decode("utf-8", "surrogateescape"))]
    merge_key_table(tmp_path / "t", rows)
    written = (tmp_path / "t").stat().st_ino
    merge_key_table(tmp_path / "t", rows[::-1])
    assert (tmp_path / "t").stat().st_ino == written
    merge_key_table(tmp_path / "t", [replace(ONE, folder="moved")])
    assert read_key_table(tmp_path / "t")[ONE.case].folder == "moved"


@pytest.mark.parametrize("use", [lambda path: check_key_table(path, DatasetPaths(path.parents[1] / "s")), create_salt])
def test_a_closed_folder_is_named(tmp_path, monkeypatch, use):
    # Permissions do not hold a superuser back, who may be running this.
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(ConfigError, match=r"cannot look at .*/closed/file: Permission denied; name a folder that you may enter"):
        use(tmp_path / "closed" / "file")


def test_bytes_of_a_name_that_are_no_text_are_written_as_numbers(tmp_path):
    folder = b"caf\xe9".decode("utf-8", "surrogateescape")
    merge_key_table(tmp_path / "t", [KeyRow("c1", "p1", folder, "2.25.1", folder)])
    assert read_key_table(tmp_path / "t")["c1"].folder == r"caf\xe9"
