"""A whole phantom data set on disk, in one step or not at all."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hipseg.errors import ConfigError
from hipseg.fsio import unwritable
from hipseg.ingest.nifti import write_volume
from hipseg.labels import HIP_LABEL, ORGAN_LABELS
from hipseg.phantom.anatomy import make_anatomy
from hipseg.phantom.dicom import LOCALIZER_NUMBER, SERIES_NUMBER, STRUCTURES_NUMBER, write_ct_series, write_localizer
from hipseg.phantom.identity import Identity
from hipseg.phantom.options import PhantomOptions
from hipseg.phantom.patients import Patient, plan_patients
from hipseg.phantom.scanner import scan
from hipseg.phantom.structures import write_structures

HIP_STRUCTURES: Mapping[str, int] = {"hip": HIP_LABEL}
ORGAN_STRUCTURES: Mapping[str, int] = {name: label for name, label in ORGAN_LABELS.items() if name != "brain"}
"""The trunk scan ends at the chest: there is no brain."""


@dataclass(frozen=True)
class WrittenPhantom:
    """What was written.

    Args:
        root: folder of the data set.
        patients: one folder each, in order.
        structures: label of each structure in the masks, by the name that a user chooses it with.
    """

    root: Path
    patients: tuple[Patient, ...]
    structures: Mapping[str, int]


def write_phantom(
    root: Path, options: PhantomOptions, on_patient: Callable[[Patient], None] = lambda _patient: None
) -> WrittenPhantom:
    """Write a phantom data set, the same bytes for the same options.

    Args:
        root: new or empty folder; its patients' folders appear all at once when the last is done.
        options: what to write.
        on_patient: called after each patient is drawn.
    Returns:
        What was written.
    Raises:
        ConfigError: the folder holds something already, or cannot be written.
    """
    structures = ORGAN_STRUCTURES if options.organs else HIP_STRUCTURES
    patients = plan_patients(options)
    with _new_folder(root) as folder:
        for patient in patients:
            _write_patient(folder, Identity(patient, options), structures)
            on_patient(patient)
    return WrittenPhantom(root, patients, structures)


def _write_patient(root: Path, identity: Identity, structures: Mapping[str, int]) -> None:
    patient, options = identity.patient, identity.options
    slices = tuple(scan(patient, make_anatomy(patient, options.organs)))
    folder = root / identity.patient_id
    folder.mkdir()
    series = folder / _name_series(SERIES_NUMBER)
    write_ct_series(series, identity, slices, structures if options.masks == "overlay" else {})
    if options.masks == "rtstruct":
        write_structures(folder / _name_series(STRUCTURES_NUMBER), identity, slices, structures)
    if options.masks == "nifti":
        name = "organs" if options.organs else "hip"
        write_volume(series / f"{name}.nii.gz", np.stack([scanned.labels for scanned in slices]), patient.grid)
    if patient.has_localizer:
        write_localizer(folder / _name_series(LOCALIZER_NUMBER), identity, slices)


def _name_series(number: int) -> str:
    return f"SE{number:04d}"


@contextlib.contextmanager
def _new_folder(root: Path) -> Iterator[Path]:
    """Give a temporary folder beside `root`, which takes its place when the block ends well."""
    target = root.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ConfigError(f"{root} is there already and not empty; name a new or an empty folder, nothing is overwritten")
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise unwritable(root, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
