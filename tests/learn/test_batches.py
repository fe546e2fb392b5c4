import resource

import numpy as np
import pytest

from hipseg.config import FeedSettings
from hipseg.errors import ConfigError, ShardError
from hipseg.learn.batches import (
    count_batches,
    deal,
    normalise,
    open_feed,
    separate,
    share_out,
    shuffled_order,
    to_hu,
)
from hipseg.shards.reader import CaseReader, open_reader
from hipseg.shards.storage import Storage, hu_of_stored
from tests.learn.builders import COLUMNS, ROWS, SLICES, disc_case, pack_discs

FEED = FeedSettings(input_side=256, window_hu=(-200, 1000))


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return pack_discs(tmp_path_factory.mktemp("shards"), 2)


def test_slices_come_in_the_order_asked_for_windowed_and_padded(packed):
    paths, manifest = packed
    order = np.array([SLICES + 2, 0, SLICES - 1])
    with open_feed(paths, manifest.cases, FEED, ((1,), (2,))) as feed:
        assert len(feed) == 2 * SLICES
        ((images, truth),) = feed.load(share_out(order, 8))
    assert images.shape == (3, 256, 256, 1)
    assert truth.shape == (3, 256, 256, 2)
    top, left = (256 - ROWS) // 2, (256 - COLUMNS) // 2
    for place, (case, z) in enumerate([(1, 2), (0, 0), (0, SLICES - 1)]):
        image, labels = disc_case(case)
        inside = (place, slice(top, top + ROWS), slice(left, left + COLUMNS))
        expected = np.clip((image[z].astype(np.float32) + 200) / 1200, 0, 1)
        assert np.allclose(images.numpy()[inside][..., 0], expected, atol=1e-6)
        assert np.array_equal(truth.numpy()[inside][..., 0], labels[z] == 1)
        assert np.array_equal(truth.numpy()[inside][..., 1], labels[z] == 2)
    assert images.numpy()[:, 0].max() == 0
    assert truth.numpy().sum() == sum((disc_case(case)[1][z] > 0).sum() for case, z in [(1, 2), (0, 0), (0, SLICES - 1)])


@pytest.mark.parametrize("stored_hu", [(-200, 1000), (-1024, 3071), (-1000, 1400), (-213, 1012)])
def test_values_stored_over_a_window_give_the_batches_of_their_hounsfield_units(tmp_path, monkeypatch, stored_hu):
    paths, manifest = pack_discs(tmp_path, 2, storage=Storage("lz4", stored_hu))
    order = np.arange(2 * SLICES)
    with open_feed(paths, manifest.cases, FEED, ((1,),)) as feed:
        ((images, _),) = feed.load(share_out(order, len(order)))
        monkeypatch.setattr(feed, "_stored_hu", None)
        ((expected, _),) = feed.load(share_out(order, len(order)))
    assert np.array_equal(images, expected)


def test_stored_values_are_read_as_they_are_only_where_padding_stays_air(tmp_path, monkeypatch):
    read = []
    for name in ("read_image", "read_stored_image"):
        real = getattr(CaseReader, name)
        monkeypatch.setattr(CaseReader, name, lambda self, z, name=name, real=real: read.append(name) or real(self, z))
    for number, (stored_hu, first) in enumerate(
        [(None, "read_image"), (FEED.window_hu, "read_stored_image"), ((-1100, 1000), "read_image")]
    ):
        # Padded with air, which is not what the network is to see beside -1100 HU.
        feed_settings = FEED.model_copy(update={"window_hu": stored_hu or FEED.window_hu})
        paths, manifest = pack_discs(tmp_path / str(number), 1, storage=Storage("lz4", stored_hu))
        read.clear()
        with open_feed(paths, manifest.cases, feed_settings, ((1,),)) as feed:
            list(feed.load(share_out(np.array([0]), 1)))
        assert read[0] == first


@pytest.mark.parametrize("fed_hu", [(-1000, 1000), (-201, 300), (-200, 301)])
def test_window_that_the_stored_one_does_not_hold_is_refused_with_both(tmp_path, fed_hu):
    paths, manifest = pack_discs(tmp_path, 1, storage=Storage("lz4", (-200, 300)))
    feed = FEED.model_copy(update={"window_hu": fed_hu})
    said = f"case c0 is stored as uint8 over -200 to 300 HU and feed.window_hu is {fed_hu[0]} to {fed_hu[1]}; "
    with pytest.raises(ConfigError, match=said), open_feed(paths, manifest.cases, feed, ((1,),)):
        pass


@pytest.mark.parametrize("stored_hu", [(-200, 1300), (-1024, 3071), (-4096, 4095), (37, 1012)])
def test_hounsfield_units_of_stored_values_are_those_of_the_shards(stored_hu):
    assert np.array_equal(to_hu(np.arange(256, dtype=np.uint8), stored_hu), hu_of_stored(stored_hu))


