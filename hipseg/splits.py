"""Patient-level folds: no patient is ever on both sides. Kept in nnU-Net's `splits_final.json`."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np

from hipseg.errors import ConfigError, ShardError
from hipseg.fsio import digest_file, digest_json, read_json, write_json, write_text
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import CaseRecord, Manifest, same_images
from hipseg.shards.schema import Limits, read_as


@dataclass(frozen=True)
class Split:
    """One fold: the case keys of its training and of its validation side, each in rising order."""

    train: Annotated[tuple[str, ...], Limits(min_length=1)]
    val: Annotated[tuple[str, ...], Limits(min_length=1)]


def split_patients(records: Sequence[CaseRecord], folds: int, seed: int) -> tuple[Split, ...]:
    """Deal patients into folds, so that each is in exactly one validation side.

    Patients who share an image voxel for voxel are one patient packed twice, and stay together. The folds depend on seed and
    images alone, as they are stored: another salt gives the cases other keys and leaves them in the same folds, storing
    them as uint8 over a window makes other images of them.

    Args:
        records: the packed cases; those without a mask, and those that their publisher keeps for testing, are left out.
        folds: at least 2.
        seed: of the shuffling.
    Returns:
        One split a fold.
    Raises:
        ConfigError: fewer than 2 folds, or fewer patients with a mask than folds.
    """
    patients = _patients_in_order([one for one in records if one.is_for_folds])
    if folds < 2:
        raise ConfigError(f"cannot split into {folds} fold; at least 2 are needed")
    if len(patients) < folds:
        raise ConfigError(_too_few(records, len(patients), folds))
    # The folds of scikit-learn's KFold with shuffling, by which nnU-Net deals. Loading it takes a second, which `hipseg submit`,
    # that holds the folds it finds against these, need not wait for.
    numbers = np.arange(len(patients))
    np.random.RandomState(seed).shuffle(numbers)
    validated = [set(part.tolist()) for part in np.array_split(numbers, folds)]
    return tuple(
        Split(
            train=_keys(one for number, one in enumerate(patients) if number not in held),
            val=_keys(one for number, one in enumerate(patients) if number in held),
        )
        for held in validated
    )


def _too_few(records: Sequence[CaseRecord], patients: int, folds: int) -> str:
    """Say why so many folds cannot be dealt, and what helps."""
    more = "pack scans with masks of more patients"
    if patients == 0:
        kept = sum(one.has_mask for one in records)
        others = f", but for {kept} that their publisher keeps for testing" if kept else ""
        return (
            f"cannot split into {folds} folds: none of the {len(records)} packed cases has a mask{others}; pack the scans "
            f"together with their masks: `hipseg-pack --help` says in which forms"
        )
    if patients == 1:
        return f"cannot split 1 patient with a mask into {folds} folds: at least 2 are needed; {more}"
    return f"cannot split {patients} patients with a mask into {folds} folds; choose fewer folds, {patients} at most, or {more}"


def count_patients(records: Sequence[CaseRecord]) -> int:
    """Count the patients as `split_patients` deals them: with a mask, and those who share an image are one."""
    return len(_patients_in_order([one for one in records if one.is_for_folds]))


def _patients_in_order(records: Sequence[CaseRecord]) -> list[list[CaseRecord]]:
    """Group cases by patient, equal images joining patients; ordered by each group's first image digest."""
    joined = {one.patient: one.patient for one in records}
    for group in same_images(records):
        merged = {joined[one.patient] for one in group}
        joined = {patient: min(merged) if root in merged else root for patient, root in joined.items()}
    patients: dict[str, list[CaseRecord]] = {}
    for one in sorted(records, key=lambda one: one.image_digest):
        patients.setdefault(joined[one.patient], []).append(one)
    return list(patients.values())


def _keys(groups: Iterable[Sequence[CaseRecord]]) -> tuple[str, ...]:
    return tuple(sorted(one.case for group in groups for one in group))


def splits_json(splits: Sequence[Split]) -> list[dict[str, list[str]]]:
    """Give folds as the JSON value that `splits_final.json` holds."""
    return [{side: list(keys) for side, keys in asdict(split).items()} for split in splits]


def write_splits(paths: DatasetPaths, splits: Sequence[Split]) -> None:
    """Write the folds of a data set whole or not at all, and their SHA-256 beside them, which `hipseg verify` compares.

    Raises:
        ConfigError: the file cannot be written.
    """
    # Stopped between the two, folds without a digest are left, which are as good as folds of another program.
    paths.splits_digest.unlink(missing_ok=True)
    write_json(paths.splits, splits_json(splits))
    write_text(paths.splits_digest, _digest_line(paths))


def deal_anew(paths: DatasetPaths, folds: int = 0) -> str:
    """Say how the folds of a data set are dealt anew; as many as there are, where that is known."""
    chosen = f" --folds {max(2, folds)}" if folds else ""
    return f"deal all cases anew with `hipseg split {paths.root}{chosen} --overwrite`"


