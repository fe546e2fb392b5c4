import time
from pathlib import Path

import pytest

from hipseg.config import StudySettings
from hipseg.launch.graph import Packing, choose_part, plan_study
from hipseg.launch.prepared import find_prepared
from hipseg.launch.state import Record, StudyState
from hipseg.runs import DatasetPaths, StudyPaths

PARTS = ("pack part 1", "pack part 2")
NUMBERS = {"pack part 1": "1_0", "pack part 2": "1_1", "pack": "2", "split": "3"}


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "shards").mkdir()
    return StudySettings(folds=2, shards=tmp_path / "shards", results=tmp_path / "results")


@pytest.fixture
def data(settings):
    return DatasetPaths(settings.shards)


def lay_out(settings, scans="scans"):
    part = choose_part(settings, ("unet",))
    return plan_study(settings, Path("settings.yaml"), part, has_splits=False, packing=Packing(Path(scans), 2))


@pytest.fixture
def find(settings, slurm):
    """Find what is prepared of a study that packs, where Slurm says of the jobs what a test chooses."""

    def find(jobs=None, records=None, **states):
        lines = [f"{NUMBERS[name.replace('_', ' ')]}|{state}|None\n" for name, state in states.items()]
        slurm.say("squeue", "".join(lines))
        records = records or [Record(job, "queued", submitit_id=NUMBERS.get(job.name, "9")) for job in lay_out(settings)]
        earlier = StudyState(tuple(records), "host", 1, time.time(), cluster="fake")
        return find_prepared(StudyPaths(settings.results), settings, jobs or lay_out(settings), frozenset(), earlier)

    return find


ALL = {"pack_part_1": "COMPLETED", "pack_part_2": "COMPLETED", "pack": "COMPLETED"}


def test_what_was_packed_and_joined_and_dealt_is_prepared(find, data):
    data.manifest.write_text("{}")
    assert find(**ALL) == {*PARTS, "pack"}
    data.splits.write_text("[{}, {}]")
    assert find(**ALL) == {*PARTS, "pack", "split"}


def test_of_the_parts_those_that_ended_well_and_left_their_journal_are(find, data):
    data.journal("1-of-2").write_text("")
    data.splits.write_text("[{}, {}]")
    assert find(pack_part_1="COMPLETED", pack_part_2="FAILED", pack="CANCELLED") == {"pack part 1"}
    assert find(pack_part_1="COMPLETED", pack_part_2="COMPLETED", pack="FAILED") == {"pack part 1"}


def test_what_was_packed_and_is_gone_is_packed_again(find):
    assert find(**ALL) == frozenset()


def test_other_scans_are_packed_and_dealt_anew(find, data, settings):
    data.manifest.write_text("{}")
    data.splits.write_text("[{}, {}]")
    assert find(lay_out(settings, "more scans"), **ALL) == frozenset()


def test_what_was_complete_before_stays_so(find, data, settings):
    data.manifest.write_text("{}")
    assert find(records=[Record(job, "skipped") for job in lay_out(settings)]) == {*PARTS, "pack"}
