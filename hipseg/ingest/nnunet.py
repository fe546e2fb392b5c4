"""nnU-Net's raw data sets, and those with the older keys of the Medical Segmentation Decathlon."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType

from hipseg.errors import SeriesError
from hipseg.ingest.description import ENDINGS, Description, Entry, read_description
from hipseg.ingest.layout import DESCRIPTION, LAYOUTS, SYMBOLIC_LINK, Listing, list_files, say_links
from hipseg.ingest.pairing import NiftiFile
from hipseg.ingest.source import FoundCases, SourceCase
from hipseg.labels import Subset

CHANNEL = re.compile(r"(.+)_(\d{4})")
FIRST_CHANNEL = "0000"
OTHER_FILE = "no image or label of the nnU-Net data set"
FOLDERS: Mapping[Subset, str] = MappingProxyType({"train": "imagesTr", "test": "imagesTs"})
LABEL_FOLDER = "labelsTr"


def find_nnunet_cases(root: Path) -> FoundCases:
    """Find the cases of one nnU-Net data set.

    A case has the data set's folder and its own name as identity, and counts as a patient of its own. Training cases have their
    label file as mask, in which the names in dataset.json choose label numbers; test cases have none.

    Args:
        root: the folder with dataset.json, which alone may be a link: it says what labels mean, and nothing of a patient.
    Returns:
        The cases. One without image or labels, with several channels or without a channel number is a case here and refused
        when it is opened.
    Raises:
        SeriesError: there is no usable dataset.json, it describes other images than CT of one channel, or the number of training
            cases is not what it says.
    Source: nnU-Net, documentation/dataset_format.md.
    """
    description = read_description(root / DESCRIPTION)
    listing = list_files(root)
    dataset = root.resolve().name
    find = _find_listed if description.training is not None else _find_named
    found = (replace(one, description=root / DESCRIPTION) for one in find(description, listing, dataset))
    cases = sorted(found, key=lambda one: (one.patient_id, one.series_uid))
    training = [one for one in cases if one.subset == "train"]
    images = sum(one.volume is not None for one in training)
    if description.num_training not in (images, len(training)):
        raise SeriesError(
            f"{DESCRIPTION} announces {description.num_training} training cases (numTraining), {images} are found in "
            f"{FOLDERS['train']}{_say_endings(listing, description)}; complete the data set, or mend the number"
            f"{say_links(listing)}"
        )
    set_aside = Counter(listing.set_aside)
    used = {path for one in cases for path in (one.volume, *(nifti.path for nifti in one.niftis)) if path is not None}
    is_linked = PurePosixPath(DESCRIPTION) not in listing.files
    set_aside -= Counter([SYMBOLIC_LINK] if is_linked else ())
    others = len(listing.files) - len(used) - (not is_linked)
    set_aside.update({OTHER_FILE: others} if others else {})
    layout = f"{LAYOUTS['nnunet']}, {len(training)} training and {len(cases) - len(training)} test cases"
    aside = MappingProxyType(dict(sorted(set_aside.items())))
    return FoundCases(tuple(cases), listing.files_seen, aside, layout, _remark_on_lists(description))


def _say_endings(listing: Listing, description: Description) -> str:
    """Say how many volumes lie there under another ending than the declared one; empty where there is none."""
    inside = [one.name for one in listing.files if one.parent == PurePosixPath(FOLDERS["train"]) and not one.name.startswith(".")]
    others = [name for name in inside if name.endswith(ENDINGS) and not name.endswith(description.file_ending)]
    return f" ({len(others)} there have another ending than the file_ending {description.file_ending})" if others else ""


def _remark_on_lists(description: Description) -> tuple[str, ...]:
    if not description.unread:
        return ()
    words = f"{DESCRIPTION} lists {description.unread} cases under validation, which is not read"
    return (f"{words}; list them under training or test to have them packed",)


def _find_named(description: Description, listing: Listing, dataset: str) -> Iterator[SourceCase]:
    """Find cases by the names of their files: CASE_0000 and the file ending."""
    for subset, folder in FOLDERS.items():
        channels: dict[str, list[str]] = defaultdict(list)
        for stem in _stems(listing, folder, description.file_ending):
            match = CHANNEL.fullmatch(stem)
            channels[match[1] if match else stem].append(match[2] if match else "")
        labels = set(_stems(listing, LABEL_FOLDER, description.file_ending)) if subset == "train" else set()
        for name in sorted(labels | set(channels)):
            image = PurePosixPath(folder, f"{name}_{FIRST_CHANNEL}{description.file_ending}")
            label = PurePosixPath(LABEL_FOLDER, f"{name}{description.file_ending}") if subset == "train" else None
            fault = _find_channel_fault(channels[name]) if name in channels else ""
            yield _make_case(Entry(name, (image,), label), subset, listing, dataset, description, fault=fault)


def _stems(listing: Listing, folder: str, ending: str) -> Iterable[str]:
    """Give the names of the files of one folder, hidden ones left out: some systems leave theirs everywhere."""
    inside = (one.name for one in listing.files if one.parent == PurePosixPath(folder))
    return (name.removesuffix(ending) for name in inside if name.endswith(ending) and not name.startswith("."))


def _find_channel_fault(channels: list[str]) -> str:
    if channels == [FIRST_CHANNEL]:
        return ""
    if "" in channels:
        return f"an image without channel number; _{FIRST_CHANNEL} is expected behind its name: rename it"
    return f"{len(channels)} channels, none or others beside _{FIRST_CHANNEL}; one CT image is expected: remove the others"


def _find_listed(description: Description, listing: Listing, dataset: str) -> Iterator[SourceCase]:
    """Find cases by the lists in dataset.json, as the older keys have them."""
    listed: Mapping[Subset, tuple[Entry, ...]] = {"train": description.training or (), "test": description.test}
    for subset, entries in listed.items():
        for entry in entries:
            yield _make_case(entry, subset, listing, dataset, description)


def _make_case(
    entry: Entry, subset: Subset, listing: Listing, dataset: str, description: Description, *, fault: str = ""
) -> SourceCase:
    image = next((listing.files[one] for one in entry.images if one in listing.files), None)
    label = listing.files.get(entry.label) if entry.label is not None else None
    if not fault and image is None:
        fault = f"it has labels, or a place in dataset.json, but no image; add the image, or take it out{say_links(listing)}"
        if entry.images[0].is_absolute() or PureWindowsPath(entry.images[0]).drive:
            fault += f" (its path begins at the root of a disk; write it as seen from {DESCRIPTION})"
    if not fault and subset == "train" and label is None:
        fault = f"a training image without labels; add its file to {LABEL_FOLDER}, or move the image to {FOLDERS['test']}"
        fault += say_links(listing)
    return SourceCase(
        f"{dataset}/{entry.name}",
        f"{dataset}/{FOLDERS[subset]}",
        entry.images[0].as_posix(),
        niftis=() if label is None else (NiftiFile(label, names=description.labels),),
        volume=image,
        fault=fault,
        subset=subset,
    )
