import dataclasses
import errno
import hashlib
import json
import os
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from hipseg.errors import ConfigError, ShardError
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import (
    Refusal,
    outcome_from_json,
    outcome_json,
    read_manifest,
    same_images,
    write_manifest,
)
from tests.shards.builders import noise_hu, pack_arrays, pack_noise


@pytest.fixture
def packed(tmp_path):
    return pack_noise(tmp_path, {"c1": "p1", "c2": "p1", "c3": "p2"})


def digested_text(value):
    """The whole text at once, with its own digest as FORMAT.md says."""
    text = json.dumps({**value, "manifest_digest": "0" * 64}, indent=1, sort_keys=True, ensure_ascii=True) + "\n"
    return text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest())


def rewrite(paths, change):
    value = json.loads(paths.manifest.read_text())
    change(value)
    paths.manifest.write_text(digested_text(value))


@pytest.mark.parametrize("cases", [0, 1, 3])
@pytest.mark.parametrize("refusals", [0, 1, 2])
def test_the_text_is_that_of_the_whole_value(packed, cases, refusals):
    paths, manifest = packed
    reason = 'no "cases": [] here,\n "manifest_digest": "' + "0" * 64 + '" nor "refusals": []'
    changed = dataclasses.replace(
        manifest,
        cases=manifest.cases[:cases],
        refusals=tuple(Refusal(f"c{number}", "MaskError", reason) for number in range(4, 4 + refusals)),
        rois={'\n "cases": [': 1, '\n "refusals": [': 2},
    )
    write_manifest(paths, changed)
    text = paths.manifest.read_text()
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"
    assert read_manifest(paths) == changed


def test_what_was_written_is_read_back(packed):
    paths, manifest = packed
    full = dataclasses.replace(
        manifest,
        refusals=(Refusal("c9", "SeriesError", "slice gap in case c9: 7.5 mm"),),
        set_aside={"not DICOM or NIfTI": 3},
        rois={"GTV_Mass_CT": 1},
        salt_id="ab" * 6,
    )
    write_manifest(paths, full)
    assert read_manifest(paths) == full


@pytest.mark.parametrize("cases", [0, 1, 3])
@pytest.mark.parametrize("refusals", [0, 1, 2])
def test_what_was_written_is_never_in_memory_whole(packed, monkeypatch, cases, refusals):
    paths, manifest = packed
    refused = tuple(Refusal(f"c{number}", "MaskError", "no") for number in range(4, 4 + refusals))
    changed = dataclasses.replace(manifest, cases=manifest.cases[:cases], refusals=refused)
    write_manifest(paths, changed)
    monkeypatch.setattr(Path, "read_bytes", None)
    assert read_manifest(paths) == changed
    kept = read_manifest(paths, lambda items: [one.case for one in items])
    assert (kept.cases, kept.refusals) == ([one.case for one in changed.cases], [one.case for one in refused])


@pytest.mark.parametrize("form", [{}, {"indent": 2}, {"indent": 1, "sort_keys": False}])
def test_a_manifest_written_in_another_form_is_read_whole(packed, form):
    paths, manifest = packed
    value = {**json.loads(paths.manifest.read_text()), "manifest_digest": "0" * 64}
    text = json.dumps(dict(sorted(value.items(), reverse=True)), **form)
    paths.manifest.write_text(text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest()))
    assert read_manifest(paths) == manifest
    assert list(read_manifest(paths, list).cases) == list(manifest.cases)


def test_read_only_mappings_are_written_like_any_other(packed):
    paths, manifest = packed
    set_aside = MappingProxyType({"localizer": 2})
    write_manifest(paths, dataclasses.replace(manifest, set_aside=set_aside, rois=MappingProxyType({"femur": 1})))
    assert read_manifest(paths) == dataclasses.replace(manifest, set_aside={"localizer": 2}, rois={"femur": 1})


def test_a_case_is_found_by_its_key(packed):
    _, manifest = packed
    assert manifest.record("c2") is manifest.cases[1]
    with pytest.raises(ShardError, match="no case 'c4' among the 3 packed cases"):
        manifest.record("c4")
    assert manifest.records(("c3", "c1")) == (manifest.cases[2], manifest.cases[0])
    with pytest.raises(ShardError, match="no case 'c4' among the 3 packed cases"):
        manifest.records(("c1", "c4"))


def test_data_digest_does_not_depend_on_keys_or_order(packed, tmp_path):
    _, manifest = packed
    _, other = pack_noise(tmp_path / "other", {"d7": "q1", "d8": "q2", "d9": "q3"})
    assert other.data_digest == manifest.data_digest
    assert dataclasses.replace(manifest, cases=manifest.cases[::-1]).data_digest == manifest.data_digest


def test_data_digest_of_equal_volumes_on_different_grids_does_not_depend_on_their_order(packed):
    _, manifest = packed
    moved = dataclasses.replace(manifest.cases[0].grid, origin_mm_xyz=(1.0, 2.0, 3.0))
    cases = (manifest.cases[0], dataclasses.replace(manifest.cases[0], case="c9", grid=moved))
    digests = {dataclasses.replace(manifest, cases=one).data_digest for one in (cases, cases[::-1])}
    assert len(digests) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda one: {"image_digest": "0" * 64},
        lambda one: {"mask_digest": "0" * 64},
        lambda one: {"mask_digest": None},
        lambda one: {"window_hu": (-200, 1300)},
        lambda one: {"grid": dataclasses.replace(one.grid, spacing_mm_zyx=(1.0, 1.0, 1.0))},
    ],
)
def test_data_digest_changes_with_every_image_mask_and_grid(packed, change):
    _, manifest = packed
    first = manifest.cases[0]
    changed = dataclasses.replace(manifest, cases=(dataclasses.replace(first, **change(first)), *manifest.cases[1:]))
    assert changed.data_digest != manifest.data_digest


