import dataclasses
import os
import time
from dataclasses import replace
from pathlib import Path

import nrrd
import numpy as np
import pytest

from hipseg.errors import SeriesError
from hipseg.ingest.cases import find_cases
from hipseg.ingest.joining import MaskRules
from hipseg.ingest.pairing import NiftiFile, NrrdFile
from hipseg.pack.plan import PackPlan
from hipseg.pack.seals import check_unchanged, seal_source, stamp_source
from hipseg.shards.storage import Storage
from tests.ingest.builders import cut, volume_hu, write_ct_series

NOWHERE = Path(__file__)
PLAN = PackPlan(rois={}, salt_id="0" * 12, set_aside={}, salt=b"salt")


@pytest.fixture
def files(tmp_path):
    return write_ct_series(tmp_path / "data", volume_hu())


def source_of(tmp_path):
    return find_cases(tmp_path / "data").cases[0]


def seal(source, plan=PLAN):
    return seal_source(stamp_source(source, "c1"), plan)


def test_equal_files_give_equal_seals(tmp_path, files):
    assert seal(source_of(tmp_path)) == seal(source_of(tmp_path))


def test_a_change_that_hides_behind_size_and_time_is_noticed(tmp_path, files):
    source = source_of(tmp_path)
    before, times = seal(source), files[2].stat()
    content = bytearray(files[2].read_bytes())
    content[-1] ^= 1
    files[2].write_bytes(content)
    os.utime(files[2], ns=(times.st_atime_ns, times.st_mtime_ns))
    after = files[2].stat()
    assert (after.st_size, after.st_mtime_ns) == (times.st_size, times.st_mtime_ns)
    assert seal(source) != before


def test_a_file_put_in_place_of_another_is_noticed(tmp_path, files):
    source = source_of(tmp_path)
    before = seal(source)
    copy = tmp_path / "copy"
    copy.write_bytes(files[0].read_bytes())
    copy.replace(files[0])
    assert seal(source) != before


@pytest.mark.parametrize(
    "change",
    [
        {"rois": {"femur": 1}},
        {"storage": Storage("zstd")},
        {"storage": Storage("lz4", (-200, 1300))},
        {"untilt": True},
        {"salt": b"other"},
        {"rules": MaskRules(fraction=0.4)},
    ],
)
def test_all_that_decides_what_is_packed_is_sealed(tmp_path, files, change):
    assert seal(source_of(tmp_path), replace(PLAN, **change)) != seal(source_of(tmp_path))


def test_which_structure_goes_first_is_sealed(tmp_path, files):
    refusing = replace(PLAN, rois={"femur": 1, "pelvis": 2})
    first = replace(refusing, rules=MaskRules(overlap="first"))
    plans = (refusing, first, replace(first, rois={"pelvis": 2, "femur": 1}))
    assert len({seal(source_of(tmp_path), plan) for plan in plans}) == 3


@pytest.mark.parametrize(("name", "value"), [("__version__", "0.0.0"), ("SHARD_VERSION", 99)])
def test_another_version_packs_anew(tmp_path, files, monkeypatch, name, value):
    source = source_of(tmp_path)
    before = seal(source)
    monkeypatch.setattr(f"hipseg.pack.seals.{name}", value)
    assert seal(source) != before


@pytest.mark.parametrize("change", [{"jobs": 5}, {"set_aside": {"localizer": 1}}, {"started_ns": 3}, {"settle_s": 5}])
def test_what_does_not_change_a_shard_is_not_sealed(tmp_path, files, change):
    assert seal(source_of(tmp_path), replace(PLAN, **change)) == seal(source_of(tmp_path))


def test_every_file_that_a_case_names_is_looked_at(tmp_path, files):
    @dataclasses.dataclass(frozen=True)
    class Inner:
        paths: frozenset

    @dataclasses.dataclass(frozen=True)
    class Outer:
        images: tuple
        by_name: dict
        none: None = None

    everything = Outer((Inner(frozenset(files[:2])),), {"a": [files[2]], "b": files[3]})
    assert len(stamp_source(everything, "c1").stamps) == 4
    assert stamp_source(source_of(tmp_path), "c1").stamps == stamp_source(everything, "c1").stamps


def test_the_same_facts_in_other_lists_are_another_case():
    @dataclasses.dataclass(frozen=True)
    class Lists:
        first: tuple
        second: tuple

    assert seal(Lists((1,), (2,))) != seal(Lists((1, 2), ())) != seal(Lists((), (1, 2)))


