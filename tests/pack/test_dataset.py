import dataclasses
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from hipseg.errors import ConfigError, ShardError
from hipseg.fsio import locked
from hipseg.ingest import spill
from hipseg.ingest.cases import find_cases, open_case
from hipseg.pack.dataset import check_output, pack_cases
from hipseg.pack.keyed import key_cases
from hipseg.pack.keys import case_key, patient_key
from hipseg.pack.merge import merge_parts
from hipseg.pack.plan import PackPlan, Part
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import CaseRecord, Refusal, read_manifest
from hipseg.shards.reader import open_reader, read_image_volume, read_label_volume
from hipseg.shards.verify import verify_dataset
from tests.ingest.builders import Plane, cut, volume_hu, write_ct_series
from tests.ingest.layouts import write_nnunet, write_pair

SALT = bytes(range(32))
PLAN = PackPlan(rois={}, salt_id="0" * 12, set_aside={})
MASK = np.zeros((10, 12), dtype=bool)
MASK[2:5, 3:9] = True


FILLING = """
import resource, signal, sys
from pathlib import Path
import tests.pack.test_dataset as here
from hipseg.errors import HipsegError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    here.pack(Path(sys.argv[1]), here.DatasetPaths(Path(sys.argv[2])))
except HipsegError as error:
    sys.exit(print(f"error: {error}", file=sys.stderr) or error.exit_code)
"""
"""Packs with files of 4,000 bytes at most, which stand for a disk that is full."""


def write_patient(root, name, seed, has_mask=True, **options):
    """One patient with one series of 4 slices, and 18 voxels of mask on two of them; gives its images and its case key."""
    overlays = {1: [Plane(MASK)], 2: [Plane(MASK)]} if has_mask else None
    image = volume_hu(seed=seed)
    uid = f"2.25.5{seed}"
    paths = write_ct_series(
        root / name, image, patient_id=name, series_uid=uid, study_uid=uid + ".1", overlays=overlays, **options
    )
    return paths, image, case_key(SALT, name, uid)


def pack(data, paths, plan=PLAN):
    return [one.result for one in pack_cases(key_cases(find_cases(data), SALT), paths, plan)]


def kept_cases(data, paths, plan=PLAN):
    return {one.result.case for one in pack_cases(key_cases(find_cases(data), SALT), paths, plan) if one.is_kept}


def read_files(paths):
    """Every file of the data set, by name; what begins with a dot is none."""
    return {path.name: path.read_bytes() for path in paths.root.iterdir() if not path.name.startswith(".")}


@pytest.fixture
def paths(tmp_path):
    return DatasetPaths(tmp_path / "shards")


def test_what_was_found_is_packed_voxel_for_voxel(tmp_path, paths):
    _, image, case = write_patient(tmp_path / "data", "Doe", 1)
    (record,) = pack(tmp_path / "data", paths)
    assert (record.case, record.patient, record.mask_kind) == (case, patient_key(SALT, "Doe"), "overlay")
    assert record.label_voxels == {1: 36}
    assert record.grid.spacing_mm_zyx == (3.0, 0.75, 0.5)
    expected = np.zeros(image.shape, dtype=np.uint8)
    expected[1:3] = MASK
    with open_reader(paths, read_manifest(paths).record(case)) as reader:
        np.testing.assert_array_equal(read_image_volume(reader), image)
        np.testing.assert_array_equal(read_label_volume(reader), expected)


def test_a_case_without_mask_source_is_packed_without_mask(tmp_path, paths):
    write_patient(tmp_path / "data", "Doe", 1, has_mask=False)
    (record,) = pack(tmp_path / "data", paths)
    assert not record.has_mask
    assert record.mask_kind is None


def test_packing_again_gives_the_same_bytes(tmp_path, paths):
    for seed, name in enumerate(("Doe", "Roe", "Poe")):
        write_patient(tmp_path / "data", name, seed)
    pack(tmp_path / "data", paths)
    before = read_files(paths)
    assert len(before) == 4  # three shards and the manifest
    paths.journal().unlink()
    assert kept_cases(tmp_path / "data", paths) == set()
    assert read_files(paths) == before


def test_a_truncated_slice_refuses_its_case_by_name_and_the_others_are_packed(tmp_path, paths):
    good = write_patient(tmp_path / "data", "Doe", 1)
    bad = write_patient(tmp_path / "data", "Roe", 2)
    cut(bad[0][1], -20)
    outcomes = {one.case: one for one in pack(tmp_path / "data", paths)}
    assert isinstance(outcomes[good[2]], CaseRecord)
    refusal = outcomes[bad[2]]
    assert (type(refusal), refusal.error) == (Refusal, "SeriesError")
    assert bad[2] in refusal.reason
    manifest = read_manifest(paths)
    assert sorted(read_files(paths)) == [manifest.cases[0].shard, "manifest.json"]
    assert (manifest.cases, manifest.refusals) == ((outcomes[good[2]],), (refusal,))


