"""The pretraining run: one sigmoid an organ, from which fine-tuning starts."""

from collections.abc import Mapping, Sequence

from hipseg.config import StudySettings, transfer_network
from hipseg.errors import ConfigError, ShardError
from hipseg.learn.batches import Targets, check_labels
from hipseg.learn.beginning import identify
from hipseg.learn.course import Course
from hipseg.learn.networks import build_network
from hipseg.learn.runtime import prepare_runtime
from hipseg.runs import DatasetPaths, StudyPaths
from hipseg.shards.manifest import CaseRecord, read_manifest
from hipseg.splits import Split, count_patients, digest_splits, split_patients

HOLDOUT_PARTS = 10
"""One patient in ten is held out to choose the best epoch by."""
TITLE = "pretraining"


def prepare_pretraining(settings: StudySettings) -> Course:
    """Check what the pretraining needs and build its network.

    Args:
        settings: of the study.
    Returns:
        The run, ready to start.
    Raises:
        ConfigError: no arm uses the pretraining, no organ is there to learn, an organ was packed under another number, or the
            network cannot be built as the settings say.
        ShardError: the data is missing or damaged, or has masks of fewer than two patients.
    """
    name, train, targets = transfer_network(settings), settings.pretrain.train, organ_targets(settings.pretrain.organs)
    dataset = DatasetPaths(settings.pretrain.shards)
    manifest = read_manifest(dataset)
    check_organs(settings.pretrain.organs, manifest.rois, dataset)
    split = hold_out(manifest.cases, train.seed)
    split_digest = digest_splits([split])
    check_labels(manifest.records(split.train), targets, "pretrain.organs")
    prepare_runtime(train)
    return Course(
        title=TITLE,
        paths=StudyPaths(settings.results).pretraining,
        settings=settings,
        training=train,
        identity=identify(settings, None, data=manifest.data_digest, splits=split_digest),
        dataset=dataset,
        manifest=manifest,
        split=split,
        split_digest=split_digest,
        targets=targets,
        model=build_network(name, settings.networks, settings.feed.input_side, len(targets), train.seed),
    )


def hold_out(records: Sequence[CaseRecord], seed: int) -> Split:
    """Hold one patient in ten out of training, at least one; a patient is never on both sides.

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


def check_organs(organs: Mapping[str, int], rois: Mapping[str, int], dataset: DatasetPaths) -> None:
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
                f"pretrain.organs says {organ}: {label}, and {dataset.root} was packed with {name}={there}; "
                f"set pretrain.organs.{organ}={there}, or pack anew with --roi {name}={label}"
            )


def organ_targets(organs: Mapping[str, int]) -> Targets:
    """Give each organ an output of its own, in the order of their names."""
    return tuple((organs[name],) for name in sorted(organs))
