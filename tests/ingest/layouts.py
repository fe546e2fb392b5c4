"""Data sets of NIfTI volumes, built as nnU-Net, the Medical Segmentation Decathlon and CT-ORG lay them out."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tests.ingest.builders import volume_hu, write_nifti

RAS = np.diag([0.5, 0.75, 3.0, 1.0])
LABELS = {"background": 0, "femur of Secret": 1, "pelvis": 2}


def labels_zyx(seed: int = 0) -> np.ndarray:
    """Make labels 0 to 2 on the grid of `builders.volume_hu`."""
    return np.random.default_rng(seed).integers(0, 3, (4, 10, 12)).astype(np.uint8)


def write_pair(image: Path | None, label: Path | None, seed: int = 0) -> None:
    """Write an image and its labels, or one of them."""
    if image is not None:
        write_nifti(image, volume_hu(seed=seed).transpose(2, 1, 0), RAS)
    if label is not None:
        write_nifti(label, labels_zyx(seed).transpose(2, 1, 0), RAS)


def write_nnunet(root: Path, *, train: int = 2, tests: int = 1, ending: str = ".nii.gz", **changes: object) -> Path:
    """Write a data set; `changes` replace keys of dataset.json, None removes one."""
    for number in range(train + tests):
        name = f"Secret_{number:03d}"
        folder = "imagesTr" if number < train else "imagesTs"
        label = root / "labelsTr" / f"{name}{ending}" if number < train else None
        write_pair(root / folder / f"{name}_0000{ending}", label, number)
    write_description(
        root, {"channel_names": {"0": "CT"}, "labels": LABELS, "numTraining": train, "file_ending": ending} | changes
    )
    return root


def write_decathlon(root: Path, *, train: int = 2, tests: int = 1, channel: str = "", **changes: object) -> Path:
    """Write a data set with the older keys; `channel` is what files carry behind the names that the list has."""
    for number in range(train + tests):
        name = f"hip_{number}"
        if number < train:
            write_pair(root / "imagesTr" / f"{name}{channel}.nii.gz", root / "labelsTr" / f"{name}.nii.gz", number)
        else:
            write_pair(root / "imagesTs" / f"{name}{channel}.nii.gz", None, number)
    listed = {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "femur", "2": "pelvis"},
        "numTraining": train,
        "numTest": tests,
        "training": [{"image": f"./imagesTr/hip_{n}.nii.gz", "label": f"./labelsTr/hip_{n}.nii.gz"} for n in range(train)],
        "test": [f"./imagesTs/hip_{n}.nii.gz" for n in range(train, train + tests)],
    }
    write_description(root, listed | changes)
    return root


def write_description(root: Path, found: Mapping[str, object]) -> None:
    """Write dataset.json without the keys that are None."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.json").write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


def write_ctorg(root: Path, numbers: tuple[int, ...] = (0, 20, 21, 139)) -> Path:
    """Write volumes and labels of CT-ORG by their numbers."""
    for number in numbers:
        write_pair(root / f"volume-{number}.nii.gz", root / f"labels-{number}.nii.gz", number)
    return root
