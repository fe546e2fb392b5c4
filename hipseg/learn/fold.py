"""A fold's run made ready: an arm learns on the training side of a fold, and the other side chooses its best epoch."""

from hipseg.config import StudySettings, repeat_settings
from hipseg.demands import TARGET_LABELS, check_hip, check_labels
from hipseg.learn.beginning import identify
from hipseg.learn.course import Course
from hipseg.learn.leaks import refuse_seen
from hipseg.learn.networks import build_network
from hipseg.learn.runtime import prepare_runtime
from hipseg.learn.transfer import check_pretraining, load_pretrained
from hipseg.runs import DatasetPaths, StudyPaths
from hipseg.shards.manifest import read_manifest
from hipseg.splits import choose_fold, digest_splits, read_splits, say_whose_folds


def prepare_fold(settings: StudySettings, arm: str, fold: int, repeat: int = 0) -> Course:
    """Check what a run needs and build its network.

    Args:
        settings: of the study.
        arm: name of the arm.
        fold: number of the fold, from 0.
        repeat: of the study with another seed, from 0; the pretraining is the same for all.
    Returns:
        The run, ready to start.
    Raises:
        ConfigError: there is no such arm, fold or repeat, no case has a target label, a case cannot be fed, or the network
            cannot be built.
        ShardError: data or splits are missing or damaged.
        TrainError: the pretraining is missing, was made with other settings, has seen what the fold validates, or does not fit.
    """
    settings = repeat_settings(settings, repeat)
    network, has_transfer = settings.arm(arm).network, settings.arm(arm).transfer
    dataset, study = DatasetPaths(settings.shards), StudyPaths(settings.results)
    manifest = read_manifest(dataset)
    splits = read_splits(dataset, manifest)
    split, split_digest = choose_fold(splits, fold), digest_splits(splits)
    warnings = (*say_whose_folds(dataset, manifest, splits, settings.split_seed), *check_hip(manifest, settings))
    check_labels(manifest.records(split.train), (settings.target_labels,), TARGET_LABELS)
    if has_transfer:
        check_pretraining(study.pretraining, settings)
        warnings += refuse_seen(study.pretraining, manifest, split)
    prepare_runtime(settings.train)
    model = build_network(network, settings.networks, settings.feed.input_side, seed=settings.train.seed)
    transfer = load_pretrained(model, network, study.pretraining, settings.pretrain.freeze) if has_transfer else None
    pretraining = transfer.source_digest if transfer else None
    return Course(
        title=title(arm, fold, repeat),
        paths=study.fold(arm, fold, repeat),
        settings=settings,
        training=settings.train,
        identity=identify(settings, arm, data=manifest.data_digest, splits=split_digest, fold=fold, pretraining=pretraining),
        dataset=dataset,
        manifest=manifest,
        split=split,
        split_digest=split_digest,
        targets=(settings.target_labels,),
        model=model,
        transfer=transfer,
        warnings=warnings,
    )


def title(arm: str, fold: int, repeat: int = 0) -> str:
    """Name a run in words."""
    return f"{arm} fold {fold}" + (f" repeat {repeat}" if repeat else "")
