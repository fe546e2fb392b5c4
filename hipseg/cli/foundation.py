"""What a study is built on, packed cases and folds, held against its settings before anything is queued."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import click

from hipseg.config import StudySettings
from hipseg.demands import check_hip, check_organs
from hipseg.fsio import digest_json
from hipseg.launch.graph import Part, needs_pretraining
from hipseg.launch.ready import DATA_DIGEST, SPLIT_DIGEST, check_shards
from hipseg.runs import DatasetPaths, StudyPaths
from hipseg.shards.manifest import read_manifest
from hipseg.splits import digest_splits, load_splits, read_splits, say_whose_folds, split_patients


@dataclass(frozen=True)
class Foundation:
    """What the manifests and folds say.

    Args:
        manifests: SHA-256 of each manifest, by the name of the data set, as `check_shards` gives them.
        digests: of packed data and folds, by the names that a run's provenance gives them; as far as they are known yet.
        warnings: what is taken although it may not be meant, one sentence each.
    """

    manifests: Mapping[str, str]
    digests: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def look_at_foundation(settings: StudySettings, part: Part, *, packs_first: bool = False) -> Foundation:
    """Check that what is packed can be trained on as the settings say; reads manifests and folds alone.

    Args:
        settings: the study.
        part: the arms and folds wanted.
        packs_first: a job of the study packs the scans, so that nothing is known of them yet.
    Raises:
        LaunchError: a data set is not packed.
        ConfigError: there are fewer patients with masks than folds, no mask has a target label, or a case cannot be fed; or the
            same of the pretraining, where it is still to be run.
        ShardError: a manifest or the folds are damaged, or do not fit together.
    """
    manifests, pretraining = check_shards(settings, part, packs_first=packs_first), _check_pretraining(settings, part)
    dataset = DatasetPaths(settings.shards)
    has_splits = dataset.splits.exists()
    if packs_first:
        return Foundation(manifests, {SPLIT_DIGEST: digest_json(load_splits(dataset))} if has_splits else {}, pretraining)
    manifest = read_manifest(dataset)
    dealt = (settings.folds, settings.split_seed)
    splits = read_splits(dataset, manifest) if has_splits else split_patients(manifest.cases, *dealt)
    whose = say_whose_folds(dataset, manifest, splits, settings.split_seed)
    digests = {DATA_DIGEST: manifest.data_digest, SPLIT_DIGEST: digest_splits(splits)}
    return Foundation(manifests, digests, (*whose, *check_hip(manifest, settings), *pretraining))


def show_warnings(warnings: Iterable[str]) -> None:
    """Print a line for each."""
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)


def _check_pretraining(settings: StudySettings, part: Part) -> tuple[str, ...]:
    if not needs_pretraining(settings, part) or StudyPaths(settings.results).pretraining.is_complete:
        return ()
    dataset = DatasetPaths(settings.pretrain.shards)
    return check_organs(read_manifest(dataset), settings, dataset)
