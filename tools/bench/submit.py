"""How long a study of many folds takes to submit, to look at and to lay out, by command line from start to end.

    python tools/bench/submit.py [FOLDS ...]        500 folds unless it is told otherwise

On a machine that belongs to a Slurm cluster (`eval "$(tools/local_slurm.sh up)"` makes one) the jobs go there, one at a time, and
are cancelled again; elsewhere programs that only answer stand in for Slurm's. Half of the folds are complete, with a summary
and a history each, when the study is looked at. In brackets: processor time, which a busy machine does not stretch as much.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hipseg.config import StudySettings
from hipseg.errors import LaunchError
from hipseg.geometry import make_grid
from hipseg.launch.cluster import has_cluster
from hipseg.launch.state import read_state
from hipseg.runs import DatasetPaths, StudyPaths
from hipseg.shards.manifest import CaseRecord, Manifest, write_manifest
from hipseg.splits import split_patients, write_splits

REPEATS = 5
ANSWERS = {
    "sbatch": 'echo "Submitted batch job $$"',
    "srun": "",
    "scancel": "",
    "scontrol": 'if [ "$1" = ping ]; then echo "Slurmctld(primary) at head is UP"; else echo "ClusterName = fake"; fi',
    "sinfo": 'echo "cpu*|up|infinite|1-infinite|4|16|65536|(null)|(null)"',
    "squeue": 'cat "$(dirname "$0")/queue"',
    "sacct": "exit 1",
}


def main(counts: list[int]) -> None:
    """Measure and print a table."""
    try:
        is_real = has_cluster()
    except LaunchError:
        is_real = False
    print(
        f"folds of one arm, {'a real Slurm' if is_real else 'programs that stand in for Slurm'}; medians of {REPEATS}, in seconds"
    )
    print(f"{'folds':>6} " + " ".join(f"{name:>13}" for name in ("dry run", "submit", "status", "status --json", "submit again")))
    for folds in counts:
        with tempfile.TemporaryDirectory(prefix="hipseg-submit-", ignore_cleanup_errors=True) as name:
            times = measure(Path(name), folds, is_real=is_real)
        print(f"{folds:>6} " + " ".join(f"{wall_s:>6.2f} ({used_s:.2f})" for wall_s, used_s in times))


def measure(folder: Path, folds: int, *, is_real: bool) -> list[tuple[float, float]]:
    """Give wall and processor time of a dry run, a submission, two ways to look, and a submission that has nothing to do."""
    environment = dict(os.environ)
    if not is_real:
        programs = folder / "bin"
        programs.mkdir()
        (programs / "queue").touch()
        for program, body in ANSWERS.items():
            (programs / program).write_text(f"#!/bin/sh\n{body}\n")
            (programs / program).chmod(0o755)
        environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    deal_patients(DatasetPaths(folder / "shards"), folds)
    submit = ("submit", "--folds", str(folds), "--arm", "unet", "--max-running", "1", "--gpus", "0")

    def take(*arguments: str) -> tuple[float, float]:
        began_s, used_s = time.perf_counter(), used_by_children_s()
        subprocess.run([sys.executable, "-m", "hipseg", *arguments], cwd=folder, env=environment, check=True, capture_output=True)
        return time.perf_counter() - began_s, used_by_children_s() - used_s

    dry = [take(*submit, "--dry-run") for _ in range(REPEATS)]
    submitted = [take(*submit)]
    complete_half(StudyPaths(folder / "results"), folds)
    if not is_real:
        records = read_state(StudyPaths(folder / "results")).records
        (folder / "bin" / "queue").write_text("".join(f"{one.submitit_id}|PENDING|Resources\n" for one in records))
    looks = [(take("status"), take("status", "--json")) for _ in range(REPEATS)]
    again = [take(*submit)]
    take("cancel")
    return [middle(one) for one in (dry, submitted, *(list(column) for column in zip(*looks, strict=True)), again)]


def deal_patients(shards: DatasetPaths, folds: int) -> None:
    """Leave what packing and dealing leave, one patient a fold; nobody opens the shards themselves here."""
    grid = make_grid((8, 64, 64), (2, 1, 1), (0, 0, 0), np.eye(3))
    cases = tuple(
        CaseRecord(
            case=f"c{number:05}",
            patient=f"p{number:05}",
            shard=f"c{number:05}.h5",
            grid=grid,
            mask_kind="overlay",
            label_voxels={1: 100},
            image_digest=f"{number:064x}",
            mask_digest=f"{number:064x}",
            shard_digest=f"{number:064x}",
        )
        for number in range(folds)
    )
    shards.root.mkdir()
    write_manifest(shards, Manifest(cases, (), {}, {}))
    write_splits(shards, split_patients(cases, folds, StudySettings().split_seed))


def middle(times: list[tuple[float, float]]) -> tuple[float, float]:
    """Give the medians of both."""
    wall_s, used_s = zip(*times, strict=True)
    return statistics.median(wall_s), statistics.median(used_s)


def used_by_children_s() -> float:
    """Give the processor time of the commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def complete_half(paths: StudyPaths, folds: int) -> None:
    """Leave what a complete run leaves and status reads."""
    settings = paths.settings.read_text()
    for fold in range(0, folds, 2):
        run = paths.fold("unet", fold)
        run.root.mkdir(parents=True)
        run.settings.write_text(settings)
        run.history.write_text("epoch,seconds\n" + "".join(f"{epoch},30.0\n" for epoch in range(1, 101)))
        run.summary.write_text(json.dumps({"foreground_mean": {"Dice": 0.9}}))


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:]] or [500])
