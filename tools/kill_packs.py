"""Kill packings at random instants and see that the same command recovers them to the same bytes.

    python tools/kill_packs.py --kills 200

Again and again: a fresh folder, one packing killed by SIGKILL, every second time another one killed while it recovers, then one
to the end. Shards and manifest must equal, byte for byte, those of a packing that nobody disturbed; what the journal had finished
must not be packed again; nothing else may be left. It goes on until that many kills came while cases were still to be packed;
those that came later are checked in the same way and counted apart. Time: 3 s a kill.
"""

import argparse
import contextlib
import io
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import count
from pathlib import Path

from hipseg.cli.main import run
from hipseg.pack.journal import read_journal
from hipseg.runs import DatasetPaths

sys.path.insert(0, str(Path(__file__).parent / "bench"))
from series import make_series

SERIES, SLICES = 8, 40
SEED = 11


def main() -> None:
    """Kill, recover, compare; end with an error at the first difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    kills = parser.parse_args().kills
    chance = random.Random(SEED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_series(folder / "data", SERIES, SLICES)
        whole = DatasetPaths(folder / "whole")
        seconds, _ = pack_apart(folder, whole)
        print(f"one packing: {seconds:.2f} s from the beginning of its journal to its last case", flush=True)
        expected, stages = read_files(whole), Counter[int]()
        for number in count():
            if stages.total() - stages[SERIES] >= kills:
                break
            paths = DatasetPaths(folder / "killed")
            stages.update(kill_and_recover(folder, paths, chance, seconds, twice=number % 2 == 1))
            if (found := read_files(paths)) != expected:
                different = sorted(name for name in found | expected if found.get(name) != expected.get(name))
                sys.exit(f"round {number}: other bytes in {different}")
            shutil.rmtree(paths.root)
            if number % 25 == 24:
                print(f"{number + 1} rounds; kills by finished cases: {dict(sorted(stages.items()))}", flush=True)
    midway = stages.total() - stages[SERIES]
    print(f"{midway} kills while cases were still to be packed, {stages[SERIES]} after them; all recovered to the same bytes")
    print(f"kills by finished cases: {dict(sorted(stages.items()))}")


def command(folder: Path, paths: DatasetPaths) -> list[str]:
    """Give the arguments of the packing."""
    return ["pack", str(folder / "data"), "-o", str(paths.root), "--salt-file", str(folder / "salt")]


def pack_apart(folder: Path, paths: DatasetPaths, kill_after_s: float | None = None) -> tuple[float, bool]:
    """Pack in a process of its own, killed that long after it began its journal.

    Returns:
        Seconds from the beginning of the journal to the end of the last case, or to the kill; whether it was killed.
    """
    before = journal_inode(paths)
    process = subprocess.Popen([sys.executable, "-m", "hipseg", *command(folder, paths)], stdout=subprocess.DEVNULL)
    while process.poll() is None and journal_inode(paths) == before:
        time.sleep(0.001)
    begun = time.perf_counter()
    while process.poll() is None and (kill_after_s is not None or count_lines(paths) <= SERIES):
        if kill_after_s is not None and time.perf_counter() - begun > kill_after_s:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.0005)
    seconds = time.perf_counter() - begun
    if process.wait() not in (0, -signal.SIGKILL):
        sys.exit(f"packing ended with exit code {process.returncode}")
    return seconds, process.returncode != 0


def count_lines(paths: DatasetPaths) -> int:
    """Count the lines of the journal: what it was begun with, and one a case."""
    return paths.journal().read_bytes().count(b"\n") if paths.journal().exists() else 0


def journal_inode(paths: DatasetPaths) -> int:
    """Tell one journal from the next; 0 where there is none."""
    return paths.journal().stat().st_ino if paths.journal().exists() else 0


def kill_and_recover(folder: Path, paths: DatasetPaths, chance: random.Random, seconds: float, *, twice: bool) -> list[int]:
    """Kill once or twice, then pack to the end; give how many cases were finished at each kill that did not come too late."""
    stages = []
    for _ in range(1 + twice):
        _, is_killed = pack_apart(folder, paths, chance.uniform(0, seconds))
        finished = set(read_journal(paths.journal()).entries)
        stages += [len(finished)] * is_killed
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        run(command(folder, paths))
    kept = {line.split()[2].rstrip(":") for line in said.getvalue().splitlines() if line.startswith("kept case")}
    if kept != finished:
        sys.exit(f"{len(finished)} cases were finished when it was killed, {len(kept)} of them were kept")
    return stages


def read_files(paths: DatasetPaths) -> dict[str, bytes]:
    """Give the data set's files; lock and journal are checked to be the only others."""
    files = {path.name: path.read_bytes() for path in sorted(paths.root.iterdir())}
    others = {name for name in files if name.startswith(".")}
    if others != {paths.lock.name, paths.journal().name}:
        sys.exit(f"left behind: {sorted(others)}")
    return {name: content for name, content in files.items() if name not in others}


if __name__ == "__main__":
    main()