def test_a_mended_case_takes_the_place_of_its_refusal(tmp_path, paths):
    files, _, case = write_patient(tmp_path / "data", "Doe", 1)
    whole = files[1].read_bytes()
    cut(files[1], -20)
    pack(tmp_path / "data", paths)
    files[1].write_bytes(whole)
    pack(tmp_path / "data", paths)
    manifest = read_manifest(paths)
    assert ([one.case for one in manifest.cases], manifest.refusals) == ([case], ())


def test_a_case_refused_now_stays_as_it_was_packed_before(tmp_path, paths):
    files, _, case = write_patient(tmp_path / "data", "Doe", 1)
    pack(tmp_path / "data", paths)
    cut(files[1], -20)
    (outcome,) = pack(tmp_path / "data", paths)
    assert isinstance(outcome, Refusal)
    manifest = read_manifest(paths)
    assert ([one.case for one in manifest.cases], manifest.refusals) == ([case], ())
    assert verify_dataset(paths, manifest) == ()


def test_more_patients_join_those_already_there(tmp_path, paths):
    first = write_patient(tmp_path / "one", "Doe", 1)[2]
    second = write_patient(tmp_path / "two", "Roe", 2)[2]
    pack(tmp_path / "one", paths)
    pack(tmp_path / "two", paths)
    manifest = read_manifest(paths)
    assert [one.case for one in manifest.cases] == sorted([first, second])
    assert verify_dataset(paths, manifest) == ()


def test_a_part_keeps_what_it_packed_of_other_data_until_it_is_merged(tmp_path, paths):
    first, second = (write_patient(tmp_path / name, name, seed)[2] for name, seed in (("Doe", 1), ("Roe", 2)))
    whole = dataclasses.replace(PLAN, part=Part(1, 1))
    for name in ("Doe", "Roe"):
        pack(tmp_path / name, paths, whole)
    merged = merge_parts(paths).manifest
    assert {one.case for one in merged.cases} == {first, second}
    assert verify_dataset(paths, merged) == ()
    assert kept_cases(tmp_path / "Doe", paths, whole) == {first}


def test_a_changed_source_replaces_its_case(tmp_path, paths):
    write_patient(tmp_path / "one", "Doe", 1)
    write_patient(tmp_path / "two", "Doe", 1, has_mask=False)
    pack(tmp_path / "one", paths)
    pack(tmp_path / "two", paths)
    manifest = read_manifest(paths)
    assert [one.has_mask for one in manifest.cases] == [False]
    assert verify_dataset(paths, manifest) == ()


NAMELESS = {"patient_id": "", "series_uid": "", "study_uid": "", "frame_uid": ""}


def write_nameless(folder, seed):
    """Write a series that only its folder names."""
    write_ct_series(folder / "case_001", volume_hu(seed=seed), **NAMELESS)


def write_volumes(folder, seed, *, masks=None):
    """Write an nnU-Net data set of one case, called as every other one."""
    write_nnunet(folder / "Dataset001_Hip", train=1, tests=0)
    write_pair(folder / "Dataset001_Hip/imagesTr/Secret_000_0000.nii.gz", None, seed)
    write_pair(None, folder / "Dataset001_Hip/labelsTr/Secret_000.nii.gz", seed if masks is None else masks)


@pytest.mark.parametrize(("write", "inside"), [(write_nameless, "."), (write_volumes, "Dataset001_Hip")])
def test_a_case_of_the_same_names_does_not_replace_one_of_other_images(tmp_path, paths, write, inside):
    write(tmp_path / "one", 1)
    write(tmp_path / "two", 2)
    (first,) = pack(tmp_path / "one" / inside, paths)
    before = read_files(paths)
    (second,) = pack(tmp_path / "two" / inside, paths)
    assert isinstance(second, Refusal)
    assert second.case == first.case
    assert re.search("packed before from other images.*rename the data set, or the folder inside DATA", second.reason)
    assert read_files(paths) == before


def test_new_masks_of_the_same_volumes_replace_the_old_ones(tmp_path, paths):
    write_volumes(tmp_path / "one", 1)
    write_volumes(tmp_path / "two", 1, masks=2)
    first, second = (pack(tmp_path / name / "Dataset001_Hip", paths)[0] for name in ("one", "two"))
    assert (first.case, first.image_digest) == (second.case, second.image_digest)
    assert first.mask_digest != second.mask_digest
    assert read_manifest(paths).cases == (second,)


