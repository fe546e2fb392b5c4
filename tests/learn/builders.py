"""Small packed data sets on which a network can learn something in seconds, and settings as small as the networks allow."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from hipseg.axes import VolumeI16, VolumeU8
from hipseg.config import StudySettings
from hipseg.geometry import make_grid
from hipseg.learn.session import Session
from hipseg.runs import DatasetPaths
from hipseg.shards.manifest import Manifest, write_manifest
from hipseg.shards.storage import LOSSLESS, Storage
from hipseg.splits import split_patients, write_splits
from tests.shards.builders import pack_arrays

SLICES, ROWS, COLUMNS = 5, 96, 80


def disc_case(seed: int) -> tuple[VolumeI16, VolumeU8]:
    """A bright disc (label 1) and a dark one (label 2) in soft tissue, wandering from slice to slice."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:ROWS, :COLUMNS]
    image = rng.normal(40, 15, (SLICES, ROWS, COLUMNS)).astype(np.int16)
    labels = np.zeros(image.shape, np.uint8)
    for z in range(SLICES):
        for label, hu in ((1, 700), (2, -150)):
            cy, cx, radius = rng.integers(25, ROWS - 25), rng.integers(20, COLUMNS - 20), rng.integers(12, 18)
            inside = ((y - cy) ** 2 + (x - cx) ** 2 <= radius**2) & (labels[z] == 0)
            labels[z][inside] = label
            image[z][inside] = hu
    return image, labels


def pack_discs(
    root: Path, patients: int = 3, *, folds: int = 0, first: int = 0, storage: Storage = LOSSLESS
) -> tuple[DatasetPaths, Manifest]:
    """Pack one disc case a patient, whose numbers begin with `first`, and deal them into folds where some are asked for."""
    paths = DatasetPaths(root)
    grid = make_grid((SLICES, ROWS, COLUMNS), (3.0, 0.8, 0.8), (-32.0, -38.0, 10.0), np.eye(3))
    records = [
        pack_arrays(paths, f"c{number}", f"p{number}", *disc_case(number), grid, storage=storage)
        for number in range(first, first + patients)
    ]
    manifest = Manifest(tuple(records), (), {}, {})
    write_manifest(paths, manifest)
    if folds:
        write_splits(paths, split_patients(manifest.cases, folds, seed=0))
    return paths, manifest


def small_settings(root: Path, **changes: object) -> StudySettings:
    """A study of slim networks on discs: data in `root/shards` and `root/organs`, results in `root/results`."""
    values = {
        "shards": root / "shards",
        "results": root / "results",
        "folds": 3,
        "feed": {"input_side": 256},
        "networks": {
            "modified_unet": {"encoder_filters": (4, 6, 8, 9, 10, 11, 12, 13), "decoder_filters": (12, 11, 10, 9, 8, 6, 4)},
            "unet": {"base_filters": 2},
        },
        "train": {"epochs": 2, "batch_size": 4},
        "pretrain": {
            "shards": root / "organs",
            "organs": {"bright": 1, "dark": 2},
            "train": {"epochs": 2, "batch_size": 4},
        },
    }
    return StudySettings.model_validate({**values, **changes})


def quiet_console() -> Console:
    """A console that is no terminal; `console.file.getvalue()` is what was printed."""
    return Console(file=io.StringIO(), force_terminal=False, width=60)


def quiet_session(**changes: Any) -> Session:
    """One process alone with a quiet console and no variables; `session.console.file.getvalue()` is what was printed."""
    return Session(**{"console": quiet_console(), "environment": {}, **changes})
