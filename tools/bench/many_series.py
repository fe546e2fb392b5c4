"""Memory and time of packing many tiny series, and of packing them again, and what a series more adds.

    python tools/bench/many_series.py [--series 1000 10000 20000] [--slices 3] [--masks] [--jobs 2]

The trees are those of `scan_memory.py`; with --masks a NIfTI mask lies beside each series. `peak` is the most memory that all
processes of a packing had together at one time (PSS), looked at twenty times a second; `own` is the part of it that lies in no
file, and that no other program on the machine changes.

Room on disk: 4 kB a slice and 20 kB a series. Time: 3 ms a series with 2 cores.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
from scan_memory import MEGABYTE, SIDE, make_slice, write_series

from hipseg.geometry import Grid
from hipseg.ingest.nifti import write_volume

LIMIT_MB = 128
"""For any number of series."""
LOOK_S = 0.05
FIELD = re.compile(r"^(Pss|Pss_Anon): +(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Packing:
    """What one packing took; memory in bytes."""

    seconds: float
    peak: int
    own: int


def main() -> None:
    """Print a line for each number of series, and what series add."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", nargs="+", type=int, default=[1_000, 10_000, 20_000])
    parser.add_argument("--slices", type=int, default=3, help="of each series")
    parser.add_argument("--masks", action="store_true", help="a NIfTI mask beside each series")
    parser.add_argument("--jobs", default="2")
    options = parser.parse_args()
    print(f"{'series':>8} {'':>6} {'s':>7} {'peak MB':>8} {'own MB':>7}")
    found: dict[int, tuple[Packing, ...]] = {}
    for series in options.series:
        with tempfile.TemporaryDirectory() as name:
            make_tree(Path(name) / "data", series, options.slices, has_masks=options.masks)
            found[series] = tuple(pack(Path(name), options.jobs) for _ in range(2))
            for what, one in zip(("first", "again"), found[series], strict=True):
                peak, own = one.peak / MEGABYTE, one.own / MEGABYTE
                print(f"{series:>8,} {what:>6} {one.seconds:>7.1f} {peak:>8.1f} {own:>7.1f}", flush=True)
    for fewer, more in pairwise(options.series):
        slopes = [(late.own - soon.own) / (more - fewer) for soon, late in zip(found[fewer], found[more], strict=True)]
        print(f"from {fewer:,} to {more:,} series: {slopes[0]:,.0f} bytes a series, {slopes[1]:,.0f} when packed again")
    highest = max(one.peak for packings in found.values() for one in packings) / MEGABYTE
    if highest > LIMIT_MB:
        sys.exit(f"{highest:.1f} MB at most, {LIMIT_MB} are allowed")


def make_tree(root: Path, series: int, slices: int, *, has_masks: bool) -> None:
    """Write many tiny series, a folder each."""
    template = make_slice()
    mask = np.zeros((slices, SIDE, SIDE), np.uint8)
    mask[:, 2:4, 2:4] = 1
    grid = Grid(mask.shape, (1.0, 0.75, 0.75), (-192.0, -180.5, 300000.5), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    for number in range(series):
        write_series(root, template, number, slices, is_mixed=False)
        if has_masks:
            write_volume(root / f"patient-{number:06d}" / "ct" / "mask.nii.gz", mask, grid)


def pack(folder: Path, jobs: str) -> Packing:
    """Pack a tree in a process of its own."""
    line = [sys.executable, "-m", "hipseg", "pack", str(folder / "data"), "-o", str(folder / "shards")]
    line += ["--salt-file", str(folder / "salt"), "--jobs", jobs]
    started = time.perf_counter()
    peak = own = 0
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as packing:
        while packing.poll() is None:
            together = [sum(sizes) for sizes in zip(*_look(packing.pid), strict=True)] or [0, 0]
            peak, own = max(peak, together[0]), max(own, together[1])
            time.sleep(LOOK_S)
    if packing.returncode:
        sys.exit(f"the packing ended with code {packing.returncode}")
    return Packing(time.perf_counter() - started, peak, own)


def _look(pid: int) -> Iterator[Sequence[int]]:
    """Give the memory of a process and of each that it started: all of it, and what lies in no file."""
    with suppress(psutil.Error):
        for one in (pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))):
            with suppress(OSError):
                found = dict(FIELD.findall(Path(f"/proc/{one}/smaps_rollup").read_text(encoding="ascii")))
                if found:
                    yield [int(found[name]) << 10 for name in ("Pss", "Pss_Anon")]


if __name__ == "__main__":
    main()
