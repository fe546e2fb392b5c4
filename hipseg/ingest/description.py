"""dataset.json, which describes an nnU-Net data set; read without trust, and nothing of its text is repeated."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hipseg.errors import SeriesError
from hipseg.fsio import read_json
from hipseg.ingest.labels import LABEL_MAX
from hipseg.ingest.nifti import name_stem

MAX_BYTES = 16 << 20
"""Of a description; 100,000 cases listed take less."""
ENDINGS = (".nii.gz", ".nii")
CT_NAME = "ct"
MAX_DIGITS = 3
IGNORE = "ignore"
"""The name of nnU-Net's label for voxels that nobody looked at."""
WHAT = "dataset.json"


@dataclass(frozen=True, repr=False)
class Entry:
    """One case as a list names it: where its image may be, the first that is there counts, and its labels."""

    name: str
    images: tuple[PurePosixPath, ...]
    label: PurePosixPath | None


@dataclass(frozen=True, repr=False)
class Description:
    """What dataset.json says.

    Args:
        labels: name and number of each label but the background.
        num_training: announced number of training cases.
        file_ending: of images and labels.
        training, test: the cases, where they are listed (older keys); training is None where files are found by their names.
        unread: number of cases under `validation`, as AMOS lists them, which nnU-Net does not read.
    """

    labels: tuple[tuple[str, int], ...]
    num_training: int
    file_ending: str
    training: tuple[Entry, ...] | None
    test: tuple[Entry, ...]
    unread: int = 0


def read_description(path: Path) -> Description:
    """Read and check dataset.json.

    Args:
        path: the file.
    Returns:
        What it says of one CT channel with labels 0 to 255.
    Raises:
        SeriesError: it is missing, too large, no JSON, or describes images or labels that cannot be packed.
    Source: nnU-Net, documentation/dataset_format.md; Medical Segmentation Decathlon, dataset.json.
    """
    found = _read_object(path)
    has_new_keys = "channel_names" in found
    _check_channels(found.get("channel_names" if has_new_keys else "modality"))
    ending = found.get("file_ending", ENDINGS[0] if not has_new_keys else None)
    if ending not in ENDINGS:
        raise SeriesError(
            f"{WHAT}: file_ending is missing or not read here; {' and '.join(ENDINGS)} are: write images and labels as NIfTI"
        )
    if "dataset" in found:
        raise SeriesError(f"{WHAT} lists its files under `dataset`, which is not read; lay them out in imagesTr and labelsTr")
    num_training = found.get("numTraining")
    if not isinstance(num_training, int) or isinstance(num_training, bool) or num_training < 0:
        raise SeriesError(f"{WHAT}: numTraining is missing or no whole number")
    return Description(
        labels=(_read_labels if has_new_keys else _read_old_labels)(found.get("labels")),
        num_training=num_training,
        file_ending=ending,
        training=None if has_new_keys else _read_list(found.get("training"), "training"),
        test=() if has_new_keys else _read_list(found.get("test", []), "test"),
        unread=len(validation) if isinstance(validation := found.get("validation"), list) else 0,
    )


def _read_object(path: Path) -> Mapping[str, Any]:
    try:
        size = path.stat().st_size
    except OSError:
        size = 0
    if size > MAX_BYTES:
        raise SeriesError(f"{WHAT} has {size} bytes, at most {MAX_BYTES} accepted")
    try:
        found = read_json(path, SeriesError, "nnU-Net description")
    except RecursionError as error:
        raise SeriesError(f"{WHAT} is nested too deeply to be read") from error
    if not isinstance(found, dict):
        raise SeriesError(f"{WHAT} holds no JSON object")
    return found


