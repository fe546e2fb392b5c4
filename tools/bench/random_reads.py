"""Random slice reads: shards against a memory map of the same pixels, and nnU-Net's form (.b2nd) where blosc2 is installed.

    python tools/bench/random_reads.py

Rates are slices a second, medians of interleaved rounds, as ratios to the memory map; warm and, where this user may drop the page
cache of a file, cold; with one process and with two. Time: under a minute.
"""

import importlib.util
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from hipseg.geometry import Grid
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import CaseRecord
from hipseg.shards.reader import open_reader
from hipseg.shards.storage import Storage
from hipseg.shards.writer import write_shard

sys.path.insert(0, str(Path(__file__).parent))
from series import NOISE_HU, SIDE, draw_slice

SLICES, READS, ROUNDS = 300, 300, 7
COLD_READS = 60
WINDOW_HU = (-200, 1300)
STORAGES = {"int16 lz4": Storage(), "int16 zstd": Storage("zstd"), "uint8 lz4": Storage("lz4", WINDOW_HU)}
MAP, BLOSC2, STORED = "memory map int16", "nnU-Net .b2nd", "uint8 lz4, as stored"
Reader = Callable[[int], object]


def main() -> None:
    """Write the same pixels in every form and print a table."""
    with tempfile.TemporaryDirectory() as name:
        paths = DatasetPaths(Path(name))
        volume = make_volume()
        files = {MAP: paths.root / "volume.npy"}
        np.save(files[MAP], volume)
        records = {form: write_case(paths, number, volume, one) for number, (form, one) in enumerate(STORAGES.items())}
        files |= {form: paths.shard(record.shard) for form, record in records.items()}
        files[STORED] = files["uint8 lz4"]
        if importlib.util.find_spec("blosc2"):
            files[BLOSC2] = write_blosc2(paths.root / "volume.b2nd", volume)
        openers = {form: make_opener(form, path, paths, records) for form, path in files.items()}
        print_table(files, openers)
        if BLOSC2 not in files:
            print(f"{BLOSC2}: not measured, blosc2 is not installed")


def print_table(files: dict[str, Path], openers: dict[str, Callable[[], Reader]]) -> None:
    """Measure all forms in turn, and print rates and ratios to the memory map."""
    rates: dict[str, dict[str, list[float]]] = {form: {"warm": [], "two": [], "cold": []} for form in files}
    for number in range(ROUNDS):
        for form, opener in openers.items():
            rates[form]["warm"].append(rate(opener, number, READS))
            rates[form]["two"].append(rate_of_two(opener, number))
            drop_cache(files[form])
            rates[form]["cold"].append(rate(opener, number, COLD_READS))
    whole = files[MAP].stat().st_size
    print(f"{'form':<22}{'size':>6}{'warm/s':>9}{'ratio':>7}{'two/s':>9}{'ratio':>7}{'cold/s':>9}{'ratio':>7}")
    for form, path in files.items():
        line = f"{form:<22}{path.stat().st_size / whole:>6.2f}"
        for kind, found in rates[form].items():
            ratio = statistics.median(one / base for one, base in zip(found, rates[MAP][kind], strict=True))
            line += f"{statistics.median(found):>9.0f}{ratio:>7.2f}"
        print(line)


def make_volume() -> np.ndarray:
    """Draw SLICES noisy slices of a trunk, int16 (z, y, x)."""
    noise_hu = np.random.default_rng(0).normal(0, NOISE_HU, (SIDE, 2 * SIDE)).astype(np.float32)
    starts = np.random.default_rng(1).integers(0, SIDE, SLICES)
    return np.stack([draw_slice(z, noise_hu[:, start : start + SIDE])[0] for z, start in enumerate(starts)])


def write_case(paths: DatasetPaths, number: int, volume: np.ndarray, storage: Storage) -> CaseRecord:
    """Write the volume into a shard."""
    grid = Grid(volume.shape, (1.5, 0.7, 0.7), (0.0, 0.0, 0.0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    case, shard = f"c{number}", f"c{number}.h5"
    slices = ((one, None) for one in volume)
    written = write_shard(paths.shard(shard), case, "p0", grid, slices, has_mask=False, storage=storage)
    return CaseRecord(case, "p0", shard, grid, None, {}, written.image_digest, None, written.shard_digest, storage.window_hu)


def write_blosc2(path: Path, volume: np.ndarray) -> Path:
    """Write the volume as nnU-Net 2 does: float32 with a channel axis, zstd, chunks that fit its patches and caches."""
    import blosc2

    values = volume[np.newaxis].astype(np.float32)
    parameters = {"codec": blosc2.Codec.ZSTD, "clevel": 8, "nthreads": 1}
    # One slice a chunk, which is kinder to single slices than the cubes that nnU-Net chooses.
    blosc2.asarray(values, urlpath=str(path), chunks=(1, 1, SIDE, SIDE), blocks=(1, 1, 64, SIDE), cparams=parameters)
    return path


def make_opener(form: str, path: Path, paths: DatasetPaths, records: dict[str, CaseRecord]) -> Callable[[], Reader]:
    """Give what opens a form and returns its reader of slices; each result is an array of its own."""
    if form == MAP:
        return lambda: (lambda volume: lambda z: np.array(volume[z]))(np.load(path, mmap_mode="r"))
    if form == BLOSC2:
        import blosc2

        return lambda: (lambda volume: lambda z: volume[0, z])(blosc2.open(str(path), mode="r", dparams={"nthreads": 1}))
    if form == STORED:
        return lambda: open_reader(paths, records["uint8 lz4"]).read_stored_image
    return lambda: open_reader(paths, records[form]).read_image


def rate(opener: Callable[[], Reader], seed: int, reads: int) -> float:
    """Read random slices; give slices a second, without the time to open."""
    order = np.random.default_rng(seed).integers(0, SLICES, reads).tolist()
    read = opener()
    started = time.perf_counter()
    for z in order:
        read(z)
    return reads / (time.perf_counter() - started)


def rate_of_two(opener: Callable[[], Reader], seed: int) -> float:
    """Read in two forked processes at once; give their slices a second together."""
    context = get_context("fork")
    results = context.SimpleQueue()
    children = [context.Process(target=lambda one=one: results.put(rate(opener, seed + one, READS))) for one in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return results.get() + results.get()


def drop_cache(path: Path) -> None:
    """Ask the system to forget what it holds of a file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
