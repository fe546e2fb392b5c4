"""Kill a training run again and again, go on with the same command, and hold what comes out against a run left in peace.

    .venv/bin/python tools/kill_and_resume.py [--kills 20] [--ranks 1] [--seed 0]

Each kill comes at a random instant of the process's life, by SIGKILL, SIGTERM, SIGUSR1 or SIGUSR2 in turn; a run that ends
before its instant is compared and the next begins. Ends with 1 where a weight, a row of the history or a TensorBoard value
differs by a bit (seconds aside). 20 kills take about 5 minutes on 2 cores.
"""

import argparse
import contextlib
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
HIPSEG = (sys.executable, "-m", "hipseg")
SETTINGS = (
    "feed.input_side=256",
    "networks.modified_unet.encoder_filters=[4,6,8,9,10,11,12,13]",
    "networks.modified_unet.decoder_filters=[12,11,10,9,8,6,4]",
    "train.batch_size=4",
    "train.threads=1",
    "train.save_every_min=0.01",  # kills shall meet half-written checkpoints, too
)
EPOCHS = 4
TIME_LIMIT_S = 300


def start(root: Path, results: Path, ranks: int) -> subprocess.Popen[bytes]:
    """Start the run, or go on with it."""
    settings = [word for one in SETTINGS for word in ("--set", one)]
    where = ("--shards", str(root / "shards"), "--results", str(results), "--epochs", str(EPOCHS))
    command = [*HIPSEG, "train", "--arm", "modified-unet", "--fold", "0", *where, *settings]
    if ranks > 1:
        command = [str(Path(sys.executable).parent / "horovodrun"), "-np", str(ranks), "--gloo", *command]
    with (root / "log").open("ab") as log:
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def run_until(process: subprocess.Popen[bytes], instant_s: float, number: signal.Signals) -> int | None:
    """Wait for an instant, send the signal to every process of the run, and give the exit code; None: it had ended."""
    try:
        process.wait(instant_s)
        return None
    except subprocess.TimeoutExpired:
        # horovodrun starts ranks in process groups of their own.
        everyone = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for one in everyone:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(number)
        code = process.wait(TIME_LIMIT_S)
        psutil.wait_procs(everyone, timeout=TIME_LIMIT_S)
        return code


def find_differences(fold: Path, undisturbed: Path) -> list[str]:
    """Name what two complete runs differ in."""
    found = []
    for which in ("last", "best"):
        ours, theirs = (np.load(one / "checkpoints" / f"{which}.npz") for one in (fold, undisturbed))
        if ours.files != theirs.files:
            return [f"{which}: other variables"]
        found += [f"{which}: {name}" for name in ours.files if name != "run" and ours[name].tobytes() != theirs[name].tobytes()]
    if read_rows(fold) != read_rows(undisturbed):
        found.append("history.csv")
    found += [
        f"TensorBoard, {part}" for part in ("training", "validation") if read_events(fold, part) != read_events(undisturbed, part)
    ]
    if (fold / "scores.jsonl").read_bytes() != (undisturbed / "scores.jsonl").read_bytes():
        found.append("scores.jsonl")
    return found


def read_rows(fold: Path) -> list[dict[str, str]]:
    """Read history.csv without the seconds."""
    with (fold / "history.csv").open(encoding="utf-8", newline="") as handle:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(handle)]


def read_events(fold: Path, part: str) -> dict[str, list[tuple[int, bytes]]]:
    """Read step and value of each TensorBoard event."""
    events = EventAccumulator(str(fold / "tensorboard" / part), size_guidance={"tensors": 0}).Reload()
    return {
        tag: [(one.step, one.tensor_proto.SerializeToString()) for one in events.Tensors(tag)] for tag in events.Tags()["tensors"]
    }


def prepare(root: Path, ranks: int) -> float:
    """Make and pack a data set and run once undisturbed; gives the seconds of that run."""
    for words in (
        ("phantom", str(root / "data"), "--patients", "4", "--slices", "8", "--matrix", "64"),
        ("pack", str(root / "data"), "-o", str(root / "shards")),
        ("split", str(root / "shards"), "--folds", "2"),
    ):
        subprocess.run([*HIPSEG, *words], check=True, stdout=subprocess.DEVNULL)
    began_s = time.monotonic()
    if start(root, root / "undisturbed", ranks).wait(TIME_LIMIT_S):
        raise SystemExit(f"the undisturbed run failed:\n{(root / 'log').read_text()[-3000:]}")
    return time.monotonic() - began_s


def disturb(root: Path, kills: int, ranks: int, seed: int) -> bool:
    """Kill and go on, print a line each time, and say whether every run came out the same."""
    length_s = prepare(root, ranks)
    print(f"undisturbed: {length_s:.1f} s, {EPOCHS} epochs, {ranks} ranks")
    print(f"{'kill':>4}  {'signal':8}  {'after s':>7}  {'exit':>5}  then")
    chance, done, is_same = random.Random(seed), 0, True
    results, fold = root / "disturbed", Path("modified-unet/fold_0")
    while True:
        if done < kills:
            number, instant_s = SIGNALS[done % len(SIGNALS)], chance.uniform(0.1, 1.0) * length_s
            began_s, is_first = time.monotonic(), not results.exists()
            code = run_until(start(root, results, ranks), instant_s, number)
            if code is not None:
                done += 1
                print(f"{done:4}  {number.name:8}  {instant_s:7.1f}  {code:5}  {tell_point(results / fold)}", flush=True)
                # A signal may come when all is written.
                if not (results / fold / "summary.json").exists():
                    continue
            elif is_first:
                # The machine was busier when the undisturbed run was timed. One that went on is shorter, and no measure.
                length_s = min(length_s, time.monotonic() - began_s)
        elif start(root, results, ranks).wait(TIME_LIMIT_S):
            print((root / "log").read_text()[-3000:])
            return False
        differences = find_differences(results / fold, root / "undisturbed" / fold)
        print("run complete: " + (", ".join(differences) if differences else "identical, bit by bit"), flush=True)
        is_same = is_same and not differences
        if done >= kills:
            return is_same
        shutil.rmtree(results)


def tell_point(fold: Path) -> str:
    """Say how far the newest checkpoint is."""
    try:
        with np.load(fold / "checkpoints" / "last.npz") as archive:
            point = json.loads(str(archive["run"]))["point"]
        return f"epoch {point['epoch']}, {point['steps']} steps"
    except (OSError, ValueError):
        return "no checkpoint"


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if disturb(Path(folder), options.kills, options.ranks, options.seed) else 1)


if __name__ == "__main__":
    main()
