import os
import resource

import numpy as np
import pytest

from hipseg.errors import ConfigError
from hipseg.pack.journal import Entry, list_shards, open_journal, read_journal, read_plan
from hipseg.pack.plan import PlanRecord
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import Refusal
from tests.shards.builders import pack_noise

PLAN = PlanRecord({"femur": 1}, "a" * 12, {"localizer": 2}, (-200, 1300))


@pytest.fixture
def entries(tmp_path):
    _, manifest = pack_noise(tmp_path / "shards", {"c1": "p1", "c2": "p2"}, (2, 3, 4))
    folder = tmp_path / "shards"
    return [Entry(record, "5" * 64, (folder / record.shard).stat().st_size) for record in manifest.cases]


@pytest.fixture
def written(tmp_path, entries):
    with open_journal(tmp_path / "shards" / "j", PLAN, entries[:1]) as journal:
        journal.add(entries[1])
        journal.add(Entry(Refusal("c3", "MaskError", "no mask"), ""))
        journal.complete()
    return tmp_path / "shards" / "j"


def test_what_was_written_is_read_back(written, entries):
    content = read_journal(written)
    assert content.plan == PLAN
    assert list(content.entries.values()) == [*entries, Entry(Refusal("c3", "MaskError", "no mask"), "")]
    assert (content.is_complete, content.parts) == (True, 0)


def test_the_size_of_a_shard_is_noted_when_its_case_is(tmp_path, entries):
    with open_journal(tmp_path / "shards" / "j", PLAN, ()) as journal:
        journal.add(Entry(entries[0].outcome, entries[0].seal))
        journal.complete(3)
    content = read_journal(tmp_path / "shards" / "j")
    assert (list(content.entries.values()), content.parts) == (entries[:1], 3)


def test_the_shards_of_all_journals_are_listed(tmp_path, entries):
    paths = DatasetPaths(tmp_path / "shards")
    assert list_shards(paths) == frozenset()
    for part, found in (("", entries[:1]), ("2-of-3", entries[1:])):
        with open_journal(paths.journal(part), PLAN, found) as journal:
            journal.add(Entry(Refusal("c3", "MaskError", "no mask"), ""))
    assert list_shards(paths) == {"c1.h5", "c2.h5"}


def test_no_journal_says_nothing(tmp_path):
    content = read_journal(tmp_path / "shards" / "j")
    assert (content.plan, content.entries, content.is_complete) == (None, {}, False)


def test_a_torn_end_takes_only_the_last_line_with_it(written):
    whole = written.read_bytes()
    lines = whole.splitlines(keepends=True)
    for kept in range(len(whole)):
        written.write_bytes(whole[:kept])
        content = read_journal(written)
        ends = np.cumsum([len(line) for line in lines])
        # A line without its end of line is still whole.
        finished = int(np.count_nonzero(ends - 1 <= kept))
        assert len(content.entries) == min(max(finished - 1, 0), 3), kept
        assert content.is_complete == (finished == 5)


def test_a_line_with_a_flipped_bit_is_passed_over(written):
    good = written.read_bytes()
    whole = read_journal(written)
    for position in np.random.default_rng(0).integers(0, 8 * len(good), 200).tolist():
        damaged = bytearray(good)
        damaged[position // 8] ^= 1 << position % 8
        written.write_bytes(damaged)
        content = read_journal(written)
        assert content != whole
        assert all(whole.entries[case] == entry for case, entry in content.entries.items())


def test_a_refusal_does_not_take_the_place_of_a_packed_case(tmp_path, entries):
    with open_journal(tmp_path / "shards" / "j", PLAN, entries) as journal:
        journal.add(Entry(Refusal("c1", "SeriesError", "slice gap"), ""))
    content = read_journal(tmp_path / "shards" / "j")
    assert content.entries["c1"] == entries[0]
    assert content.stale == {"c1": Refusal("c1", "SeriesError", "slice gap")}
    with open_journal(tmp_path / "shards" / "j", PLAN, entries) as journal:
        journal.add(Entry(Refusal("c1", "SeriesError", "slice gap"), ""))
        journal.add(entries[0])
    assert read_journal(tmp_path / "shards" / "j").stale == {}


def test_the_plan_and_whether_any_case_was_packed_are_read_alone(tmp_path, entries):
    path = tmp_path / "shards" / "j"
    assert read_plan(path) == (None, False)
    for added, has_cases in ([Entry(Refusal("c1", "SeriesError", "gap"), "")], False), (entries, True):
        with open_journal(path, PLAN, added):
            pass
        assert read_plan(path) == (PLAN, has_cases)


def test_a_full_disk_is_said(tmp_path, entries, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    with open_journal(tmp_path / "shards" / "j", PLAN, ()) as journal:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ConfigError, match=r"cannot write .*/j: No space left on device; free some space"):
            journal.add(entries[0])


def test_a_disk_that_fills_up_amid_a_line_costs_that_line_alone(tmp_path, entries):
    path = tmp_path / "shards" / "j"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with open_journal(path, PLAN, entries[:1]) as journal:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 40, limits[1]))
            with pytest.raises(ConfigError, match=r"cannot write .*/j: File too large"):
                journal.add(entries[1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(read_journal(path).entries) == ["c1"]