def check_splits_digest(paths: DatasetPaths) -> None:
    """Compare the folds' file with the SHA-256 beside it; folds of another program may have none.

    Raises:
        ShardError: they do not belong together.
    """
    if not paths.splits_digest.exists():
        return
    try:
        is_same = paths.splits_digest.read_bytes() == _digest_line(paths).encode()
    except OSError as error:
        raise ShardError(f"cannot read splits {paths.splits} and their digest: {error}") from error
    if not is_same:
        raise ShardError(
            f"splits {paths.splits} and {paths.splits_digest.name} do not belong together: the SHA-256 differs; "
            f"{deal_anew(paths)}"
        )


def _digest_line(paths: DatasetPaths) -> str:
    return f"{digest_file(paths.splits)}  {paths.splits.name}\n"


def read_splits(paths: DatasetPaths, manifest: Manifest) -> tuple[Split, ...]:
    """Read the folds of a data set and check them against its manifest.

    Raises:
        ShardError: the file is missing or damaged, names a case twice or one that is not packed or not for the folds, leaves
            out one that is, or lets a patient or an image be on both sides.
    """
    if not paths.splits.is_file():
        raise ShardError(f"no splits at {paths.splits}; write them with `hipseg split {paths.root}`")
    try:
        splits = read_as(tuple[Split, ...], load_splits(paths))
    except ValueError as error:
        raise ShardError(f"splits {paths.splits} are damaged: {error}; {deal_anew(paths)}") from error
    try:
        _check_splits(splits, manifest)
    except ValueError as error:
        raise ShardError(f"{error}, by {paths.splits}; {deal_anew(paths, len(splits))}") from error
    return splits


def load_splits(paths: DatasetPaths) -> Any:
    """Read the JSON value of a data set's folds.

    Raises:
        ShardError: the file is missing, cannot be read or is no JSON.
    """
    try:
        return read_json(paths.splits, ShardError, "splits")
    except ShardError as error:
        raise ShardError(f"{error}; {deal_anew(paths)}") from error


def _check_splits(splits: Sequence[Split], manifest: Manifest) -> None:
    """Raise ValueError where folds are not those of the packed cases."""
    records = {one.case: one for one in manifest.cases}
    for fold, split in enumerate(splits):
        _check_split(f"fold {fold}", split, records)
    validated = [case for split in splits for case in split.val]
    if twice := _repeated(validated):
        raise ValueError(f"case {twice[0]} is validated more than once")
    # Cases packed after the folds were dealt would otherwise vanish from the study without a word.
    if left_out := sorted({one.case for one in manifest.cases if one.is_for_folds} - set(validated)):
        raise ValueError(f"case {left_out[0]} has a mask and is validated in no fold ({len(left_out)} such cases)")


def _repeated(cases: Iterable[str]) -> list[str]:
    return sorted(case for case, times in Counter(cases).items() if times > 1)


def _check_split(where: str, split: Split, records: Mapping[str, CaseRecord]) -> None:
    for case in (*split.train, *split.val):
        if case not in records:
            raise ValueError(f"case {case} of {where} is not packed")
        if not records[case].is_for_folds:
            what = "is kept for testing by its publisher" if records[case].has_mask else "has no mask"
            raise ValueError(f"case {case} of {where} {what}")
    for side in (split.train, split.val):
        if twice := _repeated(side):
            raise ValueError(f"case {twice[0]} is named more than once in {where}")
    train, val = ([records[case] for case in side] for side in (split.train, split.val))
    if both := {one.patient for one in train} & {one.patient for one in val}:
        raise ValueError(f"patient {min(both)} is on both sides of {where}")
    if {one.image_digest for one in train} & {one.image_digest for one in val}:
        raise ValueError(f"one image is on both sides of {where} under two keys")


def say_whose_folds(paths: DatasetPaths, manifest: Manifest, splits: Sequence[Split], seed: int) -> tuple[str, ...]:
    """Say where the folds that lie beside the shards are not those that a seed would deal; they win.

    Args:
        paths, manifest: the data set.
        splits: its folds.
        seed: that a study asks for.
    Returns:
        A sentence; none where the folds are those of the seed.
    """
    try:
        is_dealt_so = tuple(splits) == split_patients(manifest.cases, len(splits), seed)
    except ConfigError:
        # One fold alone, say, which another program may have written.
        is_dealt_so = False
    if is_dealt_so:
        return ()
    return (
        f"the folds are those of {paths.splits}, not those that split_seed {seed} would deal, which is not used; to have these: "
        f"`hipseg split {paths.root} --folds {len(splits)} --seed {seed} --overwrite`",
    )


def choose_fold(splits: Sequence[Split], fold: int) -> Split:
    """Take one fold, counted from 0.

    Raises:
        ConfigError: there is no such fold.
    """
    if not 0 <= fold < len(splits):
        raise ConfigError(f"no fold {fold}: there are {len(splits)} folds, 0 to {len(splits) - 1}")
    return splits[fold]


def digest_splits(splits: Sequence[Split]) -> str:
    """Give the SHA-256 of the folds."""
    return digest_json(splits_json(splits))
