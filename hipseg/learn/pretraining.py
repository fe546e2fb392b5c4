"""The pretraining run: one sigmoid an organ, from which fine-tuning starts."""

from hipseg.config import StudySettings, transfer_network
from hipseg.demands import check_organs, hold_out, organ_targets
from hipseg.learn.beginning import identify
from hipseg.learn.course import Course
from hipseg.learn.networks import build_network
from hipseg.learn.runtime import prepare_runtime
from hipseg.runs import DatasetPaths, StudyPaths
from hipseg.shards.manifest import read_manifest
from hipseg.splits import digest_splits

TITLE = "pretraining"


def prepare_pretraining(settings: StudySettings) -> Course:
    """Check what the pretraining needs and build its network.

    Args:
        settings: of the study.
    Returns:
        The run, ready to start.
    Raises:
        ConfigError: no arm uses the pretraining, no organ is there to learn, an organ was packed under another number, a case
            cannot be fed, or the network cannot be built as the settings say.
        ShardError: the data is missing or damaged, or has masks of fewer than two patients.
    """
    name, train, targets = transfer_network(settings), settings.pretrain.train, organ_targets(settings.pretrain.organs)
    dataset = DatasetPaths(settings.pretrain.shards)
    manifest = read_manifest(dataset)
    warnings = check_organs(manifest, settings, dataset)
    split = hold_out(manifest.cases, train.seed)
    split_digest = digest_splits([split])
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
        warnings=warnings,
    )
