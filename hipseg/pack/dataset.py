"""Found cases -> shards and manifest, one case at a time; a refused case never stops the others."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from hipseg.errors import ConfigError, MaskError, SeriesError
from hipseg.fsio import locked, unwritable
from hipseg.ingest.cases import FoundCases, SourceCase, open_case
from hipseg.pack.keys import case_key, patient_key
from hipseg.runs import DatasetPaths
from hipseg.shards.layout import shard_name
from hipseg.shards.manifest import CaseRecord, Manifest, Refusal, read_manifest, write_manifest
from hipseg.shards.writer import write_shard

REFUSING = (SeriesError, MaskError)
"""What refuses one case; any other error ends the packing."""


@dataclass(frozen=True, repr=False)
class KeyedCase:
    """A found case with its keys. Private, so it has no repr that a log could show."""

    case: str
    patient: str
    source: SourceCase


@dataclass(frozen=True)
class PackPlan:
    """What one packing has in common for all its cases.

    Args:
        rois: structure name -> label; must be that of the cases already packed.
        salt_id: of the salt that made the keys; must be that of the cases already packed.
        set_aside: files that were no input, by reason.
        untilt: whether series with gantry tilt are sheared back instead of refused.
    """

    rois: Mapping[str, int]
    salt_id: str
    set_aside: Mapping[str, int]
    untilt: bool = False


def check_output(data: Path, paths: DatasetPaths) -> None:
    """Refuse an output folder before anything is read; nothing is made yet.

    Raises:
        ConfigError: the folder cannot be written, or lies in the folder that is to be read.
    """
    if paths.root.resolve().is_relative_to(data.resolve()):
        raise ConfigError(f"output folder {paths.root} lies in the input folder {data}; name one outside, as in -o ../shards")
    check_writable(paths.root)


def check_writable(folder: Path) -> None:
    """Try to write where a folder is, or where it would be made, and leave nothing behind.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        nearest = next(one for one in (folder, *folder.absolute().parents) if one.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise unwritable(folder, error) from error


def key_cases(found: FoundCases, salt: bytes) -> tuple[KeyedCase, ...]:
    """Give every found case its keys.

    Returns:
        Cases by rising key.
    Raises:
        SeriesError: two cases share a key.
    """
    keyed = [
        KeyedCase(case_key(salt, one.patient_id, one.series_uid), patient_key(salt, one.patient_id), one) for one in found.cases
    ]
    keyed.sort(key=lambda one: one.case)
    for one, following in pairwise(keyed):
        if one.case == following.case:
            raise SeriesError(f"two series have the case key {one.case}; give one of them its own series UID, or pack them apart")
    return tuple(keyed)


def pack_cases(cases: Sequence[KeyedCase], paths: DatasetPaths, plan: PackPlan) -> Iterator[CaseRecord | Refusal]:
    """Pack cases into a data set, beside those that it holds already.

    The manifest is written after each case, so that it is true whenever the packing is stopped. A case that was packed before
    is replaced; if it is refused now, the shard that was packed before stays.

    Args:
        cases: what to pack.
        paths: the data set; its folder is made, and locked until the last case is taken.
        plan: structures, salt and counts of this packing.
    Returns:
        For each case, as soon as it is done, its record or why it was refused.
    Raises:
        ConfigError: the folder cannot be written, another command is at work there, or its cases have other
            structures or another salt.
        ShardError: its manifest is damaged.
    """
    with locked(paths.lock, str(paths.root)):
        manifest = _extend(paths, plan)
        for case in cases:
            outcome = _pack_case(case, paths, plan)
            manifest = _with_outcome(manifest, outcome)
            write_manifest(paths, manifest)
            yield outcome


def _extend(paths: DatasetPaths, plan: PackPlan) -> Manifest:
    """Begin a manifest, or go on with the one that is there."""
    if not paths.manifest.exists():
        return Manifest((), (), plan.set_aside, plan.rois, plan.salt_id)
    manifest = read_manifest(paths)
    if manifest.salt_id != plan.salt_id:
        raise ConfigError(
            f"the cases in {paths.root} have keys of another salt; give its --salt-file, or pack into another folder"
        )
    if manifest.cases and dict(manifest.rois) != dict(plan.rois):
        raise ConfigError(
            f"the cases in {paths.root} were packed with {_say_rois(manifest.rois)}, this call has {_say_rois(plan.rois)}; "
            "labels must mean the same in all of them: give the same, or pack into another folder"
        )
    return replace(manifest, set_aside=plan.set_aside, rois=plan.rois)


def _say_rois(rois: Mapping[str, int]) -> str:
    return " ".join(f"--roi {name}={label}" for name, label in sorted(rois.items())) or "no --roi"


def _pack_case(keyed: KeyedCase, paths: DatasetPaths, plan: PackPlan) -> CaseRecord | Refusal:
    shard = shard_name(keyed.case)
    try:
        opened = open_case(keyed.source, keyed.case, plan.rois, untilt=plan.untilt)
        written = write_shard(
            paths.shard(shard), keyed.case, keyed.patient, opened.grid, opened.slices, has_mask=opened.mask_kind is not None
        )
    except REFUSING as error:
        return Refusal(keyed.case, type(error).__name__, str(error))
    return CaseRecord(
        case=keyed.case,
        patient=keyed.patient,
        shard=shard,
        grid=opened.grid,
        mask_kind=opened.mask_kind,
        label_voxels=written.label_voxels,
        image_digest=written.image_digest,
        mask_digest=written.mask_digest,
        shard_digest=written.shard_digest,
    )


def _with_outcome(manifest: Manifest, outcome: CaseRecord | Refusal) -> Manifest:
    cases = {one.case: one for one in manifest.cases}
    refusals = {one.case: one for one in manifest.refusals}
    if isinstance(outcome, CaseRecord):
        cases[outcome.case] = outcome
        refusals.pop(outcome.case, None)
    elif outcome.case not in cases:
        refusals[outcome.case] = outcome
    return replace(manifest, cases=_in_order(cases.values()), refusals=_in_order(refusals.values()))


def _in_order(values: Iterable[CaseRecord] | Iterable[Refusal]) -> tuple:  # type: ignore[type-arg]
    return tuple(sorted(values, key=lambda one: one.case))
