"""How aggregation grows: wall time and peak memory of `hipseg aggregate` on 100, 300 and 1,000 made-up folds of 100 cases each.

    python tools/bench/aggregate.py

Four arms on five folds, repeated with as many seeds as it takes; each case is scored raw and cleaned where --cleaned is given.
Every line comes from the project's own writer. A made-up case stands for 150 slices of 512 x 512. Time: three minutes.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from hipseg.fsio import digest_bytes, digest_file, write_json
from hipseg.runs import Answer, FoldPaths, StudyPaths
from hipseg.score.distances import Distances
from hipseg.score.overlap import Counts
from hipseg.score.record import CaseScore, Measured, score_case, write_scores
from hipseg.score.slicewise import sum_slices

SIZES = (100, 300, 1_000)
ARMS = ("unet", "modified-unet", "another", "yet-another")
FOLDS = 5
CASES = 100
SHAPE_ZYX = (150, 512, 512)
SPACING_MM_ZYX = (1.5, 0.7, 0.7)
TRUTH_VOXELS = 300_000
RUNS = 3
MEGABYTE = 1e6
PROBE = """
import resource, sys, time
began = time.perf_counter()
from hipseg.cli.main import run
run(["aggregate", sys.argv[1]])
peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(time.perf_counter() - began, time.process_time(), peak_bytes, file=sys.stderr)
"""


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cleaned", action="store_true", help="score cleaned answers, too: two lines a case")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of folds, in steps of 20")
    chosen = parser.parse_args()
    print(f"{'folds':>6} {'lines':>8} {'scores':>9} {'wall':>8} {'processor':>9} {'a line':>9} {'peak memory':>12}")
    for size in chosen.sizes:
        with tempfile.TemporaryDirectory() as folder:
            write_study(StudyPaths(Path(folder)), size, ("raw", "cleaned") if chosen.cleaned else ("raw",))
            print(measure(Path(folder), size), flush=True)


def measure(root: Path, size: int) -> str:
    """Aggregate in processes of their own, and say how long it took and how much memory it had, medians."""
    results = []
    for _ in range(RUNS):
        ended = subprocess.run([sys.executable, "-c", PROBE, str(root)], capture_output=True, text=True, check=False)
        if ended.returncode:
            raise SystemExit(ended.stderr)
        results.append([float(word) for word in ended.stderr.split()])
    wall_s, processor_s, memory_bytes = (float(value) for value in np.median(results, axis=0))
    files = list(root.glob("*/**/scores.jsonl"))
    lines = sum(path.read_bytes().count(b"\n") for path in files)
    size_bytes = sum(path.stat().st_size for path in files)
    return (
        f"{size:>6,} {lines:>8,} {size_bytes / MEGABYTE:>6.0f} MB {wall_s:>6.2f} s {processor_s:>7.2f} s "
        f"{processor_s / lines * 1e6:>6.1f} us {memory_bytes / MEGABYTE:>9.0f} MB"
    )


def write_study(paths: StudyPaths, size: int, answers: tuple[Answer, ...]) -> None:
    """Write a results folder of that many complete folds."""
    generator = np.random.default_rng(0)
    keys = [[f"c{digest_bytes(f'{fold} {number}'.encode())[:12]}" for number in range(CASES)] for fold in range(FOLDS)]
    for number in range(size):
        repeat, place = divmod(number, len(ARMS) * FOLDS)
        arm, fold = ARMS[place // FOLDS], place % FOLDS
        run = paths.fold(arm, fold, repeat)
        scores = [
            make_score(case, generator, arm=arm, fold=fold, repeat=repeat, answer=answer)
            for case in keys[fold]
            for answer in answers
        ]
        write_scores(run.scores, scores)
        train = [case for other in range(FOLDS) if other != fold for case in keys[other]]
        write_json(run.cases, {"salt_id": "0" * 12, "train": list(map(describe, train)), "val": list(map(describe, keys[fold]))})
        write_json(run.summary, {"hipseg": make_facts(run, arm=arm, fold=fold, repeat=repeat, is_cleaned=len(answers) > 1)})


def describe(case: str) -> dict[str, str]:
    """Give what cases.json says of a case."""
    return {"case": case, "patient": f"p{case[1:]}", "image_digest": digest_bytes(case.encode())}


def make_score(case: str, generator: np.random.Generator, **run: object) -> CaseScore:
    """Make up a case with a Dice of about 0.95 in 60 of its slices."""
    wrong, extra = (int(value) for value in generator.integers(5_000, 25_000, 2))
    total = int(np.prod(SHAPE_ZYX))
    counts = Counts(TRUTH_VOXELS - wrong, extra, wrong, total - TRUTH_VOXELS - extra)
    slices = [Counts(5_000 - wrong // 60, extra // 60, wrong // 60, 257_144 - extra // 60)] * 60 + [Counts(0, 0, 0, 262_144)] * 90
    distances = Distances(*(float(value) for value in generator.random(2) * (9, 1)), 0.91 - wrong / 1e6, 0.97 - wrong / 1e6)
    about = describe(case)
    return score_case(
        Measured(counts, distances, sum_slices(slices)),
        **about,
        **run,
        shape_zyx=SHAPE_ZYX,
        spacing_mm_zyx=SPACING_MM_ZYX,
    )


def make_facts(run: FoldPaths, *, arm: str, fold: int, repeat: int, is_cleaned: bool) -> dict[str, object]:
    """Make up hipseg's own part of a summary."""
    return {
        "arm": arm,
        "fold": fold,
        "repeat": repeat,
        "seed": repeat,
        "study": "Benchmark",
        "method": arm,
        "cases": CASES,
        "folds": FOLDS,
        "epochs": 100,
        "val_loss": 0.01,
        "data_digest": "d" * 64,
        "split_digest": "e" * 64,
        "settings_digest": "f" * 64,
        "code_digest": "c" * 64,
        "versions": {"python": "3.11.7"},
        "labels": [{"name": "hip", "numbers": [1]}],
        "clean": {} if is_cleaned else None,
        "pretraining": None,
        "scores_digest": digest_file(run.scores),
        "cases_digest": digest_file(run.cases),
    }


if __name__ == "__main__":
    main()
