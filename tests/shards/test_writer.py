import time
from concurrent.futures import ThreadPoolExecutor

import h5py
import hdf5plugin  # noqa: F401 - registers the Blosc filter, as a foreign reader would
import numpy as np
import pytest
from blake3 import blake3

from hipseg.errors import SeriesError, ShardError
from hipseg.runs import DatasetPaths
from hipseg.shards.reader import open_reader
from hipseg.shards.storage import LOSSLESS, Storage
from hipseg.shards.writer import write_shard
from tests.shards.builders import box_labels, make_grid_of, noise_hu, pack_arrays

SHAPE = (5, 12, 14)


def test_an_ordinary_hdf5_reader_gets_image_labels_and_grid(tmp_path):
    image, labels = noise_hu(0, SHAPE), box_labels(SHAPE)
    record = pack_arrays(DatasetPaths(tmp_path), "c1", "p1", image, labels)
    with h5py.File(tmp_path / "c1.h5") as file:
        group = file["cases/c1"]
        assert (file.attrs["format"], file.attrs["version"], group.attrs["patient"]) == (b"hipseg-shard", 2, b"p1")
        np.testing.assert_array_equal(group["image"][:], image)
        np.testing.assert_array_equal(group["labels"][:], labels)
        assert tuple(group.attrs["spacing_mm_zyx"]) == record.grid.spacing_mm_zyx
        assert tuple(group.attrs["origin_mm_xyz"]) == record.grid.origin_mm_xyz
        assert tuple(map(tuple, group.attrs["directions_xyz"])) == record.grid.directions_xyz


def digest_by_slices(volume):
    return blake3(b"".join(blake3(one.tobytes()).digest() for one in volume)).hexdigest()


def test_digests_are_those_of_the_slices_digests_and_of_the_file(tmp_path):
    image, labels = noise_hu(0, SHAPE), box_labels(SHAPE)
    record = pack_arrays(DatasetPaths(tmp_path), "c1", "p1", image, labels)
    assert record.image_digest == digest_by_slices(image.astype("<i2"))
    assert record.mask_digest == digest_by_slices(labels)
    assert record.shard_digest == blake3((tmp_path / "c1.h5").read_bytes()).hexdigest()


def test_only_labels_that_occur_are_counted(tmp_path):
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[0, 0, :3], labels[4, 11, 13] = 2, 255
    record = pack_arrays(DatasetPaths(tmp_path), "c1", "p1", noise_hu(0, SHAPE), labels)
    assert record.label_voxels == {2: 3, 255: 1}


def test_many_labels_are_counted_as_few_are(tmp_path):
    labels = np.random.default_rng(0).integers(0, 40, SHAPE).astype(np.uint8)
    record = pack_arrays(DatasetPaths(tmp_path), "c1", "p1", noise_hu(0, SHAPE), labels)
    numbers, counts = np.unique(labels[labels > 0], return_counts=True)
    assert record.label_voxels == dict(zip(numbers.tolist(), counts.tolist(), strict=True))


@pytest.mark.parametrize("storage", [LOSSLESS, Storage("zstd"), Storage("lz4", (-200, 1300))])
def test_workers_do_not_change_a_byte(tmp_path, storage):
    shape = (30, 12, 14)
    image, labels = noise_hu(0, shape), box_labels(shape)

    def reused_arrays():
        image_slice, label_slice = np.empty(shape[1:], np.int16), np.empty(shape[1:], np.uint8)
        for z in range(shape[0]):
            image_slice[:], label_slice[:] = image[z], labels[z]
            yield image_slice, label_slice

    grid, written = make_grid_of(shape), []
    for jobs in (0, 1, 3):
        with ThreadPoolExecutor(max(jobs, 1)) as pool:
            written.append(
                write_shard(
                    tmp_path / f"{jobs}.h5",
                    "c1",
                    "p1",
                    grid,
                    reused_arrays(),
                    has_mask=True,
                    storage=storage,
                    workers=pool if jobs else None,
                )
            )
    assert written[0] == written[1] == written[2]
    assert (tmp_path / "0.h5").read_bytes() == (tmp_path / "1.h5").read_bytes() == (tmp_path / "3.h5").read_bytes()


