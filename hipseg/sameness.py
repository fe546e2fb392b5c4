"""What decides the weights of a run, as plain values, and where two runs differ in it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hipseg.config import MACHINE_KEYS, NetworkName, StudySettings, load_settings, transfer_network


def decisive_settings(settings: StudySettings, arm: str | None) -> dict[str, Any]:
    """Give the settings that decide the weights of a run by their dotted names.

    Paths, the words of the table and what belongs to the machine are not among them, nor what only other runs use.

    Args:
        settings: the study.
        arm: of the run; None means the pretraining.
    Returns:
        Plain values; only the names of the arms where the study has no such arm.
    Raises:
        ConfigError: there is no one network to pretrain, for the pretraining.
    """
    aside: Any = {"train": MACHINE_KEYS, "pretrain": {"shards": True, "train": MACHINE_KEYS}}
    values = settings.model_dump(mode="json", exclude=aside)
    if arm is None:
        # What fine-tuning holds fixed is nothing to the pretraining run.
        pretrain = {key: value for key, value in values["pretrain"].items() if key != "freeze"}
        return dict(_flatten({**_describe_network(values, transfer_network(settings)), "pretrain": pretrain}))
    chosen = settings.arms.get(arm)
    if chosen is None:
        return {"arms": sorted(settings.arms)}
    described = {
        **_describe_network(values, chosen.network),
        "train": values["train"],
        "target_labels": values["target_labels"],
        "arms": {arm: {"network": chosen.network, "transfer": chosen.transfer}},
    }
    if chosen.transfer:
        described["pretrain"] = values["pretrain"]
    return dict(_flatten(described))


def _describe_network(values: Mapping[str, Any], network: NetworkName) -> dict[str, Any]:
    """Give what a network is built and fed with; which network it is shows in the names of its settings."""
    key = network.replace("-", "_")
    return {"feed": values["feed"], "networks": {key: values["networks"][key]}}


def first_difference(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Say in words where two runs differ first, in the order of the names; None where nowhere."""
    for key in sorted(made.keys() | wanted.keys()):
        if made.get(key) != wanted.get(key):
            return f"{key} was {_show(made, key)}, is now {_show(wanted, key)}"
    return None


def compare_pretraining(made: Path, wanted: StudySettings) -> str | None:
    """Say in words where a pretraining differs from the one that a study would make now; None where nowhere.

    Args:
        made: the settings file that the pretraining left.
        wanted: the study.
    Raises:
        ConfigError: the file is missing or cannot be used, or there is no one network to pretrain.
    """
    return first_difference(*(decisive_settings(one, None) for one in (load_settings(made), wanted)))


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _flatten(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item


def _show(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key]) if key in values else "not set"
