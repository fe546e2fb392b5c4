import dataclasses
import json
import stat

import h5py
import nibabel
import numpy as np
import pytest

from hipseg.errors import ConfigError, ShardError
from hipseg.geometry import affine_ras
from hipseg.pack.table import KeyRow
from hipseg.pack.unpack import Unpacked, unpack_case, write_source_paths
from hipseg.runs import DatasetPaths
from hipseg.shards.codec import encode_slice
from tests.shards.builders import box_labels, noise_hu, pack_arrays

SHAPE = (5, 12, 14)


@pytest.fixture
def packed(tmp_path):
    paths = DatasetPaths(tmp_path / "shards")
    masked = pack_arrays(paths, "c1", "p1", noise_hu(1, SHAPE), box_labels(SHAPE, label=7))
    bare = pack_arrays(paths, "c2", "p2", noise_hu(2, SHAPE), None)
    return paths, masked, bare


def test_image_and_mask_come_back_on_their_grid(packed, tmp_path):
    paths, masked, _ = packed
    image_path, mask_path = unpack_case(paths, masked, tmp_path / "out").files
    assert (image_path, mask_path) == (tmp_path / "out/c1/image.nii.gz", tmp_path / "out/c1/mask.nii.gz")
    for path, expected in ((image_path, noise_hu(1, SHAPE)), (mask_path, box_labels(SHAPE, label=7))):
        nifti = nibabel.load(path)
        assert nifti.get_data_dtype() == expected.dtype
        np.testing.assert_array_equal(np.asanyarray(nifti.dataobj).transpose(2, 1, 0), expected)
        np.testing.assert_allclose(nifti.affine, affine_ras(masked.grid), atol=1e-4)


def test_a_case_without_mask_gives_an_image_alone(packed, tmp_path):
    paths, _, bare = packed
    assert [path.name for path in unpack_case(paths, bare, tmp_path / "out").files] == ["image.nii.gz"]
    assert [path.name for path in (tmp_path / "out" / "c2").iterdir()] == ["image.nii.gz"]


def test_a_changed_shard_is_not_unpacked(packed, tmp_path):
    paths, masked, _ = packed
    with h5py.File(paths.shard("c1.h5"), "a") as file:
        file["cases/c1/labels"].id.write_direct_chunk((0, 0, 0), encode_slice(np.ones((12, 14), dtype=np.uint8)))
    with pytest.raises(ShardError, match=r"shard c1\.h5 of case c1 is not what was packed"):
        unpack_case(paths, masked, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_written_beside_what_is_there(packed, tmp_path):
    paths, masked, _ = packed
    image, mask = unpack_case(paths, masked, tmp_path / "out").files
    kept, whole = image.stat(), mask.read_bytes()
    assert unpack_case(paths, masked, tmp_path / "out") == Unpacked((image, mask), is_kept=True)
    mask.unlink()
    assert unpack_case(paths, masked, tmp_path / "out") == Unpacked((image, mask), is_kept=False)
    assert (image.stat(), mask.read_bytes()) == (kept, whole)


@pytest.mark.parametrize("name", ["image.nii.gz", "mask.nii.gz"])
@pytest.mark.parametrize("change", [lambda content: content[:-9], lambda content: b"mine", lambda content: content + content])
def test_another_file_is_never_written_over(packed, tmp_path, name, change):
    paths, masked, _ = packed
    unpack_case(paths, masked, tmp_path / "out")
    path = tmp_path / "out" / "c1" / name
    path.write_bytes(change(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=rf"c1/{name} is there already and is another file; delete it or name another folder"):
        unpack_case(paths, masked, tmp_path / "out")
    assert path.read_bytes() == before


def test_source_paths_are_private_and_only_of_the_cases_asked_for(packed, tmp_path):
    _, masked, bare = packed
    table = {case: KeyRow(case, "p", "Doe", "1.2", f"ward/{case}") for case in ("c1", "c2", "c3")}
    path = write_source_paths(tmp_path / "out", [bare, masked], table)
    assert json.loads(path.read_text()) == {"c1": "ward/c1", "c2": "ward/c2"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_case_that_the_key_table_lacks_is_named(packed, tmp_path):
    _, masked, _ = packed
    others = [dataclasses.replace(masked, case=case) for case in ("c8", "c9")]
    with pytest.raises(
        ConfigError, match=r"the key table lacks case c8 \(2 of 3 are missing\); pack the source again with --keep"
    ):
        write_source_paths(tmp_path, [masked, *others], {"c1": KeyRow("c1", "p1", "", "", "a")})
