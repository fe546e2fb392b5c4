"""Measure the reading of CT series: hipseg against SimpleITK, pydicom and the reading of the bytes, on the same files.

    python tools/bench/read.py

All readers take turns on warm files; a figure is the median over the turns of the ratio within a turn, so that whatever else the
machine does falls on all of them. SimpleITK is handed the sorted names of a series and only reads; hipseg looks through the
folder, checks the series and reads, with the overlay or without. SimpleITK decodes JPEG 2000 by the threads of OpenJPEG, as many
as there are cores; the limit is what the same decoder takes for frames that lie in memory, two at a time. Time: about two
minutes on two idle cores.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import imagecodecs
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - its own usual name
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from series import make_series

from hipseg.ingest.cases import find_cases, open_case
from hipseg.ingest.pixels import read_slice_hu
from hipseg.ingest.rounding import Rounding
from hipseg.ingest.scan import scan_tree
from hipseg.ingest.series import order_series

THREADS = 2
ITK, PYDICOM, BYTES = "SimpleITK series reader", "pydicom, plain", "all bytes"
DECODER = f"limit: decoder, {THREADS} threads"
HU, OVERLAY, TOGETHER = "hipseg, HU", "hipseg, HU + overlay", f"hipseg, HU, {THREADS} threads"
Reader = Callable[[Path], int]
"""Reads one series, slice by slice or whole, and gives the number of its slices."""


@dataclass(frozen=True)
class Target:
    """A promise: `reader` takes `least` times less time than `other`, or, as `most`, at most so many times as much."""

    reader: str
    other: str
    least: float | None = None
    most: float | None = None

    def judge(self, seconds: Mapping[str, list[float]]) -> str:
        """Say what was found, and whether it is what was promised."""
        ratios = [theirs / ours for ours, theirs in zip(seconds[self.reader], seconds[self.other], strict=True)]
        found = median(ratios)
        if self.most is not None:
            found = 1 / found
            return f"{self.reader} / {self.other}: {found:.2f}, at most {self.most:g}: {_word(found <= self.most)}"
        least = self.least or 0
        return f"{self.reader}: {found:.2f} times as fast as {self.other}, at least {least:g}: {_word(found >= least)}"


PLAIN_TARGETS = (Target(HU, ITK, least=12), Target(HU, PYDICOM, least=7), Target(HU, BYTES, most=3))
COMPRESSED_TARGETS = (Target(TOGETHER, ITK, least=1.3),)


def read_bytes(folder: Path) -> int:
    """Read every file whole."""
    return sum(bool(path.read_bytes()) for path in sorted(folder.iterdir()))


def read_with_pydicom(folder: Path) -> int:
    """Read and rescale every file as pydicom's own pages show it."""
    count = 0
    for path in sorted(folder.iterdir()):
        dataset = pydicom.dcmread(path)
        (dataset.pixel_array * dataset.RescaleSlope + dataset.RescaleIntercept).astype(np.int16)
        count += 1
    return count


def read_with_simpleitk(folder: Path) -> int:
    """Read a series whose files are known and in order."""
    return int(_execute(folder).GetSize()[2])


def read_hu(folder: Path) -> int:
    """Look through a folder, check the series in it and read its slices."""
    series = order_series(tuple(scan_tree(folder).images), "case")
    return sum(bool(read_slice_hu(header.path, header, Rounding()).size) for header in series.headers)


def read_hu_together(folder: Path) -> int:
    """Read the slices of a series in several threads."""
    series = order_series(tuple(scan_tree(folder).images), "case")
    with ThreadPoolExecutor(THREADS) as pool:
        images = pool.map(lambda header: read_slice_hu(header.path, header, Rounding()), series.headers)
        return sum(image.size > 0 for image in images)


