"""Random slice reads: shards against a memory map of the same pixels, and nnU-Net's form (.b2nd) where blosc2 is installed.

    python tools/bench/random_reads.py

Rates are slices a second, medians of interleaved rounds, as ratios to a memory map of the Hounsfield units (int16); so are
sizes. With one process and with two at once, all of them new, each slice once in random order, the file in the page cache: the
first time, when the map's pages are faulted in and a shard's sums are checked, and again, when neither is. Cold is the first time
after the system was asked to forget the file.

The rows "with mask" are what training asks for, a slice of the image and the same one of its mask, beside a memory map of each.
"limit: decode in memory" is int16 lz4 without any reading: what Blosc alone takes for the slices, which nothing that stores them
so can pass. "as stored" is what training reads of a data set packed with --store uint8 (`hipseg.learn.batches`): the network's
own threads make Hounsfield units of it. The row above it makes them while reading, as prediction does. Time: four minutes on two
idle cores.
"""

import importlib.util
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
from hipseg.shards.codec import decode_slice, encode_slice
from hipseg.shards.manifest import CaseRecord
from hipseg.shards.reader import open_reader
from hipseg.shards.storage import Storage
from hipseg.shards.writer import write_shard

sys.path.insert(0, str(Path(__file__).parent))
from cache import forget
from series import NOISE_HU, SIDE, draw_slice

SLICES, ROUNDS, TURNS = 300, 7, 4
COLD_READS = 60
WINDOW_HU = (-200, 1300)
STORAGES = {"int16 lz4": Storage(), "int16 zstd": Storage("zstd"), "uint8 lz4": Storage("lz4", WINDOW_HU)}
MAP, BLOSC2, STORED, DECODE = "memory map int16", "nnU-Net .b2nd", "uint8 lz4, as stored", "limit: decode in memory"
WITH_MASK = ", with mask"
Reader = Callable[[int], object]
Rates = dict[str, dict[str, list[float]]]
KINDS = ("first", "again", "first, two", "again, two", "cold")
LEAST = {
    form + more: leasts
    for form, leasts in {"int16 lz4": (0.3, 0.3, 0.3, 0.3, 1.5), STORED: (0.6, 0.6, 0.6, 0.6, 1.5)}.items()
    for more in ("", WITH_MASK)
}
"""The least ratios to the memory map, by form and kind of reading."""
LARGEST_UINT8, LEAST_TO_BLOSC2 = 0.25, 2


def main() -> int:
    """Write the same pixels in every form and print a table; 1 where a target is missed."""
    with tempfile.TemporaryDirectory() as name:
        paths = DatasetPaths(Path(name))
        volume, labels = make_volumes()
        maps = paths.root / "volume.npy", paths.root / "labels.npy"
        for path, pixels in zip(maps, (volume, labels), strict=True):
            np.save(path, pixels)
        records = {form: write_case(paths, number, volume, labels, one) for number, (form, one) in enumerate(STORAGES.items())}
        files = {MAP: maps[:1], MAP + WITH_MASK: maps}
        files |= {form: (paths.shard(record.shard),) for form, record in records.items()}
        files[STORED] = files["uint8 lz4"]
        files |= {form + WITH_MASK: files[form] for form in ("int16 lz4", STORED)}
        files[DECODE] = files["int16 lz4"]
        if importlib.util.find_spec("blosc2"):
            files[BLOSC2] = (write_blosc2(paths.root / "volume.b2nd", volume),)
        openers = {form: make_opener(form, found, paths, records, volume) for form, found in files.items()}
        rates = measure(files, openers)
        sizes = {form: sum(path.stat().st_size for path in found) / volume.nbytes for form, found in files.items()}
    print_table(sizes, rates)
    return 0 if judge(sizes, rates) else 1


def measure(files: dict[str, tuple[Path, ...]], openers: dict[str, Callable[[], Reader]]) -> Rates:
    """Let all forms take turns; give slices a second by form and kind of reading, one number a round."""
    for path in {one for found in files.values() for one in found}:
        path.read_bytes()
    rates: Rates = {form: {kind: [] for kind in KINDS} for form in files}
    for number in range(ROUNDS):
        for form, opener in openers.items():
            found = [*rates_of(1, opener, number), *rates_of(2, opener, number)]
            forget(files[form])
            found.append(rate(opener(), number, COLD_READS))
            for path in files[form]:
                path.read_bytes()
            for kind, one in zip(KINDS, found, strict=True):
                rates[form][kind].append(one)
    return rates


def print_table(sizes: dict[str, float], rates: Rates) -> None:
    """Print rates and ratios to the memory map."""
    print(f"{'form':<33}{'size':>6}" + "".join(f"{kind:>12}{'ratio':>6}" for kind in KINDS))
    for form, size in sizes.items():
        line = f"{form:<33}{size:>6.2f}"
        for kind, found in rates[form].items():
            line += f"{statistics.median(found):>12.0f}{compare(rates, form, map_for(form), kind):>6.2f}"
        print(line)


def map_for(form: str) -> str:
    """Name the memory map of what a form is asked for."""
    return MAP + WITH_MASK if form.endswith(WITH_MASK) else MAP


def compare(rates: Rates, form: str, base: str, kind: str) -> float:
    """Give the median over the rounds of how many times as fast a form was read as another one."""
    return statistics.median(ours / theirs for ours, theirs in zip(rates[form][kind], rates[base][kind], strict=True))


