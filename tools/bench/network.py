"""Packing from a file system that answers late, as one behind a network does, against a byte copy and dcm2niix.

    python tools/bench/network.py [--rounds 3] [--series 4] [--slices 150] [--delay-us 500]

No network is asked: `slowfs.c` shows a folder of this machine through FUSE and waits before each answer, several side by side. It
needs a C compiler, pkg-config, FUSE 3 with its headers, and the right to mount. Before each run it is mounted anew, so that
nothing of it is in the system's memory. Wall times are medians; the ratio is the other's time over hipseg's in the same round.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from pack import COPY, HIPSEG, run
from series import make_series

DCM2NIIX = "dcm2niix"
MOUNT_LIMIT_S = 5.0


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--series", type=int, default=4)
    parser.add_argument("--slices", type=int, default=150)
    parser.add_argument("--delay-us", type=int, default=500, help="how long each answer takes")
    options = parser.parse_args()
    if not has_fuse():
        print("not measured: FUSE 3, its headers and pkg-config are needed, and the right to mount")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_series(folder / "data", options.series, options.slices)
        program = build(folder)
        lines = commands(folder)
        seconds: dict[str, list[float]] = {one: [] for one in lines}
        for _ in range(options.rounds):
            for one, line in lines.items():
                with mounted(program, folder, options.delay_us):
                    seconds[one].append(run(line, folder / "target").seconds)
        print(f"{options.series * options.slices} slices, {options.delay_us} us an answer\n{'':<24}{'seconds':>8}{'times':>8}")
        for one, found in seconds.items():
            ratio = statistics.median(other / own for other, own in zip(found, seconds[HIPSEG], strict=True))
            print(f"{one:<24}{statistics.median(found):>8.2f}{ratio:>8.2f}")


def has_fuse() -> bool:
    """Say whether the file system can be compiled and mounted here."""
    can_build = shutil.which("pkg-config") and subprocess.run(["pkg-config", "--exists", "fuse3"], check=False).returncode == 0
    return bool(can_build) and os.access("/dev/fuse", os.R_OK | os.W_OK)


def build(folder: Path) -> Path:
    """Compile the file system."""
    program = folder / "slowfs"
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], check=True, capture_output=True, text=True).stdout
    source = Path(__file__).with_name("slowfs.c")
    subprocess.run(["cc", "-O2", "-Wall", "-o", program, source, *flags.split()], check=True)
    return program


def commands(folder: Path) -> dict[str, list[str]]:
    """Give the command lines that can be run here, by name; what is missing is said."""
    data, target, salt = str(folder / "slow"), str(folder / "target"), folder / "salt"
    salt.write_text("5a" * 32)
    salt.chmod(0o600)
    found = {
        HIPSEG: [sys.executable, "-m", "hipseg", "pack", data, "-o", target, "--salt-file", str(salt)],
        "byte copy": [sys.executable, "-c", COPY, data, target],
    }
    if shutil.which(DCM2NIIX):
        found[DCM2NIIX] = [DCM2NIIX, "-z", "n", "-o", target, data]
    else:
        print("dcm2niix: not measured, not installed")
    return found


@contextmanager
def mounted(program: Path, folder: Path, delay_us: int) -> Iterator[None]:
    """Show `data` as `slow` while the block runs."""
    place = folder / "slow"
    place.mkdir(exist_ok=True)
    subprocess.run([program, folder / "data", str(delay_us), place], check=True)
    deadline_s = time.monotonic() + MOUNT_LIMIT_S
    while not place.is_mount():
        if time.monotonic() > deadline_s:
            sys.exit("FUSE did not mount")
        time.sleep(0.01)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


if __name__ == "__main__":
    main()