def test_an_epoch_feeds_every_slice_once(packed):
    paths, manifest = packed
    with open_feed(paths, manifest.cases, FEED, ((1, 2),)) as feed:
        batches = list(feed.load(share_out(shuffled_order(len(feed), 0, 1), 4)))
        sums = sorted(float(slice_truth.numpy().sum()) for _, truth in batches for slice_truth in truth)
    assert [len(images) for images, _ in batches] == [4, 3, 3]
    assert sums == sorted(float((labels > 0).sum()) for case in (0, 1) for labels in disc_case(case)[1])


def test_order_follows_from_seed_and_epoch_alone():
    assert np.array_equal(shuffled_order(20, 3, 7), shuffled_order(20, 3, 7))
    assert sorted(shuffled_order(20, 3, 7)) == list(range(20))
    assert not np.array_equal(shuffled_order(20, 3, 7), shuffled_order(20, 3, 8))
    assert not np.array_equal(shuffled_order(20, 3, 7), shuffled_order(20, 4, 7))


@pytest.mark.parametrize(("slices", "sizes"), [(17, [6, 6, 5]), (16, [8, 8]), (9, [5, 4]), (1, [1]), (0, [])])
def test_batches_are_as_equal_as_they_can_be(slices, sizes):
    groups = share_out(np.arange(slices), 8)
    assert [len(group) for group in groups] == sizes
    assert [int(i) for group in groups for i in group] == list(range(slices))
    assert count_batches(slices, 8) == len(sizes)


def test_window_is_mapped_linearly_and_clamped():
    images = normalise(np.array([[[-1000, -200, 400, 1000, 3000]]], np.int16), (-200.0, 1000.0))
    assert images.shape == (1, 1, 5, 1)
    assert images.numpy().ravel().tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_labels_of_one_structure_are_joined_and_others_are_background():
    truth = separate(np.array([[[0, 1, 2, 3, 255]]], np.uint8), ((1, 255), (3,)))
    assert truth.numpy()[0, 0].tolist() == [[0, 0], [1, 0], [0, 0], [0, 1], [1, 0]]


def test_damaged_slice_is_an_error_of_ours(tmp_path):
    paths, manifest = pack_discs(tmp_path, 1)
    shard = paths.shard(manifest.cases[0].shard)
    with open_feed(paths, manifest.cases, FEED, ((1,),)) as feed:
        with shard.open("r+b") as handle:
            handle.write(bytes(shard.stat().st_size))
        with pytest.raises(ShardError, match="case c0 is damaged"):
            list(feed.load(share_out(feed.all_slices(), 2)))


def test_feed_can_be_left_before_its_end(packed):
    paths, manifest = packed
    with open_feed(paths, manifest.cases, FEED, ((1,),)) as feed:
        batches = feed.load(share_out(feed.all_slices(), 1))
        next(batches)
        batches.close()
        assert list(batches) == []


def test_readers_are_closed_with_the_feed(packed):
    paths, manifest = packed
    with open_feed(paths, manifest.cases, FEED, ((1,),)) as feed:
        pass
    with pytest.raises(ValueError, match="reader of case c0 is closed"):
        next(feed.load(share_out(feed.all_slices(), 1)))


def test_soft_limit_of_open_files_does_not_bound_the_cases(packed):
    paths, manifest = packed
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with open_feed(paths, manifest.cases, FEED, ((1,),)) as feed:
            assert len(feed) == 2 * SLICES
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_case_larger_than_the_input_is_refused_by_name(packed):
    paths, manifest = packed
    with open_reader(paths, manifest.cases[0]) as reader:
        assert reader.grid.shape_zyx[1] > 64
    with (
        pytest.raises(ConfigError, match="case c0"),
        open_feed(paths, manifest.cases, FEED.model_copy(update={"input_side": 64}), ((1,),)),
    ):
        pass


def test_no_case_is_refused(packed):
    with pytest.raises(ShardError, match="no case"), open_feed(packed[0], (), FEED, ((1,),)):
        pass


@pytest.mark.parametrize(("slices", "ranks"), [(8, 1), (8, 2), (7, 4), (4, 4), (9, 4)])
def test_parts_of_all_ranks_are_the_batch_each_slice_once(slices, ranks):
    batch = np.arange(100, 100 + slices)
    parts = [deal(batch, rank, ranks) for rank in range(ranks)]
    assert [int(index) for part in parts for index in part.indices] == batch.tolist()
    assert [part.share for part in parts] == [len(part.indices) / slices for part in parts]
    assert max(len(part.indices) for part in parts) - min(len(part.indices) for part in parts) <= 1


def test_a_rank_for_which_nothing_is_left_takes_a_stand_in_without_weight():
    parts = [deal(np.array([5, 9]), rank, 4) for rank in range(4)]
    assert [part.share for part in parts] == [0.5, 0.5, 0, 0]
    assert [part.indices.tolist() for part in parts] == [[5], [9], [5], [5]]


def test_cases_of_some_slices_are_named_once_each(packed):
    paths, manifest = packed
    with open_feed(paths, manifest.cases, FEED, ((1,),)) as feed:
        assert feed.cases(np.array([SLICES + 1, SLICES, 0])) == ("c0", "c1")
        assert feed.cases(np.array([SLICES - 1])) == ("c0",)
