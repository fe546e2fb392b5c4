import os
from dataclasses import replace
from pathlib import Path

import pytest

from hipseg.errors import ConfigError
from hipseg.pack.journal import Entry, open_journal, read_journal
from hipseg.pack.merge import merge_parts
from hipseg.pack.plan import PackPlan, digest_keys, record_plan
from hipseg.shards.manifest import Refusal, read_manifest, write_manifest
from tests.shards.builders import pack_noise

RECORD = record_plan(PackPlan(rois={}, salt_id="", set_aside={}))


@pytest.fixture
def packed(tmp_path):
    return pack_noise(tmp_path, {"c1": "p1", "c2": "p2"}, (2, 3, 4))


def entry(record, seal="5" * 64):
    return Entry(record, seal)


def refuse(case):
    return Entry(Refusal(case, "SeriesError", "gap"), "")


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
    merged = merge_parts(paths).manifest
    assert (merged.cases, [one.case for one in merged.refusals]) == (manifest.cases, ["c3"])


def test_a_merge_keeps_what_a_packing_finished_that_was_killed_before_its_manifest(packed):
    paths, manifest = packed
    paths.manifest.unlink()
    lost = replace(manifest.cases[0], case="c3", shard="c3.h5")
    with open_journal(paths.journal(), RECORD, [entry(manifest.cases[0], "6" * 64), entry(lost)]):
        pass
    write_part(paths, "1-of-1", [entry(manifest.cases[1])])
    assert merge_parts(paths).manifest.cases == manifest.cases
    assert {case: one.seal for case, one in read_journal(paths.journal()).entries.items()} == {"c1": "6" * 64, "c2": "5" * 64}


def test_a_merge_gives_no_older_case_the_seal_of_a_newer_one(packed):
    paths, manifest = packed
    newer = replace(manifest.cases[0], shard="c2.h5")
    with open_journal(paths.journal(), RECORD, [entry(newer, "6" * 64)]):
        pass
    write_part(paths, "1-of-1", [])
    assert merge_parts(paths).manifest.cases == (newer, manifest.cases[1])
    assert read_journal(paths.journal()).entries["c1"].outcome == newer


def test_fewer_than_all_parts_are_not_merged(packed):
    paths, manifest = packed
    with pytest.raises(ConfigError, match="no parts are in"):
        merge_parts(paths)
    write_part(paths, "1-of-3", [])
    write_part(paths, "2-of-3", [entry(manifest.cases[0])], is_complete=False)
    with pytest.raises(ConfigError, match=r"2 of 3 parts in .* are not packed to their end \(2/3 and 1 more\)"):
        merge_parts(paths)
    write_part(paths, "1-of-2", [])
    words = "parts of several numbers .*: 2/2 of the parts of 2, 2/3 and 1 more of the parts of 3 lack; pack the rest of one N"
    with pytest.raises(ConfigError, match=words):
        merge_parts(paths)


def test_the_parts_that_are_all_there_are_merged_beside_those_of_another_number(packed):
    paths, manifest = packed
    paths.manifest.unlink()
    write_part(paths, "2-of-3", [entry(manifest.cases[1], "6" * 64)])
    write_part(paths, "1-of-1", [entry(manifest.cases[0])])
    # What a part of another number packed stays, as any packed case does.
    assert merge_parts(paths).manifest.cases == manifest.cases
    assert paths.part_journals == ()


@pytest.mark.parametrize("newest", ["1-of-1", "1-of-2"])
def test_of_several_numbers_of_parts_the_newest_is_merged(packed, newest):
    paths, _ = packed
    for name in ("1-of-1", "1-of-2", "2-of-2"):
        write_part(paths, name, [refuse(f"c{name[-1]}-{name[0]}")])
    os.utime(paths.journal(newest), ns=(1 << 61, 1 << 61))
    wanted = {"1-of-1": ["c1-1"], "1-of-2": ["c2-1", "c2-2"]}[newest]
    assert [one.case for one in merge_parts(paths).manifest.refusals] == wanted


