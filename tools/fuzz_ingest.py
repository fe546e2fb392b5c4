"""Mutate bytes of good files and read them: no crash, hang, noise or blow-up of memory, no wrong Hounsfield unit in silence.

    python -m tools.fuzz_ingest --files 10000 --seed 0

takes two to four minutes on one core. Each round takes one of a few tiny data sets (native, implicit, big endian, deflated,
RLE, enhanced; with overlays, an RTSTRUCT, a SEG, a NIfTI or an NRRD mask), mutates one file of it, finds the cases and reads them
as packing does.

What counts as wrong: a case is accepted without a warning, and one of its slices holds other Hounsfield units than the good
series has at that place. Left out are mutations that no reader can notice, because any value is a legal one there: within the
pixels, the numbers that scale or describe them, the place and direction of an image, and anywhere in a deflated or nested stream.
Of those it is only asked that they neither crash, hang nor blow up. A series that became shorter or fell apart is not wrong in
what it holds; what becomes of a mask is not judged, only that reading it ends well. Noise is a word on the terminal: reading has
none to say, and what a library says there quotes the file.
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
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nrrd
import numpy as np
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from hipseg.errors import HipsegError
from hipseg.ingest.cases import find_cases, list_structures, open_case
from tests.ingest.builders import Plane, rectangle_mm, volume_hu, write_ct_series, write_nifti, write_rtstruct
from tests.ingest.enhanced_builder import write_enhanced
from tests.ingest.seg_builder import read_sources, write_seg

SLICES, ROWS, COLUMNS = 3, 10, 12
ORIGIN_MM = np.array([-10.0, -20.0, 100.0])
HANG_S = 2.0
"""A tiny series is read in some ten milliseconds; this leaves room for a busy machine."""
MEMORY_MB = 64
"""What one file may add to the process's peak; the data sets hold a few kilobytes."""
ADDRESS_SPACE_MB = 4096
"""Beyond what the process has at the start; where it ends, reading must be refused and not killed."""
LEGAL_TAGS = frozenset(
    {0x00200032, 0x00200037, 0x00280030, 0x00281052, 0x00281053, 0x7FE00010, 0x52009229, 0x52009230}
    | {0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280010, 0x00280011, 0x00280120, 0x00020010}
)
"""Elements in which a mutation may give another legal value: place, scale, layout and pixels."""


class HangError(BaseException):
    """Reading takes too long; not an Exception, so that no reader swallows it."""


@dataclass(frozen=True)
class Base:
    """A good data set: its folder, its slices by height, and the bytes of each file in which anything is legal."""

    name: str
    folder: Path
    slices: dict[float, bytes]
    legal: dict[str, list[tuple[int, int]]]


