"""YAML -> frozen settings. Unknown keys are refused, with the nearest valid name."""

import difflib
import types
import typing
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

from hipseg.errors import ConfigError
from hipseg.labels import HIP_LABEL, ORGAN_LABELS

NetworkName = Literal["unet", "modified-unet"]
Normalisation = Literal["synchronised", "local"]


def _refuse_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"a whole number is needed; found {str(value).lower()}")
    return value


Whole = Annotated[int, BeforeValidator(_refuse_truth_value)]
"""YAML's true is no 1: it stands where a number was forgotten."""
Positive = Annotated[Whole, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Label = Annotated[Whole, Field(ge=1, le=255)]
"""A label number of a mask, which shards hold as uint8."""
SEEDS = 2**32
Seed = Annotated[Whole, Field(ge=0, lt=SEEDS)]
BLOCKS = 8
"""Encoder blocks of the modified U-Net, and decoder blocks. Source: thesis section 3.1."""
MIN_INPUT_SIDE = 256
"""Eight halvings take 256 down to one element; a smaller input has nothing left for the last encoder block."""
INPUT_SIDES = f"a power of two of at least {MIN_INPUT_SIDE}, as 512"
NOT_ARMS = ("pretraining", "jobs", "figures")
"""Folders of the results that stand beside those of the arms."""


def _refuse_taken_name(name: str) -> str:
    if name in NOT_ARMS:
        raise ValueError(f"{name} is another folder of the results; call the arm otherwise")
    return name


def _refuse_tilde(path: Path) -> Path:
    if str(path).startswith("~"):
        raise ValueError(f"{path} begins with ~, which only a shell turns into the home folder; write the whole path out")
    return path


Folder = Annotated[Path, AfterValidator(_refuse_tilde)]
"""A folder that every program finds at the same place: some turn ~ into the home folder, and others do not."""
ArmName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$"), AfterValidator(_refuse_taken_name)]

MACHINE_KEYS = {"threads", "save_every_min", "stall_limit_s"}
"""Keys of `train` that belong to the machine and not to the experiment."""
DEFAULT_CONFIG = Path("configs/study.yaml")
"""What a command reads when no `--config` is given and the file is there."""


def is_input_side(side: int) -> bool:
    """Say whether the networks take an input of so many rows and columns."""
    return side >= MIN_INPUT_SIDE and not side & (side - 1)


class Settings(BaseModel):
    """What all settings share: frozen, and no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FeedSettings(Settings):
    """How slices become a network's input.

    `window_hu` is mapped onto 0..1, clamped. `fit: pad` pads each slice with air to `input_side`; `fit: resample` first brings
    it to `spacing_mm` in the plane. Source of the defaults: thesis section 3.1 for 512; the window is our choice for bone.
    """

    input_side: Positive = 512
    window_hu: tuple[FiniteFloat, FiniteFloat] = (-200.0, 1000.0)
    fit: Literal["pad", "resample"] = "pad"
    spacing_mm: PositiveFloat | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "FeedSettings":
        if not is_input_side(self.input_side):
            raise ValueError(f"input_side is {self.input_side}; needed is {INPUT_SIDES}")
        if self.window_hu[0] >= self.window_hu[1]:
            raise ValueError(f"window_hu {list(self.window_hu)} is empty or reversed; low must be below high")
        if (self.fit == "resample") != (self.spacing_mm is not None):
            raise ValueError("spacing_mm goes with fit: resample, and fit: resample needs it")
        return self


class ModifiedUnetSettings(Settings):
    """The modified U-Net. Source: thesis section 3.1; it leaves filter counts and momentum open."""

    encoder_filters: tuple[Positive, ...] = (8, 16, 32, 64, 128, 256, 512, 1024)
    decoder_filters: tuple[Positive, ...] = (512, 256, 128, 64, 32, 16, 8)
    leaky_slope: Annotated[float, Field(ge=0, le=1)] = 0.02
    momentum: Annotated[float, Field(gt=0, lt=1)] = 0.9
    normalise_output: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "ModifiedUnetSettings":
        down, up = self.encoder_filters, self.decoder_filters
        if len(down) != BLOCKS or any(b <= a for a, b in pairwise(down)):
            raise ValueError(f"encoder_filters is {list(down)}; {BLOCKS} numbers are needed, each above the one before")
        # The output block is the last decoder block and has one filter for a single structure.
        if len(up) != BLOCKS - 1 or any(b >= a for a, b in pairwise((*up, 1))):
            raise ValueError(
                f"decoder_filters is {list(up)}; {BLOCKS - 1} numbers are needed, each below the one before, the last above 1"
            )
        return self


class UnetSettings(Settings):
    """The standard U-Net. Source: Ronneberger, Fischer, Brox, MICCAI 2015, figure 1."""

    base_filters: Positive = 64


class NetworkSettings(Settings):
    """Settings of each network, by name."""

    modified_unet: ModifiedUnetSettings = ModifiedUnetSettings()
    unet: UnetSettings = UnetSettings()


class TrainSettings(Settings):
    """How a run is trained. Source: thesis section 3.1 (Adam, 0.001, binary cross-entropy, 0.5, 100 epochs)."""

    epochs: Positive = 100
    batch_size: Positive = 8
    """Slices of a step, over all ranks of the run together: how many ranks share them changes nothing in what is computed."""
    learning_rate: PositiveFloat = 0.001
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    seed: Seed = 0
    threads: Annotated[Whole, Field(ge=0)] = 0
    """Threads of each rank; 0 means one for each core that the process may use."""
    save_every_min: Annotated[float, Field(gt=0)] = 10.0
    """Minutes between checkpoints within an epoch; one is saved after every epoch besides. Belongs to the machine, too."""
    normalisation: Normalisation = "synchronised"
    """Over how many slices batch normalisation takes its moments: the whole batch, or the part of each rank."""
    compression: Literal["none", "fp16"] = "none"
    """How gradients travel between ranks."""
    learning_rate_scaling: Literal["none", "sqrt", "linear"] = "none"
    """How the learning rate grows with `batch_size` over `learning_rate_batch`, the batch that it was chosen for.
    Source: Goyal et al., arXiv 1706.02677, section 2.1 (linear); Krizhevsky, arXiv 1404.5997, section 5 (square root)."""
    learning_rate_batch: Positive = 8
    warmup_epochs: Annotated[Whole, Field(ge=0)] = 0
    """Epochs over which the learning rate rises from 0, step by step. Source: Goyal et al., section 2.2."""
    stall_limit_s: Annotated[float, Field(gt=0)] = 600.0
    """How long a rank may stay where it is while others wait for it; belongs to the machine, as `threads` does."""


def _refuse_repeated(labels: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(labels)) != len(labels):
        raise ValueError(f"{list(labels)} names a label more than once; give each once")
    return labels


def _refuse_shared_number(organs: dict[str, int]) -> dict[str, int]:
    first_of: dict[int, str] = {}
    for organ, label in organs.items():
        if (first := first_of.setdefault(label, organ)) != organ:
            raise ValueError(f"{first} and {organ} have one number, {label}; each organ needs its own")
    return organs


class PretrainSettings(Settings):
    """The pretraining run: a sigmoid for each organ, then all but the head goes into fine-tuning."""

    shards: Folder = Path("shards-pretrain")
    organs: Annotated[dict[str, Label], Field(min_length=1), AfterValidator(_refuse_shared_number)] = dict(ORGAN_LABELS)
    freeze: tuple[str, ...] = ()
    """Layers held fixed in fine-tuning, by the beginning of their names."""
    train: TrainSettings = TrainSettings()


class CleanSettings(Settings):
    """How a prediction is cleaned; what was done by hand in 3-matic. The defaults change little. Source: thesis section 4.3."""

    smooth_mm: NotNegative = 0.5
    """Standard deviation of the Gaussian that rounds the boundary off; 0 leaves it as it is."""
    bridge_mm: NotNegative = 0.0
    """Connections up to so thick do not join what they connect into one piece; 0 cuts none."""
    min_piece_ml: NotNegative = 1.0
    """Smaller pieces are removed, but for the largest."""
    connectivity: Literal[6, 18, 26] = 26
    """Neighbours of a voxel that belong to its piece: those that share a face; or an edge, too; or a corner, too."""
    max_hole_ml: NotNegative = 0.5
    """Cavities up to so large are filled."""


class EvaluateSettings(Settings):
    """How a trained fold is scored."""

    clean: CleanSettings | None = CleanSettings()
    """Each prediction is scored as the network gave it, and cleaned besides; null leaves that out and halves the time."""


class ArmSettings(Settings):
    """One row of the comparison table: a network, with or without transfer, and the words that the table prints for it."""

    network: NetworkName
    transfer: bool = False
    study: str
    method: str


DEFAULT_ARMS = {
    "unet": ArmSettings(network="unet", study="Ronneberger et al. 2015", method="U-Net"),
    "modified-unet-tl": ArmSettings(
        network="modified-unet", transfer=True, study="This study (with TL)", method="Modified U-Net"
    ),
    "modified-unet": ArmSettings(network="modified-unet", study="This study (without TL)", method="Modified U-Net"),
}


class StudySettings(Settings):
    """Everything an experiment says; one YAML file."""

    shards: Folder = Path("shards")
    results: Folder = Path("results")
    folds: Annotated[Whole, Field(ge=2)] = 5
    split_seed: Seed = 0
    target_labels: Annotated[tuple[Label, ...], Field(min_length=1), AfterValidator(_refuse_repeated)] = (HIP_LABEL,)
    """Labels of the mask that count as the hip, joined into one structure."""
    feed: FeedSettings = FeedSettings()
    networks: NetworkSettings = NetworkSettings()
    train: TrainSettings = TrainSettings()
    pretrain: PretrainSettings = PretrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    arms: Annotated[dict[ArmName, ArmSettings], Field(min_length=1)] = DEFAULT_ARMS

    def arm(self, name: str) -> ArmSettings:
        """Look an arm up by name.

        Raises:
            ConfigError: there is no such arm.
        """
        if name not in self.arms:
            raise ConfigError(f"no arm {name!r}; the arms are {', '.join(sorted(self.arms))}")
        return self.arms[name]


def repeat_settings(settings: StudySettings, repeat: int) -> StudySettings:
    """Give the settings of a repeat of the study: `train.seed` + `repeat`, the rest as it is.

    Raises:
        ConfigError: there is no such repeat.
    """
    seed = settings.train.seed + repeat
    if repeat < 0 or seed >= SEEDS:
        raise ConfigError(f"no repeat {repeat}; repeats count from 0, and train.seed + repeat, here {seed}, must be below 2**32")
    return settings.model_copy(update={"train": settings.train.model_copy(update={"seed": seed})})


def transfer_network(settings: StudySettings) -> NetworkName:
    """Give the network that is pretrained: that of the arms with transfer.

    Raises:
        ConfigError: no arm has transfer, or two such arms have different networks.
    """
    networks = {arm.network for arm in settings.arms.values() if arm.transfer}
    if len(networks) != 1:
        found = " and ".join(sorted(networks)) or "no arm"
        raise ConfigError(f"one network is pretrained, that of the arms with transfer: true; found {found}; one is needed")
    return networks.pop()


def load_settings(path: Path | None, overrides: tuple[str, ...] = ()) -> StudySettings:
    """Read an experiment's YAML file and lay `KEY=VALUE` overrides over it.

    Args:
        path: the file; None means `configs/study.yaml` where there is one, else the defaults.
        overrides: each `dotted.key=value`, the value in YAML.
    Returns:
        The resolved settings.
    Raises:
        ConfigError: the file cannot be read, is no YAML, or has an unknown key or a wrong value.
    """
    if path is None and DEFAULT_CONFIG.is_file():
        path = DEFAULT_CONFIG
    values = _read_yaml(path) if path else {}
    for override in overrides:
        _lay_over(values, override)
    try:
        return StudySettings.model_validate(values)
    except ValidationError as error:
        # Once merged, nobody can tell which of the two a value came from.
        sources = [str(path)] * bool(path) + ["the options given"] * bool(overrides)
        raise ConfigError(_explain(error, " or ".join(sources))) from error


def dump_settings(settings: StudySettings) -> str:
    """Write settings as YAML that `load_settings` reads back to equal settings."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


class _Loader(yaml.SafeLoader):
    """Refuses a key that a mapping has twice, of which YAML would take the last without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        firsts: dict[tuple[str, str], yaml.ScalarNode] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if (first := firsts.setdefault((key.tag, key.value), key)) is not key:
                lines = (one.start_mark.line + 1 for one in (first, key))
                raise ConfigError("key {!r} stands in line {} and again in line {}; give it once".format(key.value, *lines))
        return node


def _parse(text: str) -> Any:
    return yaml.load(text, _Loader)  # noqa: S506 - a safe one


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = _parse(path.read_text(encoding="utf-8"))
    except ConfigError as error:
        raise ConfigError(f"settings file {path}: {error}") from error
    except FileNotFoundError as error:
        raise ConfigError(f"no settings file at {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read settings file {path}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"settings file {path} is not YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"settings file {path} holds a {type(values).__name__}; a mapping of keys to values is needed")
    return values


def _lay_over(values: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise ConfigError(f"override {override!r} is not KEY=VALUE, as in train.epochs=5")
    *parents, last = dotted.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"override {override!r}: {parent} holds a value, not further keys")
    try:
        values[last] = _parse(text)
    except ConfigError as error:
        raise ConfigError(f"override {override!r}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not YAML") from error


def _explain(error: ValidationError, where: str) -> str:
    first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
    location = first["loc"]
    dotted = ".".join(str(part) for part in location)
    if first["type"] == "extra_forbidden":
        valid = _keys_beside(location)
        near = difflib.get_close_matches(str(location[-1]), valid, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"valid keys are {', '.join(valid)}"
        return f"unknown key {dotted!r} in {where}; {hint}"
    if first["type"] == "value_error":
        # A check of ours, which says itself what was found.
        return f"wrong value in {where}: {dotted or 'settings'}: {first['msg'].removeprefix('Value error, ')}"
    return f"wrong value in {where}: {dotted or 'settings'}: {first['msg']}; found {first.get('input')!r}"[:600]


def _keys_beside(location: tuple[int | str, ...]) -> list[str]:
    model: Any = StudySettings
    for part in location[:-1]:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = model.model_fields[str(part)].annotation
        elif typing.get_origin(model) is dict:
            model = typing.get_args(model)[1]
        if typing.get_origin(model) is types.UnionType:
            # Settings that null may stand for.
            model = typing.get_args(model)[0]
    return sorted(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
