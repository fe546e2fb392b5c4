"""The table of contents of a packed data set: every case with its digests, and what was refused and why."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, TypeAdapter, ValidationError

from hipseg.errors import ConfigError, ShardError
from hipseg.fsio import digest_json, read_json, write_json
from hipseg.geometry import Grid
from hipseg.runs import DatasetPaths
from hipseg.shards.layout import check_version

MANIFEST_FORMAT = "hipseg-manifest"
MANIFEST_VERSION = 1

MaskKind = Literal["overlay", "rtstruct", "nifti"]
Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,100}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Label = Annotated[int, Field(ge=1, le=255)]
VoxelCount = Annotated[int, Field(ge=1)]
# Pydantic writes no mapping but a dict, and a read-only one is what callers like to hand over.
LabelVoxels = Annotated[Mapping[Label, VoxelCount], PlainSerializer(dict)]
FileCounts = Annotated[Mapping[str, int], PlainSerializer(dict)]
Rois = Annotated[Mapping[str, Label], PlainSerializer(dict)]


@dataclass(frozen=True)
class CaseRecord:
    """One packed case.

    Args:
        case, patient: salted keys; nothing of the source's identifiers can be read out of them.
        shard: name of the file that holds the case.
        grid: the original grid of the series.
        mask_kind: where the mask came from; None where the case has none.
        label_voxels: voxels of each label that occurs; empty without a mask.
        image_digest, mask_digest: SHA-256 of all slices' plain little-endian bytes; the mask's is None where there is none.
        shard_digest: SHA-256 of the shard file.
    """

    case: Key
    patient: Key
    shard: FileName
    grid: Grid
    mask_kind: MaskKind | None
    label_voxels: LabelVoxels
    image_digest: Digest
    mask_digest: Digest | None
    shard_digest: Digest

    @property
    def has_mask(self) -> bool:
        """Say whether the case was packed with a mask; the mask may still be empty."""
        return self.mask_digest is not None


@dataclass(frozen=True)
class Refusal:
    """A case that was found and not packed: the class of the error and its message."""

    case: Key
    error: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """What a packed data set holds.

    Args:
        cases: packed cases by rising key.
        refusals: refused cases by rising key; none of them is packed.
        set_aside: files of the last packing that were no input, by reason.
        rois: the structures chosen and their labels; empty where each case's only structure became label 1.
        salt_id: tells salts apart without giving them away.
    """

    cases: tuple[CaseRecord, ...]
    refusals: tuple[Refusal, ...]
    set_aside: FileCounts
    rois: Rois
    salt_id: str = field(default="")

    def record(self, case: str) -> CaseRecord:
        """Look a case up by its key.

        Raises:
            ShardError: there is no such case.
        """
        for one in self.cases:
            if one.case == case:
                return one
        raise ShardError(f"no case {case!r} among the {len(self.cases)} packed cases; `hipseg inspect` lists them")

    @property
    def data_digest(self) -> str:
        """SHA-256 of all images, masks and grids, whatever their keys, order and shards."""
        return digest_json(sorted([one.image_digest, one.mask_digest or "", _GRID.dump_python(one.grid)] for one in self.cases))


_GRID = TypeAdapter(Grid)
_MANIFEST = TypeAdapter(Manifest)


def same_images(records: Sequence[CaseRecord]) -> tuple[tuple[CaseRecord, ...], ...]:
    """Group the cases whose images are equal voxel for voxel.

    Returns:
        Groups of two or more cases, each by rising key; equal images under two patients are one patient packed twice.
    """
    groups: dict[str, list[CaseRecord]] = {}
    for record in sorted(records, key=lambda one: one.case):
        groups.setdefault(record.image_digest, []).append(record)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def manifest_json(manifest: Manifest) -> dict[str, Any]:
    """Give a manifest as the JSON value that `manifest.json` holds."""
    return {"format": MANIFEST_FORMAT, "version": MANIFEST_VERSION, **_MANIFEST.dump_python(manifest, mode="json")}


def write_manifest(paths: DatasetPaths, manifest: Manifest) -> None:
    """Write the manifest of a data set whole or not at all.

    Raises:
        ConfigError: the file cannot be written.
    """
    write_json(paths.manifest, manifest_json(manifest))


def read_manifest(paths: DatasetPaths) -> Manifest:
    """Read and check the manifest of a data set.

    Raises:
        ShardError: it is missing, damaged, of another version, or contradicts itself.
    """
    if not paths.manifest.is_file():
        raise ShardError(
            f"no manifest of a packed data set at {paths.manifest}; make one with `hipseg-pack DATA -o {paths.root}`"
        )
    value = read_json(paths.manifest, ShardError, "manifest")
    if not isinstance(value, dict) or value.get("format") != MANIFEST_FORMAT:
        raise ShardError(f"{paths.manifest} is no manifest of a packed data set; its 'format' must be {MANIFEST_FORMAT!r}")
    check_version(value.get("version"), MANIFEST_VERSION, str(paths.manifest))
    try:
        manifest = _MANIFEST.validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ShardError(_damaged(paths, f"{where}: {first['msg']}")) from error
    except ConfigError as error:
        raise ShardError(_damaged(paths, str(error))) from error
    _check_agreement(paths, manifest)
    return manifest


def _check_agreement(paths: DatasetPaths, manifest: Manifest) -> None:
    packed, refused = [one.case for one in manifest.cases], [one.case for one in manifest.refusals]
    for keys in (packed, refused):
        if keys != sorted(set(keys)):
            raise ShardError(_damaged(paths, "its case keys are not in rising order, each once"))
    if both := set(packed) & set(refused):
        raise ShardError(_damaged(paths, f"case {min(both)} is both packed and refused"))
    for one in manifest.cases:
        if (one.mask_kind is None) != (one.mask_digest is None) or (one.label_voxels and not one.has_mask):
            raise ShardError(_damaged(paths, f"case {one.case} has only a part of mask_kind, mask_digest and label_voxels"))


def _damaged(paths: DatasetPaths, detail: str) -> str:
    return f"manifest {paths.manifest} is damaged: {detail}; restore it or pack again into an empty folder"
