"""A folder that goes away or may no longer be written while cases are packed: a clear error, and what was packed stays whole."""

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from hipseg.errors import ConfigError
from hipseg.ingest.cases import find_cases, open_case
from hipseg.pack.dataset import pack_cases
from hipseg.pack.keyed import key_cases
from hipseg.pack.plan import PackPlan
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import read_manifest
from hipseg.shards.verify import verify_dataset
from tests.ingest.builders import volume_hu, write_ct_series

PLAN = PackPlan(rois={}, salt_id="0" * 12, set_aside={})
SALT = b"salt"
NOBODY = 65534


@pytest.fixture
def root():
    """A folder that any user may look into, as pytest's own are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def write_patient(root, seed):
    uid = f"2.25.6{seed}"
    write_ct_series(root / "data" / f"p{seed}", volume_hu(seed=seed), patient_id=f"p{seed}", series_uid=uid, study_uid=uid + ".1")


def pack(root, paths):
    return [one.result for one in pack_cases(key_cases(find_cases(root / "data"), SALT), paths, PLAN)]


def strike_while_packing(monkeypatch, blow):
    """Have something happen when the first slice of a case has been written."""

    def strike(slices):
        yield next(slices)
        blow()
        yield from slices

    def open_struck(*arguments, **options):
        opened = open_case(*arguments, **options)
        return dataclasses.replace(opened, slices=strike(opened.slices))

    monkeypatch.setattr("hipseg.pack.packer.open_case", open_struck)


def lose_permission(folder):
    # Root may write anywhere, and is somebody else for a while.
    if os.geteuid() == 0:
        os.seteuid(NOBODY)
    else:
        folder.chmod(0o500)


def regain_permission(folder):
    if os.getuid() == 0:
        os.seteuid(0)
    else:
        folder.chmod(0o700)


def check_whole(root, paths, first):
    manifest = read_manifest(paths)
    assert manifest.cases == (first,)
    assert verify_dataset(paths, manifest) == ()
    assert len(pack(root, paths)) == 2
    assert len(read_manifest(paths).cases) == 2
    assert list(paths.root.glob(".*.tmp")) == []


def test_a_folder_that_loses_its_write_permission_is_said_and_earlier_shards_are_whole(root, monkeypatch):
    paths = DatasetPaths(root / "shards")
    write_patient(root, 1)
    (first,) = pack(root, paths)
    write_patient(root, 2)
    strike_while_packing(monkeypatch, lambda: lose_permission(paths.root))
    try:
        with pytest.raises(ConfigError, match=r"cannot write \S+: Permission denied; name a folder that you may write to"):
            pack(root, paths)
    finally:
        regain_permission(paths.root)
    monkeypatch.undo()
    check_whole(root, paths, first)


def test_a_folder_that_goes_away_is_said_and_earlier_shards_are_whole(root, monkeypatch):
    paths = DatasetPaths(root / "shards")
    write_patient(root, 1)
    (first,) = pack(root, paths)
    write_patient(root, 2)
    away = root / "away"

    strike_while_packing(monkeypatch, lambda: paths.root.rename(away))
    with pytest.raises(ConfigError, match=r"cannot write \S+: No such file or directory"):
        pack(root, paths)
    monkeypatch.undo()
    shutil.rmtree(paths.root, ignore_errors=True)
    away.rename(paths.root)
    check_whole(root, paths, first)
