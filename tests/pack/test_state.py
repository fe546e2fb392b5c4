import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hipseg.errors import ConfigError
from hipseg.fsio import locked
from hipseg.pack.journal import Entry, open_journal, read_journal
from hipseg.pack.plan import PackPlan, Part, digest_keys, record_plan
from hipseg.pack.state import PackState, claimed, finish_whole, load_state, merge_parts, sweep
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
    monkeypatch.setattr("hipseg.pack.shelf.ITEMS_IN_MEMORY", held)
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


def test_leftovers_are_swept_but_not_those_of_other_parts(tmp_path):
    paths = DatasetPaths(tmp_path)
    names = {"..c1.tmp.77.ab.tmp", ".c1.tmp", "..c2.tmp.77.ab.tmp", ".manifest.json.77.ab.tmp"}
    for name in names | {"c1.tmp", ".lock"}:
        (tmp_path / name).write_text("")
    sweep(paths, {"c1"}, Part(1, 2))
    assert {path.name for path in tmp_path.iterdir()} == {"..c2.tmp.77.ab.tmp", ".manifest.json.77.ab.tmp", "c1.tmp", ".lock"}
    sweep(paths, {"c1"}, None)
    assert {path.name for path in tmp_path.iterdir()} == {"c1.tmp", ".lock"}


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
    with locked(paths.lock, "it"), pytest.raises(ConfigError, match="at work"), claimed(paths, Part(1, 3)):
        pass


def write_part(paths, part, entries, plan=RECORD, *, is_complete=True):
    with open_journal(paths.journal(part), plan, entries) as journal:
        if is_complete:
            journal.complete()


def test_merged_parts_become_the_manifest_and_the_proof(packed):
    paths, manifest = packed
    text = paths.manifest.read_bytes()
    paths.manifest.unlink()
    write_part(paths, "1-of-2", [entry(manifest.cases[1])])
    write_part(paths, "2-of-2", [entry(manifest.cases[0])])
    merge_parts(paths)
    assert paths.manifest.read_bytes() == text
    assert paths.part_journals == ()
    assert {one.seal for one in read_journal(paths.journal()).entries.values()} == {"5" * 64}


def test_a_merge_keeps_what_was_packed_before(packed):
    paths, manifest = packed
    write_part(paths, "1-of-1", [Entry(Refusal("c1", "SeriesError", "gap"), ""), Entry(Refusal("c3", "MaskError", "none"), "")])
    merged = merge_parts(paths)
    assert (merged.cases, [one.case for one in merged.refusals]) == (manifest.cases, ["c3"])


def test_fewer_than_all_parts_are_not_merged(packed):
    paths, manifest = packed
    with pytest.raises(ConfigError, match="no parts are in"):
        merge_parts(paths)
    write_part(paths, "1-of-3", [])
    write_part(paths, "2-of-3", [entry(manifest.cases[0])], is_complete=False)
    with pytest.raises(ConfigError, match=r"2 of 3 parts in .* are not packed to their end \(2/3 and 1 more\)"):
        merge_parts(paths)
    write_part(paths, "1-of-2", [])
    with pytest.raises(ConfigError, match="parts of 2 and of 3 are in"):
        merge_parts(paths)


def test_parts_of_different_packings_are_not_merged(packed):
    paths, manifest = packed
    paths.manifest.unlink()
    write_part(paths, "1-of-2", [entry(manifest.cases[0])])
    other = record_plan(PackPlan(rois={"femur": 1}, salt_id="", set_aside={}))
    write_part(paths, "2-of-2", [entry(manifest.cases[1])], other)
    with pytest.raises(ConfigError, match="packed with no --roi, this call has --roi femur=1"):
        merge_parts(paths)


def test_parts_that_saw_different_cases_are_not_merged(packed):
    paths, manifest = packed
    paths.manifest.unlink()
    before, after = (replace(RECORD, found_digest=digest_keys(keys)) for keys in (["c1", "c2"], ["c1", "c2", "c3"]))
    write_part(paths, "1-of-3", [entry(manifest.cases[0])], before)
    write_part(paths, "2-of-3", [entry(manifest.cases[1])], after)
    write_part(paths, "3-of-3", [], before)
    words = r"saw different cases in DATA: 2/3 not those that 1/3 and 1 more saw.*; pack all parts again with the same DATA"
    with pytest.raises(ConfigError, match=words):
        merge_parts(paths)
    write_part(paths, "2-of-3", [entry(manifest.cases[1])], replace(before, set_aside={"localizer": 1}))
    assert merge_parts(paths).cases == manifest.cases


def write_three_parts(paths, manifest):
    paths.manifest.unlink(missing_ok=True)
    entries = ([entry(manifest.cases[0])], [entry(manifest.cases[1])], [Entry(Refusal("c3", "MaskError", "none"), "")])
    for number, found in enumerate(entries, 1):
        write_part(paths, f"{number}-of-3", found)
        paths.part_lock(f"{number}-of-3").touch()


@pytest.mark.parametrize("survived", range(8))
def test_a_merge_killed_at_any_deletion_is_finished_by_the_same_call(packed, monkeypatch, survived):
    paths, manifest = packed
    write_three_parts(paths, manifest)
    left = [survived]

    def die(path, **options):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        unlink(path, **options)

    unlink = Path.unlink
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Path, "unlink", die)
        merge_parts(paths)
    merged = merge_parts(paths)
    assert (merged.cases, [one.case for one in merged.refusals]) == (manifest.cases, ["c3"])
    assert read_manifest(paths) == merged
    assert paths.part_journals == ()


def test_a_part_packed_again_after_a_merge_waits_for_the_others(packed):
    paths, manifest = packed
    write_three_parts(paths, manifest)
    merge_parts(paths)
    write_part(paths, "1-of-3", [entry(manifest.cases[0], "6" * 64)])
    with pytest.raises(ConfigError, match=r"2 of 3 parts in .* are not packed to their end"):
        merge_parts(paths)


def test_an_empty_part_alone_is_not_taken_for_the_rest_of_a_merge(packed):
    paths, _ = packed
    write_part(paths, "1-of-3", [])
    with pytest.raises(ConfigError, match=r"2 of 3 parts in .* are not packed to their end"):
        merge_parts(paths)


@pytest.mark.slow
def test_packings_killed_at_random_recover_to_the_same_bytes():
    done = subprocess.run([sys.executable, KILLER, "--kills", "10"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"1\d kills while cases were still to be packed, \d+ after them; all recovered to the same bytes", done.stdout
    )
