import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hipseg.errors import ConfigError, ReportError
from hipseg.fsio import (
    digest_file,
    digest_json,
    find_named,
    hide_folders,
    locked,
    printable,
    read_json,
    replacing,
    syncing,
    unwritable,
    write_json,
    write_text,
)


def test_json_nested_beyond_reading_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[" * 200_000)
    with pytest.raises(ReportError, match=r"cannot read summary at .*a\.json: "):
        read_json(tmp_path / "a.json", ReportError, "summary")


def test_a_text_is_read_back_and_nothing_else_is_left(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "één\n")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "één\n"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_a_failing_block_leaves_the_old_file_and_no_leftover(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail_half_way():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fail_half_way()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_private_file_is_never_readable_by_others(tmp_path):
    path = tmp_path / "salt"
    with replacing(path, mode=0o600) as temporary:
        assert temporary.stat().st_mode & 0o777 == 0o600
        temporary.write_text("x")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write .*name a folder that you may write to"):
        write_text(tmp_path / "file" / "a.txt", "x")


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "No space left on device; free some space and repeat the command"),
        (errno.EDQUOT, "Disk quota exceeded; free some of your own space, or ask for a larger quota, and repeat the command"),
        (errno.EFBIG, "File too large; raise the limit on the size of a file"),
        (errno.EIO, "Input/output error; check the disk and repeat the command"),
        (errno.EROFS, "Read-only file system; name a folder that you may write to"),
    ],
)
def test_each_cause_of_a_failed_write_has_its_cure(tmp_path, number, cure):
    assert cure in str(unwritable(tmp_path, OSError(number, "words of another program")))


def test_nan_becomes_null_in_json(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1.5, float("nan"), (float("inf"),)], "a": None})
    assert (tmp_path / "a.json").read_text() == '{\n "a": null,\n "b": [\n  1.5,\n  null,\n  [\n   null\n  ]\n ]\n}\n'
    assert read_json(tmp_path / "a.json", ReportError, "table") == {"a": None, "b": [1.5, None, [None]]}


def test_a_missing_or_broken_json_is_an_error_of_the_class_asked_for(tmp_path):
    with pytest.raises(ReportError, match="no table at"):
        read_json(tmp_path / "a.json", ReportError, "table")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ReportError, match="cannot read table at"):
        read_json(tmp_path / "a.json", ReportError, "table")


def test_what_a_terminal_would_obey_is_taken_out_of_words():
    assert printable("\x1b[31mred\x07 \N{RIGHT-TO-LEFT OVERRIDE}txt\n\tŻółć") == "?[31mred? ?txt Żółć"


def test_digests_are_those_of_the_standard(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert digest_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_is_on_the_disk_when_the_block_ends(tmp_path, monkeypatch):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    has_begun, synced = threading.Event(), []

    def sync(descriptor):
        has_begun.wait(timeout=10)
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr("hipseg.fsio.os.fsync", sync)
    with syncing(path):
        assert synced == []
        has_begun.set()
    assert synced == [path.stat().st_ino]


def test_a_file_that_the_disk_does_not_take_is_said(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.ENOSPC, "no space")

    (tmp_path / "abc").write_bytes(b"abc")
    monkeypatch.setattr("hipseg.fsio.os.fsync", fail)
    with pytest.raises(OSError, match="no space"), syncing(tmp_path / "abc"):
        pass


def test_the_digest_of_a_json_value_does_not_depend_on_the_order_of_its_keys():
    assert digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1}) != digest_json({"a": 1, "b": 3})


