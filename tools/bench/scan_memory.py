"""Memory of the search for cases in large DICOM trees, and what a slice more and a series more adds to it.

    python tools/bench/scan_memory.py [--shapes 250x200 500x200 1000x200 20000x10] [--mixed]

A shape is a number of series and the slices of each. The files are tiny CT slices of 8 x 8 pixels with identifiers of 64
characters, one folder a series; with --mixed all lie in one folder, by names that mix the series. Each tree is searched by a
process of its own: `peak` is the most memory that it had (RSS, by the kernel's own count), `rest` what it holds when the cases
are found; both hold Python and what hipseg loads, `before`. `on disk` is the file without a name that the headers lie in.

Room on disk: 4 kB a file. Time: half a minute for 100,000 files.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SIDE = 8
ROOT_UID = "1.3.6.1.4.1.14519.5.2.1.6279.6001.105657756031518"
PATIENT, SERIES, IMAGE, HEIGHT = "10000000", "200000", "300000", "400000"
"""Numbers in the template that stand for those of patient, series and image and for the height in mm, each of as many digits."""
MEGABYTE = 1e6
SEARCH = """
import json, os, sys, time
from pathlib import Path
import hipseg.cli.pack
from hipseg.ingest.cases import find_cases

def memory(field):
    return int(next(line for line in open("/proc/self/status") if line.startswith(field)).split()[1]) << 10

def open_files():
    for name in Path("/proc/self/fd").iterdir():
        try:
            if os.readlink(name).endswith("(deleted)"):
                yield os.stat(name).st_size
        except OSError:
            pass

before, started = memory("VmRSS"), time.perf_counter()
found = find_cases(Path(sys.argv[1]), "dicom")
seconds = time.perf_counter() - started
print(json.dumps([len(found.cases), seconds, before, memory("VmHWM"), memory("VmRSS"), sum(open_files())]))
"""


@dataclass(frozen=True)
class Search:
    """What the search of one tree took; memory and file size in bytes."""

    cases: int
    seconds: float
    before: int
    peak: int
    rest: int
    on_disk: int


def main() -> None:
    """Print a line for each tree, and what slices and series add."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["250x200", "500x200", "1000x200", "20000x10"])
    parser.add_argument("--mixed", action="store_true", help="all slices in one folder, the series mixed")
    options = parser.parse_args()
    template = make_slice()
    print(f"{'slices':>8} {'series':>7} {'files/s':>8} {'before MB':>10} {'peak MB':>8} {'rest MB':>8} {'on disk MB':>11}")
    found: dict[tuple[int, int], Search] = {}
    for shape in options.shapes:
        series, length = map(int, shape.split("x"))
        with tempfile.TemporaryDirectory() as name:
            for number in range(series):
                write_series(Path(name), template, number, length, is_mixed=options.mixed)
            one = found[series, length] = search(Path(name))
        if one.cases != series:
            sys.exit(f"{one.cases} cases found, {series} are there")
        print(
            f"{series * length:>8,} {series:>7,} {series * length / one.seconds:>8,.0f} {one.before / MEGABYTE:>10.1f} "
            f"{one.peak / MEGABYTE:>8.1f} {one.rest / MEGABYTE:>8.1f} {one.on_disk / MEGABYTE:>11.1f}",
            flush=True,
        )
    compare(found)


def compare(found: dict[tuple[int, int], Search]) -> None:
    """Say what more slices of as long series, and more series of as many slices, add to the memory."""
    for (fewer, short), (more, long) in pairwise(found):
        peak, rest = (getattr(found[more, long], name) - getattr(found[fewer, short], name) for name in ("peak", "rest"))
        slices, series = more * long - fewer * short, more - fewer
        if short == long and slices:
            print(f"{slices:,} slices, {series:,} series more: {peak / slices:.1f} bytes a slice ({rest / slices:.1f} at rest)")
        elif series and not slices:
            print(f"{series:,} series more of as many slices: {peak / series:,.0f} bytes a series ({rest / series:,.0f} at rest)")


def make_slice() -> bytes:
    """Make one CT slice in which the template's numbers stand for those of its patient, series and image."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.Modality, dataset.ImageType = CTImageStorage, "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPInstanceUID = f"{ROOT_UID}.{SERIES}.{IMAGE}"
    dataset.PatientID, dataset.PatientName = f"bench-{PATIENT}", "BENCH"
    study, of_series, frame = (f"{ROOT_UID}.10000{number}.{SERIES}" for number in range(3))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = study, of_series, frame
    dataset.InstanceNumber, dataset.AcquisitionNumber = IMAGE, 1
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = ["-192.0", "-180.5", f"{HEIGHT}.5"], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.75, 0.75], 1.0
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.Rows, dataset.Columns = 1, "MONOCHROME2", SIDE, SIDE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, -1024, "HU"
    dataset.PixelData = bytes(2 * SIDE * SIDE)
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    with tempfile.NamedTemporaryFile() as file:
        dataset.save_as(file.name, enforce_file_format=True)
        return Path(file.name).read_bytes()


def write_series(root: Path, template: bytes, series: int, length: int, *, is_mixed: bool) -> None:
    """Write the slices of one series."""
    folder = root if is_mixed else root / f"patient-{series:06d}" / "ct"
    folder.mkdir(parents=True, exist_ok=True)
    for image in range(length):
        data = template
        for old, value in ((PATIENT, series), (SERIES, series), (IMAGE, image), (HEIGHT, image)):
            data = data.replace(old.encode(), str(int(old) + value).encode())
        (folder / f"IM{image:06d}-{series:06d}.dcm").write_bytes(data)


def search(root: Path) -> Search:
    """Search a tree in a process of its own."""
    line = [sys.executable, "-c", SEARCH, str(root)]
    return Search(*json.loads(subprocess.run(line, capture_output=True, check=True, text=True).stdout))


if __name__ == "__main__":
    main()
