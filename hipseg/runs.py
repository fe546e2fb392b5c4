"""Every path of a data set, of a study and of a fold; no other module joins these names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hipseg.errors import ConfigError
from hipseg.fsio import find_named

Answer = Literal["raw", "cleaned"]
"""A prediction as the network gave it, or after false connections, holes and steps were removed."""


@dataclass(frozen=True)
class DatasetPaths:
    """The files of a packed data set: `root` is the folder that `hipseg-pack -o` names."""

    root: Path

    @property
    def manifest(self) -> Path:
        """The data set's table of contents."""
        return self.root / "manifest.json"

    @property
    def splits(self) -> Path:
        """The patient-level folds, in nnU-Net's form."""
        return self.root / "splits_final.json"

    @property
    def splits_digest(self) -> Path:
        """SHA-256 of the folds' file, as `sha256sum` writes it."""
        return self.root / "splits_final.json.sha256"

    @property
    def lock(self) -> Path:
        """Held by the command that writes here."""
        return self.root / ".lock"

    def part_lock(self, part: str) -> Path:
        """Held by the packing of one part, as 3-of-16."""
        return self.root / f".lock-{part}"

    @property
    def part_locks(self) -> tuple[Path, ...]:
        """What the packings of parts hold, or held, sorted."""
        return tuple(sorted(find_named(self.root, ".lock-*-of-*")))

    def journal(self, part: str = "") -> Path:
        """What packing has finished, a line a case; of one part, as 3-of-16, or of the whole."""
        return self.root / (f".packed-{part}.jsonl" if part else ".packed.jsonl")

    @property
    def part_journals(self) -> tuple[Path, ...]:
        """The journals of all parts, sorted."""
        return tuple(sorted(find_named(self.root, ".packed-*-of-*.jsonl")))

    def shard(self, name: str) -> Path:
        """One shard, by the name that the manifest gives it."""
        if Path(name).name != name:
            raise ConfigError(f"shard name {name!r} is a path; a plain file name is needed")
        return self.root / name

    def unfinished_shard(self, case: str, mark: str) -> Path:
        """A shard that is being written; the mark is one writer's own."""
        return self.shard(f".{case}.{mark}.tmp")

    @property
    def unfinished(self) -> tuple[Path, ...]:
        """All files that are being written, or that a killed writer left, sorted."""
        return tuple(sorted(find_named(self.root, ".*.tmp")))


@dataclass(frozen=True)
class FoldPaths:
    """The files that one run leaves behind."""

    root: Path

    @property
    def settings(self) -> Path:
        """The resolved settings."""
        return self.root / "settings.yaml"

    @property
    def provenance(self) -> Path:
        """Versions, commit, digests, cluster ids."""
        return self.root / "provenance.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of last, previous and best."""
        return self.root / "checkpoints"

    def checkpoint(self, which: Literal["last", "previous", "best"]) -> Path:
        """One checkpoint; its checksum lies beside it."""
        return self.checkpoints / f"{which}.npz"

    @property
    def model(self) -> Path:
        """The best weights as one complete Keras model."""
        return self.root / "model.keras"

    @property
    def transfer(self) -> Path:
        """What fine-tuning loaded, skipped and froze."""
        return self.root / "transfer.json"

    @property
    def history(self) -> Path:
        """One line an epoch."""
        return self.root / "history.csv"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event files."""
        return self.root / "tensorboard"

    @property
    def scores(self) -> Path:
        """One JSON line a validation case."""
        return self.root / "scores.jsonl"

    @property
    def cases(self) -> Path:
        """The cases of both sides, with patients and digests of the images."""
        return self.root / "cases.json"

    @property
    def predictions(self) -> Path:
        """Folder of one label volume a validation case, as the network gave it."""
        return self.root / "predictions"

    @property
    def cleaned_predictions(self) -> Path:
        """Folder of the same volumes after cleaning."""
        return self.root / "predictions-cleaned"

    def prediction(self, case_key: str, answer: Answer = "raw") -> Path:
        """The label volume predicted for one case."""
        return (self.predictions if answer == "raw" else self.cleaned_predictions) / f"{case_key}.nii.gz"

    @property
    def summary(self) -> Path:
        """Written last: a fold is complete when it is there."""
        return self.root / "summary.json"

    @property
    def lock(self) -> Path:
        """Held by the run that writes here."""
        return self.root / ".lock"

    @property
    def is_complete(self) -> bool:
        """Say whether the run came to its end; raises ConfigError where its folder may not be read."""
        try:
            return self.summary.is_file()
        except OSError as error:
            raise ConfigError(f"cannot look into {self.root}: {error.strerror}; ask its owner for leave to read it") from error


@dataclass(frozen=True)
class StudyPaths:
    """The files of a study: `root` is the results folder."""

    root: Path

    def fold(self, arm: str, fold: int, repeat: int = 0) -> FoldPaths:
        """The run of one arm on one fold; a repeat with another seed lies apart."""
        arm_root = self.root / arm
        return FoldPaths((arm_root / f"repeat_{repeat}" if repeat else arm_root) / f"fold_{fold}")

    @property
    def pretraining(self) -> FoldPaths:
        """The pretraining run."""
        return FoldPaths(self.root / "pretraining")

    @property
    def settings(self) -> Path:
        """The resolved settings that every job of the study reads."""
        return self.root / "settings.yaml"

    @property
    def jobs(self) -> Path:
        """Folder of the jobs' pickles and logs; private to the user."""
        return self.root / "jobs"

    def attempt(self, job: str, number: int) -> Path:
        """Folder of one attempt at a job: what was submitted, what came back, its log."""
        return self.jobs / job.replace(" ", "-") / f"attempt_{number}"

    def next_attempt(self, job: str) -> Path:
        """Folder of the first attempt that is not there yet."""
        number = 1
        while self.attempt(job, number).exists():
            number += 1
        return self.attempt(job, number)

    @property
    def state(self) -> Path:
        """The graph of jobs and how far each is."""
        return self.root / "study.json"

    @property
    def lock(self) -> Path:
        """Held by the command that submits or drives the study."""
        return self.root / ".lock"

    def comparison(self, suffix: str) -> Path:
        """The comparison table, in one of its forms: csv, json, md, tex."""
        return self.root / f"comparison.{suffix}"

    def stale_comparison(self, suffix: str) -> Path:
        """A table of before, when none can be made any more."""
        return self.root / f"comparison.{suffix}.stale"

    @property
    def figures(self) -> Path:
        """Folder of the figures, as PNG and SVG."""
        return self.root / "figures"

    @property
    def report(self) -> Path:
        """The page that holds everything."""
        return self.root / "report.html"