def test_a_packing_that_is_stopped_leaves_a_whole_data_set(tmp_path, paths):
    for seed, name in enumerate(("Doe", "Roe", "Poe")):
        write_patient(tmp_path / "data", name, seed)
    outcomes = pack_cases(key_cases(find_cases(tmp_path / "data"), SALT), paths, PLAN)
    done = [next(outcomes).result, next(outcomes).result]
    outcomes.close()
    manifest = read_manifest(paths)
    assert all(one in manifest.cases for one in done)
    assert verify_dataset(paths, manifest) == ()
    assert {one.case for one in done} <= kept_cases(tmp_path / "data", paths)
    assert len(read_manifest(paths).cases) == 3


def test_adding_a_patient_keeps_the_bytes_of_the_others(tmp_path, paths):
    for seed, name in enumerate(("Doe", "Roe")):
        write_patient(tmp_path / "data", name, seed)
    pack(tmp_path / "data", paths)
    before = {path: (path.read_bytes(), path.stat()) for path in paths.root.glob("*.h5")}
    write_patient(tmp_path / "data", "Poe", 2)
    assert len(kept_cases(tmp_path / "data", paths)) == 2
    assert {path: (path.read_bytes(), path.stat()) for path in before} == before
    assert len(read_manifest(paths).cases) == 3


def test_a_changed_source_is_packed_again_and_its_old_shard_goes(tmp_path, paths):
    _, image, _ = write_patient(tmp_path / "data", "Doe", 1)
    old = pack(tmp_path / "data", paths)[0].shard
    write_patient(tmp_path / "data", "Doe", 1, change=lambda dataset, z: setattr(dataset, "RescaleIntercept", -1023))
    (record,) = pack(tmp_path / "data", paths)
    assert record.shard != old
    assert sorted(read_files(paths)) == [record.shard, "manifest.json"]
    with open_reader(paths, record) as reader:
        np.testing.assert_array_equal(read_image_volume(reader), image + 1)


def test_a_source_that_changes_while_it_is_read_refuses_its_case(tmp_path, paths, monkeypatch):
    good = write_patient(tmp_path / "data", "Doe", 1)[2]
    files, _, case = write_patient(tmp_path / "data", "Roe", 2)
    cases = key_cases(find_cases(tmp_path / "data"), SALT)

    def change(opened):
        yield from opened
        files[0].touch()

    def open_changed(source, key, *arguments, **options):
        opened = open_case(source, key, *arguments, **options)
        return dataclasses.replace(opened, slices=change(opened.slices)) if key == case else opened

    monkeypatch.setattr("hipseg.pack.packer.open_case", open_changed)
    found = {one.result.case: one.result for one in pack_cases(cases, paths, PLAN)}
    assert isinstance(found[good], CaseRecord)
    assert case in found[case].reason
    assert "changed" in found[case].reason
    assert [one.case for one in read_manifest(paths).cases] == [good]
    assert list(paths.root.glob(".*.tmp")) == []


def test_a_source_that_changed_after_it_was_found_refuses_its_case(tmp_path, paths):
    files, _, _ = write_patient(tmp_path / "data", "Doe", 1)
    cases = key_cases(find_cases(tmp_path / "data"), SALT)
    files[0].touch()
    (outcome,) = pack_cases(cases, paths, PLAN)
    assert "written to after the folder was looked through" in outcome.result.reason


def test_clocks_that_do_not_agree_refuse_nothing(tmp_path, paths):
    files, _, _ = write_patient(tmp_path / "data", "Doe", 1)
    oldest = min(path.stat().st_ctime_ns for path in files)
    (outcome,) = pack(tmp_path / "data", paths, dataclasses.replace(PLAN, started_ns=oldest - 1))
    assert isinstance(outcome, CaseRecord)


def test_a_disk_that_fills_leaves_earlier_shards_whole(tmp_path, paths):
    write_patient(tmp_path / "data", "Doe", 1)
    first = pack(tmp_path / "data", paths)[0]
    write_patient(tmp_path / "data", "Roe", 2)
    # HDF5 sees what a full disk shows: a write that comes back short.
    process = subprocess.run(
        [sys.executable, "-c", FILLING, str(tmp_path / "data"), str(paths.root)], capture_output=True, text=True, check=False
    )
    assert process.returncode == 2, process.stderr
    assert re.fullmatch(r"error: cannot write \S+: File too large; raise the limit on the size of a file, .*\n", process.stderr)
    manifest = read_manifest(paths)
    assert manifest.cases == (first,)
    assert verify_dataset(paths, manifest) == ()
    assert len(pack(tmp_path / "data", paths)) == 2
    assert [path.name for path in paths.root.glob(".*.tmp")] == []


