import pytest

from hipseg.ingest.sorting import find_repeated, sort_apart


@pytest.mark.parametrize("count", [0, 9, 10, 11, 20, 95])
def test_many_items_are_sorted_as_few(monkeypatch, count):
    monkeypatch.setattr("hipseg.ingest.sorting.RUN_ITEMS", 10)
    monkeypatch.setattr("hipseg.ingest.sorting.BLOCK_ITEMS", 3)
    items = [(f"{number * 37 % 100}", number) for number in range(count)]
    assert list(sort_apart(iter(items))) == sorted(items)


def test_hashes_that_come_more_than_once_are_found():
    assert find_repeated([3, -2, 5, 3, -2, 3]) == {3, -2}
    assert find_repeated([]) == find_repeated([1, 2]) == frozenset()
