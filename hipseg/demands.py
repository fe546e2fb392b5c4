"""What training asks of packed cases, told by the manifest alone: held before anything is queued, and again by each run."""

from collections.abc import Iterable, Mapping, Sequence

from hipseg.config import FeedSettings, StudySettings
from hipseg.errors import ConfigError, ShardError
from hipseg.fit import plan_fit
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import CaseRecord, Manifest
from hipseg.splits import Split, count_patients, split_patients

HOLDOUT_PARTS = 10
"""One patient in ten is held out of the pretraining to choose the best epoch by."""
TARGET_LABELS = "target_labels"
ORGANS = "pretrain.organs"

Targets = tuple[tuple[int, ...], ...]
"""For each output of a network, the label numbers that count as its structure."""


def check_hip(manifest: Manifest, settings: StudySettings) -> tuple[str, ...]:
    """Check that the cases for the folds can be fed as the settings say and hold what is to be learned.

    Args:
        manifest: of the hip's data set.
        settings: the study.
    Returns:
        What is taken although it may not be meant, one sentence each: labels of the masks that become background, and labels to
        learn that no mask has.
    Raises:
        ConfigError: no mask has any of the target labels, or a case does not fit into the network's input, or was stored over a
            window that does not hold the one to feed.
    """
    records = [one for one in manifest.cases if one.is_for_folds]
    check_labels(records, (settings.target_labels,), TARGET_LABELS)
    check_feeding(records, settings.feed)
    there, wanted = _labels_of(records), set(settings.target_labels)
    warnings = []
    if rest := sorted(there - wanted):
        warnings.append(
            f"the masks have {_name_labels(rest, manifest.rois)}, not in {TARGET_LABELS} {sorted(wanted)} and so background; "
            f"to learn that, too, as one structure with the rest: --set {TARGET_LABELS}={_flow(sorted(there))}"
        )
    if absent := sorted(wanted - there):
        warnings.append(f"{TARGET_LABELS} has {_list(absent)}, which no mask has (`hipseg inspect` shows those that are there)")
    return tuple(warnings)


def check_organs(manifest: Manifest, settings: StudySettings, dataset: DatasetPaths) -> tuple[str, ...]:
    """Check that a network can be pretrained on packed cases as the settings say.

    Args:
        manifest, dataset: what was packed.
        settings: the study.
    Returns:
        A sentence where organs are in no mask: they are learned from background alone.
    Raises:
        ConfigError: an organ was packed under another number, no case to learn from has any organ, or a case cannot be fed.
        ShardError: fewer than two patients have a mask.
    """
    organs = settings.pretrain.organs
    check_numbers(organs, manifest.rois, dataset)
    split = hold_out(manifest.cases, settings.pretrain.train.seed)
    check_labels(manifest.records(split.train), organ_targets(organs), ORGANS)
    records = manifest.records((*split.train, *split.val))
    check_feeding(records, settings.feed)
    there = _labels_of(records)
    absent = sorted(organ for organ, label in organs.items() if label not in there)
    if not absent:
        return ()
    kept = ", ".join(f"{organ}: {label}" for organ, label in organs.items() if organ not in absent)
    return (
        f"no mask of {dataset.root} has {' or '.join(absent)} of {ORGANS}: learned from background alone, which says nothing of "
        f"the network; to leave it out, {ORGANS} in the settings file is to be {{{kept}}}",
    )


def organ_targets(organs: Mapping[str, int]) -> Targets:
    """Give each organ an output of its own, in the order of their names."""
    return tuple((organs[name],) for name in sorted(organs))


def hold_out(records: Sequence[CaseRecord], seed: int) -> Split:
    """Hold one patient in ten out of the pretraining, at least one; a patient is never on both sides.

    Args:
        records: the packed cases; those without a mask, and those that their publisher keeps for testing, are left out.
        seed: of the choice.
    Raises:
        ShardError: fewer than two patients have a mask.
    """
    patients = count_patients(records)
    if patients < 2:
        raise ShardError(
            f"pretraining needs masks of at least 2 patients, one to learn from and one to validate with; found {patients}"
        )
    return split_patients(records, min(HOLDOUT_PARTS, patients), seed)[0]


def check_numbers(organs: Mapping[str, int], rois: Mapping[str, int], dataset: DatasetPaths) -> None:
    """Hold the numbers of the organs against those that structures of the same name were packed with, in capitals or not.

    Args:
        organs: name -> label number that is learned under it.
        rois: structure -> label number in the masks; nothing is known of those that it does not name.
        dataset: what was packed.
    Raises:
        ConfigError: an organ's number is that of another structure, or of none.
    """
    packed = {name.casefold(): (name, label) for name, label in rois.items()}
    for organ, label in sorted(organs.items()):
        name, there = packed.get(organ.casefold(), (organ, label))
        if there != label:
            raise ConfigError(
                f"{ORGANS} says {organ}: {label}, and {dataset.root} was packed with {name}={there}; "
                f"set {ORGANS}.{organ}={there}, or pack anew with --roi {name}={label}"
            )


def check_feeding(records: Iterable[CaseRecord], feed: FeedSettings) -> None:
    """Refuse cases that cannot be fed to a network.

    Raises:
        ConfigError: a case is larger than the input, or was stored over a window that does not hold the one to feed.
    """
    for record in records:
        check_window(record, feed)
        plan_fit(record.case, record.grid, feed)


def check_window(record: CaseRecord, feed: FeedSettings) -> None:
    """Refuse to feed what was cut off in packing: bone beyond the window would look like softer bone, air like fat."""
    (low, high), (first, last) = feed.window_hu, record.window_hu or feed.window_hu
    if not first <= low < high <= last:
        raise ConfigError(
            f"case {record.case} is stored as uint8 over {first} to {last} HU and feed.window_hu is {low:g} to {high:g}; "
            "set feed.window_hu within the stored window, or pack anew with a wider --window or losslessly"
        )


def has_labels(records: Sequence[CaseRecord], targets: Targets) -> bool:
    """Say whether any of the targets' labels occurs in any of some cases."""
    return not {number for numbers in targets for number in numbers}.isdisjoint(_labels_of(records))


def check_labels(records: Sequence[CaseRecord], targets: Targets, key: str) -> None:
    """Refuse to train where nothing is to be found: a wrong label number would pass for a network that learns nothing.

    Args:
        records: the cases to learn from.
        targets: the label numbers of each output; some of the outputs may be nowhere.
        key: the setting that the targets come from, for the message.
    Raises:
        ConfigError: none of the labels occurs in any case.
    """
    if not has_labels(records, targets):
        wanted, there = sorted({number for numbers in targets for number in numbers}), sorted(_labels_of(records))
        raise ConfigError(
            f"no voxel to learn from: {key} asks for {_list(wanted)}, the {len(records)} cases to train on have {_list(there)}; "
            f"set {key} to labels that are there (`hipseg inspect` shows them)"
        )


def _labels_of(records: Iterable[CaseRecord]) -> set[int]:
    return {label for record in records for label in record.label_voxels}


def _list(labels: Sequence[int]) -> str:
    return f"label {', '.join(map(str, labels))}" if labels else "no label"


def _flow(labels: Sequence[int]) -> str:
    return f"[{','.join(map(str, labels))}]"


def _name_labels(labels: Sequence[int], rois: Mapping[str, int]) -> str:
    """Name labels with their structures, as far as packing was told them."""
    names = {label: name for name, label in rois.items()}
    shown = (f"{label} ({names[label]})" if label in names else str(label) for label in labels)
    return f"label{'s' * (len(labels) > 1)} {', '.join(shown)}"