def test_the_plan_goes_into_the_manifest(tmp_path, paths):
    write_patient(tmp_path / "data", "Doe", 1)
    plan = PackPlan(rois={"6000": 3}, salt_id="ab" * 6, set_aside={"localizer": 2})
    (record,) = pack(tmp_path / "data", paths, plan)
    manifest = read_manifest(paths)
    assert (manifest.rois, manifest.salt_id, manifest.set_aside) == ({"6000": 3}, "ab" * 6, {"localizer": 2})
    assert record.label_voxels == {3: 36}


def test_other_structures_do_not_join_a_data_set(tmp_path, paths):
    write_patient(tmp_path / "data", "Doe", 1)
    pack(tmp_path / "data", paths)
    before = paths.manifest.read_bytes()
    with pytest.raises(ConfigError, match="were packed with no --roi, this call has --roi 6000=1; labels must mean the same"):
        pack(tmp_path / "data", paths, PackPlan(rois={"6000": 1}, salt_id=PLAN.salt_id, set_aside={}))
    assert paths.manifest.read_bytes() == before


def test_other_structures_may_be_tried_when_every_case_was_refused(tmp_path, paths):
    write_patient(tmp_path / "data", "Doe", 1)
    pack(tmp_path / "data", paths, PackPlan(rois={"femur": 1}, salt_id=PLAN.salt_id, set_aside={}))
    assert read_manifest(paths).refusals[0].error == "MaskError"
    pack(tmp_path / "data", paths)
    assert read_manifest(paths).refusals == ()


def test_another_salt_does_not_join_a_data_set(tmp_path, paths):
    write_patient(tmp_path / "data", "Doe", 1)
    pack(tmp_path / "data", paths)
    with pytest.raises(ConfigError, match="have keys of another salt; give its --salt-file"):
        pack(tmp_path / "data", paths, PackPlan(rois={}, salt_id="1" * 12, set_aside={}))


def test_two_commands_do_not_pack_into_one_folder(tmp_path, paths, monkeypatch):
    monkeypatch.setattr("hipseg.pack.state.ORPHANS_S", 0)
    write_patient(tmp_path / "data", "Doe", 1)
    with locked(paths.lock, "it"), pytest.raises(ConfigError, match="another hipseg command is at work"):
        pack(tmp_path / "data", paths)


def test_a_damaged_manifest_is_never_written_over(tmp_path, paths):
    write_patient(tmp_path / "data", "Doe", 1)
    paths.root.mkdir()
    paths.manifest.write_text("{")
    with pytest.raises(ShardError, match="cannot read manifest"):
        pack(tmp_path / "data", paths)
    assert paths.manifest.read_text() == "{"


def test_a_full_disk_is_no_refusal(tmp_path, paths, monkeypatch):
    write_patient(tmp_path / "data", "Doe", 1)
    cases = key_cases(find_cases(tmp_path / "data"), SALT)

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left on device; free some space"):
        list(pack_cases(cases, paths, PLAN))
    assert read_files(paths) == {}


def test_checking_an_output_folder_leaves_nothing_behind(tmp_path):
    (tmp_path / "data").mkdir()
    check_output(tmp_path / "data", DatasetPaths(tmp_path / "a" / "b" / "shards"))
    check_output(tmp_path / "data", DatasetPaths(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("output", ["file", "file/shards", "/proc/shards"])
def test_an_output_folder_that_cannot_be_written_is_refused(tmp_path, output):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write .*; name a folder that you may write to"):
        check_output(tmp_path / "data", DatasetPaths(tmp_path / output))


@pytest.mark.parametrize("output", [".", "shards", "deep/shards"])
def test_an_output_folder_inside_the_input_is_refused(tmp_path, output):
    with pytest.raises(ConfigError, match="lies in the input folder"):
        check_output(tmp_path, DatasetPaths(tmp_path / output))


@pytest.mark.parametrize("jobs", [1, 3])
def test_headers_on_disk_give_the_same_bytes_and_are_the_same_files_to_the_next_packing(tmp_path, paths, monkeypatch, jobs):
    for seed in range(4):
        write_patient(tmp_path / "data", f"patient {seed}", seed)
    write_patient(tmp_path / "data", "Doe", 8, change=lambda dataset, z: setattr(dataset, "AcquisitionNumber", z % 2))
    plan = dataclasses.replace(PLAN, jobs=jobs)
    in_memory = pack(tmp_path / "data", paths, plan)
    monkeypatch.setattr(spill, "ITEMS_IN_MEMORY", 3)
    on_disk = DatasetPaths(tmp_path / "again")
    assert pack(tmp_path / "data", on_disk, plan) == in_memory
    assert read_files(on_disk) == read_files(paths)
    assert kept_cases(tmp_path / "data", paths, plan) == {one.case for one in in_memory}
    monkeypatch.undo()
    assert kept_cases(tmp_path / "data", on_disk, plan) == {one.case for one in in_memory}
