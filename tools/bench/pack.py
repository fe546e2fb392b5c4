"""Whole packings of the same files, as whole processes: hipseg-pack against what people use now, and a plain copy of the bytes.

    python tools/bench/pack.py [--rounds 5] [--series 4] [--slices 150]

Wall time and peak memory are medians of interleaved rounds; the ratio is the other's time over hipseg's. The others store images
alone; hipseg stores masks and digests, too. What is not installed is named and left out. Time: about a minute a round.
"""

import argparse
import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from series import make_series

HIPSEG = "hipseg int16 lz4"
ITK = """
import sys, pathlib, h5py, SimpleITK as sitk
{extra}
target = pathlib.Path(sys.argv[2])
target.mkdir()
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    volume = sitk.GetArrayViewFromImage(image)
    with h5py.File(target / (folder.name + ".h5"), "w") as file:
        file.create_dataset("image", data=volume, dtype="<i2", chunks=(1, *volume.shape[1:]), {filters})
"""
COPY = "import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])"
MEGABYTE, KIB = 1e6, 1024


@dataclass(frozen=True)
class Cost:
    """What one process cost."""

    seconds: float
    peak_mb: float
    written_mb: float


def main() -> None:
    """Measure uncompressed and JPEG 2000 sources and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--series", type=int, default=4)
    parser.add_argument("--slices", type=int, default=150)
    options = parser.parse_args()
    for compressed in (False, True):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_series(folder / "data", options.series, options.slices, compressed=compressed)
            (folder / "salt").write_text("5a" * 32)
            (folder / "salt").chmod(0o600)
            print_table(measure(folder, options.rounds), "JPEG 2000" if compressed else "uncompressed")


def commands(folder: Path) -> dict[str, list[str]]:
    """Give the command lines that can be run here, by name; what is missing is said."""
    data, target = str(folder / "data"), str(folder / "target")
    hipseg = [sys.executable, "-m", "hipseg", "pack", data, "-o", target, "--salt-file", str(folder / "salt")]
    found = {
        HIPSEG: hipseg,
        "hipseg int16 zstd": [*hipseg, "--codec", "zstd"],
        "hipseg uint8 lz4": [*hipseg, "--store", "uint8", "--window", "-200", "1300"],
        "byte copy": [sys.executable, "-c", COPY, data, target],
    }
    if importlib.util.find_spec("SimpleITK"):
        gzip = ITK.format(extra="", filters='compression="gzip", compression_opts=4')
        bitshuffle = ITK.format(extra="import hdf5plugin", filters="**hdf5plugin.Bitshuffle(cname='lz4')")
        found["SimpleITK + h5py gzip-4"] = [sys.executable, "-c", gzip, data, target]
        found["SimpleITK + bitshuffle-lz4"] = [sys.executable, "-c", bitshuffle, data, target]
    else:
        print("SimpleITK: not measured, not installed")
    if shutil.which("dcm2niix"):
        found["dcm2niix"] = ["dcm2niix", "-z", "n", "-o", target, data]
        found["dcm2niix, gzip"] = ["dcm2niix", "-z", "y", "-o", target, data]
    else:
        print("dcm2niix: not measured, not installed")
    return found


def measure(folder: Path, rounds: int) -> dict[str, list[Cost]]:
    """Run every command in turn, as many rounds as asked for, after one that warms the page cache."""
    lines = commands(folder)
    costs: dict[str, list[Cost]] = {name: [] for name in lines}
    run(lines["byte copy"], folder / "target")
    for _ in range(rounds):
        for name, line in lines.items():
            costs[name].append(run(line, folder / "target"))
    return costs


def run(line: list[str], target: Path) -> Cost:
    """Run one command into a fresh folder, and delete what it wrote."""
    if line[0] == "dcm2niix":
        target.mkdir()
    started = time.perf_counter()
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{line[:4]} ended with exit code {process.returncode}")
    written = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    shutil.rmtree(target)
    return Cost(seconds, usage.ru_maxrss * KIB / MEGABYTE, written / MEGABYTE)


def print_table(costs: dict[str, list[Cost]], what: str) -> None:
    """Print a line for each command, and the number of times hipseg is faster."""
    print(f"\n{what:<28}{'seconds':>8}{'times':>8}{'peak MB':>9}{'written MB':>12}")
    for name, found in costs.items():
        ratio = statistics.median(other.seconds / own.seconds for other, own in zip(found, costs[HIPSEG], strict=True))
        seconds = statistics.median(one.seconds for one in found)
        peak_mb = statistics.median(one.peak_mb for one in found)
        print(f"{name:<28}{seconds:>8.2f}{ratio:>8.2f}{peak_mb:>9.0f}{found[0].written_mb:>12.1f}", flush=True)


if __name__ == "__main__":
    main()