def test_many_threads_write_and_open_shards_at_once(tmp_path):
    shape = (30, 64, 64)
    image, labels = noise_hu(0, shape), box_labels(shape)

    def write_many(number):
        paths = DatasetPaths(tmp_path / str(number))
        paths.root.mkdir()
        for round_number in range(25):
            record = pack_arrays(paths, f"c{round_number}", "p1", image, labels)
            with open_reader(paths, record) as reader:
                np.testing.assert_array_equal(reader.read_image(round_number), image[round_number])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_many, range(4)))


def test_an_empty_mask_is_still_a_mask(tmp_path):
    record = pack_arrays(DatasetPaths(tmp_path), "c1", "p1", noise_hu(0, SHAPE), np.zeros(SHAPE, dtype=np.uint8))
    assert record.has_mask
    assert record.label_voxels == {}


def test_a_case_without_mask_has_no_labels(tmp_path):
    record = pack_arrays(DatasetPaths(tmp_path), "c1", "p1", noise_hu(0, SHAPE), None)
    assert not record.has_mask
    with h5py.File(tmp_path / "c1.h5") as file:
        assert list(file["cases/c1"]) == ["image"]


def test_the_same_case_gives_the_same_bytes_at_another_time(tmp_path):
    image, labels = noise_hu(0, (3, 64, 64)), box_labels((3, 64, 64))
    pack_arrays(DatasetPaths(tmp_path / "a"), "c1", "p1", image, labels)
    time.sleep(1.1)  # HDF5 keeps times in whole seconds
    pack_arrays(DatasetPaths(tmp_path / "b"), "c1", "p1", image, labels)
    assert (tmp_path / "a" / "c1.h5").read_bytes() == (tmp_path / "b" / "c1.h5").read_bytes()


def test_slices_may_share_one_buffer_and_need_not_be_contiguous(tmp_path):
    image = noise_hu(0, SHAPE)

    def reused():
        buffer = np.empty((14, 12), dtype=np.int16)
        for one in image:
            buffer[:] = one.T
            yield buffer.T, None

    write_shard(tmp_path / "c1.h5", "c1", "p1", make_grid_of(SHAPE), reused(), has_mask=False)
    with h5py.File(tmp_path / "c1.h5") as file:
        np.testing.assert_array_equal(file["cases/c1/image"][:], image)


def test_a_source_that_fails_half_way_leaves_the_older_shard_and_nothing_else(tmp_path):
    paths = DatasetPaths(tmp_path)
    pack_arrays(paths, "c1", "p1", noise_hu(0, SHAPE), None)
    before = (tmp_path / "c1.h5").read_bytes()

    def failing():
        yield np.zeros((12, 14), dtype=np.int16), None
        raise SeriesError("slice 1 is damaged")

    with pytest.raises(SeriesError, match="slice 1"):
        write_shard(paths.shard("c1.h5"), "c1", "p1", make_grid_of(SHAPE), failing(), has_mask=False)
    assert [path.name for path in tmp_path.iterdir()] == ["c1.h5"]
    assert (tmp_path / "c1.h5").read_bytes() == before


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        ([np.zeros((12, 14), dtype=np.int16)] * 4, "4 slices came, the grid has 5"),
        ([np.zeros((12, 14), dtype=np.int16)] * 6, "slice 5: the grid ends after 5 slices"),
        ([np.zeros((14, 12), dtype=np.int16)] * 5, r"slice 0: found int16 \(14, 12\), needed is int16 \(12, 14\)"),
        ([np.zeros((12, 14), dtype=np.int32)] * 5, "slice 0: found int32"),
    ],
)
def test_slices_that_do_not_fit_the_grid_are_refused(tmp_path, slices, message):
    with pytest.raises(ShardError, match=message):
        write_shard(tmp_path / "c1.h5", "c1", "p1", make_grid_of(SHAPE), ((one, None) for one in slices), has_mask=False)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_label_slice_is_refused(tmp_path):
    with pytest.raises(ShardError, match="labels of case c1, slice 0: found nothing"):
        write_shard(
            tmp_path / "c1.h5", "c1", "p1", make_grid_of(SHAPE), ((one, None) for one in noise_hu(0, SHAPE)), has_mask=True
        )
