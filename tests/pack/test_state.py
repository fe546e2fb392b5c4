import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hipseg.errors import ConfigError
from hipseg.fsio import locked
from hipseg.pack.journal import Entry, open_journal
from hipseg.pack.merge import merge_parts
from hipseg.pack.plan import PackPlan, Part, record_plan
from hipseg.pack.state import PackState, claimed, finish_whole, load_state, sweep
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import Refusal, read_manifest
from tests.ingest.builders import cut
from tests.shards.builders import pack_noise

PLAN = PackPlan(rois={}, salt_id="", set_aside={})
RECORD = record_plan(PLAN)
KILLER = Path(__file__).resolve().parents[2] / "tools" / "kill_packs.py"


@pytest.fixture
def packed(tmp_path):
    return pack_noise(tmp_path, {"c1": "p1", "c2": "p2"}, (2, 3, 4))


def entry(record, seal="5" * 64):
    return Entry(record, seal)


def sealed_cases(state):
    return {one.outcome.case for one in state.entries if one.seal}


def test_a_refusal_now_leaves_what_was_packed_before(packed):
    _, manifest = packed
    state = PackState()
    state.add(Entry(Refusal("c1", "SeriesError", "gap"), ""))
    assert [one.case for one in state.manifest(RECORD).refusals] == ["c1"]
    assert state.find_packed("c1") is None
    state.add(entry(manifest.cases[0]))
    state.add(Entry(Refusal("c1", "SeriesError", "gap"), ""))
    assert (state.find_packed("c1"), state.find_packed("c2")) == ((manifest.cases[0], "5" * 64), None)
    assert (state.manifest(RECORD).cases, state.manifest(RECORD).refusals) == (manifest.cases[:1], ())


@pytest.mark.parametrize("held", [0, 1, 1000])
def test_many_cases_are_kept_on_disk_as_few_are_in_memory(packed, monkeypatch, held):
    monkeypatch.setattr("hipseg.ingest.shelf.ITEMS_IN_MEMORY", held)
    paths, manifest = packed
    state = PackState(map(entry, manifest.cases[::-1]))
    for number in (9, 8):
        state.add(Entry(Refusal(f"c{number}", "MaskError", "none"), ""))
    assert [one.outcome for one in state.entries] == list(manifest.cases)
    found = finish_whole(paths, state, RECORD)
    assert found == read_manifest(paths)
    assert [one.case for one in found.refusals] == ["c8", "c9"]
    assert (found.cases[-1], found.cases[:1]) == (manifest.cases[1], manifest.cases[:1])


def test_a_killed_packing_is_continued_from_its_journal(packed):
    paths, manifest = packed
    paths.manifest.unlink()
    with open_journal(paths.journal(), RECORD, [entry(manifest.cases[0])]) as journal:
        journal.add(entry(manifest.cases[1]))
    state = load_state(paths, PLAN)
    assert state.manifest(RECORD).cases == manifest.cases
    assert sealed_cases(state) == {"c1", "c2"}


def test_a_case_whose_shard_is_gone_is_not_finished(packed):
    paths, manifest = packed
    paths.manifest.unlink()
    paths.shard("c1.h5").unlink()
    with open_journal(paths.journal(), RECORD, map(entry, manifest.cases)):
        pass
    assert sealed_cases(load_state(paths, PLAN)) == {"c2"}


def test_a_case_whose_shard_has_another_size_is_not_finished(packed):
    paths, manifest = packed
    with open_journal(paths.journal(), RECORD, []) as journal:
        for record in manifest.cases:
            journal.add(entry(record))
    cut(paths.shard("c1.h5"), -1)
    state = load_state(paths, PLAN)
    assert sealed_cases(state) == {"c2"}


def test_a_manifest_alone_proves_nothing_of_the_sources(packed):
    state = load_state(packed[0], PLAN)
    assert [(one.outcome.case, one.seal) for one in state.entries] == [("c1", ""), ("c2", "")]


def test_only_superseded_shards_of_known_cases_are_deleted(packed):
    paths, manifest = packed
    state = PackState(map(entry, manifest.cases))
    old, strange, foreign = (paths.shard(f"{name}.h5") for name in ("c1-0123456789ab", "c9-0123456789ab", "c1-mine"))
    for path in (old, strange, foreign):
        path.write_bytes(b"")
    finish_whole(paths, state, RECORD)
    assert [path.exists() for path in (old, strange, foreign)] == [False, True, True]
    assert read_manifest(paths) == manifest


