"""Whole packings of the same files, as whole processes: hipseg-pack against what people use now, and a plain copy of the bytes.

    nice -n -15 python tools/bench/pack.py [--rounds 5] [--series 4] [--slices 150] [--cold] [--nnunet-python PATH]

Wall times are medians of rounds that run every command once, each round in another order, since what ran before changes the time
of a short command by up to a fifth; the ratio is the other's time over hipseg's in the same round. Peak memory is that of all
processes of a command together, what they share counted once (PSS, looked at every 5 ms), in a round of its own that is not
timed.
The others store images alone; hipseg stores masks and digests, too. Three lines are limits that no packing can pass: starting
Python with numpy and h5py, reading the bytes, and copying as many in memory. What is not installed is named and left out; nnU-Net
has an environment of its own, is measured once, and its conversion to NIfTI is told apart.

With --cold the system is asked before each run to forget the sources, so that they come from the disk, as they do when scans are
packed for the first time.

All run with their compiled modules (PYTHONDONTWRITEBYTECODE is unset), after a round that is not counted. On a machine that
others use, give the session priority and not only the process: where /proc/sys/kernel/sched_autogroup_enabled is 1, niceness
counts within one session alone, and `echo -15 > /proc/self/autogroup` between sessions. Time: about a minute a round.
"""

import argparse
import importlib.util
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import nnunet
import psutil
from cache import forget

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
LOAD = "import numpy, h5py"
READ = """
import pathlib, sys
room = bytearray(1 << 24)
for path in pathlib.Path(sys.argv[1]).rglob("*.dcm"):
    with path.open("rb", buffering=0) as handle:
        handle.readinto(room)
"""
COPY_IN_MEMORY = """
import sys
from_here, to_there = bytearray(1 << 20), bytearray(1 << 20)
for _ in range(int(sys.argv[1]) >> 20):
    to_there[:] = from_here
"""
MAKE = """
import pathlib, sys
from series import make_series
make_series(pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), compressed=sys.argv[4] == "True")
"""
MEGABYTE = 1e6
POLL_S = 0.005
ORDER_SEED = 3


@dataclass(frozen=True)
class Cost:
    """What one command cost."""

    seconds: float
    peak_mb: float
    written_mb: float


def main() -> None:
    """Measure uncompressed and JPEG 2000 sources and print a table of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--series", type=int, default=4)
    parser.add_argument("--slices", type=int, default=150)
    parser.add_argument("--cold", action="store_true", help="read the sources from the disk each time")
    parser.add_argument("--nnunet-python", type=Path, help="the Python of an environment in which nnunetv2 is installed")
    options = parser.parse_args()
    for compressed in (False, True):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            # By another process: the peak memory of what is started from here counts from the size of this one.
            numbers = [str(one) for one in (options.series, options.slices, compressed)]
            subprocess.run([sys.executable, "-c", MAKE, folder / "data", *numbers], check=True, cwd=Path(__file__).parent)
            (folder / "salt").write_text("5a" * 32)
            (folder / "salt").chmod(0o600)
            costs = measure(folder, options.rounds, is_cold=options.cold)
            if options.nnunet_python and not compressed:
                costs["nnU-Net, from NIfTI"] = [measure_nnunet(options.nnunet_python, folder)]
            print_table(costs, ("JPEG 2000" if compressed else "uncompressed") + (", cold" if options.cold else ""))
    if not options.nnunet_python:
        print("nnU-Net: not measured, name its environment with --nnunet-python")


def commands(folder: Path) -> dict[str, list[str]]:
    """Give the command lines that can be run here, by name; what is missing is said."""
    data, target = str(folder / "data"), str(folder / "target")
    size = sum(path.stat().st_size for path in (folder / "data").rglob("*.dcm"))
    hipseg = [sys.executable, "-m", "hipseg", "pack", data, "-o", target, "--salt-file", str(folder / "salt")]
    found = {
        HIPSEG: hipseg,
        "hipseg int16 zstd": [*hipseg, "--codec", "zstd"],
        "hipseg uint8 lz4": [*hipseg, "--store", "uint8", "--window", "-200", "1300"],
        "byte copy": [sys.executable, "-c", COPY, data, target],
        "limit: load numpy and h5py": [sys.executable, "-c", LOAD],
        "limit: read the bytes": [sys.executable, "-c", READ, data],
        "limit: copy them in memory": [sys.executable, "-c", COPY_IN_MEMORY, str(size)],
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


def measure(folder: Path, rounds: int, *, is_cold: bool) -> dict[str, list[Cost]]:
    """Run every command in each round, in an order of the round's own, after a round that is not counted."""
    lines = commands(folder)
    costs: dict[str, list[Cost]] = {name: [] for name in lines}
    peaks_mb = {name: run(line, folder / "target", watch=True).peak_mb for name, line in lines.items()}
    sources = list((folder / "data").rglob("*.dcm"))
    order = random.Random(ORDER_SEED)
    for _ in range(rounds):
        for name in order.sample(list(lines), len(lines)):
            if is_cold:
                forget(sources)
            costs[name].append(replace(run(lines[name], folder / "target"), peak_mb=peaks_mb[name]))
    return costs


def measure_nnunet(python: Path, folder: Path) -> Cost:
    """Convert the series to NIfTI, say how long that took, and measure nnU-Net's planning and preprocessing of them."""
    seconds = nnunet.convert(python, folder / "data", folder / "raw")
    print(f"nnU-Net: {seconds:.2f} s for the conversion to NIfTI before, with SimpleITK, not counted")
    settings = nnunet.environment(folder / "raw", folder / "target")
    return run(nnunet.write_command(python, folder), folder / "target", settings, watch=True)


def run(line: list[str], target: Path, settings: dict[str, str] | None = None, *, watch: bool = False) -> Cost:
    """Run one command into a fresh folder, and delete what it wrote; its memory is looked at where `watch` asks for it."""
    if line[0] == "dcm2niix" or settings:
        target.mkdir()
    environment = {name: value for name, value in (settings or os.environ).items() if name != "PYTHONDONTWRITEBYTECODE"}
    errors = subprocess.DEVNULL if settings else None
    started = time.perf_counter()
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
    peak_bytes = 0
    while watch and process.poll() is None:
        peak_bytes = max(peak_bytes, sum_memory(psutil.Process(process.pid)))
        time.sleep(POLL_S)
    process.wait()
    seconds = time.perf_counter() - started
    if process.returncode:
        sys.exit(f"{line[:4]} ended with exit code {process.returncode}")
    written = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    shutil.rmtree(target, ignore_errors=True)
    return Cost(seconds, peak_bytes / MEGABYTE, written / MEGABYTE)


def sum_memory(process: psutil.Process) -> int:
    """Add up the memory of a process and those that it started, bytes; 0 where they have just ended."""
    try:
        return sum(one.memory_full_info().pss for one in [process, *process.children(recursive=True)])
    except psutil.Error:
        return 0


def print_table(costs: dict[str, list[Cost]], what: str) -> None:
    """Print a line for each command, and the number of times hipseg is faster."""
    print(f"\n{what:<28}{'seconds':>8}{'times':>8}{'peak MB':>9}{'written MB':>12}")
    for name, found in costs.items():
        # nnU-Net has one round.
        ratio = statistics.median(other.seconds / own.seconds for other, own in zip(found, costs[HIPSEG], strict=False))
        seconds = statistics.median(one.seconds for one in found)
        print(f"{name:<28}{seconds:>8.2f}{ratio:>8.2f}{found[0].peak_mb:>9.0f}{found[0].written_mb:>12.1f}", flush=True)


if __name__ == "__main__":
    main()
