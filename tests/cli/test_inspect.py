import dataclasses
import json

import pytest

from hipseg.cli.main import run
from hipseg.shards.manifest import Refusal, write_manifest
from tests.shards.builders import noise_hu, pack_arrays, pack_noise


@pytest.fixture
def packed(tmp_path):
    paths, manifest = pack_noise(tmp_path / "shards", {"c0": "p0", "c1": "p0"})
    bare = pack_arrays(paths, "c2", "p1", noise_hu(9, (3, 4, 5)), None)
    refusal = Refusal("c3", "SeriesError", "slice gap in case c3")
    manifest = dataclasses.replace(manifest, cases=(*manifest.cases, bare), refusals=(refusal,))
    write_manifest(paths, manifest)
    return paths, manifest


def test_a_line_a_case_with_grid_mask_and_voxels(packed, capsys):
    paths, manifest = packed
    run(["inspect", str(paths.root)])
    lines = capsys.readouterr().out.splitlines()
    # The box of 3 slices, 8 rows and 8 columns is 192 voxels.
    assert [line.split() for line in lines if line.startswith("  c1")] == [
        ["c1", "p0", "5", "x", "12", "x", "14", "3.27,", "0.976562,", "0.7", "overlay", "1:", "192"]
    ]
    assert [line.split()[-1] for line in lines if line.startswith("  c2")] == ["none"]
    assert lines[-2:] == [
        "refused case c3: SeriesError: slice gap in case c3",
        f"cases: 3, patients: 2, slices: 13, cases with mask: 2, cases refused: 1, data digest: {manifest.data_digest}",
    ]


def test_json_is_the_whole_manifest_and_its_sums(packed, capsys):
    paths, manifest = packed
    run(["inspect", str(paths.root), "--json"])
    shown = json.loads(capsys.readouterr().out)
    summary = shown.pop("summary")
    written = json.loads(paths.manifest.read_text())
    assert {**shown, "manifest_digest": written["manifest_digest"]} == written
    assert summary == {
        "cases": 3,
        "patients": 2,
        "slices": 13,
        "cases_with_mask": 2,
        "cases_refused": 1,
        "data_digest": manifest.data_digest,
    }


def test_long_keys_are_not_folded_in_a_pipe(tmp_path, capsys):
    paths, _ = pack_noise(tmp_path / "shards", {"c" + "0" * 63: "p" + "1" * 63})
    run(["inspect", str(paths.root)])
    assert "c" + "0" * 63 in capsys.readouterr().out
