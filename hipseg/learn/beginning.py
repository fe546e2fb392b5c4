"""How a run begins: what it is, where it starts, and its folder made ready for that."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from hipseg.config import StudySettings
from hipseg.learn.checkpoints import Checkpoint, Identity, Point, is_whole, remove_checkpoint
from hipseg.learn.progress import say
from hipseg.learn.provenance import Provenance, begin_record, continue_record
from hipseg.learn.workspace import clear_run
from hipseg.runs import FoldPaths
from hipseg.sameness import decisive_settings


@dataclass(frozen=True)
class Beginning:
    """What a run is and where it begins.

    Args:
        identity: what decides its weights.
        start: the state to go on from; None begins with the weights that the model has.
    """

    identity: Identity
    start: Checkpoint | None = None

    @property
    def point(self) -> Point:
        """How far the run is when it begins."""
        return self.start.point if self.start else Point(1)

    @property
    def earlier_seconds(self) -> float:
        """What earlier processes spent on the work that is kept."""
        return sum(row.seconds for row in self.start.history) + self.start.point.seconds if self.start else 0.0


def identify(settings: StudySettings, arm: str | None, **digests: Any) -> Mapping[str, Any]:
    """Give what decides the weights of a run.

    Args:
        settings: the study.
        arm: of the run; None means the pretraining.
        digests: of data, splits and what else the run starts from, by name.
    """
    return {**decisive_settings(settings, arm), **digests}


def make_ready(
    paths: FoldPaths, what: str, settings: StudySettings, beginning: Beginning, *, provenance: Provenance, console: Console
) -> Provenance:
    """Bring a run's folder into the state that it begins with: empty, or as its checkpoint knows it.

    Args:
        paths: of the run.
        what: the run in words.
        settings: of the study.
        beginning: of the run.
        provenance: of this process.
        console: where it is told.
    Returns:
        The provenance of the whole run.
    Raises:
        ConfigError: a file cannot be written or removed.
        TrainError: the provenance of the earlier process is missing or damaged.
    """
    if beginning.start is None:
        clear_run(paths, what, console)
        begin_record(paths, settings, provenance)
        return provenance
    if not is_whole(paths.checkpoint("last")):
        # The next save would put it in the place of the whole `previous`.
        remove_checkpoint(paths.checkpoint("last"))
    point = beginning.point
    say(console, f"{what}: going on in epoch {point.epoch} after {point.steps} steps")
    return continue_record(paths, settings, provenance)