def test_the_newest_change_is_known_and_nothing_private_is_shown(tmp_path, files):
    stamps = stamp_source(source_of(tmp_path), "c1")
    assert stamps.newest_ns == max(path.stat().st_ctime_ns for path in files)
    assert str(stamps.newest_ns) not in repr(stamps)


@pytest.mark.parametrize("change", [lambda path: path.chmod(0o600), lambda path: path.with_name("link").hardlink_to(path)])
def test_rights_and_links_change_nothing_that_was_read_but_the_seal(tmp_path, files, change):
    stamps = stamp_source(source_of(tmp_path), "c1")
    time.sleep(0.01)
    change(files[0])
    check_unchanged(stamps, "c1", time.time_ns())
    assert stamp_source(source_of(tmp_path), "c1").stamps != stamps.stamps


@pytest.mark.parametrize("change", [lambda path: path.touch(), lambda path: cut(path, -1), lambda path: cut(path, 0)])
def test_a_file_that_was_written_to_since_refuses_its_case(tmp_path, files, change):
    source = source_of(tmp_path)
    stamps = stamp_source(source, "c1")
    check_unchanged(stamps, "c1", None)
    change(files[0])
    for later in (stamps, stamp_source(source, "c1")):
        with pytest.raises(SeriesError, match="source of case c1 changed while it was read"):
            check_unchanged(later, "c1", None)


def test_a_file_that_no_header_is_kept_of_is_late_when_it_changed_after_the_scan_began(tmp_path, files):
    nrrd.write(str(tmp_path / "data" / "m.nrrd"), np.ones((4, 10, 12), np.uint8))
    stamps = stamp_source(replace(source_of(tmp_path), description=tmp_path / "data" / "m.nrrd"), "c1")
    changed_ns = (tmp_path / "data" / "m.nrrd").stat().st_ctime_ns
    check_unchanged(stamps, "c1", changed_ns)
    with pytest.raises(SeriesError, match="changed while it was read"):
        check_unchanged(stamps, "c1", changed_ns - 1)


def test_a_change_time_to_come_is_of_another_clock(tmp_path, files, monkeypatch):
    stamps = stamp_source(replace(source_of(tmp_path), description=Path(__file__)), "c1")
    changed_ns = stamps.stamps[stamps.files.index(Path(__file__))][-1]
    monkeypatch.setattr(time, "time_ns", lambda: changed_ns - 1)
    check_unchanged(stamps, "c1", changed_ns - 2)


def test_a_file_that_is_gone_refuses_its_case(tmp_path, files):
    source = source_of(tmp_path)
    files[1].unlink()
    with pytest.raises(SeriesError, match="a file of case c1 can no longer be opened; pack the folder again"):
        stamp_source(source, "c1")


def test_voxels_that_lie_beside_an_nrrd_header_are_sealed_with_it(tmp_path, files):
    grid = {"space": "LPS", "space directions": np.diag([0.5, 0.75, 3.0]), "space origin": [-10, -20, 100], "encoding": "raw"}
    nrrd.write(str(tmp_path / "data" / "m.nhdr"), np.ones((12, 10, 4), np.uint8), grid)
    source = source_of(tmp_path)
    before = seal(source)
    (tmp_path / "data" / "m.raw").write_bytes(bytes(480))
    assert seal(source) != before


@pytest.mark.parametrize(
    "change",
    [
        {"damaged": 1},
        {"fault": "incomplete series"},
        {"stacks": 2},
        {"subset": "test"},
        {"niftis": (NiftiFile(NOWHERE, 1),)},
        {"niftis": (NiftiFile(NOWHERE, 0, (("liver", 1),)),)},
        {"nrrds": (NrrdFile(NOWHERE, 1),)},
    ],
)
def test_what_other_files_make_of_a_case_is_sealed(tmp_path, files, change):
    source = source_of(tmp_path)
    plain = {
        key: type(value)(replace(one, rivals=0, names=()) if key == "niftis" else replace(one, rivals=0) for one in value)
        for key, value in change.items()
        if isinstance(value, tuple)
    }
    assert seal(replace(source, **change)) != seal(replace(source, **plain))


def test_another_place_of_the_same_files_is_not_sealed(tmp_path, files):
    source = source_of(tmp_path)
    assert seal(replace(source, folder="elsewhere")) == seal(source)
