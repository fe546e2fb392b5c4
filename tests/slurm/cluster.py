"""A real Slurm for tests: what to ask it, and a project's root to submit from."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from hipseg.config import dump_settings
from tests.learn.builders import pack_discs, small_settings

REPOSITORY = Path(__file__).resolve().parents[2]
LOCAL_SLURM = REPOSITORY / "tools" / "local_slurm.sh"
LIMIT_S = 600
"""For a job to end, on a machine that is busy with other things."""
ENDED = {"COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY"}
ARM = "modified-unet-tl"


def ask(*words, folder=None):
    """Run a command that must end well; gives what it prints."""
    done = subprocess.run([str(word) for word in words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def submit(folder, *words):
    """Submit from a folder; gives the job's number."""
    return ask("sbatch", "--parsable", *words, folder=folder).strip()


def states_of(job):
    """Task or job -> its state and its exit code, of all that Slurm still knows of a job."""
    lines = ask("squeue", "--noheader", "--states=all", f"--jobs={job}", "--array", "--format=%i %T").splitlines()
    return dict(line.split() for line in lines)


def wait_for_end(job, limit_s=LIMIT_S):
    """Wait until each task of a job has ended; gives their states."""
    deadline = time.monotonic() + limit_s
    while not set((states := states_of(job)).values()) <= ENDED:
        assert time.monotonic() < deadline, f"job {job}: {states}"
        time.sleep(0.2)
    return states


def make_project(root, *, folds=5):
    """Make what a user has who packed the scans: a root with templates, settings and packed scans of one arm with transfer."""
    pack_discs(root / "shards", folds)
    # Other patients than those of the folds, or the table would be refused.
    pack_discs(root / "organs", 2, first=folds)
    shutil.copytree(REPOSITORY / "slurm", root / "slurm")
    (root / ".venv").symlink_to(sys.prefix)
    (root / "configs").mkdir()
    train = {"epochs": 1, "batch_size": 4, "threads": 1}
    arm = {"network": "modified-unet", "transfer": True, "study": "This study", "method": "Modified U-Net"}
    pretrain = {"shards": "organs", "organs": {"bright": 1, "dark": 2}, "train": train}
    settings = small_settings(Path(), folds=folds, train=train, pretrain=pretrain, arms={ARM: arm})
    (root / "configs" / "study.yaml").write_text(dump_settings(settings))
    return root


def read_logs(root):
    """Read what all jobs of a project said."""
    return "\n".join(path.read_text() for path in sorted(root.glob("hipseg-*.log")))
