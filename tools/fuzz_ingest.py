"""Mutate bytes of good files and read them: no crash, hang, noise or blow-up of memory, and nothing wrong in silence.

    python -m tools.fuzz_ingest --files 10000 --seed 0

takes one to two minutes on one core. Each round takes one of a few tiny data sets (`fuzz_bases`: uncompressed in four transfer
syntaxes, RLE, JPEG, JPEG 2000, enhanced, a ZIP archive, a medium with DICOMDIR; with overlays, an RTSTRUCT, a SEG of bits or an
RLE label map, a NIfTI or an NRRD mask), mutates one file of it, finds the cases and reads them as packing does.

What counts as wrong: nothing is refused, no case that differs has a warning, and yet there is another number of cases, or one of
them has other slices, Hounsfield units, labels or places than the good one. A file that was set aside, which packing counts but
ends well with, is no excuse. Left out ("unseen") are differences of the kind that a change of just these bytes can make without
any other part of the data saying so: `fuzz_bases.UNSEEN` names the elements; besides them the voxels of an uncompressed NIfTI
file and all of a deflated stream. Noise is a word on the terminal: reading has none to say, and what a library says there quotes
the file.
"""

import argparse
import contextlib
import faulthandler
import io
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hipseg.errors import HipsegError
from hipseg.geometry import Grid
from hipseg.ingest.cases import find_cases, list_structures, open_case
from hipseg.ingest.series import DIRECTION_TOLERANCE, SPACING_TOLERANCE_MM
from tools.fuzz_bases import ORIGIN_MM_XYZ, SPACING_MM_ZYX, Base, Kind, Truth, list_files, write_bases

HANG_S = 2.0
"""A tiny series is read in some ten milliseconds; this leaves room for a busy machine."""
MEMORY_MB = 64
"""What one file may add to the process's peak; the data sets hold a few kilobytes."""
ADDRESS_SPACE_MB = 4096
"""Beyond what the process has at the start; where it ends, reading must be refused and not killed."""


class HangError(BaseException):
    """Reading takes too long; not an Exception, so that no reader swallows it."""


ENDS_WELL = ("read right", "refused", "taken with a warning", "unseen")


@dataclass(frozen=True)
class Found:
    """A case that was accepted and read to its end."""

    grid: Grid
    volume: np.ndarray
    labels: np.ndarray | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Reading:
    """What came of reading a data set: the cases accepted, the number refused, and of files set aside."""

    accepted: tuple[Found, ...]
    refused: int
    set_aside: int


