import contextlib
import dataclasses
import json

import pytest

from hipseg.cli.main import run
from hipseg.errors import ConfigError, ShardError
from hipseg.fsio import locked
from hipseg.shards.manifest import write_manifest
from tests.shards.builders import noise_hu, pack_arrays, pack_noise


@pytest.fixture
def packed(tmp_path):
    return pack_noise(tmp_path / "shards", {f"c{number}": f"p{number // 2}" for number in range(8)})


def test_folds_are_written_and_counted(packed, capsys):
    paths, _ = packed
    run(["split", str(paths.root), "--folds", "4", "--seed", "7"])
    folds = json.loads(paths.splits.read_text())
    assert [sorted(fold["train"] + fold["val"]) for fold in folds] == [[f"c{number}" for number in range(8)]] * 4
    assert capsys.readouterr().out == "".join(f"fold {fold}: 6 cases to train on, 2 to validate\n" for fold in range(4))


def test_cases_without_mask_are_left_out_and_counted(packed, capsys):
    paths, manifest = packed
    bare = pack_arrays(paths, "c9", "p9", noise_hu(99, (5, 12, 14)), None)
    write_manifest(paths, type(manifest)((*manifest.cases, bare), (), {}, {}))
    run(["split", str(paths.root), "--folds", "2"])
    assert capsys.readouterr().out.startswith("left out 1 of 9 cases, which have no mask\n")
    assert "c9" not in paths.splits.read_text()


def test_cases_that_their_publisher_keeps_for_testing_are_left_out_and_counted(packed, capsys):
    paths, manifest = packed
    first, *others = manifest.cases
    write_manifest(paths, type(manifest)((dataclasses.replace(first, subset="test"), *others), (), {}, {}))
    run(["split", str(paths.root), "--folds", "2"])
    assert capsys.readouterr().out.startswith(
        f"left out 1 of {len(manifest.cases)} cases, which their publisher keeps for testing\n"
    )
    assert first.case not in paths.splits.read_text()


def test_the_same_image_under_two_patients_stays_on_one_side(packed, capsys):
    paths, manifest = packed
    twin = pack_arrays(paths, "c9", "p9", noise_hu(0, (5, 12, 14)), noise_hu(0, (5, 12, 14)).astype("u1"))
    write_manifest(paths, type(manifest)((*manifest.cases, twin), (), {}, {}))
    run(["split", str(paths.root), "--folds", "4"])
    assert "kept on one side: cases c0 and c9, which are the same image" in capsys.readouterr().out
    assert all(("c0" in fold["val"]) == ("c9" in fold["val"]) for fold in json.loads(paths.splits.read_text()))


def test_the_same_folds_may_be_written_again(packed):
    paths, _ = packed
    run(["split", str(paths.root), "--folds", "4"])
    before = paths.splits.read_bytes()
    run(["split", str(paths.root), "--folds", "4"])
    assert paths.splits.read_bytes() == before


def test_other_folds_are_kept_unless_they_may_be_overwritten(packed):
    paths, _ = packed
    run(["split", str(paths.root), "--folds", "4"])
    before = paths.splits.read_bytes()
    with pytest.raises(ConfigError, match=r"deals the patients otherwise, .*replace it with --overwrite"):
        run(["split", str(paths.root), "--folds", "3"])
    assert paths.splits.read_bytes() == before
    run(["split", str(paths.root), "--folds", "3", "--overwrite"])
    assert len(json.loads(paths.splits.read_text())) == 3


def test_folds_that_another_study_deals_at_the_same_time_are_waited_for(packed, monkeypatch):
    paths, _ = packed
    with contextlib.ExitStack() as held:
        held.enter_context(locked(paths.lock, "the scans"))
        # What takes the lock finds it taken once, waits, and then the other command has ended.
        monkeypatch.setattr("hipseg.fsio.time.sleep", lambda seconds: held.close())
        run(["split", str(paths.root), "--folds", "4"])
    assert len(json.loads(paths.splits.read_text())) == 4


def test_damaged_folds_name_the_command_that_writes_others_and_it_does(packed):
    paths, _ = packed
    paths.splits.write_text("[{]")
    cure = rf"deal all cases anew with `hipseg split {paths.root} --overwrite`"
    with pytest.raises(ShardError, match=cure):
        run(["split", str(paths.root), "--folds", "4"])
    run(["split", str(paths.root), "--folds", "4", "--overwrite"])
    assert len(json.loads(paths.splits.read_text())) == 4


def test_more_folds_than_patients_are_refused_and_nothing_is_written(packed):
    paths, _ = packed
    with pytest.raises(ConfigError, match="cannot split 4 patients with a mask into 5 folds"):
        run(["split", str(paths.root)])
    assert not paths.splits.exists()


def test_a_folder_that_is_no_data_set_is_refused_and_stays_empty(tmp_path):
    with pytest.raises(ShardError, match="no manifest"):
        run(["split", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []
