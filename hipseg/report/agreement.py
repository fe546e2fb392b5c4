"""Which folds no table may hold side by side, refused by name, and what may differ but is to be known."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hipseg.config import load_settings
from hipseg.errors import ConfigError, ReportError
from hipseg.report.fold import FoldResult, Side, Sides
from hipseg.runs import StudyPaths
from hipseg.sameness import decisive_settings, first_difference
from hipseg.score.record import CaseScore

EVALUATE_AGAIN = "score both folds again with `hipseg evaluate`"
SEED = "train.seed"
"""The one setting in which the repeats of an arm differ."""
MEANT_TO_DIFFER = ("arms", "pretrain.", "train.epochs")
"""Beginnings of settings that arms differ in for their own sake, and epochs, which have a warning of what was trained."""


@dataclass(frozen=True)
class Pretraining:
    """The pretraining run of a results folder.

    Args:
        model_digest: SHA-256 of its model.
        sides: the cases that it learned from and chose by.
        lines: scores, one a held-out case and organ; none where it was trained by a program that did not score them.
    """

    model_digest: str
    sides: Sides
    lines: tuple[CaseScore, ...] = ()


def check_agreement(folds: Sequence[FoldResult], paths: StudyPaths, pretraining: Pretraining | None) -> tuple[str, ...]:
    """Refuse folds that do not belong together.

    Refused are folds of different data, splits, numbers of folds, structures, cleaning or code; folds of one arm with other
    settings or epochs, a repeat with several seeds, and repeats with one; a case in two folds, and a fold with other cases in
    another arm; a patient or an image on both sides of a fold, or among the cases of the pretraining that a fold started from.

    Args:
        folds: each whole in itself; at least one.
        paths: the results, for the settings of folds that differ.
        pretraining: that of the results; None where there is none.
    Returns:
        What may differ and bears on the comparison, one sentence each: versions of libraries, epochs and other settings of two
        arms, and salts.
    Raises:
        ReportError: naming the two folds and what differs.
    """
    first_of_arm: dict[str, FoldResult] = {}
    for fold in folds:
        if not 0 <= fold.fold < fold.folds:
            raise ReportError(f"{fold.title} is none of {fold.folds} folds; move its folder away")
        for what, value in SAME_EVERYWHERE.items():
            _refuse_different(fold, folds[0], what, value(fold), value(folds[0]))
        first = first_of_arm.setdefault(fold.arm, fold)
        _refuse_different(fold, first, "numbers of epochs", fold.epochs, first.epochs)
        _check_sides(fold)
        _check_pretraining(fold, pretraining)
    _check_cases(folds)
    for first in first_of_arm.values():
        of_arm = [fold for fold in folds if fold.arm == first.arm]
        _check_settings(of_arm, paths)
        _check_seeds(of_arm)
    first_folds = list(first_of_arm.values())
    return (
        *_warn_of_versions(folds),
        *_warn_of_epochs(first_folds),
        *_warn_of_settings(first_folds, paths),
        *_warn_of_salts(folds, pretraining),
    )


SAME_EVERYWHERE: Mapping[str, Callable[[FoldResult], object]] = {
    "packed data": lambda fold: fold.data_digest[:12],
    "splits": lambda fold: fold.split_digest[:12],
    "numbers of folds": lambda fold: fold.folds,
    "structures": lambda fold: ", ".join(f"{name} {list(numbers)}" for name, numbers in fold.labels.items()),
    "cleaning": lambda fold: fold.cleaning,
    "code": lambda fold: fold.code_digest[:12],
}
"""What no two folds of a table may differ in, and how it is shown."""


def _refuse_different(fold: FoldResult, other: FoldResult, what: str, value: object, expected: object) -> None:
    if value != expected:
        raise ReportError(
            f"{fold.title} and {other.title} come of different {what} ({value} and {expected}); train and score both alike"
        )


def _check_sides(fold: FoldResult) -> None:
    if both := fold.sides.train.patients & fold.sides.val.patients:
        raise ReportError(
            f"patient {min(both)} is on both sides of {fold.title}; deal the cases anew with `hipseg split SHARDS --overwrite`"
        )
    if both := fold.sides.train.images & fold.sides.val.images:
        raise ReportError(
            f"image {min(both)[:12]} is on both sides of {fold.title}; deal the cases anew with `hipseg split SHARDS --overwrite`"
        )


def _check_pretraining(fold: FoldResult, pretraining: Pretraining | None) -> None:
    """Refuse a fold whose validation cases the network may have seen in pretraining, or where that cannot be told."""
    if fold.pretraining is None:
        return
    if pretraining is None or pretraining.model_digest != fold.pretraining:
        found = "there is none" if pretraining is None else f"that one is {pretraining.model_digest[:12]}"
        raise ReportError(
            f"{fold.title} started from pretraining {fold.pretraining[:12]}, and beside it in the results {found}: whether it "
            "learned from cases of the test cannot be told; put its folder there or train the fold again"
        )
    for side in (pretraining.sides.train, pretraining.sides.val):
        _refuse_seen(fold, side, has_same_salt=pretraining.sides.salt_id == fold.sides.salt_id)


def _refuse_seen(fold: FoldResult, side: Side, *, has_same_salt: bool) -> None:
    cure = "pretrain without it"
    if has_same_salt and (both := side.patients & fold.sides.val.patients):
        raise ReportError(f"patient {min(both)} is validated by {fold.title} and was seen in pretraining; {cure}")
    if both := side.images & fold.sides.val.images:
        raise ReportError(f"image {min(both)[:12]} is validated by {fold.title} and was seen in pretraining; {cure}")


def _check_cases(folds: Sequence[FoldResult]) -> None:
    """Refuse a case that two folds of an arm score, and a fold that scores other cases in one arm or repeat than in another."""
    first_of_fold: dict[int, FoldResult] = {}
    for fold in folds:
        cases, other = fold.sides.val.cases, first_of_fold.setdefault(fold.fold, fold)
        expected = other.sides.val.cases
        if cases != expected:
            raise ReportError(
                f"{fold.title} scores {len(cases)} cases and {other.title} {len(expected)}, "
                f"{len(cases ^ expected)} of them not in both, {min(cases ^ expected)} first; {EVALUATE_AGAIN}"
            )
    fold_of: dict[str, FoldResult] = {}
    for fold in first_of_fold.values():
        for case in sorted(fold.sides.val.cases):
            other = fold_of.setdefault(case, fold)
            if other is not fold:
                raise ReportError(f"case {case} is scored by {other.title} and {fold.title}; each case belongs to one fold")


def _check_settings(folds: Sequence[FoldResult], paths: StudyPaths) -> None:
    """Refuse folds of one arm that were trained with settings that decide the weights and differ.

    A settings file is read only where the digests differ, once for each digest.
    """
    described: dict[str, tuple[FoldResult, dict[str, Any]]] = {}
    for fold in folds:
        if len({one.settings_digest for one in folds}) > 1 and fold.settings_digest not in described:
            described[fold.settings_digest] = (fold, _read_decisive(fold, paths))
    first_of_repeat: dict[int, tuple[FoldResult, dict[str, Any]]] = {}
    for fold, settings in described.values():
        if fold.repeat in first_of_repeat:
            other, expected = first_of_repeat[fold.repeat]
        else:
            first_of_repeat[fold.repeat] = (fold, settings)
            other, expected = next(iter(described.values()))
            expected = {**expected, SEED: settings[SEED]}
        if difference := first_difference(expected, settings):
            raise ReportError(
                f"{other.title} and {fold.title} were trained with other settings: {difference}; train both with the same"
            )


def _check_seeds(folds: Sequence[FoldResult]) -> None:
    """Refuse a repeat of an arm with several seeds, and repeats that share one: they would show no variance of seeds."""
    first_of_repeat: dict[int, FoldResult] = {}
    first_of_seed: dict[int, FoldResult] = {}
    for fold in folds:
        first = first_of_repeat.setdefault(fold.repeat, fold)
        _refuse_different(fold, first, "seeds", fold.seed, first.seed)
        other = first_of_seed.setdefault(fold.seed, fold)
        if other.repeat != fold.repeat:
            raise ReportError(
                f"{other.title} and {fold.title} were trained with one seed, {fold.seed}; each repeat needs a seed of its own"
            )


def _read_decisive(fold: FoldResult, paths: StudyPaths) -> dict[str, Any]:
    run = paths.fold(fold.arm, fold.fold, fold.repeat)
    try:
        return decisive_settings(load_settings(run.settings), fold.arm)
    except ConfigError as error:
        raise ReportError(f"cannot use the settings of {fold.title}: {error}; train the fold again") from error


def _warn_of_versions(folds: Sequence[FoldResult]) -> Iterator[str]:
    found: defaultdict[str, dict[str, FoldResult]] = defaultdict(dict)
    for fold in folds:
        for name, version in fold.versions.items():
            found[name].setdefault(version, fold)
    for name, by_version in found.items():
        if len(by_version) > 1:
            yield f"folds were made with different versions of {name}: " + ", ".join(
                f"{version} in {fold.title}" for version, fold in by_version.items()
            )


def _warn_of_epochs(first_folds: Sequence[FoldResult]) -> Iterator[str]:
    if len({fold.epochs for fold in first_folds}) > 1:
        yield "arms were trained for different numbers of epochs: " + ", ".join(
            f"{fold.arm} {fold.epochs}" for fold in first_folds
        )


def _warn_of_settings(first_folds: Sequence[FoldResult], paths: StudyPaths) -> Iterator[str]:
    """Name what arms were trained with alike in kind and differently in value: that, too, may be why their scores differ.

    What only one of them has, as the filters of its network, is no difference.
    """
    first_folds = [fold for fold in first_folds if fold.repeat == 0]
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for fold in first_folds if len({fold.settings_digest for fold in first_folds}) > 1 else ():
        try:
            settings = _read_decisive(fold, paths)
        except ReportError:
            yield f"the settings of arm {fold.arm} cannot be read: whether it was trained as the other arms cannot be told"
            continue
        for key, value in settings.items():
            if not key.startswith(MEANT_TO_DIFFER):
                found[key][fold.arm] = json.dumps(value)
    different = {key: values for key, values in sorted(found.items()) if len(set(values.values())) > 1}
    words = (f"{key} {', '.join(f'{arm} {value}' for arm, value in values.items())}" for key, values in different.items())
    if different:
        yield f"arms were trained with different settings: {'; '.join(words)}"


def _warn_of_salts(folds: Sequence[FoldResult], pretraining: Pretraining | None) -> Iterator[str]:
    has_transfer = any(fold.pretraining is not None for fold in folds)
    if has_transfer and pretraining is not None and pretraining.sides.salt_id != folds[0].sides.salt_id:
        yield (
            "the data of pretraining was packed with another salt: its patients cannot be compared with those of the folds, "
            "only the images were"
        )
