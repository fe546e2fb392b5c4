import multiprocessing
import threading

import pytest

from hipseg.errors import ConfigError
from hipseg.ingest.shelf import Shelf
from hipseg.ingest.spill import Spill, SpillList


@pytest.fixture(params=[0, 3, 100])
def shelf(request, monkeypatch):
    """Seven items: all on disk, begun in memory and moved, all in memory."""
    monkeypatch.setattr("hipseg.ingest.shelf.ITEMS_IN_MEMORY", request.param)
    return Shelf({"number": number} for number in range(7))


def test_items_come_back_by_number_and_in_order(shelf):
    assert [one["number"] for one in shelf] == list(range(7))
    assert len(shelf) == 7
    assert (shelf[0], shelf[-1], list(shelf[2:4])) == ({"number": 0}, {"number": 6}, [{"number": 2}, {"number": 3}])
    assert shelf.append({"number": 7}) == 7
    assert shelf[7] == {"number": 7}
    with pytest.raises(IndexError):
        shelf[8]


def test_a_forked_process_reads_what_was_there(shelf):
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    process = context.Process(target=lambda: results.put([one["number"] for one in shelf]))
    process.start()
    process.join()
    assert results.get() == list(range(7))


def test_threads_add_and_read_at_once(shelf):
    wrong = []

    def read():
        for _ in range(200):
            wrong.extend(number for number in range(len(shelf)) if shelf[number] != {"number": number})

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(7, 60):
        shelf.append({"number": number})
    for reader in readers:
        reader.join()
    assert not wrong


def test_lists_of_a_spill_stay_in_its_file(monkeypatch):
    monkeypatch.setattr("hipseg.ingest.shelf.ITEMS_IN_MEMORY", 0)
    spill = Spill()
    first, second = SpillList(spill), SpillList(spill)
    first.extend("abc")
    second.extend("de")
    spill.flush()
    shelf = Shelf([first, second])
    del first, second
    assert [list(one) for one in shelf] == [["a", "b", "c"], ["d", "e"]]


def test_what_cannot_be_put_on_disk_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr("hipseg.ingest.shelf.ITEMS_IN_MEMORY", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match="cannot write"):
        Shelf(["x"])
