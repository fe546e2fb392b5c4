import contextlib
import dataclasses
import os
import re
import threading
from itertools import accumulate

import pytest

from hipseg.ingest.cases import find_cases, open_case
from hipseg.pack.dataset import pack_cases
from hipseg.pack.keyed import key_cases
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import CaseRecord, read_manifest
from hipseg.shards.storage import shard_digest
from tests.pack.test_dataset import PLAN, SALT, pack, read_files, write_patient


@pytest.fixture
def paths(tmp_path):
    return DatasetPaths(tmp_path / "shards")


def test_neither_processes_nor_threads_change_a_byte(tmp_path):
    for seed in range(5):
        write_patient(tmp_path / "data", f"patient {seed}", seed)
    found = []
    # One process; three that share five cases; one for each case, with two threads.
    for jobs in (1, 3, 10):
        paths = DatasetPaths(tmp_path / f"shards-{jobs}")
        pack(tmp_path / "data", paths, dataclasses.replace(PLAN, jobs=jobs))
        found.append(read_files(paths))
    assert found[0] == found[1] == found[2]


def watch_openings(monkeypatch, note):
    """Have `note` called whenever a case is opened, and again when its slices have all been read."""

    def open_watched(*arguments, **options):
        note(1)
        opened = open_case(*arguments, **options)

        def read():
            yield from opened.slices
            note(-1)

        return dataclasses.replace(opened, slices=read())

    monkeypatch.setattr("hipseg.pack.packer.open_case", open_watched)


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_more_cases_are_read_at_once_than_there_are_jobs(tmp_path, paths, monkeypatch, jobs):
    for number in range(6):
        write_patient(tmp_path / "data", f"Doe{number}", number)
    # What processes append at the same time stands one after the other.
    notes = os.open(tmp_path / "notes", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    watch_openings(monkeypatch, lambda change: os.write(notes, b"+" if change > 0 else b"-"))
    assert len(pack(tmp_path / "data", paths, dataclasses.replace(PLAN, jobs=jobs))) == 6
    os.close(notes)
    said = (tmp_path / "notes").read_text()
    assert (said.count("+"), said.count("-")) == (6, 6)
    assert 1 <= max(accumulate(1 if one == "+" else -1 for one in said)) <= jobs


def test_the_next_case_is_read_while_the_disk_takes_the_one_before(tmp_path, paths, monkeypatch):
    for number in range(2):
        write_patient(tmp_path / "data", f"Doe{number}", number)
    openings, has_next_begun, met = [], threading.Event(), []

    def note(change):
        openings.extend([change] * (change > 0))
        if len(openings) == 2:
            has_next_begun.set()

    def wait_for_the_next(path):
        met.append(has_next_begun.wait(timeout=10))
        return shard_digest(path)

    watch_openings(monkeypatch, note)
    monkeypatch.setattr("hipseg.shards.writer.shard_digest", wait_for_the_next)
    pack(tmp_path / "data", paths)
    assert met == [True, True]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_packing_that_is_stopped_waits_for_no_slice(tmp_path, paths, monkeypatch, jobs):
    for number in range(2):
        write_patient(tmp_path / "data", f"Doe{number}", number)
    cases = key_cases(find_cases(tmp_path / "data"), SALT)
    first = cases[0].source.images[0].path
    monkeypatch.setattr("hipseg.pack.packer.find_wait_s", lambda stamps: 0 if first in stamps.files else 600)
    with contextlib.closing(pack_cases(cases, paths, dataclasses.replace(PLAN, started_ns=1, jobs=jobs))) as packing:
        next(packing)
    assert [one.case for one in read_manifest(paths).cases] == [cases[0].case]
    assert list(paths.unfinished) == []


def test_an_error_that_nobody_foresaw_refuses_its_case_without_its_words(tmp_path, paths, monkeypatch):
    _, _, good = write_patient(tmp_path / "data", "Doe", 1)
    _, _, bad = write_patient(tmp_path / "data", "Roe", 2)

    def fail(source, case, *arguments, **options):
        if case == bad:
            raise ZeroDivisionError("patient Roe")
        return open_case(source, case, *arguments, **options)

    monkeypatch.setattr("hipseg.pack.packer.open_case", fail)
    found = {one.case: one for one in pack(tmp_path / "data", paths)}
    assert isinstance(found[good], CaseRecord)
    assert re.fullmatch(
        rf"case {bad} cannot be read: ZeroDivisionError in test_packer.py, line \d+, which nobody foresaw; .*", found[bad].reason
    )