def judge(sizes: dict[str, float], rates: Rates) -> bool:
    """Print what became of the targets; say whether all are met."""
    found = [
        (f"{form}, {kind}", compare(rates, form, map_for(form), kind), least)
        for form, leasts in LEAST.items()
        for kind, least in zip(KINDS, leasts, strict=True)
    ]
    if BLOSC2 in rates:
        found += [
            (f"int16 lz4 to {BLOSC2}, {kind}", compare(rates, "int16 lz4", BLOSC2, kind), LEAST_TO_BLOSC2) for kind in KINDS
        ]
    else:
        print(f"{BLOSC2}: not measured, blosc2 is not installed")
    for what, ratio, least in found:
        print(f"{what}: {ratio:.2f}, at least {least:g}: {'met' if ratio >= least else 'MISSED'}")
    is_small = sizes[STORED] <= LARGEST_UINT8
    print(f"{STORED}, size: {sizes[STORED]:.3f}, at most {LARGEST_UINT8}: {'met' if is_small else 'MISSED'}")
    return is_small and all(ratio >= least for _, ratio, least in found)


def make_volumes() -> tuple[np.ndarray, np.ndarray]:
    """Draw SLICES noisy slices of a trunk, int16 (z, y, x), and its bones, uint8 (z, y, x)."""
    noise_hu = np.random.default_rng(0).normal(0, NOISE_HU, (SIDE, 2 * SIDE)).astype(np.float32)
    starts = np.random.default_rng(1).integers(0, SIDE, SLICES)
    images, masks = zip(*(draw_slice(z, noise_hu[:, start : start + SIDE]) for z, start in enumerate(starts)), strict=True)
    return np.stack(images), np.stack(masks).astype(np.uint8)


def write_case(paths: DatasetPaths, number: int, volume: np.ndarray, labels: np.ndarray, storage: Storage) -> CaseRecord:
    """Write the volume and its mask into a shard."""
    grid = Grid(volume.shape, (1.5, 0.7, 0.7), (0.0, 0.0, 0.0), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    case, shard = f"c{number}", f"c{number}.h5"
    slices = zip(volume, labels, strict=True)
    written = write_shard(paths.shard(shard), case, "p0", grid, slices, has_mask=True, storage=storage)
    digests = written.image_digest, written.mask_digest, written.shard_digest
    return CaseRecord(case, "p0", shard, grid, "overlay", written.label_voxels, *digests, storage.window_hu)


def write_blosc2(path: Path, volume: np.ndarray) -> Path:
    """Write the volume as nnU-Net 2 does: float32 with a channel axis, zstd, chunks that fit its patches and caches."""
    import blosc2

    values = volume[np.newaxis].astype(np.float32)
    parameters = {"codec": blosc2.Codec.ZSTD, "clevel": 8, "nthreads": 1}
    # One slice a chunk, which is kinder to single slices than the cubes that nnU-Net chooses.
    blosc2.asarray(values, urlpath=str(path), chunks=(1, 1, SIDE, SIDE), blocks=(1, 1, 64, SIDE), cparams=parameters)
    return path


def make_opener(
    form: str, files: tuple[Path, ...], paths: DatasetPaths, records: dict[str, CaseRecord], volume: np.ndarray
) -> Callable[[], Reader]:
    """Give what opens a form and returns its reader of slices; each result is an array of its own."""
    if form == MAP:
        return lambda: (lambda volume: lambda z: np.array(volume[z]))(np.load(files[0], mmap_mode="r"))
    if form.endswith(WITH_MASK):
        return make_pair_opener(form.removesuffix(WITH_MASK), files, paths, records)
    if form == BLOSC2:
        import blosc2

        return lambda: (lambda volume: lambda z: volume[0, z])(blosc2.open(str(files[0]), mode="r", dparams={"nthreads": 1}))
    if form == DECODE:
        return lambda: make_decoder(volume)
    if form == STORED:
        return lambda: open_reader(paths, records["uint8 lz4"]).read_stored_image
    return lambda: open_reader(paths, records[form]).read_image


def make_pair_opener(
    form: str, files: tuple[Path, ...], paths: DatasetPaths, records: dict[str, CaseRecord]
) -> Callable[[], Reader]:
    """Give what opens a form and returns its reader of slices with their masks."""
    if form == MAP:
        return lambda: (lambda maps: lambda z: [np.array(one[z]) for one in maps])([np.load(one, mmap_mode="r") for one in files])
    record = records["uint8 lz4" if form == STORED else form]
    return lambda: (lambda case: lambda z: (case.read_stored_image(z), case.read_labels(z)))(open_reader(paths, record))


def make_decoder(volume: np.ndarray) -> Reader:
    """Hold the slices compressed, and give what decodes one."""
    chunks = [encode_slice(one) for one in volume]

    def decode(z: int) -> np.ndarray:
        pixels = np.empty_like(volume[z])
        decode_slice(chunks[z], pixels)
        return pixels

    return decode


def rate(read: Reader, seed: int, reads: int) -> float:
    """Read slices in random order, each once at most; give slices a second."""
    order = np.random.default_rng(seed).permutation(SLICES)[:reads].tolist()
    started = time.perf_counter()
    for z in order:
        read(z)
    return len(order) / (time.perf_counter() - started)


def rates_of(processes: int, opener: Callable[[], Reader], seed: int) -> tuple[float, float]:
    """Read in new processes at once; give their slices a second together, the first time and, the median, afterwards."""
    context = get_context("fork")
    results, ready = context.SimpleQueue(), context.Barrier(processes)

    def work(number: int) -> None:
        read, found = opener(), []
        for turn in range(TURNS):
            ready.wait()
            found.append(rate(read, 10 * seed + 2 * turn + number, SLICES))
        results.put((found[0], statistics.median(found[1:])))

    children = [context.Process(target=work, args=(number,)) for number in range(processes)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    first, again = zip(*(results.get() for _ in children), strict=True)
    return sum(first), sum(again)


if __name__ == "__main__":
    sys.exit(main())
