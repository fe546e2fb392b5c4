"""Slices straight out of shards, in shuffled order, as batches for a network."""

import resource
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from hipseg.config import FeedSettings
from hipseg.demands import Targets, check_window
from hipseg.errors import ShardError
from hipseg.fit import SliceFit, fit_image, fit_labels, fit_stored, plan_fit
from hipseg.labels import AIR_HU
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import CaseRecord
from hipseg.shards.reader import CaseReader, open_reader
from hipseg.shards.schema import WindowHu
from hipseg.shards.storage import STORED_MAX

READING_THREADS = 2
"""Batches that are read and decoded at once."""
READY_BATCHES = 2
"""Batches that are read while the network works on one."""

Indices = NDArray[np.int64]
"""int64 (n,), positions in a `SliceFeed`."""


@dataclass(frozen=True)
class Part:
    """What one rank takes of a batch.

    Args:
        indices: its slices; one stand-in of no weight where the batch has none left for it, so that it takes the step too.
        share: its part of the batch, 0..1.
    """

    indices: Indices
    share: float


class SliceFeed:
    """Every slice of some cases, numbered from 0 in the order of cases and z.

    Args:
        readers: the open cases.
        feed: how a slice becomes a network's input.
        targets: the label numbers of each output.
    Raises:
        ConfigError: a case is larger than the input, or is stored over a window that does not hold the one to feed.
    """

    def __init__(self, readers: Sequence[CaseReader], feed: FeedSettings, targets: Targets) -> None:
        for reader in readers:
            check_window(reader.record, feed)
        self._readers = tuple(readers)
        self._fits = tuple(plan_fit(reader.record.case, reader.grid, feed) for reader in readers)
        self._ends = np.cumsum([reader.grid.shape_zyx[0] for reader in readers], dtype=np.int64)
        self._feed = feed
        self._targets = targets
        self._stored_hu = self._find_stored()

    def __len__(self) -> int:
        """Give the number of slices."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def all_slices(self) -> Indices:
        """Give every slice once, in order."""
        return np.arange(len(self), dtype=np.int64)

    def load(self, groups: Sequence[Indices]) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """Give slices in the groups asked for, group by group, reading ahead of the network.

        Args:
            groups: the slices of each batch.
        Returns:
            Images, float32 (batch, side, side, 1) in 0..1, and truth, float32 (batch, side, side, outputs), 0 or 1.
        Raises:
            ShardError: a slice is damaged or has no mask.
        """
        # tf.data would read one batch at a time: with deterministic operations it runs functions in Python one after another.
        with ThreadPoolExecutor(READING_THREADS, thread_name_prefix="read") as pool:
            waiting: deque[Future[tuple[tf.Tensor, tf.Tensor]]] = deque()
            try:
                for indices in groups:
                    waiting.append(pool.submit(self._load, indices))
                    if len(waiting) > READY_BATCHES:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def cases(self, indices: Indices) -> tuple[str, ...]:
        """Name the cases that some slices belong to, each once, in order."""
        places = np.unique(np.searchsorted(self._ends, indices, side="right"))
        return tuple(self._readers[place].record.case for place in places)

    def _load(self, indices: Indices) -> tuple[tf.Tensor, tf.Tensor]:
        shape, places = (len(indices), self._feed.input_side, self._feed.input_side), [self._locate(int(one)) for one in indices]
        labels = np.empty(shape, np.uint8)
        for place, (reader, fit, z) in enumerate(places):
            labels[place] = fit_labels(reader.read_labels(z), fit)
        return normalise(self._load_hu(places, shape), self._feed.window_hu), separate(tf.constant(labels), self._targets)

    def _find_stored(self) -> WindowHu | None:
        """Give the window that all cases are stored over, where the network can be fed with stored values as they are."""
        windows = {reader.record.window_hu for reader in self._readers}
        stored_hu = windows.pop() if len(windows) == 1 else None
        if stored_hu is None or any(fit.is_resampled for fit in self._fits):
            return None
        # The padding is air, of which the nearest value that is stored must mean the same to the network: its lowest.
        return stored_hu if max(AIR_HU, stored_hu[0]) <= self._feed.window_hu[0] else None

    def _load_hu(self, places: Sequence[tuple[CaseReader, SliceFit, int]], shape: tuple[int, int, int]) -> tf.Tensor:
        if self._stored_hu is None:
            images_hu = np.empty(shape, np.int16)
            for place, (reader, fit, z) in enumerate(places):
                images_hu[place] = fit_image(reader.read_image(z), fit)
            return tf.constant(images_hu)
        images = np.empty(shape, np.uint8)
        for place, (reader, fit, z) in enumerate(places):
            images[place] = fit_stored(reader.read_stored_image(z), fit)
        return to_hu(tf.constant(images), self._stored_hu)

    def _locate(self, index: int) -> tuple[CaseReader, SliceFit, int]:
        case = int(np.searchsorted(self._ends, index, side="right"))
        first = int(self._ends[case - 1]) if case else 0
        return self._readers[case], self._fits[case], index - first


@contextmanager
def open_feed(paths: DatasetPaths, records: Sequence[CaseRecord], feed: FeedSettings, targets: Targets) -> Iterator[SliceFeed]:
    """Open some cases of a data set for feeding; they are closed when the block ends.

    Args:
        paths: the data set.
        records: the cases, each with a mask.
        feed: how a slice becomes a network's input.
        targets: the label numbers of each output.
    Raises:
        ShardError: a shard is missing or damaged, or there is no case.
        ConfigError: a case is larger than the input, or is stored over a window that does not hold the one to feed, or there are
            more than this process may have open.
    """
    if not records:
        raise ShardError(f"no case of {paths.root} to feed; each side of a split needs at least one case with a mask")
    _allow_open_files()
    with ExitStack() as stack:
        yield SliceFeed([stack.enter_context(open_reader(paths, record)) for record in records], feed, targets)


def _allow_open_files() -> None:
    """Take as many descriptors as this process may have: every case of a run keeps one, and the usual soft limit is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Where no process may have so many, the limit stays, and a case beyond it is refused with the command to raise it.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def shuffled_order(slices: int, seed: int, epoch: int) -> Indices:
    """Deal the order of an epoch, which follows from seed and epoch alone, so that any epoch can be run again."""
    return np.random.default_rng([seed, epoch]).permutation(slices)