def _check_channels(channels: object) -> None:
    """Refuse anything but one channel named CT."""
    if not isinstance(channels, dict) or not all(isinstance(name, str) for name in channels.values()):
        raise SeriesError(f"{WHAT} names no channels; channel_names (or the older modality) with {{'0': 'CT'}} is expected")
    if len(channels) != 1:
        raise SeriesError(f"{WHAT} names {len(channels)} channels; 1, CT, is expected")
    if [name.strip().lower() for name in channels.values()] != [CT_NAME]:
        raise SeriesError(
            f"{WHAT}: its channel is not named CT, so that the values may not be Hounsfield units; only CT is packed"
        )


def _read_labels(labels: object) -> tuple[tuple[str, int], ...]:
    """Read label numbers by name, as nnU-Net writes them."""
    if not isinstance(labels, dict):
        raise SeriesError(f"{WHAT} names no labels; an object of names and numbers is expected")
    regions = sum(isinstance(value, list) for value in labels.values())
    if regions:
        raise SeriesError(
            f"{WHAT}: {regions} of {len(labels)} labels are regions (lists of numbers), which overlap; write each number as a "
            "label of its own, and choose several under one label with --roi"
        )
    return _check_labels(labels.items(), lambda value: value if isinstance(value, int) else None)


def _read_old_labels(labels: object) -> tuple[tuple[str, int], ...]:
    """Read names by label number, as the Decathlon writes them."""
    if not isinstance(labels, dict) or not all(isinstance(name, str) for name in labels.values()):
        raise SeriesError(f"{WHAT} names no labels; an object of numbers and names is expected beside the older keys")
    return _check_labels(
        ((name, value) for value, name in labels.items()),
        lambda value: int(value) if value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS else None,
    )


def _check_labels(pairs: Any, to_number: Callable[[Any], int | None]) -> tuple[tuple[str, int], ...]:
    found: list[tuple[str, int]] = []
    for name, value in pairs:
        number = to_number(value)
        if number is None or isinstance(value, bool) or not 0 <= number <= LABEL_MAX:
            raise SeriesError(f"{WHAT}: a label has no whole number of 0 to {LABEL_MAX}; masks can keep no other")
        if name == IGNORE:
            raise SeriesError(
                f"{WHAT} has a label for voxels to be ignored, which masks cannot keep apart; label them, or remove it"
            )
        found.append((name, number))
    numbers = [number for _, number in found]
    if len(set(numbers)) < len(numbers) or len(dict(found)) < len(found):
        raise SeriesError(f"{WHAT}: two labels share a name or a number; each needs its own")
    return tuple((name, number) for name, number in found if number)


def _read_list(entries: object, key: str) -> tuple[Entry, ...]:
    if not isinstance(entries, list):
        raise SeriesError(f"{WHAT} has neither channel_names nor a list of cases under {key}; one of them is expected")
    found = tuple(_read_entry(entry, key) for entry in entries)
    if len({entry.name for entry in found}) < len(found):
        raise SeriesError(f"{WHAT} lists a case twice under {key}; each is expected once")
    return found


def _read_entry(entry: object, key: str) -> Entry:
    """Read one case of a list. Paths only choose among the files found, so that none can lead elsewhere."""
    values = entry if isinstance(entry, dict) else {"image": entry}
    image, label = values.get("image"), values.get("label")
    if not isinstance(image, str) or not (isinstance(label, str) or (label is None and key == "test")):
        raise SeriesError(f"{WHAT}: an entry under {key} does not name its image, or not its label")
    path = _read_path(image)
    stem = name_stem(Path(path.name))
    if not stem:
        raise SeriesError(f"{WHAT}: an entry under {key} names no file")
    # nnU-Net's first version lists images without the channel number that their files carry.
    numbered = path.with_name(path.name.replace(stem, f"{stem}_0000", 1))
    return Entry(stem, (path, numbered), None if label is None else _read_path(label))


def _read_path(text: str) -> PurePosixPath:
    """Read a path, whose folders Windows parts by backslashes."""
    return PurePosixPath(text if "/" in text else text.replace("\\", "/"))
