"""Found cases -> shards and manifest, several at once; a refused case never stops the others, a finished one is not redone."""

import tempfile
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from hipseg.errors import ConfigError
from hipseg.fsio import unwritable
from hipseg.pack.crew import deal
from hipseg.pack.journal import Entry, Journal, open_journal
from hipseg.pack.keyed import KeyedCase, KeyedCases
from hipseg.pack.packer import Done, Packer, Written
from hipseg.pack.plan import PackPlan, Part, record_plan
from hipseg.pack.state import PackState, claimed, finish_whole, load_state, sweep
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import CaseRecord, Manifest, Refusal

Tick = Callable[[int, int], None]
"""Called now and then with the slices that were written since, and their bytes as int16."""
Finished = Callable[[Manifest, int], None]
"""Called with the manifest when it is written, and with the number of refusals of before that it lists no more."""


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Args:
        result: its record, or why it was refused.
        is_kept: whether it was packed before out of the same files, and was left as it is.
    """

    result: CaseRecord | Refusal
    is_kept: bool = False


def check_output(data: Path, paths: DatasetPaths) -> None:
    """Refuse an output folder before anything is read; nothing is made yet.

    Raises:
        ConfigError: the folder cannot be written, or lies in the folder that is to be read.
    """
    if paths.root.resolve().is_relative_to(data.resolve()):
        raise ConfigError(f"output folder {paths.root} lies in the input folder {data}; name one outside, as in -o ../shards")
    check_writable(paths.root)


def check_writable(folder: Path) -> None:
    """Try to write where a folder is, or where it would be made, and leave nothing behind.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        nearest = next(one for one in (folder, *folder.absolute().parents) if one.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise unwritable(folder, error) from error


def pack_cases(
    cases: KeyedCases,
    paths: DatasetPaths,
    plan: PackPlan,
    tick: Tick = lambda *_: None,
    finished: Finished = lambda *_: None,
) -> Generator[Outcome, None, None]:
    """Pack cases into a data set, beside those that it holds already.

    Each finished case is noted in a journal, and the manifest is written at the end, also when an error or the caller ends the
    packing. A killed packing leaves the manifest of before, whose shards are all still there, and the same call goes on from
    the journal. A case that was packed before out of the same files is left as it is; one whose files changed gets a new
    shard; if it is refused now, what was packed before stays. A refusal of before goes when a packing has come to its end and
    did not find its case: a case that was mended may have got another key. The bytes do not depend on `plan.jobs`.

    Args:
        cases: what to pack.
        paths: the data set; its folder is made, and locked until the last case is taken.
        plan: structures, salt, form and counts of this packing.
        tick: told of the slices that are written.
        finished: told of the manifest when it is written, and how many refusals went; a part has none.
    Returns:
        For each case of the plan's part, in the order given, what became of it.
    Raises:
        ConfigError: the folder cannot be written, another command is at work there, or its cases have other
            structures, another window or another salt.
        ShardError: its manifest is damaged.
    """
    chosen = cases if plan.part is None else cases.of_part(plan.part)
    with claimed(paths, plan.part):
        state = load_state(paths, plan)
        sweep(paths, chosen.keys, plan.part)
        kept = (entry for entry in state.entries if plan.part is None or _is_kept(entry, plan.part, chosen.keys))
        name = "" if plan.part is None else plan.part.name
        taken, forgotten = len(state), 0
        with open_journal(paths.journal(name), record_plan(plan), kept) as journal:
            try:
                with closing(_pack_all(chosen, paths, plan, _Notes(state, journal), tick)) as outcomes:
                    yield from _in_order(outcomes)
                forgotten = state.forget_refusals(taken)
                journal.complete()
            finally:
                if plan.part is None:
                    finished(finish_whole(paths, state, record_plan(plan)), forgotten)


def _is_kept(entry: Entry, part: Part, keys: Collection[str]) -> bool:
    """Say whether a part's journal begins with what is known of a case; nobody may have merged yet what came of other DATA."""
    case = entry.outcome.case
    # What is known from the manifest alone has no seal, and needs no journal.
    return case in keys or (bool(entry.seal) and part.has(case))


@dataclass(frozen=True)
class _Notes:
    """Where finished cases are noted: for the manifest, and against a kill."""

    state: PackState
    journal: Journal

    def take(self, message: Done | Written) -> None:
        """Note a case that was finished now."""
        if isinstance(message, Done) and not message.is_kept:
            self.journal.add(message.entry)
            self.state.add(message.entry)


def _pack_all(
    cases: Sequence[KeyedCase], paths: DatasetPaths, plan: PackPlan, notes: "_Notes", tick: Tick
) -> Generator[tuple[int, Outcome], None, None]:
    """Pack cases in as many processes as there are jobs, and note each as it is done; nothing runs on when this ends."""
    processes = max(1, min(plan.jobs, len(cases)))
    packer = Packer(cases, paths, plan, notes.state, threads=plan.jobs // processes)
    with closing(deal(len(cases), processes, packer.run, late=notes.take)) as messages:
        for message in messages:
            if isinstance(message, Written):
                tick(message.slices, message.bytes)
                continue
            # On the disk before anybody is told.
            notes.take(message)
            yield message.number, Outcome(message.entry.outcome, message.is_kept)


def _in_order(outcomes: Iterator[tuple[int, Outcome]]) -> Iterator[Outcome]:
    """Hold back what is done before its turn."""
    waiting: dict[int, Outcome] = {}
    turn = 0
    for number, outcome in outcomes:
        waiting[number] = outcome
        while turn in waiting:
            yield waiting.pop(turn)
            turn += 1
