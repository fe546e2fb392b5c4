"""The table of contents of a packed data set: every case with its digests, and what was refused and why."""

import hashlib
import json
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from typing import Annotated, Any, TypeVar

from hipseg.errors import ConfigError, ShardError
from hipseg.fsio import digest_bytes, digest_json, naming_closed_paths, replacing, without_nan
from hipseg.geometry import Grid
from hipseg.ingest.shelf import Picked
from hipseg.ingest.sorting import find_repeated, sort_apart
from hipseg.labels import MaskKind, Subset
from hipseg.runs import DatasetPaths
from hipseg.shards.layout import check_version
from hipseg.shards.pieces import Pieces, digest_without, read_blocks
from hipseg.shards.schema import Limits, WindowHu, read_as

MANIFEST_FORMAT = "hipseg-manifest"
MANIFEST_VERSION = 2

OWN_DIGEST = re.compile(rb'"manifest_digest": "([0-9a-f]{64})"')
NO_DIGEST = "0" * 64
"""Stands in the place of the manifest's own digest while it is computed."""
DIGEST_PLACE = f'\n "manifest_digest": "{NO_DIGEST}"'.encode()
"""Nothing else begins a line with one blank and that key."""

Fraction = Annotated[float, Limits(gt=0, le=1)]
WHOLE_HALF = 0.5
MASK_RULES: Mapping[str, Any] = {"precedence": [], "fraction": WHOLE_HALF}
"""Keys that a manifest may lack, and what is meant then."""
Key = Annotated[str, Limits(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
FileName = Annotated[str, Limits(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,100}$")]
Digest = Annotated[str, Limits(pattern=r"^[0-9a-f]{64}$")]
Label = Annotated[int, Limits(ge=1, le=255)]
VoxelCount = Annotated[int, Limits(ge=1)]
LabelVoxels = Mapping[Label, VoxelCount]
FileCounts = Mapping[str, int]
Rois = Mapping[str, Label]


@dataclass(frozen=True)
class CaseRecord:
    """One packed case.

    Args:
        case, patient: salted keys; nothing of the source's identifiers can be read out of them.
        shard: name of the file that holds the case.
        grid: the original grid of the series.
        mask_kind: where the mask came from; None where the case has none.
        label_voxels: voxels of each label that occurs; empty without a mask.
        image_digest, mask_digest: BLAKE3 of the BLAKE3 of each slice's plain little-endian bytes; the mask's is None where
            there is none.
        shard_digest: BLAKE3 of the shard file.
        window_hu: HU of stored values 0 and 255, for an image stored as uint8; None for int16, which is lossless.
        warnings: what was taken although it is not as it should be, one sentence each.
        subset: side of the publisher's own split; None where there is none.
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
    window_hu: WindowHu | None = None
    warnings: tuple[str, ...] = ()
    subset: Subset | None = None

    @property
    def has_mask(self) -> bool:
        """Say whether the case was packed with a mask; the mask may still be empty."""
        return self.mask_digest is not None

    @property
    def is_for_folds(self) -> bool:
        """Whether it may be learned from or validated with: it has a mask, and its publisher does not keep it for testing."""
        return self.has_mask and self.subset != "test"


@dataclass(frozen=True)
class Refusal:
    """A case that was found and not packed: the class of the error and its message."""

    case: Key
    error: str
    reason: str


Outcome = TypeVar("Outcome", CaseRecord, Refusal)
Keep = Callable[[Iterable[Any]], Sequence[Any]]
"""Takes cases, or refusals, one after the other, and gives them back as often as they are asked for."""


@dataclass(frozen=True)
class Manifest:
    """What a packed data set holds.

    Args:
        cases: packed cases by rising key.
        refusals: refused cases by rising key; none of them is packed.
        set_aside: files of the last packing that were no input, by reason.
        rois: the structures chosen and their labels; empty where each case's only structure became label 1,
            and a mask of numbers kept them.
        salt_id: tells salts apart without giving them away.
        precedence: structures in the order in which they had the voxels that several claimed; empty where such cases are refused.
        fraction: share of a voxel from which on it belonged to a fractional segment.
    """

    cases: Sequence[CaseRecord]
    refusals: Sequence[Refusal]
    set_aside: FileCounts
    rois: Rois
    salt_id: str = field(default="")
    precedence: tuple[str, ...] = ()
    fraction: Fraction = WHOLE_HALF

    def record(self, case: str) -> CaseRecord:
        """Look a case up by its key.

        Raises:
            ShardError: there is no such case.
        """
        for one in self.cases:
            if one.case == case:
                return one
        raise ShardError(f"no case {case!r} among the {len(self.cases)} packed cases; `hipseg inspect` lists them")

    def records(self, cases: Iterable[str]) -> tuple[CaseRecord, ...]:
        """Look many cases up by their keys, in the order asked for, in time that does not grow with the data set for each.

        Raises:
            ShardError: one of them is not there.
        """
        by_key = {one.case: one for one in self.cases}
        return tuple(by_key.get(case) or self.record(case) for case in cases)

    @property
    def data_digest(self) -> str:
        """SHA-256 of all images, masks and grids, whatever their keys, order and shards."""
        told = ([one.image_digest, one.mask_digest or "", vars(one.grid), one.window_hu or ()] for one in self.cases)
        # Equal images may lie on different grids, which have an order only as text.
        return digest_json(sorted(told, key=lambda one: (one[0], one[1], json.dumps(one, sort_keys=True))))


def outcome_json(outcome: CaseRecord | Refusal) -> dict[str, Any]:
    """Give one case as the JSON value that the manifest holds for it."""
    if isinstance(outcome, Refusal):
        return dict(vars(outcome))
    voxels = {str(label): count for label, count in outcome.label_voxels.items()}
    return {**vars(outcome), "grid": vars(outcome.grid), "label_voxels": voxels}


def outcome_from_json(value: Mapping[str, Any]) -> CaseRecord | Refusal:
    """Read what `outcome_json` gave.

    Raises:
        ValueError: it is no case.
        ConfigError: its grid is impossible.
    """
    return read_as(Refusal, value) if "reason" in value else read_as(CaseRecord, value)


def same_images(records: Sequence[CaseRecord]) -> tuple[Sequence[CaseRecord], ...]:
    """Group the cases whose images are equal voxel for voxel.

    Returns:
        Groups of two or more cases, each by rising key; equal images under two patients are one patient packed twice.
    """
    # The records may lie on disk, where they stay.
    repeated = find_repeated(hash(one.image_digest) for one in records)
    numbered = ((one.image_digest, one.case, number) for number, one in enumerate(records) if hash(one.image_digest) in repeated)
    groups = []
    for _, alike in groupby(sort_apart(numbered), key=itemgetter(0)):
        group = Picked(records, (number for *_, number in alike))
        if len(group) > 1:
            groups.append(group)
    return tuple(sorted(groups, key=lambda group: group[0].case))


def manifest_json(manifest: Manifest) -> dict[str, Any]:
    """Give a manifest as the JSON value that `manifest.json` holds."""
    value = {
        **vars(manifest),
        "cases": [outcome_json(one) for one in manifest.cases],
        "refusals": [outcome_json(one) for one in manifest.refusals],
        "set_aside": dict(manifest.set_aside),
        "rois": dict(manifest.rois),
        "precedence": list(manifest.precedence),
    }
    # Only what changed labels is told.
    told = {key: value[key] for key in value if key not in MASK_RULES or value[key] != MASK_RULES[key]}
    return {"format": MANIFEST_FORMAT, "version": MANIFEST_VERSION, **told}


def write_manifest(paths: DatasetPaths, manifest: Manifest) -> None:
    """Write the manifest of a data set whole or not at all, with its own digest in it; one case at a time is held as text.

    The digest, under `manifest_digest`, is the SHA-256 of the text's UTF-8 bytes with 64 zeros in its place.

    Raises:
        ConfigError: the file cannot be written.
    """
    digest, digest_offset = hashlib.sha256(), 0
    with replacing(paths.manifest) as temporary, temporary.open("r+b") as file:
        for piece in _text_pieces(manifest):
            data = piece.encode()
            if (place := data.find(DIGEST_PLACE)) >= 0:
                digest_offset = file.tell() + place + DIGEST_PLACE.index(b"0")
            digest.update(data)
            file.write(data)
        file.seek(digest_offset)
        file.write(digest.hexdigest().encode())


def _text_pieces(manifest: Manifest) -> Iterator[str]:
    """Give the text of `manifest_json` with zeros for its own digest, keys sorted and indented by one blank, piece by piece."""
    frame = manifest_json(replace(manifest, cases=(), refusals=()))
    rest = _indented({**frame, "manifest_digest": NO_DIGEST}) + "\n"
    lists: dict[str, Sequence[CaseRecord | Refusal]] = {"cases": manifest.cases, "refusals": manifest.refusals}
    for name, outcomes in lists.items():
        place = f'\n "{name}": ['
        before, _, rest = rest.partition(place)
        yield before + place
        for number, one in enumerate(outcomes):
            yield ("," if number else "") + "\n  " + _indented(outcome_json(one)).replace("\n", "\n  ")
        if outcomes:
            yield "\n "
    yield rest


def _indented(value: Any) -> str:
    return json.dumps(without_nan(value), indent=1, sort_keys=True, allow_nan=False)


@naming_closed_paths()
def read_manifest(paths: DatasetPaths, keep: Keep = tuple) -> Manifest:
    """Read and check the manifest of a data set.

    Args:
        paths: the data set.
        keep: where to put the cases, and the refusals, as they are read; by itself in memory. It may raise what it likes.
    Raises:
        ConfigError: it may not be read, or its folder not be entered.
        ShardError: it is missing, damaged, of another version, or contradicts itself.
    """
    if not paths.manifest.is_file():
        raise ShardError(
            f"no manifest of a packed data set at {paths.manifest}; make one with `hipseg-pack DATA -o {paths.root}`"
        )
    return _read_apart(paths, keep) or _read_whole(paths, keep)


def _read_apart(paths: DatasetPaths, keep: Keep) -> Manifest | None:
    """Read case by case what is as `write_manifest` writes it and without a fault; None for any other, to be read whole."""
    try:
        with paths.manifest.open("rb") as file:
            pieces, keys = Pieces(file), array("q")
            cases = keep(_read_rising(pieces.items("cases"), CaseRecord, keys))
            refusals = keep(_read_rising(pieces.items("refusals"), Refusal, keys))
            value = pieces.rest()
            found = [own for block in read_blocks(file) for own in OWN_DIGEST.findall(block)]
            if (
                (value["format"], value["version"]) != (MANIFEST_FORMAT, MANIFEST_VERSION)
                or value["cases"]
                or value["refusals"]
                or len(found) != 1
                or digest_without(file, found[0], NO_DIGEST.encode()) != found[0].decode()
                # One that is packed and refused, or two keys of one hash.
                or find_repeated(keys)
            ):
                return None
        return replace(read_as(Manifest, value), cases=cases, refusals=refusals)
    except (OSError, ValueError, RecursionError, KeyError, TypeError, ConfigError):
        return None


def _read_rising(values: Iterable[Any], kind: type[Outcome], keys: "array[int]") -> Iterator[Outcome]:
    """Read cases that agree in themselves, by rising key, and note the hashes of the keys."""
    before = ""
    for value in values:
        one = read_as(kind, value)
        if one.case <= before or (isinstance(one, CaseRecord) and _is_partial(one)):
            raise ValueError
        before = one.case
        keys.append(hash(before))
        yield one


def _read_whole(paths: DatasetPaths, keep: Keep) -> Manifest:
    content, value = _read(paths)
    if not isinstance(value, dict) or value.get("format") != MANIFEST_FORMAT:
        raise ShardError(f"{paths.manifest} is no manifest of a packed data set; its 'format' must be {MANIFEST_FORMAT!r}")
    check_version(value.get("version"), MANIFEST_VERSION, str(paths.manifest))
    _check_own_digest(paths, content)
    try:
        manifest = read_as(Manifest, value)
    except (ValueError, ConfigError) as error:
        raise ShardError(_damaged(paths, str(error))) from error
    _check_agreement(paths, manifest)
    return replace(manifest, cases=keep(manifest.cases), refusals=keep(manifest.refusals))


def _read(paths: DatasetPaths) -> tuple[bytes, Any]:
    try:
        content = paths.manifest.read_bytes()
        return content, json.loads(content)
    except PermissionError as error:
        cure = "ask its owner for leave to read it, as by `chmod a+r`"
        raise ConfigError(f"cannot open manifest at {paths.manifest}: {error.strerror}; {cure}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ShardError(f"cannot read manifest at {paths.manifest}: {error}") from error


def _check_own_digest(paths: DatasetPaths, content: bytes) -> None:
    """Refuse a manifest that is not, byte for byte, what was written."""
    found = OWN_DIGEST.findall(content)
    if len(found) != 1:
        raise ShardError(_damaged(paths, f"it has {len(found)} digests of itself under 'manifest_digest', 1 is needed"))
    if digest_bytes(content.replace(found[0], NO_DIGEST.encode())) != found[0].decode():
        raise ShardError(_damaged(paths, "its SHA-256 differs from the one it gives"))


def _check_agreement(paths: DatasetPaths, manifest: Manifest) -> None:
    packed, refused = [one.case for one in manifest.cases], [one.case for one in manifest.refusals]
    for keys in (packed, refused):
        if keys != sorted(set(keys)):
            raise ShardError(_damaged(paths, "its case keys are not in rising order, each once"))
    if both := set(packed) & set(refused):
        raise ShardError(_damaged(paths, f"case {min(both)} is both packed and refused"))
    for one in manifest.cases:
        if _is_partial(one):
            raise ShardError(_damaged(paths, f"case {one.case} has only a part of mask_kind, mask_digest and label_voxels"))


def _is_partial(one: CaseRecord) -> bool:
    return (one.mask_kind is None) != (one.mask_digest is None) or bool(one.label_voxels and not one.has_mask)


def _damaged(paths: DatasetPaths, detail: str) -> str:
    return f"manifest {paths.manifest} is damaged: {detail}; restore it or pack again into an empty folder"
