"""Files are asked for before their turn, where the system has to fetch them."""

import errno
import os
from pathlib import Path

import pytest

from hipseg.ingest.ahead import FILES_AHEAD, fetch_ahead
from hipseg.ingest.cases import find_cases, open_case
from tests.ingest.builders import volume_hu, write_ct_series

COUNT, SIZE = 3 * FILES_AHEAD, 5_000


@pytest.fixture
def files(tmp_path):
    """Files of which the system has all bytes, since they were just written."""
    found = [tmp_path / f"{number:03}" for number in range(COUNT)]
    for path in found:
        path.write_bytes(bytes(SIZE))
    return found


@pytest.fixture
def asked(monkeypatch):
    """The files that the system is asked for, and how much of them."""
    found = []

    def note(descriptor, offset, size, advice):
        assert (offset, advice) == (0, os.POSIX_FADV_WILLNEED)
        found.append((Path(f"/proc/self/fd/{descriptor}").readlink(), size))

    monkeypatch.setattr("os.posix_fadvise", note)
    return found


def whole(path):
    return path, SIZE


def refuse_to_wait(monkeypatch, number=errno.EAGAIN):
    """Let the system hold nothing of any file, or its file system not tell."""
    true_preadv = os.preadv

    def preadv(descriptor, buffers, offset, flags=0):
        if flags:
            raise OSError(number, os.strerror(number))
        return true_preadv(descriptor, buffers, offset)

    monkeypatch.setattr("os.preadv", preadv)


def test_what_the_system_holds_is_not_asked_for(files, asked):
    assert list(fetch_ahead(files, whole)) == files
    assert not asked


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EOPNOTSUPP])
def test_what_it_has_to_fetch_is_asked_for_a_few_files_ahead(files, asked, monkeypatch, number):
    refuse_to_wait(monkeypatch, number)
    for turn, path in enumerate(fetch_ahead(files, whole)):
        assert path == files[turn]
        assert asked == [(one, SIZE) for one in files[: turn + 1 + FILES_AHEAD]]


def test_files_that_cannot_be_opened_or_asked_for_are_passed_over(files, monkeypatch):
    def take_no_advice(*_):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    refuse_to_wait(monkeypatch)
    monkeypatch.setattr("os.posix_fadvise", take_no_advice)
    files[FILES_AHEAD].unlink()
    files[FILES_AHEAD + 1].unlink()
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert list(fetch_ahead(files, whole)) == files
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_items_without_a_file_keep_their_place(files, asked, monkeypatch):
    refuse_to_wait(monkeypatch)
    assert list(fetch_ahead(files, lambda path: None if path.name > "000" else (path, 7))) == files
    assert asked == [(files[0], 7)]


def test_no_more_is_taken_than_is_asked_for(files):
    taken = []

    def give():
        for path in files:
            taken.append(path)
            yield path

    assert next(fetch_ahead(give(), whole)) == files[0]
    assert len(taken) == FILES_AHEAD + 1


def test_headers_are_asked_for_by_name_and_whole_files_by_slice(tmp_path, asked, monkeypatch):
    by_height = write_ct_series(tmp_path, volume_hu(200, 4, 4))
    refuse_to_wait(monkeypatch)
    (source,) = find_cases(tmp_path).cases
    assert [path for path, _ in asked] == sorted(by_height) != by_height
    asked.clear()
    list(open_case(source, "c0ffee", {}).slices)
    assert asked == [(path, path.stat().st_size) for path in by_height]