def decode_frames(folder: Path) -> int:
    """Decode the frames of a compressed series, which are read but once, in several threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        return sum(image.size > 0 for image in pool.map(imagecodecs.jpeg2k_decode, _frames(folder)))


def read_hu_and_overlay(folder: Path) -> int:
    """Find the case in a folder and read its slices with their masks."""
    (source,) = find_cases(folder).cases
    return sum(labels is not None for _, labels in open_case(source, "case", {}).slices)


READERS: Mapping[str, Reader] = {
    BYTES: read_bytes,
    HU: read_hu,
    TOGETHER: read_hu_together,
    OVERLAY: read_hu_and_overlay,
    PYDICOM: read_with_pydicom,
    ITK: read_with_simpleitk,
    DECODER: decode_frames,
}
_names: dict[Path, tuple[str, ...]] = {}


def _execute(folder: Path) -> sitk.Image:
    if folder not in _names:
        _names[folder] = tuple(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(_names[folder])
    return reader.Execute()


@cache
def _frames(folder: Path) -> tuple[bytes, ...]:
    return tuple(get_frame(pydicom.dcmread(path).PixelData, 0, number_of_frames=1) for path in sorted(folder.iterdir()))


def check_equal(folder: Path) -> None:
    """Hold hipseg's values to SimpleITK's before anything is timed; this also warms the files."""
    series = order_series(tuple(scan_tree(folder).images), "case")
    found: NDArray[np.int16] = np.stack([read_slice_hu(header.path, header, Rounding()) for header in series.headers])
    if not np.array_equal(found, sitk.GetArrayFromImage(_execute(folder))):
        raise SystemExit(f"hipseg and SimpleITK read different values in {folder.name}")


def measure(folders: list[Path], readers: Mapping[str, Reader], repeats: int) -> dict[str, list[float]]:
    """Let the readers take turns.

    Returns:
        Seconds by reader, one number a turn.
    """
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(repeats):
        for name, reader in readers.items():
            start = time.perf_counter()
            for folder in folders:
                reader(folder)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def report(title: str, seconds: Mapping[str, list[float]], slices: int, targets: tuple[Target, ...]) -> bool:
    """Print a table of the readers and what became of the targets; say whether all are met."""
    print(f"\n{title}: {slices} slices of 512 x 512")
    print(f"{'reader':<26}{'ms a slice':>12}{'x SimpleITK':>13}{'x bytes':>9}")
    for name, own in seconds.items():
        speed = median(theirs / ours for ours, theirs in zip(own, seconds[ITK], strict=True))
        limit = median(ours / theirs for ours, theirs in zip(own, seconds[BYTES], strict=True))
        print(f"{name:<26}{median(own) / slices * 1e3:>12.3f}{speed:>13.2f}{limit:>9.2f}")
    lines = [target.judge(seconds) for target in targets]
    print("\n".join(lines))
    return not any(line.endswith(_word(False)) for line in lines)


def _word(is_met: bool) -> str:
    return "met" if is_met else "MISSED"


def main() -> int:
    """Measure both kinds of files; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=4)
    parser.add_argument("--slices", type=int, default=150, help="of each series")
    parser.add_argument("--compressed-slices", type=int, default=40, help="of the one JPEG 2000 series")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        plain = make_series(Path(name) / "plain", options.series, options.slices)
        packed = make_series(Path(name) / "packed", 1, options.compressed_slices, compressed=True)
        for folder in (*plain, *packed):
            check_equal(folder)
        # Threads only add their own cost to files that are merely copied; pydicom has no decoder of its own for the others.
        own = {name: reader for name, reader in READERS.items() if name not in (TOGETHER, DECODER)}
        seconds = measure(plain, own, options.repeats)
        is_good = report("uncompressed", seconds, options.series * options.slices, PLAIN_TARGETS)
        decode_frames(packed[0])
        own = {name: reader for name, reader in READERS.items() if name != PYDICOM}
        seconds = measure(packed, own, max(3, options.repeats // 2))
        is_good &= report("JPEG 2000", seconds, options.compressed_slices, COMPRESSED_TARGETS)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