def test_refusals_of_before_are_forgotten_unless_their_cases_were_refused_again(packed):
    state = PackState([Entry(Refusal(f"c{number}", "MaskError", "none"), "") for number in (3, 4, 5)])
    taken = len(state)
    state.add(Entry(Refusal("c4", "MaskError", "none"), ""))
    state.add(entry(replace(packed[1].cases[0], case="c5")))
    assert state.forget_refusals(taken) == 1
    assert [one.case for one in state.manifest(RECORD).refusals] == ["c4"]


def journal_of(paths, part, plan, outcomes):
    with open_journal(paths.journal(part), record_plan(plan), map(entry, outcomes)):
        pass


def test_a_part_takes_up_what_parts_of_another_number_packed_of_its_cases(packed):
    paths, manifest = packed
    paths.manifest.unlink()
    first, second = (replace(one, case=f"c{digit}", shard=one.shard) for one, digit in zip(manifest.cases, "01", strict=True))
    journal_of(paths, "2-of-3", PLAN, [first, second])
    assert sealed_cases(load_state(paths, replace(PLAN, part=Part(1, 2)))) == {"c0"}
    assert sealed_cases(load_state(paths, replace(PLAN, part=Part(2, 2)))) == {"c1"}
    assert sealed_cases(load_state(paths, replace(PLAN, part=Part(1, 3)))) == set()


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (replace(PLAN, salt_id="b" * 12), "keys of another salt; give its --salt-file"),
        (replace(PLAN, rois={"femur": 1}), "packed with --roi femur=1, this call has no --roi"),
    ],
)
def test_a_part_does_not_begin_beside_parts_that_were_asked_for_something_else(packed, there, words):
    paths, manifest = packed
    paths.manifest.unlink()
    journal_of(paths, "2-of-2", there, manifest.cases)
    with pytest.raises(ConfigError, match=words):
        load_state(paths, replace(PLAN, part=Part(1, 2)))


def test_another_choice_that_packed_nothing_yet_stops_no_part(packed):
    paths, _ = packed
    journal_of(paths, "2-of-2", replace(PLAN, rois={"femur": 1}), [])
    assert load_state(paths, replace(PLAN, part=Part(1, 2))).find_packed("c1")


def test_leftovers_are_swept_but_not_those_of_other_parts(tmp_path):
    paths = DatasetPaths(tmp_path)
    names = {"..c1.tmp.77.ab.tmp", ".c1.tmp", "..c2.tmp.77.ab.tmp", ".manifest.json.77.ab.tmp"}
    for name in names | {"c1.tmp", ".lock"}:
        (tmp_path / name).write_text("")
    (tmp_path / ".mine.tmp").mkdir()
    sweep(paths, {"c1"}, Part(1, 2))
    assert {path.name for path in tmp_path.iterdir()} == {
        *("..c2.tmp.77.ab.tmp", ".manifest.json.77.ab.tmp", ".mine.tmp", "c1.tmp", ".lock")
    }
    sweep(paths, {"c1"}, None)
    assert {path.name for path in tmp_path.iterdir()} == {".mine.tmp", "c1.tmp", ".lock"}


def test_parts_run_beside_each_other_and_nothing_else_does(tmp_path, monkeypatch):
    monkeypatch.setattr("hipseg.pack.state.ORPHANS_S", 0)
    paths = DatasetPaths(tmp_path)
    with claimed(paths, Part(1, 3)), claimed(paths, Part(2, 3)):
        with pytest.raises(ConfigError, match="at work on part 2 of 3"), claimed(paths, Part(2, 3)):
            pass
        with pytest.raises(ConfigError, match="another hipseg command is at work"), claimed(paths, None):
            pass
        with pytest.raises(ConfigError, match="another hipseg command is at work"):
            merge_parts(paths)
        with pytest.raises(ConfigError, match=r"at work on part [12] of 3"), claimed(paths, Part(1, 2)):
            pass
    with claimed(paths, Part(1, 2)):
        pass
    with locked(paths.lock, "it"), pytest.raises(ConfigError, match="at work"), claimed(paths, Part(1, 3)):
        pass


@pytest.mark.slow
def test_packings_killed_at_random_recover_to_the_same_bytes():
    done = subprocess.run([sys.executable, KILLER, "--kills", "10"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"1\d kills while cases were still to be packed, \d+ after them; all recovered to the same bytes", done.stdout
    )
