"""Fine-tuning: everything but the head comes from the pretraining, and a record says what did."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import keras

from hipseg.config import NetworkName, StudySettings
from hipseg.errors import ConfigError, TrainError
from hipseg.fsio import digest_file, read_json, write_json
from hipseg.learn.networks import is_head
from hipseg.learn.prediction import load_model
from hipseg.runs import FoldPaths
from hipseg.sameness import compare_pretraining

REMEDY = "run `hipseg pretrain` with the settings of this study"


@dataclass(frozen=True)
class Skipped:
    """A layer that kept its fresh weights, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Transfer:
    """What fine-tuning started from; written as transfer.json.

    Args:
        source: the pretrained model, in the results folder.
        source_digest: its SHA-256.
        loaded: layers whose weights came from it.
        skipped: layers with weights that did not.
        frozen: layers held fixed.
    """

    source: str
    source_digest: str
    loaded: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    frozen: tuple[str, ...]


def load_pretrained(model: keras.Model, name: NetworkName, pretraining: FoldPaths, freeze: Sequence[str]) -> Transfer:
    """Give a fresh network the pretrained weights of all layers but its head's.

    Args:
        model: the network, with fresh weights; loaded and frozen in place.
        name: which network it is.
        pretraining: a pretraining run that `check_pretraining` let pass.
        freeze: layers held fixed, by the beginning of their names.
    Returns:
        What was done.
    Raises:
        TrainError: the pretraining is damaged, or of a network with other layers.
        ConfigError: `freeze` names no loaded layer.
    """
    digest = _check_model(pretraining)
    pretrained = {layer.name: layer for layer in load_model(pretraining.model, REMEDY).layers if layer.weights}
    loaded, skipped = [], []
    for layer in model.layers:
        if not layer.weights:
            continue
        if is_head(name, layer.name):
            skipped.append(Skipped(layer.name, "head: its structures are not those of the pretraining"))
            continue
        _check_shapes(layer, pretrained.get(layer.name), pretraining)
        layer.set_weights(pretrained[layer.name].get_weights())
        loaded.append(layer.name)
    frozen = _freeze_layers(model, loaded, freeze)
    return Transfer(f"{pretraining.root.name}/{pretraining.model.name}", digest, tuple(loaded), tuple(skipped), frozen)


def check_pretraining(pretraining: FoldPaths, settings: StudySettings) -> None:
    """Refuse a pretraining that is not the one of a study.

    Args:
        pretraining: of the study's results.
        settings: of the study.
    Raises:
        TrainError: it is missing or incomplete, its settings cannot be used, or it was made with other ones.
    """
    if not pretraining.is_complete:
        state = "unfinished" if pretraining.settings.exists() else "missing"
        results = shlex.quote(str(pretraining.root.parent))
        raise TrainError(
            f"the pretraining that this arm starts from is {state}: no summary.json in {pretraining.root}; {REMEDY} and "
            f"`--results {results}`"
        )
    try:
        difference = compare_pretraining(pretraining.settings, settings)
    except ConfigError as error:
        raise TrainError(f"cannot use the settings of the pretraining: {error}; {REMEDY}") from error
    if difference:
        raise TrainError(
            f"the pretraining in {pretraining.root} was made with other settings: {difference}; give it "
            f"those with --config and --set, or another folder with --results, or {REMEDY}"
        )


def write_transfer(paths: FoldPaths, transfer: Transfer) -> None:
    """Write transfer.json whole or not at all."""
    write_json(paths.transfer, asdict(transfer))


def read_source_digest(paths: FoldPaths) -> str:
    """Read from transfer.json the SHA-256 of the pretrained model that a run started from.

    Raises:
        TrainError: the file is missing or damaged.
    """
    value = read_json(paths.transfer, TrainError, "record of what the run started from")
    digest = value.get("source_digest") if isinstance(value, dict) else None
    if not isinstance(digest, str):
        raise TrainError(f"damaged record of what the run started from at {paths.transfer}; train the fold again")
    return digest


def _check_model(pretraining: FoldPaths) -> str:
    summary = read_json(pretraining.summary, TrainError, "summary of the pretraining")
    expected = summary.get("model_digest") if isinstance(summary, dict) else None
    found = digest_file(pretraining.model) if pretraining.model.is_file() else "none"
    if found != expected:
        raise TrainError(
            f"{pretraining.model} is not the model that its summary names: SHA-256 {found}, expected {expected}; {REMEDY}"
        )
    return found


def _check_shapes(layer: keras.Layer, source: keras.Layer | None, pretraining: FoldPaths) -> None:
    needed = [tuple(weight.shape) for weight in layer.weights]
    found = [tuple(weight.shape) for weight in source.weights] if source is not None else "no such layer"
    if found != needed:
        raise TrainError(
            f"layer {layer.name} cannot be loaded from {pretraining.model}: the shapes of its weights are {found} there and "
            f"{needed} here; {REMEDY}"
        )


def _freeze_layers(model: keras.Model, loaded: Sequence[str], freeze: Sequence[str]) -> tuple[str, ...]:
    for beginning in freeze:
        if not any(name.startswith(beginning) for name in loaded):
            raise ConfigError(
                f"pretrain.freeze names {beginning!r}, with which no loaded layer begins; they are {', '.join(loaded)}"
            )
    frozen = tuple(name for name in loaded if name.startswith(tuple(freeze)))
    for name in frozen:
        model.get_layer(name).trainable = False
    return frozen
