"""Run a study of the phantom twice, several ranks a run: through submitit's local executor, and by horovodrun; compare the two.

    .venv/bin/python tools/compare_launchers.py [--ranks 2] [--patients 4] [--slices 12] [--epochs 2] [--arm ARM]...

Ends with 1 where a table, a score, a predicted volume or a weight differs by a byte. All three arms on two folds take about
4 minutes on 2 idle cores.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hipseg.learn.provenance import read_provenance
from hipseg.runs import FoldPaths, StudyPaths

FOLDS = 2
ARMS = ("unet", "modified-unet", "modified-unet-tl")
ORGANS = {"liver": 1, "bladder": 2, "lungs": 3, "kidneys": 4, "bone": 5}
SETTINGS = (
    "feed.input_side=256",
    "networks.modified_unet.encoder_filters=[4,6,8,9,10,11,12,13]",
    "networks.modified_unet.decoder_filters=[12,11,10,9,8,6,4]",
    "networks.unet.base_filters=2",
    "train.batch_size=4",
    "train.threads=1",
    "pretrain.train.batch_size=4",
    "pretrain.train.threads=1",
    f"pretrain.organs={{{', '.join(f'{name}: {label}' for name, label in ORGANS.items())}}}",
)


def hipseg(*arguments: object, before: Sequence[object] = ()) -> None:
    """Run a command line to its good end; its output is shown only where it fails."""
    programs = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "CUDA_VISIBLE_DEVICES": ""}
    command = [*map(str, before), sys.executable, "-m", "hipseg", *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


def prepare(root: Path, patients: int, slices: int, epochs: int, *, has_transfer: bool) -> tuple[str, ...]:
    """Make and pack the phantom, and give the options by which a command finds it."""
    size = ("--slices", slices, "--matrix", 64)
    hipseg("phantom", root / "data", "--patients", patients, *size)
    hipseg("pack", root / "data", "-o", root / "shards", "--salt-file", root / "salt")
    hipseg("split", root / "shards", "--folds", FOLDS)
    if has_transfer:
        hipseg("phantom", root / "organs", "--organs", "--patients", 2, *size)
        structures = [word for name, label in ORGANS.items() for word in ("--roi", f"{name}={label}")]
        hipseg("pack", root / "organs", "-o", root / "shards-organs", "--salt-file", root / "salt", *structures)
    shards = (f"shards={root / 'shards'}", f"pretrain.shards={root / 'shards-organs'}")
    length = (f"folds={FOLDS}", f"train.epochs={epochs}", f"pretrain.train.epochs={epochs}")
    return tuple(word for one in (*SETTINGS, *shards, *length) for word in ("--set", one))


def run_both(root: Path, options: Sequence[str], arms: Sequence[str], ranks: int) -> tuple[StudyPaths, StudyPaths]:
    """Run the study both ways."""
    submitted, launched = StudyPaths(root / "submitted"), StudyPaths(root / "launched")
    chosen = [word for arm in arms for word in ("--arm", arm)]
    hipseg("submit", "--local", "--ranks", ranks, "--results", submitted.root, *chosen, *options)
    run = ("--results", launched.root, *options)
    launcher = ("horovodrun", "-np", ranks, "--gloo")
    if "modified-unet-tl" in arms:
        hipseg("pretrain", *run, before=launcher)
    for arm in arms:
        for fold in range(FOLDS):
            hipseg("train", "--arm", arm, "--fold", fold, *run, before=launcher)
    hipseg("aggregate", launched.root)
    return submitted, launched


def compare(one: StudyPaths, other: StudyPaths, arms: Sequence[str], ranks: int) -> list[str]:
    """Name what differs, after seeing that each run was one of so many ranks."""
    kinds = ("csv", "json", "md", "tex")
    found = [f"comparison.{kind}" for kind in kinds if one.comparison(kind).read_bytes() != other.comparison(kind).read_bytes()]
    for arm in arms:
        for fold in range(FOLDS):
            found += [f"{arm} fold {fold}: {what}" for what in compare_runs(one.fold(arm, fold), other.fold(arm, fold), ranks)]
    return found


def compare_runs(one: FoldPaths, other: FoldPaths, ranks: int) -> list[str]:
    """Name what two runs of a fold differ in."""
    found = [f"{read_provenance(run).ranks} ranks" for run in (one, other) if read_provenance(run).ranks != ranks]
    weights = [np.load(run.checkpoint("best")) for run in (one, other)]
    found += [name for name in weights[0].files if name != "run" and weights[0][name].tobytes() != weights[1][name].tobytes()]
    volumes = sorted(path.name for path in one.predictions.iterdir())
    files = ("scores.jsonl", *(f"predictions/{name}" for name in volumes))
    return found + [name for name in files if (one.root / name).read_bytes() != (other.root / name).read_bytes()]


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--patients", type=int, default=4)
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--arm", dest="arms", action="append", choices=ARMS)
    options = parser.parse_args()
    arms = options.arms or list(ARMS)
    with tempfile.TemporaryDirectory() as folder:
        found = prepare(Path(folder), options.patients, options.slices, options.epochs, has_transfer="modified-unet-tl" in arms)
        studies = run_both(Path(folder), found, arms, options.ranks)
        differences = compare(*studies, arms, options.ranks)
        print(studies[1].comparison("md").read_text())
    print(
        "different: " + ", ".join(differences) if differences else "tables, scores, volumes and weights identical, byte for byte"
    )
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
