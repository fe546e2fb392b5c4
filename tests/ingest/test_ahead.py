"""Files are asked for before their turn, where the system has to fetch them."""

import errno
import os
import threading
from pathlib import Path

import pytest

from hipseg.ingest import ahead
from hipseg.ingest.ahead import FILES_AHEAD, fetch_ahead, open_held
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


def count_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def read_held(path):
    descriptor = open_held(path)
    if descriptor is None:
        return None
    try:
        return os.pread(descriptor, SIZE + 1, 0)
    finally:
        os.close(descriptor)


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
    before = count_descriptors()
    assert list(fetch_ahead(files, whole)) == files
    assert count_descriptors() == before


@pytest.fixture(params=["disk", "network"])
def slow(request, monkeypatch):
    """A file system that has to be waited for, the one for the bytes, the other for the opening of a file."""
    refuse_to_wait(monkeypatch)
    monkeypatch.setattr(ahead, "SLOW_OPEN_S", -1.0 if request.param == "network" else 60.0)


@pytest.mark.usefixtures("slow")
def test_a_file_is_open_until_its_turn_is_over(files):
    for number, path in enumerate(files):
        path.write_bytes(bytes([number]) * SIZE)
    before = count_descriptors()
    for number, path in enumerate(fetch_ahead(files, whole)):
        assert read_held(path) == bytes([number]) * SIZE
        assert number == 0 or read_held(files[number - 1]) is None
    assert read_held(files[-1]) is None
    assert count_descriptors() == before


@pytest.mark.usefixtures("slow")
def test_what_cannot_be_opened_is_left_to_its_reader(files):
    files[3].unlink()
    held = [read_held(path) is not None for path in fetch_ahead(files, whole)]
    assert held == [number != 3 for number in range(COUNT)]


@pytest.mark.usefixtures("slow")
def test_a_reader_that_gives_up_leaves_nothing_open(files):
    before = count_descriptors()
    turns = fetch_ahead(files, whole)
    assert [next(turns), next(turns)] == files[:2]
    assert count_descriptors() > before
    turns.close()
    assert count_descriptors() == before
    assert read_held(files[2]) is None


@pytest.mark.usefixtures("slow")
def test_one_file_wanted_twice_at_once_is_held_for_the_first(files):
    first, second = fetch_ahead(files, whole), fetch_ahead(files, whole)
    assert next(first) == next(second) == files[0]
    second.close()
    assert read_held(files[0]) == bytes(SIZE)
    first.close()
    assert read_held(files[0]) is None


def test_what_a_network_opens_slowly_is_opened_in_threads(files, monkeypatch):
    opened_by = set()
    true_open = os.open

    def note(path, flags, **options):
        opened_by.add(threading.current_thread().name.split("_")[0])
        return true_open(path, flags, **options)

    monkeypatch.setattr(ahead, "SLOW_OPEN_S", -1.0)
    monkeypatch.setattr("os.open", note)
    assert list(fetch_ahead(files, whole)) == files
    assert "ahead" in opened_by


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
