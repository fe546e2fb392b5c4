"""What one packing is asked for, and what of it must be the same for all cases of a data set."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hipseg.errors import ConfigError
from hipseg.ingest.joining import DEFAULT_RULES, MaskRules
from hipseg.shards.manifest import FileCounts, Manifest, Rois
from hipseg.shards.schema import WindowHu
from hipseg.shards.storage import LOSSLESS, Storage

KEY_BASE = 16


@dataclass(frozen=True)
class Part:
    """One of several parts that are packed apart, counted from 1.

    Raises:
        ConfigError: there is no such part.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        """Refuse part 0 and part 5 of 4."""
        if not 1 <= self.number <= self.count:
            raise ConfigError(f"no part {self.number} of {self.count}; parts are 1/{self.count} to {self.count}/{self.count}")

    @property
    def name(self) -> str:
        """As it stands in file names."""
        return f"{self.number}-of-{self.count}"

    def has(self, case: str) -> bool:
        """Say whether a case belongs to this part; its key decides, which is as good as chance."""
        return int(case[1:], KEY_BASE) % self.count == self.number - 1


@dataclass(frozen=True)
class PackPlan:
    """What one packing has in common for all its cases.

    Args:
        rois: structure name -> label; must be that of the cases already packed.
        salt_id: of the salt that made the keys; must be that of the cases already packed.
        set_aside: files that were no input, by reason.
        salt: the salt itself, which seals what is known of the sources.
        storage: form of the images; its window must be that of the cases already packed.
        jobs: cases that are packed at the same time, or threads that compress where there are fewer cases.
        part: which cases to pack; all where None.
        rules: what is done where masks leave it open; must be that of the cases already packed.
        untilt: whether series with gantry tilt are sheared back instead of refused.
        started_ns: when reading began, in ns since 1970; a source file that came or was changed later refuses its case. None asks
            not.
        settle_s: how long no file of a case must have changed.
        found_digest: of the keys of all cases found, those of other parts, too (see `digest_keys`).
    """

    rois: Mapping[str, int]
    salt_id: str
    set_aside: Mapping[str, int]
    salt: bytes = field(default=b"", repr=False)
    storage: Storage = LOSSLESS
    jobs: int = 1
    part: Part | None = None
    untilt: bool = False
    rules: MaskRules = DEFAULT_RULES
    started_ns: int | None = None
    settle_s: float = 0.0
    found_digest: str = ""


@dataclass(frozen=True)
class PlanRecord:
    """What a journal and a manifest keep of a plan."""

    rois: Rois
    salt_id: str
    set_aside: FileCounts
    window_hu: WindowHu | None
    precedence: tuple[str, ...] = ()
    fraction: float = DEFAULT_RULES.fraction
    found_digest: str = ""


def digest_keys(keys: Iterable[str]) -> str:
    """Give a digest of case keys, by rising key: parts of one packing have seen the same cases.

    It is that of `digest_json` of their list, which is not made: there may be many.
    """
    digest = hashlib.sha256(b"[")
    for number, key in enumerate(keys):
        digest.update(f"{',' if number else ''}{json.dumps(key)}".encode())
    digest.update(b"]")
    return digest.hexdigest()


def record_plan(plan: PackPlan) -> PlanRecord:
    """Give what is kept of a plan."""
    precedence = tuple(plan.rois) if plan.rules.overlap == "first" else ()
    return PlanRecord(
        dict(plan.rois),
        plan.salt_id,
        dict(plan.set_aside),
        plan.storage.window_hu,
        precedence,
        plan.rules.fraction,
        plan.found_digest,
    )


def plan_of(manifest: Manifest) -> PlanRecord:
    """Give what a manifest keeps of the plan that it was packed with."""
    window_hu = manifest.cases[0].window_hu if manifest.cases else None
    return PlanRecord(
        dict(manifest.rois), manifest.salt_id, dict(manifest.set_aside), window_hu, manifest.precedence, manifest.fraction
    )


def check_same_plan(there: PlanRecord, here: PlanRecord, root: Path, *, has_cases: bool) -> None:
    """Refuse to put cases together whose keys, labels or values mean different things.

    Args:
        there: of the data set.
        here: of this packing.
        root: the data set's folder, for messages.
        has_cases: whether the data set holds any case; without one only its salt counts.
    Raises:
        ConfigError: they do not fit.
    """
    if there.salt_id != here.salt_id:
        raise ConfigError(f"the cases in {root} have keys of another salt; give its --salt-file, or pack into another folder")
    if not has_cases:
        return
    if dict(there.rois) != dict(here.rois):
        raise ConfigError(
            f"the cases in {root} were packed with {_say_rois(there.rois)}, this call has {_say_rois(here.rois)}; "
            "labels must mean the same in all of them: give the same, or pack into another folder"
        )
    if (there.precedence, there.fraction) != (here.precedence, here.fraction):
        raise ConfigError(
            f"the cases in {root} were packed with {_say_rules(there)}, this call has {_say_rules(here)}; "
            "give the same, or pack into another folder"
        )
    if there.window_hu != here.window_hu:
        raise ConfigError(
            f"the cases in {root} were packed with {_say_window(there.window_hu)}, this call has {_say_window(here.window_hu)}; "
            "give the same, or pack into another folder"
        )


def _say_rois(rois: Mapping[str, int]) -> str:
    return " ".join(f"--roi {name}={label}" for name, label in sorted(rois.items())) or "no --roi"


def _say_rules(record: PlanRecord) -> str:
    overlap = f"--overlap first in the order {', '.join(record.precedence)}" if record.precedence else "--overlap refuse"
    return f"{overlap} --seg-fraction {record.fraction:g}"


def _say_window(window_hu: WindowHu | None) -> str:
    return "--store int16" if window_hu is None else f"--store uint8 --window {window_hu[0]} {window_hu[1]}"
