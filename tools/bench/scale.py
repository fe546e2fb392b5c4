"""How a data set grows: size of its manifest, time and memory to open it, journal, files and bytes, up to 100,000 made-up cases.

    python tools/bench/scale.py

No scan is made; each case stands for 150 slices of 512 x 512 packed with lz4. Time: about a minute.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hipseg.fsio import digest_bytes
from hipseg.geometry import Grid
from hipseg.pack.journal import Entry, open_journal, read_journal
from hipseg.pack.plan import PlanRecord
from hipseg.pack.state import PackState
from hipseg.runs import DatasetPaths
from hipseg.shards.layout import shard_name
from hipseg.shards.manifest import CaseRecord, Manifest, read_manifest, write_manifest

SIZES = (100, 1_000, 10_000, 100_000)
SHARD_BYTES = 42_000_000
"""Of 150 noisy slices of 512 x 512, int16, lz4."""
DIRECTIONS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
MEGABYTE, TERABYTE = 1e6, 1e12
APPENDED = 50
PROBE = """
import sys
from pathlib import Path
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import read_manifest
def peak_kib():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
before = peak_kib()
read_manifest(DatasetPaths(Path(sys.argv[1])))
print(peak_kib() - before)
"""


def main() -> None:
    """Print a line for each size."""
    print(f"{'cases':>8} {'manifest':>10} {'write':>8} {'open':>8} {'memory':>9} {'journal':>10} {'resume':>8} "
          f"{'a case more':>12} {'files':>8} {'shards':>9}")  # fmt: skip
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            print(measure(DatasetPaths(Path(folder)), size), flush=True)


def measure(paths: DatasetPaths, size: int) -> str:
    """Write and open a manifest and a journal of that many cases, and say how big and how slow they are."""
    records = tuple(make_record(number) for number in range(size))
    plan = PlanRecord({}, "0" * 12, {}, None)
    manifest = Manifest(tuple(sorted(records, key=lambda one: one.case)), (), {}, {}, plan.salt_id)
    write_s = timed(lambda: write_manifest(paths, manifest))
    open_s = timed(lambda: read_manifest(paths))
    memory = int(subprocess.run([sys.executable, "-c", PROBE, str(paths.root)], capture_output=True, check=True).stdout) * 1024
    state = PackState(Entry(one, "0" * 64) for one in records)
    with open_journal(paths.journal(), plan, state.entries) as journal:
        append_s = timed(lambda: [journal.add(Entry(one, "0" * 64, SHARD_BYTES)) for one in records[:APPENDED]]) / APPENDED
    resume_s = timed(lambda: read_journal(paths.journal()))
    return (
        f"{size:>8,} {paths.manifest.stat().st_size / MEGABYTE:>7.1f} MB {write_s:>6.2f} s {open_s:>6.2f} s "
        f"{memory / MEGABYTE:>6.0f} MB {paths.journal().stat().st_size / MEGABYTE:>7.1f} MB {resume_s:>6.2f} s "
        f"{append_s * 1e3:>9.2f} ms {size + 3:>8,} {size * SHARD_BYTES / TERABYTE:>6.2f} TB"
    )


def make_record(number: int) -> CaseRecord:
    """Make up a case, as different from others as real ones are."""
    digest = digest_bytes(str(number).encode())
    case = "c" + digest[:12]
    grid = Grid((150, 512, 512), (1.5, 0.7 + number % 97 / 1000, 0.7), (-191.25 + number % 13, -180.5, -701.125), DIRECTIONS)
    patient = "p" + digest_bytes(str(number // 2).encode())[:12]
    return CaseRecord(case, patient, shard_name(case, digest), grid, "overlay", {1: 100_000 + number}, digest, digest, digest)


def timed(work: Callable[[], object]) -> float:
    """Give the seconds that something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
