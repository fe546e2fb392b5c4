"""What a packing has finished, a line a case: a killed packing goes on from here, and parts are merged out of these."""

import json
import os
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import FileIO
from itertools import chain
from pathlib import Path
from typing import Any

from hipseg.errors import ConfigError
from hipseg.fsio import digest_bytes, replacing, unwritable
from hipseg.ingest.register import Register
from hipseg.pack.plan import PlanRecord
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import CaseRecord, Refusal, outcome_from_json, outcome_json
from hipseg.shards.schema import read_as

CHECK_DIGITS = 16
"""Digits of the SHA-256 that each line begins with; a line that was torn or damaged is no line."""
END_BYTES = 256
"""The line that says the end is shorter."""


@dataclass(frozen=True)
class Entry:
    """One finished case.

    Args:
        outcome: what became of it.
        seal: of the source that it was made from (see `seals`).
        shard_bytes: size of its shard when that was written; None where it is not known, or there is none.
    """

    outcome: CaseRecord | Refusal
    seal: str
    shard_bytes: int | None = None


@dataclass(frozen=True)
class JournalContent:
    """What a journal says.

    Args:
        plan: what the packing was asked for; None where the journal does not begin well.
        entries: by case, many of them on disk, the last line of each, but no refusal after it was packed.
        stale: by case, refusals after it was packed: it stays as it was.
        is_complete: whether the packing came to its end.
        parts: number of parts that it was merged of; 0 where it was none.
    """

    plan: PlanRecord | None = None
    entries: MutableMapping[str, Entry] = field(default_factory=Register)
    stale: dict[str, Refusal] = field(default_factory=dict)
    is_complete: bool = False
    parts: int = 0


class Journal:
    """A journal that is being written."""

    def __init__(self, path: Path, handle: FileIO) -> None:
        self._path, self._handle = path, handle

    def add(self, entry: Entry) -> None:
        """Note a finished case; when this returns, a kill does not undo it.

        Raises:
            ConfigError: the disk is full or the folder gone.
        """
        if isinstance(entry.outcome, CaseRecord) and entry.shard_bytes is None:
            try:
                entry = replace(entry, shard_bytes=self._path.with_name(entry.outcome.shard).stat().st_size)
            except OSError as error:
                raise unwritable(self._path, error) from error
        self._write(_entry_line(entry))

    def complete(self, parts: int = 0) -> None:
        """Note that the packing came to its end, or a merge of so many parts."""
        self._write(_line({"complete": True, "parts": parts}))

    def _write(self, line: str) -> None:
        try:
            data = memoryview(line.encode())
            while data:
                data = data[self._handle.write(data) :]
            os.fsync(self._handle.fileno())
        except OSError as error:
            raise unwritable(self._path, error) from error


@contextmanager
def open_journal(path: Path, plan: PlanRecord, entries: Iterable[Entry]) -> Iterator[Journal]:
    """Begin a journal anew with what is still true, and keep it open for more.

    Raises:
        ConfigError: the file cannot be written.
    """
    said = {**vars(plan), "rois": dict(plan.rois), "set_aside": dict(plan.set_aside)}
    with replacing(path) as temporary, temporary.open("wb") as fresh:
        fresh.writelines(line.encode() for line in chain([_line({"plan": said})], map(_entry_line, entries)))
    try:
        # What a full disk does not take must not wait in a buffer, to be written once more when it is closed.
        handle = path.open("ab", buffering=0)
    except OSError as error:
        raise unwritable(path, error) from error
    with handle:
        yield Journal(path, handle)


def read_journal(path: Path) -> JournalContent:
    """Read a journal; lines that are damaged are passed over, and their cases are packed again.

    Returns:
        What it says; nothing where there is none.
    Raises:
        ConfigError: the file cannot be read.
    """
    plan: PlanRecord | None = None
    entries: Register[str, Entry] = Register()
    stale: dict[str, Refusal] = {}
    parts: int | None = None
    for value in _read_lines(path):
        if isinstance(value, PlanRecord):
            plan = value
        elif isinstance(value, Entry):
            _take(value, entries, stale)
        else:
            parts = value
    return JournalContent(plan, entries, stale, parts is not None, parts or 0) if plan else JournalContent()


def _take(entry: Entry, entries: MutableMapping[str, Entry], stale: dict[str, Refusal]) -> None:
    case, known = entry.outcome.case, entries.get(entry.outcome.case)
    if isinstance(entry.outcome, Refusal) and known and isinstance(known.outcome, CaseRecord):
        stale[case] = entry.outcome
        return
    entries[case] = entry
    stale.pop(case, None)


def read_plan(path: Path) -> tuple[PlanRecord | None, bool]:
    """Read what a journal's packing was asked for, and whether it has packed any case, and no more of it than that takes.

    Raises:
        ConfigError: the file cannot be read.
    """
    plan: PlanRecord | None = None
    for value in _read_lines(path):
        if isinstance(value, PlanRecord):
            plan = value
        elif isinstance(value, Entry) and isinstance(value.outcome, CaseRecord):
            return plan, True
    return plan, False


def list_shards(paths: DatasetPaths) -> frozenset[str]:
    """Give the names of the shards that packings have finished, also those that no manifest has yet.

    Raises:
        ConfigError: a journal cannot be read.
    """
    journals = (paths.journal(), *paths.part_journals)
    values = (value for path in journals for value in _read_lines(path))
    return frozenset(one.outcome.shard for one in values if isinstance(one, Entry) and isinstance(one.outcome, CaseRecord))


def is_broken_off(path: Path) -> bool:
    """Say whether a journal does not end as that of a packing that came to its end; False where there is none to be read."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, handle.seek(0, os.SEEK_END) - END_BYTES))
            *_, last = (b"", *handle.read().splitlines())
    except OSError:
        return False
    return not isinstance(_parse(last), int)


def _read_lines(path: Path) -> Iterator[PlanRecord | Entry | int]:
    try:
        with path.open("rb") as handle:
            yield from (value for line in handle if (value := _parse(line.removesuffix(b"\n"))) is not None)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error


def _entry_line(entry: Entry) -> str:
    return _line({"seal": entry.seal, "outcome": outcome_json(entry.outcome), "shard_bytes": entry.shard_bytes})


def _line(value: dict[str, Any]) -> str:
    text = json.dumps(value, sort_keys=True)
    return f"{digest_bytes(text.encode())[:CHECK_DIGITS]} {text}\n"


def _parse(line: bytes) -> PlanRecord | Entry | int | None:
    """Read one line: the plan, a case, the number of parts for the end, None for a line that is none."""
    check, _, text = line.partition(b" ")
    if not text or digest_bytes(text)[:CHECK_DIGITS].encode() != check:
        return None
    value = json.loads(text)
    try:
        if "plan" in value:
            return read_as(PlanRecord, value["plan"])
        if "outcome" not in value:
            return int(value.get("parts", 0))
        return Entry(outcome_from_json(value["outcome"]), value["seal"], value.get("shard_bytes"))
    except (ValueError, ConfigError, KeyError):
        # Of another release; its cases are packed again.
        return None