def share_out(order: Indices, batch_size: int) -> list[Indices]:
    """Cut an order into as few batches as it takes, as equal as they can be.

    A last batch of a single slice would have no variance in the deepest block of the modified U-Net, one element at
    256x256, and its batch normalisation would take that zero into its moving statistics just before validation.
    """
    return np.array_split(order, -(-len(order) // batch_size)) if len(order) else []


def deal(batch: Indices, rank: int, ranks: int) -> Part:
    """Give a rank its part of a batch: runs as equal as they can be, so that together they are the batch, each slice once.

    Args:
        batch: slices, at least one.
        rank: from 0.
        ranks: how many share the batch.
    """
    indices = np.array_split(batch, ranks)[rank]
    return Part(indices, len(indices) / len(batch)) if len(indices) else Part(batch[:1], 0.0)


def count_batches(slices: int, batch_size: int) -> int:
    """Give the number of batches that `share_out` makes."""
    return -(-slices // batch_size)


def to_hu(images: tf.Tensor, stored_hu: WindowHu) -> tf.Tensor:
    """Give Hounsfield units out of values stored over a window, as `hipseg.shards.storage.to_hu` does.

    Args:
        images: uint8, any shape.
        stored_hu: HU of stored values 0 and 255.
    Returns:
        float32, whole HU; within -4096 to 4095 the very same.
    """
    low_hu, high_hu = stored_hu
    return tf.round(tf.cast(images, tf.float32) * ((high_hu - low_hu) / STORED_MAX) + float(low_hu))


def normalise(images_hu: tf.Tensor, window_hu: tuple[float, float]) -> tf.Tensor:
    """Map a window of HU onto 0..1, clamped.

    Args:
        images_hu: int16 or float32 (batch, y, x), HU.
        window_hu: the values sent to 0 and 1.
    Returns:
        float32 (batch, y, x, 1), 0..1.
    Source: DICOM PS3.3 C.11.2.1.3.2.
    """
    low, high = window_hu
    return tf.clip_by_value((tf.cast(images_hu, tf.float32) - low) / (high - low), 0.0, 1.0)[..., tf.newaxis]


def separate(labels: tf.Tensor, targets: Targets) -> tf.Tensor:
    """Turn labels into one channel a structure.

    Args:
        labels: uint8 (batch, y, x).
        targets: the label numbers of each channel.
    Returns:
        float32 (batch, y, x, channels), 0 or 1.
    """
    channels = [tf.reduce_any(labels[..., tf.newaxis] == tf.constant(numbers, tf.uint8), axis=-1) for numbers in targets]
    return tf.cast(tf.stack(channels, axis=-1), tf.float32)
