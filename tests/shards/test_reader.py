import dataclasses
import errno
import os
import resource
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from hipseg.errors import ConfigError, ShardError
from hipseg.runs import DatasetPaths
from hipseg.shards.reader import open_reader, read_image_volume, read_label_volume
from tests.shards.builders import box_labels, make_grid_of, noise_hu, pack_arrays

SHAPE = (5, 12, 14)


@pytest.fixture
def packed(tmp_path):
    paths = DatasetPaths(tmp_path)
    return paths, pack_arrays(paths, "c1", "p1", noise_hu(0, SHAPE), box_labels(SHAPE))


def test_what_was_written_is_read_back(packed):
    with open_reader(*packed) as reader:
        assert reader.grid == make_grid_of(SHAPE)
        image, labels = read_image_volume(reader), read_label_volume(reader)
    np.testing.assert_array_equal(image, noise_hu(0, SHAPE))
    np.testing.assert_array_equal(labels, box_labels(SHAPE))
    assert (image.dtype, labels.dtype) == (np.int16, np.uint8)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 700), (40, 2, 3)])
def test_any_matrix_and_number_of_slices_is_kept(tmp_path, shape):
    paths = DatasetPaths(tmp_path)
    record = pack_arrays(paths, "c1", "p1", noise_hu(1, shape), np.ones(shape, dtype=np.uint8))
    with open_reader(paths, record) as reader:
        np.testing.assert_array_equal(read_image_volume(reader), noise_hu(1, shape))
        np.testing.assert_array_equal(read_label_volume(reader), np.ones(shape))


def test_slices_are_read_in_any_order_by_several_threads(packed):
    image, labels = noise_hu(0, SHAPE), box_labels(SHAPE)
    order = np.random.default_rng(0).integers(0, SHAPE[0], 400).tolist()
    with open_reader(*packed) as reader, ThreadPoolExecutor(4) as threads:
        for z, found, mask in threads.map(lambda z: (z, reader.read_image(z), reader.read_labels(z)), order):
            np.testing.assert_array_equal(found, image[z])
            np.testing.assert_array_equal(mask, labels[z])


def test_several_cases_may_lie_in_one_shard(tmp_path):
    paths = DatasetPaths(tmp_path)
    one = pack_arrays(paths, "c1", "p1", noise_hu(1, SHAPE), box_labels(SHAPE))
    two = pack_arrays(paths, "c2", "p1", noise_hu(2, SHAPE), None)
    with h5py.File(tmp_path / "c1.h5", "a", libver="v110") as target, h5py.File(tmp_path / "c2.h5") as source:
        source.copy("cases/c2", target["cases"])
    for record, seed in ((one, 1), (dataclasses.replace(two, shard="c1.h5"), 2)):
        with open_reader(paths, record) as reader:
            np.testing.assert_array_equal(read_image_volume(reader), noise_hu(seed, SHAPE))


def test_a_case_without_mask_says_so(tmp_path):
    paths = DatasetPaths(tmp_path)
    record = pack_arrays(paths, "c1", "p1", noise_hu(0, SHAPE), None)
    with open_reader(paths, record) as reader, pytest.raises(ShardError, match="case c1 was packed without a mask"):
        reader.read_labels(0)


@pytest.mark.parametrize("z", [-1, 5])
def test_a_slice_outside_the_volume_is_an_index_error(packed, z):
    with open_reader(*packed) as reader, pytest.raises(IndexError, match="slices 0 to 4"):
        reader.read_image(z)


def count_open_files():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_no_file_stays_open(packed):
    before = count_open_files()
    with open_reader(*packed) as reader:
        reader.read_image(0)
    assert count_open_files() == before
    with pytest.raises(ValueError, match="reader of case c1 is closed"):
        reader.read_image(0)


def test_a_damaged_slice_is_named_and_the_others_are_still_read(packed):
    paths, record = packed
    with h5py.File(paths.shard("c1.h5")) as file:
        place = file["cases/c1/image"].id.get_chunk_info(3)
    with paths.shard("c1.h5").open("r+b") as handle:
        handle.seek(place.byte_offset + place.size // 2)
        handle.write(b"\xff\x00\xff")
    with open_reader(paths, record) as reader:
        np.testing.assert_array_equal(reader.read_image(2), noise_hu(0, SHAPE)[2])
        with pytest.raises(ShardError, match=r"shard c1\.h5 of case c1 is damaged: image, slice 3: its Fletcher-32"):
            reader.read_image(3)


@pytest.mark.parametrize("spare", [0, 1], ids=["for HDF5", "for the slices"])
def test_a_shard_that_may_not_be_opened_besides_the_others_is_not_called_damaged(packed, monkeypatch, spare):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    real = h5py.File
    # HDF5 closes its file before the reader opens it for the slices.
    lower = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # noqa: E731

    class Closing(real):
        def __exit__(self, *ending):
            super().__exit__(*ending)
            lower()

    monkeypatch.setattr(h5py, "File", Closing if spare else real)
    try:
        if not spare:
            lower()
        with pytest.raises(ConfigError, match=r"cannot open shard c1\.h5 of case c1: too many files are open; .*`ulimit -n"):
            open_reader(*packed)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EIO, ShardError, "shard c1.h5 of case c1 cannot be read: Input/output error; check its disk"),
        (errno.ESTALE, ConfigError, "cannot read shard c1.h5 of case c1: Stale file handle; its file system was lost"),
    ],
)
def test_a_slice_that_the_disk_does_not_give_is_not_called_damaged(packed, monkeypatch, number, kind, words):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    with open_reader(*packed) as reader:
        monkeypatch.setattr(os, "preadv", refuse)
        with pytest.raises(kind, match=words):
            reader.read_image(0)


