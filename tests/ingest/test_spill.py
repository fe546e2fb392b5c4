"""Lists beyond a bound lie on disk and read as they did in memory; nothing is left behind, and a full disk is said."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from hipseg.ingest import spill as module
from hipseg.ingest.cases import find_cases
from hipseg.ingest.scratch import NoRoomError
from hipseg.ingest.spill import Spill, SpillList
from tests.ingest.builders import volume_hu, write_ct_series
from tests.ingest.media import zip_folder

ROOM = 10


@pytest.fixture(autouse=True)
def room(monkeypatch):
    monkeypatch.setattr(module, "ITEMS_IN_MEMORY", ROOM)


def fill(spill, items, step=1):
    """Make a list, and tell the spill after every few items."""
    found = SpillList(spill)
    for start in range(0, len(items), step):
        found.extend(items[start : start + step])
        spill.relieve(len(items[start : start + step]))
    return found


@pytest.mark.parametrize("count", [0, 1, ROOM, ROOM + 1, 3 * ROOM + 5])
def test_a_list_reads_as_it_was_filled_and_lies_on_disk_beyond_the_bound(count):
    spill = Spill()
    found = fill(spill, range(count))
    assert (len(found), list(found), list(found)) == (count, list(range(count)), list(range(count)))
    assert found.is_spilled is spill.is_used is (count > ROOM)
    assert [found[n] for n in (0, count // 2, -1)] == [0, count // 2, count - 1] if count else not list(found)
    assert found[1:3] == tuple(range(count))[1:3]
    assert (found.settled() is found) is (count > ROOM)
    assert tuple(found.settled()) == tuple(range(count))


def test_lists_share_the_bound_and_keep_their_own_order_when_they_take_turns():
    spill = Spill()
    lists = [SpillList(spill) for _ in range(3)]
    for number in range(4 * ROOM):
        lists[number % 3].append(number)
        spill.relieve(1)
    assert all(one.is_spilled for one in lists)
    assert [list(one) for one in lists] == [list(range(start, 4 * ROOM, 3)) for start in range(3)]


def test_items_added_in_one_go_share_again_what_they_shared():
    one = Path("/a/b")
    found = fill(Spill(), [(one, number) for number in range(2 * ROOM)], step=2 * ROOM)
    assert found.is_spilled
    assert len({id(path) for path, _ in tuple(found)}) == 1


def test_what_is_kept_beside_lists_on_disk_goes_there_too():
    spill, items = Spill(), (1, 2, 3)
    assert spill.keep(items) is items
    fill(spill, range(ROOM + 1))
    kept = spill.keep(items)
    assert isinstance(kept, SpillList)
    assert kept.is_spilled
    assert tuple(kept) == items


def test_forked_processes_read_the_same_list_at_the_same_time():
    found = fill(Spill(), [f"item {number}" for number in range(50 * ROOM)])
    ends = []
    for _ in range(3):
        child = os.fork()
        if not child:
            is_whole = all(list(found) == [f"item {number}" for number in range(50 * ROOM)] for _ in range(20))
            os._exit(0 if is_whole else 1)
        ends.append(child)
    assert [os.waitpid(child, 0)[1] for child in ends] == [0, 0, 0]


def test_the_file_has_no_name(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = fill(Spill(), range(5 * ROOM))
    assert found.is_spilled
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_zipped", [False, True])
def test_a_full_disk_ends_the_search_with_its_cure_and_is_no_fault_of_a_file(tmp_path, monkeypatch, is_zipped):
    write_ct_series(tmp_path / "loose", volume_hu(ROOM + 5))
    if is_zipped:
        zip_folder(tmp_path / "loose", tmp_path / "data" / "a.zip")

    def be_full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("hipseg.ingest.scratch.os.pwrite", be_full)
    with pytest.raises(NoRoomError, match=r"^cannot write .*: No space left on device; free some space and repeat the command$"):
        find_cases(tmp_path / ("data" if is_zipped else "loose"))


def test_without_a_folder_for_temporary_files_the_search_ends(tmp_path, monkeypatch):
    write_ct_series(tmp_path / "data", volume_hu(ROOM + 5))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(NoRoomError, match=r"cannot write .*none: No such file or directory; name a folder that you may write to"):
        find_cases(tmp_path / "data")
