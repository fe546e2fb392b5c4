"""Parts that were packed apart -> one data set, and no case between them lost or counted twice."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hipseg.errors import ConfigError
from hipseg.fsio import locked
from hipseg.pack.journal import Entry, JournalContent, open_journal, read_journal
from hipseg.pack.plan import Part, PlanRecord, check_same_plan
from hipseg.pack.state import PackState, absorb, finish_whole, is_entry_there, load_whole, part_count
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import CaseRecord, Manifest, Refusal, read_manifest

NOTHING = JournalContent()
"""Of a part that has no journal."""
Parts = Mapping[str, JournalContent]
"""By name, as 3-of-16: all of one N."""


@dataclass(frozen=True)
class Merged:
    """What a merge gave.

    Args:
        manifest: of the whole data set.
        stale: refusals of cases that stay as they were packed before, by rising key.
        forgotten: how many refusals of before are of cases that no part found again.
    """

    manifest: Manifest
    stale: tuple[Refusal, ...]
    forgotten: int


def merge_parts(paths: DatasetPaths) -> Merged:
    """Join the parts that `--part` packed, with what the data set held before, into one manifest.

    A merge that was killed is finished by the same call, and one that came to its end says again what it gave. Where parts of
    several numbers are there, those are joined that are all packed to their end, the newest of several.

    Returns:
        The manifest, the same to the byte as that of one packing of all cases, and what a merge has to say.
    Raises:
        ConfigError: a part is missing or unfinished, the parts do not fit together or saw different cases, a shard of theirs
            is gone, or a command is at work there.
        ShardError: the manifest of the data set is damaged.
    """
    with locked(paths.lock, str(paths.root)):
        before = read_journal(paths.journal())
        if before.parts and not paths.part_journals:
            return Merged(read_manifest(paths), _sorted(before.stale), forgotten=0)
        parts = _read_parts(paths)
        _check_salts(paths, parts)
        plan = next(one.plan for one in parts.values() if one.plan)
        state, stale, forgotten = load_whole(paths, plan, before), dict[str, Refusal](), 0
        taken = len(state)
        is_merged = _is_merged(parts, before, state)
        if is_merged:
            stale.update(before.stale)
        else:
            _check_parts(paths, parts)
            _check_newest(paths, parts)
            _absorb_others(paths, state, plan, len(parts))
        for name, content in parts.items():
            stale.update(_add_part(paths, state, plan, name, content))
        if not is_merged:
            forgotten = state.forget_refusals(taken)
        with open_journal(paths.journal(), plan, state.entries) as journal:
            for case in sorted(stale):
                journal.add(Entry(stale[case], ""))
            journal.complete(len(parts))
        return Merged(finish_whole(paths, state, plan, len(parts)), _sorted(stale), forgotten)


def _sorted(refusals: Mapping[str, Refusal]) -> tuple[Refusal, ...]:
    return tuple(refusals[case] for case in sorted(refusals))


def _absorb_others(paths: DatasetPaths, state: PackState, plan: PlanRecord, count: int) -> None:
    """Take what parts of another number packed and nobody merged: it stays as every packed case does."""
    for path in paths.part_journals:
        if part_count(path) != count:
            absorb(state, read_journal(path), plan, paths)


def _add_part(paths: DatasetPaths, state: PackState, plan: PlanRecord, name: str, content: JournalContent) -> dict[str, Refusal]:
    """Take what a part packed and refused; give its refusals of cases that were packed before."""
    check_same_plan(plan, content.plan or plan, paths.root, has_cases=True)
    stale = dict(content.stale)
    for case, entry in content.entries.items():
        if isinstance(entry.outcome, Refusal) and state.find_packed(case):
            stale[case] = entry.outcome
        # One that was not packed now may have lost its shard before, which `verify` tells.
        elif case not in stale and not is_entry_there(paths, entry):
            raise ConfigError(
                f"the shard of case {case}, which part {_say(name)} packed into {paths.root}, is gone or has another size; "
                "pack that part again (what is there is kept), then merge"
            )
        state.add(entry)
    return stale


def _is_merged(parts: Parts, before: JournalContent, state: PackState) -> bool:
    """Say whether a merge was killed when all was written: then the parts that are still there say nothing new."""
    there = [one for one in parts.values() if one is not NOTHING]
    return before.parts == len(parts) and all(
        one.is_complete
        and all(_is_known(entry, state) for entry in one.entries.values())
        and all(before.stale.get(case) == refusal for case, refusal in one.stale.items())
        for one in there
    )


def _is_known(entry: Entry, state: PackState) -> bool:
    known, packed = state.find(entry.outcome.case), state.find_packed(entry.outcome.case)
    if isinstance(entry.outcome, CaseRecord):
        return packed == (entry.outcome, entry.seal)
    return packed is not None or (known is not None and known.outcome == entry.outcome)


def _read_parts(paths: DatasetPaths) -> Parts:
    """Read the journals of the parts that are to be merged; one that is missing is NOTHING."""
    by_count: dict[int, list[Path]] = defaultdict(list)
    for path in paths.part_journals:
        if count := part_count(path):
            by_count[count].append(path)
    if not by_count:
        raise ConfigError(f"no parts are in {paths.root}; pack all parts I/N of one N with `hipseg pack --part I/N`, then merge")
    lacking: dict[int, list[str]] = {}
    for count in sorted(by_count, key=lambda one: max(path.stat().st_mtime_ns for path in by_count[one]), reverse=True):
        names = [Part(number, count).name for number in range(1, count + 1)]
        parts = {name: read_journal(path) if (path := paths.journal(name)).exists() else NOTHING for name in names}
        lacking[count] = _lacking(parts)
        if not lacking[count] or len(by_count) == 1:
            return parts
    each = ", ".join(f"{_say_names(names)} of the parts of {count}" for count, names in sorted(lacking.items()))
    raise ConfigError(
        f"parts of several numbers are in {paths.root}, and of none all are packed to their end: {each} lack; pack the rest "
        "of one N with `hipseg pack --part I/N`, then merge"
    )


def _lacking(parts: Parts) -> list[str]:
    return [name for name, content in parts.items() if not content.is_complete or content.plan is None]


def _check_salts(paths: DatasetPaths, parts: Parts) -> None:
    """Refuse parts that gave the same case different keys, so that it is in two parts or in none."""
    by_salt: dict[str, list[str]] = defaultdict(list)
    for name, content in parts.items():
        if content.plan:
            by_salt[content.plan.salt_id].append(name)
    if len(by_salt) > 1:
        usual, odd = _split_odd(by_salt)
        raise ConfigError(
            f"the parts in {paths.root} have keys of {len(by_salt)} salts: {_say_names(odd)} not those of {_say_names(usual)}, "
            "so that cases are in several parts or in none; pack all parts again into an empty folder, with the same --salt-file"
        )


def _check_parts(paths: DatasetPaths, parts: Parts) -> None:
    """Refuse to merge fewer than all parts, or parts between which a case may have fallen."""
    if lacking := _lacking(parts):
        raise ConfigError(
            f"{len(lacking)} of {len(parts)} parts in {paths.root} are not packed to their end ({_say_names(lacking)}); "
            "pack them with `hipseg pack --part I/N`, then merge"
        )
    by_digest: dict[str, list[str]] = defaultdict(list)
    for name, content in parts.items():
        by_digest[content.plan.found_digest if content.plan else ""].append(name)
    if len(by_digest) > 1:
        usual, odd = _split_odd(by_digest)
        raise ConfigError(
            f"the parts in {paths.root} saw different cases in DATA: {_say_names(odd)} not those that {_say_names(usual)} saw, "
            "so that cases may be in no part; pack all parts again with the same DATA (what did not change is kept), then merge"
        )


def _check_newest(paths: DatasetPaths, parts: Parts) -> None:
    """Refuse to merge parts over cases that later ones of another number packed anew, but not to their end."""
    merged_ns = max(paths.journal(name).stat().st_mtime_ns for name in parts)
    others = [path for path in paths.part_journals if part_count(path) not in (0, len(parts))]
    for path in [path for path in others if path.stat().st_mtime_ns > merged_ns]:
        count, later = part_count(path), read_journal(path).entries
        known = (entry for content in parts.values() for entry in content.entries.values() if entry.outcome.case in later)
        if changed := [entry.outcome.case for entry in known if _is_other(entry, later[entry.outcome.case])]:
            raise ConfigError(
                f"all parts of {len(parts)} in {paths.root} are packed, but later ones of {count}, which are not, packed "
                f"{len(changed)} of their cases anew, among them {min(changed)}; pack the rest of those with "
                f"`hipseg pack --part I/{count}`, then merge"
            )


def _is_other(entry: Entry, later: Entry) -> bool:
    return isinstance(later.outcome, CaseRecord) and (entry.outcome, entry.seal) != (later.outcome, later.seal)


def _split_odd(groups: Mapping[str, list[str]]) -> tuple[list[str], list[str]]:
    usual, *others = sorted(groups.values(), key=len, reverse=True)
    return usual, [name for names in others for name in names]


def _say_names(names: Iterable[str]) -> str:
    first, *more = map(_say, names)
    return first if not more else f"{first} and {len(more)} more"


def _say(name: str) -> str:
    return name.replace("-of-", "/")