def test_a_missing_shard_is_named(packed):
    paths, record = packed
    paths.shard("c1.h5").unlink()
    with pytest.raises(ShardError, match=r"c1\.h5 of case c1 is missing; restore it"):
        open_reader(paths, record)


@pytest.mark.parametrize("kept_bytes", [0, 100, 1500, 3000])
def test_a_cut_shard_is_refused(packed, kept_bytes):
    paths, record = packed
    os.truncate(paths.shard("c1.h5"), kept_bytes)
    with pytest.raises(ShardError, match=r"shard c1\.h5 of case c1 is damaged"):
        open_reader(paths, record)


def test_another_format_version_is_refused_by_both_numbers(packed):
    paths, record = packed
    with h5py.File(paths.shard("c1.h5"), "a") as file:
        file.attrs["version"] = 1
    with pytest.raises(ShardError, match=r"shard c1\.h5 of case c1 has format version 1, this hipseg reads version 2"):
        open_reader(paths, record)


def test_another_hdf5_file_is_refused(packed):
    paths, record = packed
    with h5py.File(paths.shard("c1.h5"), "w") as file:
        file.attrs["format"] = "something else"
    with pytest.raises(ShardError, match="format is not 'hipseg-shard'"):
        open_reader(paths, record)


def test_a_shard_written_with_other_filters_is_refused(packed):
    paths, record = packed
    with h5py.File(paths.shard("c1.h5"), "a") as file:
        group = file["cases/c1"]
        digest = group["image"].attrs["blake3"]
        del group["image"]
        group.create_dataset("image", data=noise_hu(0, SHAPE), chunks=(1, 12, 14), compression="gzip").attrs["blake3"] = digest
    with pytest.raises(ShardError, match=r"filters \[1\], needed are \[32001, 3\]"):
        open_reader(paths, record)


@pytest.mark.parametrize("place", ["cases/c1/labels", "cases/c1/image", "cases/c1", "cases"])
def test_a_named_type_where_another_object_belongs_is_damage(packed, place):
    paths, record = packed
    with h5py.File(paths.shard("c1.h5"), "a") as file:
        attributes = dict(file[place].attrs)
        del file[place]
        file[place] = np.dtype("i2")
        file[place].attrs.update(attributes)
    with pytest.raises(ShardError, match=r"^shard c1\.h5 of case c1 is damaged: .*; restore it, or delete it and pack again"):
        open_reader(paths, record)


def test_a_chunk_that_left_a_filter_out_is_refused(packed):
    paths, record = packed
    with h5py.File(paths.shard("c1.h5"), "a") as file:
        image = file["cases/c1/image"].id
        _, chunk = image.read_direct_chunk((2, 0, 0))
        # Bit 1 stands for the second filter, the checksum, whose 4 bytes end the chunk.
        image.write_direct_chunk((2, 0, 0), chunk[:-4], filter_mask=0b10)
    with pytest.raises(ShardError, match="image has 4 filtered chunks for 5 slices"):
        open_reader(paths, record)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"patient": "p2"}, "patient of case c1 is p1 in the shard and p2"),
        ({"image_digest": "0" * 64}, "image digest of case c1"),
        ({"mask_digest": "0" * 64}, "mask digest of case c1"),
        ({"mask_digest": None}, "mask of case c1 is True in the shard and False"),
        ({"grid": dataclasses.replace(make_grid_of(SHAPE), origin_mm_xyz=(0.0, 0.0, 0.0))}, "grid of case c1"),
    ],
)
def test_a_shard_of_another_packing_is_refused(packed, change, what):
    paths, record = packed
    with pytest.raises(ShardError, match=f"do not belong together: {what}"):
        open_reader(paths, dataclasses.replace(record, **change))


def test_a_shard_under_another_cases_name_is_refused(packed):
    paths, record = packed
    shutil.copy(paths.shard("c1.h5"), paths.shard("c2.h5"))
    with pytest.raises(ShardError, match=r"shard c2\.h5 of case c2 is damaged"):
        open_reader(paths, dataclasses.replace(record, case="c2", shard="c2.h5"))