def test_a_lock_keeps_another_process_out_until_it_is_given_back(tmp_path):
    lock = tmp_path / ".lock"
    attempt = f"from pathlib import Path\nfrom hipseg.fsio import locked\nwith locked(Path({str(lock)!r}), 'the data set'): pass"
    with locked(lock, "the data set"):
        second = subprocess.run([sys.executable, "-c", attempt], capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert "another hipseg command is at work on the data set" in second.stderr
    assert subprocess.run([sys.executable, "-c", attempt], check=False).returncode == 0


def test_who_waits_gets_the_lock_once_it_is_given_back(tmp_path):
    lock = tmp_path / ".lock"
    holding = threading.Event()

    def hold():
        with locked(lock, "the data set"):
            holding.set()
            time.sleep(0.3)

    other = threading.Thread(target=hold)
    other.start()
    holding.wait()
    with locked(lock, "the data set", wait_s=60):
        assert not other.is_alive() or other.join(1) is None
    with locked(lock, "the data set"), pytest.raises(ConfigError, match="at work"), locked(lock, "the data set", wait_s=0.1):
        pass


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("no file /scratch/jane/x/a.json; mend it", "no file a.json; mend it"),
        ("in /a b/results/unet/fold_0/history.csv", "in unet/fold_0/history.csv"),
        ("no results at /a b/results", "no results at results"),
        ("1/2 of unet/fold_0, see https://example.org/a/b", "1/2 of unet/fold_0, see https://example.org/a/b"),
        ("'/scratch/user/c.h5'", "'c.h5'"),
        ("at /srv/Dr Jane Doe/st/shards/manifest.json; mend it", "at manifest.json; mend it"),
        ("'/scratch/mueller,anna/run/s.json'", "'s.json'"),
        ("/data/O'Brien^Mary/shards/m.json, mend it", "m.json, mend it"),
        ("no weights in /a/b/c.h5 nor in /d/e/f.h5: none", "no weights in c.h5 nor in f.h5: none"),
        ("at ../../home/jane/m.json; nor at ~jane/x/n.json", "at m.json; nor at n.json"),
        ("see file:///home/jane/x.csv", "see x.csv"),
    ],
)
def test_no_folder_of_the_machine_stays_in_a_text(text, hidden):
    assert hide_folders(text, [Path("/a b/results")]) == hidden


def test_a_folder_given_by_a_path_that_is_not_absolute_keeps_its_files_places():
    assert hide_folders("at ../jane/results/unet/a.csv", [Path("../jane/results")]) == "at unet/a.csv"
    assert hide_folders("at results/unet/a.csv", [Path("results")]) == "at results/unet/a.csv"


def let_others_own(monkeypatch):
    """Let the system answer as it does whoever may read a file that exists, and not write it."""

    def refuse(path, flags, *mode, **options):
        if flags & (os.O_RDWR | os.O_WRONLY):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, flags, *mode, **options)

    opened = os.open
    monkeypatch.setattr("hipseg.fsio.os.open", refuse)


def test_a_lock_file_of_another_user_is_locked_all_the_same(tmp_path, monkeypatch):
    lock = tmp_path / ".lock"
    with locked(lock, "the data set"):
        let_others_own(monkeypatch)
        with pytest.raises(ConfigError, match="another hipseg command is at work on the data set"), locked(lock, "the data set"):
            pass
    with locked(lock, "the data set"):
        pass


def test_a_folder_that_takes_no_lock_file_cannot_be_written(tmp_path, monkeypatch):
    let_others_own(monkeypatch)
    words = r"cannot write .*\.lock: Permission denied; name a folder"
    with pytest.raises(ConfigError, match=words), locked(tmp_path / ".lock", "the data set"):
        pass


def test_a_lock_that_needs_leave_to_write_is_said_to_be_another_users(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr("fcntl.flock", refuse)
    words = "the lock file is another user's, .*; let its owner delete it"
    with pytest.raises(ConfigError, match=words), locked(tmp_path / ".lock", "the data set"):
        pass


@pytest.mark.parametrize(("folder_mode", "lock_mode"), [(0o775, 0o664), (0o755, 0o644), (0o700, 0o644)])
def test_who_may_write_to_a_folder_may_lock_it(tmp_path, folder_mode, lock_mode):
    tmp_path.chmod(folder_mode)
    before = os.umask(0o022)
    try:
        with locked(tmp_path / ".lock", "the data set"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / ".lock").stat().st_mode & 0o777 == lock_mode


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_not_taken_for_a_lock_that_is_held(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    words = rf"cannot lock the data set: its file system keeps no locks \({os.strerror(number)}\); mount it with locks"
    with pytest.raises(ConfigError, match=words), locked(tmp_path / ".lock", "the data set", wait_s=60):
        pass


def test_files_are_found_by_name_as_a_glob_finds_them(tmp_path):
    for name in ("a.h5", ".a.h5", "b.h5.tmp", "a.H5", "c.h5"):
        (tmp_path / name).touch()
    (tmp_path / "folder.h5").mkdir()
    for pattern in ("*.h5", ".*", "b*"):
        assert sorted(find_named(tmp_path, pattern)) == sorted(tmp_path.glob(pattern))
    for nowhere in (tmp_path / "none", tmp_path / "a.h5"):
        assert list(find_named(nowhere, "*")) == []