def test_equal_images_are_grouped(packed, tmp_path):
    paths, manifest = packed
    twin = pack_arrays(paths, "c7", "p9", noise_hu(1, (5, 12, 14)), None)
    assert same_images(manifest.cases) == ()
    assert same_images((twin, *manifest.cases)) == ((manifest.cases[1], twin),)


def test_a_folder_without_manifest_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(ShardError, match=r"no manifest of a packed data set at .*; make one with `hipseg-pack DATA -o"):
        read_manifest(DatasetPaths(tmp_path / "nothing"))


def test_a_data_set_in_a_folder_that_may_not_be_entered_is_named(packed, monkeypatch):
    # Permissions do not hold a superuser back, who may be running this.
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(ConfigError, match=r"cannot look at .*manifest.json: Permission denied; name a folder that you may enter"):
        read_manifest(packed[0])


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_text_that_is_no_json_is_refused(packed, text):
    paths, _ = packed
    paths.manifest.write_text(text)
    with pytest.raises(ShardError, match="cannot read manifest"):
        read_manifest(paths)


def test_a_manifest_that_another_user_keeps_closed_is_not_called_damaged(packed, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match=r"cannot open manifest at .*: Permission denied; ask its owner for leave to read it"):
        read_manifest(packed[0])


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": "hipseg-shard", "version": 1}'])
def test_other_json_is_refused(packed, text):
    paths, _ = packed
    paths.manifest.write_text(text)
    with pytest.raises(ShardError, match="is no manifest of a packed data set"):
        read_manifest(paths)


def test_a_manifest_whose_digest_is_missing_or_wrong_is_refused(packed):
    paths, _ = packed
    text = paths.manifest.read_text()
    value = json.loads(text)
    paths.manifest.write_text(text.replace(value["manifest_digest"], "0" * 64))
    with pytest.raises(ShardError, match="its SHA-256 differs from the one it gives"):
        read_manifest(paths)
    del value["manifest_digest"]
    paths.manifest.write_text(json.dumps(value))
    with pytest.raises(ShardError, match="it has 0 digests of itself under 'manifest_digest', 1 is needed"):
        read_manifest(paths)


def test_every_flipped_bit_of_a_manifest_is_noticed(packed):
    paths, _ = packed
    good = paths.manifest.read_bytes()
    for position in np.random.default_rng(0).integers(0, 8 * len(good), 300).tolist():
        damaged = bytearray(good)
        damaged[position // 8] ^= 1 << position % 8
        paths.manifest.write_bytes(damaged)
        with pytest.raises(ShardError):
            read_manifest(paths)


def test_one_case_is_read_back_from_its_json(packed):
    _, manifest = packed
    full = dataclasses.replace(manifest.cases[0], window_hu=(-200, 1300), warnings=("uneven",), subset="test")
    for outcome in (full, Refusal("c9", "MaskError", "no mask")):
        assert outcome_from_json(json.loads(json.dumps(outcome_json(outcome)))) == outcome


def test_another_version_is_refused_by_both_numbers(packed):
    paths, _ = packed
    rewrite(paths, lambda value: value.update(version=1))
    with pytest.raises(ShardError, match="format version 1, this hipseg reads version 2"):
        read_manifest(paths)


def test_keys_that_a_later_release_adds_are_passed_over(packed):
    paths, manifest = packed
    rewrite(paths, lambda value: (value.update(later=1), value["cases"][0].update(later=2)))
    assert read_manifest(paths) == manifest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.pop("cases"), "cases: Field required"),
        (lambda value: value["cases"][0].update(image_digest="abc"), r"cases\.0\.image_digest"),
        (lambda value: value["cases"][0].update(shard="../../etc/passwd"), r"cases\.0\.shard"),
        (lambda value: value["cases"][0].update(case="a/b"), r"cases\.0\.case"),
        (lambda value: value["cases"][0]["label_voxels"].update({"256": 5}), "label_voxels"),
        (lambda value: value["cases"][0]["grid"].update(spacing_mm_zyx=[0, 1, 1]), "impossible grid"),
        (lambda value: value["cases"].reverse(), "rising order"),
        (lambda value: value["cases"].append(value["cases"][-1]), "each once"),
        (lambda value: value["refusals"].append({"case": "c1", "error": "MaskError", "reason": "x"}), "c1 is both"),
        (lambda value: value["cases"][0].update(mask_digest=None), "case c1 has only a part"),
        (lambda value: value["cases"][0].update(mask_kind=None), "case c1 has only a part"),
    ],
)
def test_a_damaged_manifest_is_refused_with_the_place_and_a_cure(packed, change, message):
    paths, _ = packed
    rewrite(paths, change)
    with pytest.raises(ShardError, match=f"is damaged: .*{message}.*; restore it or pack again"):
        read_manifest(paths)