@dataclass
class Tally:
    """What came of the rounds."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    largest_mb: float = 0.0


def mutate(raw: bytes, rng: np.random.Generator) -> tuple[bytes, int, int]:
    """Change a few bytes; give the new ones, and the range of the old ones in whose place others stand.

    What only moved on is not in the range, and of a file that was cut nothing is.
    """
    start = int(rng.integers(len(raw)))
    length = int(rng.integers(1, 9))
    end = min(start + length, len(raw))
    kind = rng.integers(7)
    if kind == 0:
        return raw[:start] + bytes([raw[start] ^ (1 << int(rng.integers(8)))]) + raw[start + 1 :], start, start + 1
    if kind == 1:
        return raw[:start] + rng.bytes(end - start) + raw[end:], start, end
    if kind == 2:
        value = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\xfe\xff\xff\xff", b"\0\0\0\x80"][int(rng.integers(5))]
        return raw[:start] + value + raw[start + 4 :], start, min(start + 4, len(raw))
    if kind == 3:
        return raw[:start] + raw[end:], start, end
    if kind == 4:
        return raw[:start] + rng.bytes(length) + raw[start:], start, start + 1
    if kind == 5:
        return raw[:start], start, start
    other = int(rng.integers(len(raw)))
    return raw[:start] + raw[other : other + end - start] + raw[end:], start, end


def read(folder: Path, rois: Mapping[str, int]) -> Reading:
    """Read every case of a folder as packing does."""
    try:
        found = find_cases(folder)
    except HipsegError:
        return Reading((), 1, 0)
    accepted = []
    for number, source in enumerate(found.cases):
        with contextlib.suppress(HipsegError):
            list_structures(source)
        with contextlib.suppress(HipsegError):
            opened = open_case(source, f"c{number}", rois)
            slices = list(opened.slices)
            labels = None if opened.mask_kind is None else np.array([one for _, one in slices])
            volume = np.array([one for one, _ in slices])
            accepted.append(Found(opened.grid, volume, labels, (*opened.warnings, *opened.late_warnings())))
    return Reading(tuple(accepted), len(found.cases) - len(accepted), sum(found.set_aside.values()))


def compare(found: Found, truth: Truth) -> set[Kind]:
    """Say in what a case differs from what it should be."""
    kinds: set[Kind] = set()
    if found.volume.shape != truth.volume.shape:
        return {"slices"}
    if not np.array_equal(found.volume, truth.volume):
        kinds.add("values")
    if (found.labels is None) != (truth.labels is None) or not np.array_equal(found.labels, truth.labels):
        kinds.add("mask")
    is_placed = np.allclose(found.grid.origin_mm_xyz, ORIGIN_MM_XYZ, atol=SPACING_TOLERANCE_MM)
    is_spaced = np.allclose(found.grid.spacing_mm_zyx, SPACING_MM_ZYX, rtol=0, atol=SPACING_TOLERANCE_MM)
    if not (is_placed and is_spaced and np.allclose(found.grid.directions_xyz, np.eye(3), atol=DIRECTION_TOLERANCE)):
        kinds.add("grid")
    return kinds


def judge(base: Base, folder: Path, unseen: Collection[Kind | None] = ()) -> tuple[str, set[Kind]]:
    """Read a mutated data set and say what came of it, and in what it differs.

    Args:
        base: what it was before.
        folder: where it lies.
        unseen: kinds of differences that no reader can see there; None stands for all.
    """
    reading = read(folder, base.rois)
    if reading.refused:
        return "refused", set()
    missing = list(base.truths)
    others = []
    for found in reading.accepted:
        same = next((n for n, one in enumerate(missing) if not compare(found, one)), None)
        if same is None:
            others.append(found)
        else:
            del missing[same]
    if not missing and not others:
        return "read right", set()
    kinds: set[Kind] = compare(others[0], missing[0]) if len(others) == len(missing) == 1 else {"cases"}
    if any(found.warnings for found in others):
        return "taken with a warning", kinds
    if None in unseen or kinds <= set(unseen):
        return "unseen", kinds
    return "set aside and counted" if reading.set_aside > base.set_aside else "wrong", kinds


def fuzz(files: int, seed: int, tally: Tally) -> None:
    """Run the rounds."""

    def ring(*_: object) -> None:
        raise HangError

    signal.signal(signal.SIGALRM, ring)
    with tempfile.TemporaryDirectory() as scratch:
        bases = write_bases(Path(scratch) / "good")
        folder = Path(scratch) / "bad"
        for number in range(files):
            rng = np.random.default_rng((seed, number))
            base = bases[int(rng.integers(len(bases)))]
            shutil.copytree(base.folder, folder)
            paths = list_files(folder)
            path = paths[int(rng.integers(len(paths)))]
            raw, start, end = mutate(path.read_bytes(), rng)
            path.write_bytes(raw)
            name = path.relative_to(folder).as_posix()
            unseen = {span.kind for span in base.unseen[name] if max(start, span.first) < min(end, span.end)}
            _run_round(tally, base, folder, f"round {number} ({base.name}, {name} from byte {start})", unseen)
            shutil.rmtree(folder)


def _run_round(tally: Tally, base: Base, folder: Path, where: str, unseen: Collection[Kind | None]) -> None:
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    faulthandler.dump_traceback_later(20 * HANG_S, exit=True)
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    said = io.StringIO()
    words = ""
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            outcome, kinds = judge(base, folder, unseen)
        words = ", ".join(sorted(kinds))
        outcome = "noise" if said.getvalue() else outcome
    except HangError:
        outcome = "hang"
    except Exception as error:
        places = [f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)]
        outcome, words = "crash", f"{type(error).__name__}: {error} ({' '.join(places[-8:])})"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
    grown_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before_mb
    if grown_mb > MEMORY_MB:
        outcome, words = "memory", f"{grown_mb:.0f} MB more"
    tally.slowest_s = max(tally.slowest_s, time.perf_counter() - started)
    tally.largest_mb = max(tally.largest_mb, grown_mb)
    tally.counts[outcome] += 1
    if outcome not in ENDS_WELL:
        tally.failures.append(f"{where}: {outcome} {words}")


def main() -> int:
    """Fuzz as the command line says; exit code 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + ADDRESS_SPACE_MB * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    tally = Tally()
    started = time.perf_counter()
    fuzz(arguments.files, arguments.seed, tally)
    for outcome, count in sorted(tally.counts.items()):
        print(f"{count:>8}  {outcome}")
    print(
        f"slowest {tally.slowest_s:.2f} s, largest growth {tally.largest_mb:.0f} MB, {time.perf_counter() - started:.0f} s in all"
    )
    for failure in tally.failures:
        print(failure)
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
