import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hipseg.errors import SeriesError
from hipseg.ingest.cases import find_cases
from hipseg.ingest.headers import FileStamp
from hipseg.pack.arrivals import check_arrivals, check_settled, find_wait_s
from hipseg.pack.seals import SourceStamps, stamp_source
from hipseg.shards.manifest import CaseRecord
from tests.ingest.builders import volume_hu, write_ct_series
from tests.pack.test_dataset import PLAN, pack, paths, write_patient  # noqa: F401 - a fixture

NOW_S = 1_000_000
NAMES = ("a", "b", "c", "d")
BEFORE_NS = 100_000_000
"""More than a tick of the clock by which a file system takes its times."""


def stamps_of(ages_s, monkeypatch):
    """Stamps of images that changed so many seconds ago."""
    monkeypatch.setattr(time, "time_ns", lambda: NOW_S * 10**9)
    stamps = tuple((100, 1, 0, int((NOW_S - age_s) * 1e9)) for age_s in ages_s)
    return SourceStamps(tuple(map(Path, NAMES[: len(stamps)])), stamps, (), (FileStamp(100, 0),) * len(stamps))


@pytest.mark.parametrize(
    ("ages_s", "wait_s"),
    [
        pytest.param((0.81, 0.61, 0.41, 0.21), 1.79, id="five a second, ten of those whiles from the last one on"),
        pytest.param((9.0, 6.0, 3.0), 7.0, id="no more than 10 s"),
        pytest.param((0.303, 0.302, 0.301, 0.3), 0.0, id="copied a moment ago"),
        pytest.param((60.0, 60.0, 60.0, 0.1), 0.0, id="one mended a moment ago"),
        pytest.param((1002.0, 1001.0, 1000.0), 0.0, id="long there"),
        pytest.param((-98.0, -99.0, -100.0), 0.0, id="a clock ahead of this one"),
        pytest.param((2.0, 1.0), 0.0, id="two show no pace"),
        pytest.param((), 0.0, id="none"),
    ],
)
def test_the_pace_of_a_series_tells_how_long_the_next_slice_may_take(monkeypatch, ages_s, wait_s):
    assert find_wait_s(stamps_of(ages_s, monkeypatch)) == pytest.approx(wait_s, abs=1e-6)


def test_files_that_are_no_images_show_no_pace(monkeypatch):
    stamps = stamps_of((3.0, 2.0, 1.0), monkeypatch)
    assert find_wait_s(replace(stamps, scanned=(None,) * 3)) == 0


@pytest.mark.parametrize(("ages_s", "settle_s"), [((70.0, 60.0), 60), ((5.0,), 0), ((), 60)])
def test_a_case_is_settled_when_its_newest_file_is_as_old_as_asked(monkeypatch, ages_s, settle_s):
    check_settled(stamps_of(ages_s, monkeypatch), "c1", settle_s)


@pytest.mark.parametrize(
    ("ages_s", "words"),
    [
        ((99.0, 12.0), "its newest file was changed 12 s ago, --settle asks for 60 s; pack it again later"),
        ((-30.0,), "its newest file has a time of change 30 s ahead of this machine's clock"),
    ],
)
def test_a_case_that_changed_lately_may_still_be_arriving(monkeypatch, ages_s, words):
    with pytest.raises(SeriesError, match=words):
        check_settled(stamps_of(ages_s, monkeypatch), "c1", 60)


@pytest.fixture
def series(tmp_path):
    """Three slices of a series of four that have arrived, the case found of them, and the fourth."""
    files = write_ct_series(tmp_path / "data", volume_hu())
    held = tmp_path / "held"
    files[3].rename(held)
    return find_cases(tmp_path / "data").cases[0], tmp_path / "data", held


def write(path, content):
    path.write_bytes(content)
    return path.stat().st_ctime_ns


@pytest.mark.parametrize(("name", "share"), [("late.dcm", 1), (".late.dcm.x7Rq2", 1), ("late.dcm", 0.5), ("late", 0.5)])
def test_a_slice_that_came_since_refuses_its_series(series, name, share):
    source, folder, held = series
    content = held.read_bytes()
    came_ns = write(folder / name, content[: int(share * len(content))])
    with pytest.raises(SeriesError, match="series of case c1 is still arriving: a slice came into its folder while it was read"):
        check_arrivals(source, "c1", came_ns - BEFORE_NS)
    check_arrivals(source, "c1", came_ns)


@pytest.mark.parametrize("content", [b"", b"a note of somebody's"])
def test_other_files_that_came_refuse_nothing(series, content):
    source, folder, _ = series
    check_arrivals(source, "c1", write(folder / "note.txt", content) - BEFORE_NS)


def test_a_slice_of_another_series_refuses_nothing(series):
    source, folder, _ = series
    (other,) = write_ct_series(folder / "other", volume_hu()[:1], series_uid="2.25.77")
    other.rename(folder / "other.dcm")
    check_arrivals(source, "c1", (folder / "other.dcm").stat().st_ctime_ns - BEFORE_NS)


def test_a_file_that_came_long_before_is_no_arrival_when_another_goes(series):
    source, folder, held = series
    before_ns = write(folder / "long_there.dcm", held.read_bytes())
    time.sleep(0.02)
    (folder / "gone").touch()
    (folder / "gone").unlink()
    assert folder.stat().st_mtime_ns > before_ns
    check_arrivals(source, "c1", before_ns)


def test_a_folder_of_a_time_to_come_is_not_looked_into(series):
    source, folder, held = series
    came_ns = write(folder / "late.dcm", held.read_bytes())
    os.utime(folder, ns=(came_ns, came_ns + 3600 * 10**9))
    check_arrivals(source, "c1", came_ns - BEFORE_NS)


def test_a_folder_that_is_gone_refuses_its_case(series):
    source, folder, _ = series
    folder.rename(folder.with_name("moved"))
    with pytest.raises(SeriesError, match="a folder of case c1 can no longer be opened; pack it again"):
        check_arrivals(source, "c1", 1)


def test_a_series_that_is_arriving_is_refused_and_packed_when_it_is_there(tmp_path, paths, monkeypatch):  # noqa: F811
    files, image, _ = write_patient(tmp_path / "data", "Doe", 1, has_mask=False)
    late = files[-1].read_bytes()
    files[-1].unlink()
    started_ns = time.time_ns() - BEFORE_NS
    with monkeypatch.context() as patched:
        patched.setattr("hipseg.pack.packer.find_wait_s", lambda stamps: write(files[-1], late) and 0.01)
        (outcome,) = pack(tmp_path / "data", paths, replace(PLAN, started_ns=started_ns))
    assert "is still arriving" in outcome.reason
    (outcome,) = pack(tmp_path / "data", paths, replace(PLAN, settle_s=3600))
    assert "--settle asks for 3600 s" in outcome.reason
    (outcome,) = pack(tmp_path / "data", paths)
    assert isinstance(outcome, CaseRecord)
    assert outcome.grid.shape_zyx == np.shape(image)


def test_a_pace_is_read_from_the_files_of_a_case(tmp_path):
    write_ct_series(tmp_path / "data", volume_hu())
    stamps = stamp_source(find_cases(tmp_path / "data").cases[0], "c1")
    assert all(stamps.scanned)
    assert find_wait_s(stamps) < 5