@dataclass
class Tally:
    """What came of the rounds."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    largest_mb: float = 0.0


def write_bases(root: Path) -> list[Base]:
    """Write the good data sets."""
    volume = volume_hu(SLICES, ROWS, COLUMNS)
    mask = np.zeros((ROWS, COLUMNS), dtype=bool)
    mask[2:7, 3:9] = True
    overlays = {1: [Plane(mask, label="bone")]}
    write_ct_series(root / "native", volume, overlays=overlays)
    write_ct_series(root / "implicit", volume, overlays=overlays, syntax=ImplicitVRLittleEndian)
    write_ct_series(root / "big", volume, syntax=ExplicitVRBigEndian)
    write_ct_series(root / "deflated", volume, syntax=DeflatedExplicitVRLittleEndian)
    for path in write_ct_series(root / "rle", volume):
        dataset = dcmread(path)
        dataset.compress(RLELossless)
        dataset.save_as(path)
    write_enhanced(root / "enhanced" / "multi", volume)
    write_ct_series(root / "rtstruct", volume)
    write_rtstruct(root / "rtstruct" / "rs", {"bone": [rectangle_mm((-8.1, -6.1), (-18.1, -16.1), 103.0)]})
    affine = np.diag([-0.5, -0.75, 3.0, 1.0])
    affine[:3, 3] = [10.0, 20.0, 100.0]
    for name in ("mask.nii", "mask.nii.gz"):
        write_ct_series(root / name, volume)
        write_nifti(root / name / name, np.stack([mask] * SLICES).astype(np.uint8).transpose(2, 1, 0), affine)
    paths = write_ct_series(root / "seg", volume)
    write_seg(root / "seg" / "mask.dcm", read_sources(paths), np.stack([mask] * SLICES), ["bone"])
    write_ct_series(root / "nrrd", volume)
    fields = {"space": "left-posterior-superior", "space directions": np.diag([0.5, 0.75, 3.0]), "space origin": ORIGIN_MM}
    nrrd.write(str(root / "nrrd" / "mask.nrrd"), np.stack([mask] * SLICES).astype(np.uint8).transpose(2, 1, 0), fields)
    slices = {100.0 + 3.0 * z: image.tobytes() for z, image in enumerate(volume)}
    return [
        Base(one.name, one, slices, {path.name: legal_spans(path) for path in one.iterdir()}) for one in sorted(root.iterdir())
    ]


def legal_spans(path: Path) -> list[tuple[int, int]]:
    """Give the bytes of a file in which a mutation may give another legal CT; none in a file that is no CT."""
    if path.name.startswith("mask") or path.name == "rs":
        return []
    size = path.stat().st_size
    dataset = dcmread(path)
    if dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        return [(0, size)]
    spans = []
    elements = [(element.tag, element.file_tell) for group in (dataset.file_meta, dataset) for element in group]
    starts = sorted((start, int(tag)) for tag, start in elements if start is not None)
    for (start, tag), (end, _) in zip(starts, [*starts[1:], (size, 0)], strict=True):
        if tag in LEGAL_TAGS:
            # Tag, type and length before the value, and the next element's where this one could grow into it.
            spans.append((start - 12, min(end + 12, size)))
    return spans


def mutate(raw: bytes, rng: np.random.Generator) -> tuple[bytes, int, int]:
    """Change a few bytes; give the new ones and the range of the old ones that changed."""
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
        return raw[:start] + raw[end:], start, len(raw)
    if kind == 4:
        return raw[:start] + rng.bytes(length) + raw[start:], start, len(raw)
    if kind == 5:
        return raw[:start], start, len(raw)
    other = int(rng.integers(len(raw)))
    return raw[:start] + raw[other : other + end - start] + raw[end:], start, end


def is_legal(base: Base, name: str, start: int, end: int) -> bool:
    """Say whether a mutation touches bytes in which any value may be legal."""
    return any(start < high and low < end for low, high in base.legal[name])


def read_slices(folder: Path) -> Iterator[tuple[float, bytes, tuple[str, ...]]]:
    """Read every case of a folder that is accepted to its end: height, pixels and warnings of each slice."""
    for number, source in enumerate(find_cases(folder).cases):
        with contextlib.suppress(HipsegError):
            list_structures(source)
        try:
            opened = open_case(source, f"c{number}", {})
            images = [image.tobytes() for image, _ in opened.slices]
        except HipsegError:
            continue
        for z, image in enumerate(images):
            yield (
                opened.grid.origin_mm_xyz[2] + z * opened.grid.spacing_mm_zyx[0],
                image,
                (*opened.warnings, *opened.late_warnings()),
            )


def judge(base: Base, folder: Path, *, anything_is_legal: bool) -> str:
    """Read a mutated data set and say what came of it; "wrong" where it was taken in silence and is not what it was."""
    try:
        found = list(read_slices(folder))
    except HipsegError:
        return "refused"
    if not found:
        return "refused"
    is_right = all(image == base.slices.get(round(height, 3)) for height, image, _ in found)
    if is_right:
        return "read right"
    if any(warnings for _, _, warnings in found):
        return "read with a warning"
    return "another legal value" if anything_is_legal else "wrong"


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
            path = sorted(folder.iterdir())[int(rng.integers(len(list(folder.iterdir()))))]
            raw, start, end = mutate(path.read_bytes(), rng)
            path.write_bytes(raw)
            _run_round(tally, base, folder, number, anything_is_legal=is_legal(base, path.name, start, end))
            shutil.rmtree(folder)


def _run_round(tally: Tally, base: Base, folder: Path, number: int, *, anything_is_legal: bool) -> None:
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    faulthandler.dump_traceback_later(20 * HANG_S, exit=True)
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            outcome = judge(base, folder, anything_is_legal=anything_is_legal)
        outcome = "noise" if said.getvalue() else outcome
    except HangError:
        outcome = "hang"
    except Exception as error:
        places = [f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(error.__traceback__)]
        outcome = f"crash {type(error).__name__}: {error} ({' '.join(places[-8:])})"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
    grown_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before_mb
    if grown_mb > MEMORY_MB:
        outcome = f"memory: {grown_mb:.0f} MB more"
    tally.slowest_s = max(tally.slowest_s, time.perf_counter() - started)
    tally.largest_mb = max(tally.largest_mb, grown_mb)
    tally.counts[outcome.partition(" ")[0] if outcome.startswith(("crash", "memory")) else outcome] += 1
    if outcome in ("wrong", "noise") or outcome.startswith(("crash", "hang", "memory")):
        tally.failures.append(f"round {number} ({base.name}): {outcome}")


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