@pytest.mark.parametrize(("seal", "is_later", "is_merged"), [("6", True, False), ("5", True, True), ("6", False, True)])
def test_parts_are_not_merged_over_cases_that_later_parts_packed_anew(packed, seal, is_later, is_merged):
    paths, manifest = packed
    write_part(paths, "1-of-1", map(entry, manifest.cases))
    write_part(paths, "2-of-4", [entry(manifest.cases[1], seal * 64), refuse("c1")])
    now_ns = paths.journal("1-of-1").stat().st_mtime_ns + (1 if is_later else -1)
    os.utime(paths.journal("2-of-4"), ns=(now_ns, now_ns))
    if is_merged:
        assert merge_parts(paths).manifest == manifest
        return
    words = "all parts of 1 in .*, but later ones of 4, which are not, packed 1 of their cases anew, among them c2; pack the rest"
    with pytest.raises(ConfigError, match=words):
        merge_parts(paths)
    assert len(paths.part_journals) == 2


def test_a_refusal_of_a_case_that_was_packed_before_is_told(packed):
    paths, manifest = packed
    write_part(paths, "1-of-2", [entry(manifest.cases[0]), refuse("c1")])
    write_part(paths, "2-of-2", [entry(manifest.cases[1])])
    merged = merge_parts(paths)
    assert (merged.manifest.cases, merged.stale) == (manifest.cases, (refuse("c1").outcome,))
    assert read_journal(paths.journal()).stale == {"c1": refuse("c1").outcome}


def test_a_merge_that_is_done_says_again_what_it_gave(packed):
    paths, manifest = packed
    write_part(paths, "1-of-2", [entry(manifest.cases[0]), refuse("c1")])
    write_part(paths, "2-of-2", [entry(manifest.cases[1]), refuse("c3")])
    merged = merge_parts(paths)
    assert merge_parts(paths) == merged


def test_refusals_of_before_go_where_no_part_found_their_case_again(packed):
    paths, manifest = packed
    write_manifest(paths, replace(manifest, refusals=(refuse("c8").outcome, refuse("c9").outcome)))
    write_part(paths, "1-of-1", [refuse("c8")])
    merged = merge_parts(paths)
    assert (merged.manifest.refusals, merged.forgotten) == ((refuse("c8").outcome,), 1)


def test_a_merge_names_the_part_whose_shard_is_gone(packed):
    paths, manifest = packed
    write_part(paths, "1-of-2", [entry(manifest.cases[0])])
    write_part(paths, "2-of-2", [entry(manifest.cases[1])])
    paths.shard("c2.h5").unlink()
    with pytest.raises(ConfigError, match=r"shard of case c2, which part 2/2 packed into .* is gone .*; pack that part again"):
        merge_parts(paths)


def test_a_lost_shard_of_a_case_that_is_refused_now_is_left_to_verify(packed):
    paths, manifest = packed
    write_part(paths, "1-of-1", [entry(manifest.cases[0]), entry(manifest.cases[1]), refuse("c2")])
    paths.shard("c2.h5").unlink()
    assert merge_parts(paths).manifest == manifest


def test_parts_of_several_salts_are_called_so_before_anything_else(packed):
    paths, manifest = packed
    other = replace(RECORD, salt_id="b" * 12, found_digest="d")
    for number, plan in ((1, RECORD), (2, other), (3, RECORD)):
        write_part(paths, f"{number}-of-4", [entry(manifest.cases[0])], plan)
    words = r"have keys of 2 salts: 2/4 not those of 1/4 and 1 more, .* into an empty folder, with the same --salt-file"
    with pytest.raises(ConfigError, match=words):
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
    assert merge_parts(paths).manifest.cases == manifest.cases


def write_three_parts(paths, manifest):
    paths.manifest.unlink(missing_ok=True)
    entries = ([entry(manifest.cases[0])], [entry(manifest.cases[1])], [Entry(Refusal("c3", "MaskError", "none"), "")])
    for number, found in enumerate(entries, 1):
        write_part(paths, f"{number}-of-3", found)
        paths.part_lock(f"{number}-of-3").touch()


@pytest.mark.parametrize("survived", range(9))
def test_a_merge_killed_at_any_deletion_is_finished_by_the_same_call(packed, monkeypatch, survived):
    paths, manifest = packed
    write_three_parts(paths, manifest)
    write_part(paths, "1-of-1", [], is_complete=False)
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
    merged = merge_parts(paths).manifest
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
