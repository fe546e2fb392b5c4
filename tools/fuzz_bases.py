"""The good data sets that `fuzz_ingest` damages: what each holds, and in which bytes a change cannot be seen by any reader."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import imagecodecs
import nrrd
import numpy as np
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)

from hipseg.ingest.elements import UNDEFINED_LENGTH
from tests.ingest.builders import Plane, rectangle_mm, volume_hu, write_ct_series, write_nifti, write_rtstruct
from tests.ingest.enhanced_builder import write_enhanced
from tests.ingest.media import write_medium, zip_folder
from tests.ingest.seg_builder import read_sources, write_seg

Kind = Literal["cases", "slices", "grid", "values", "mask"]
"""In what a data set differs: number of cases; slices, rows or columns; places of voxels; Hounsfield units; labels."""

SLICES, ROWS, COLUMNS = 3, 10, 12
SPACING_MM_ZYX, ORIGIN_MM_XYZ = (3.0, 0.75, 0.5), (-10.0, -20.0, 100.0)
NIFTI_VOXELS = 352
"""Where the voxels of a NIfTI file begin. Source: NIfTI-1, vox_offset of a single file."""
UNSEEN: Mapping[int, Kind] = {0x7FE00010: "values", 0x60003000: "mask", 0x60000050: "mask", 0x30060050: "mask"}
"""Elements whose value can be another one without any other part of the data saying so: pixels, the bits and the origin of an
overlay plane, the corners of a contour."""
UNSEEN_IN_ENHANCED: Mapping[int, Kind] = {0x00280030: "grid", 0x00200037: "grid"}
"""The same of what one file says once for all slices: pixel spacing and orientation."""


@dataclass(frozen=True)
class Truth:
    """What a case holds: HU, int16 (z, y, x), and labels, uint8 (z, y, x), None without mask."""

    volume: np.ndarray
    labels: np.ndarray | None = None


@dataclass(frozen=True)
class Span:
    """Bytes of a file in which a change may make a difference of one kind, or of any, that no reader can see."""

    first: int
    end: int
    kind: Kind | None


@dataclass(frozen=True)
class Base:
    """A good data set.

    Args:
        folder: where it lies.
        truths: its cases.
        rois: labels by structure name.
        set_aside: number of its files that are no input.
        unseen: by file, relative to the folder.
    """

    folder: Path
    truths: tuple[Truth, ...]
    rois: Mapping[str, int] = field(default_factory=dict)
    set_aside: int = 0
    unseen: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.folder.name


def write_bases(root: Path) -> list[Base]:
    """Write the good data sets."""
    volume, labels = volume_hu(SLICES, ROWS, COLUMNS), np.zeros((SLICES, ROWS, COLUMNS), np.uint8)
    labels[1:, 2:7, 3:9] = 1
    bases = [
        *_write_uncompressed(root, volume, labels),
        *_write_compressed(root, volume),
        *_write_masks(root, volume, labels),
        _write_archive(root / "archive", volume, labels),
        _write_medium(root / "medium"),
    ]
    return [replace(one, unseen=_find_unseen(one.folder)) for one in bases]


def list_files(folder: Path) -> list[Path]:
    """List the files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _planes(labels: np.ndarray) -> dict[int, list[Plane]]:
    return {z: [Plane(image > 0, label="bone")] for z, image in enumerate(labels) if image.any()}


def _write_uncompressed(root: Path, volume: np.ndarray, labels: np.ndarray) -> Iterator[Base]:
    for name, syntax in {"native": "1.2.840.10008.1.2.1", "implicit": ImplicitVRLittleEndian}.items():
        write_ct_series(root / name, volume, overlays=_planes(labels), syntax=syntax)
        yield Base(root / name, (Truth(volume, labels),), {"bone": 1})
    for name, syntax in {"big": ExplicitVRBigEndian, "deflated": DeflatedExplicitVRLittleEndian}.items():
        write_ct_series(root / name, volume, syntax=syntax)
        yield Base(root / name, (Truth(volume),))
    write_enhanced(root / "enhanced" / "multi", volume)
    yield Base(root / "enhanced", (Truth(volume),))


def _write_compressed(root: Path, volume: np.ndarray) -> Iterator[Base]:
    encoders: dict[UID, Callable[[np.ndarray], bytes] | None] = {
        RLELossless: None,
        JPEGLosslessSV1: lambda stored: imagecodecs.jpeg8_encode(stored.view(np.uint16), lossless=True, bitspersample=16),
        JPEG2000Lossless: lambda stored: imagecodecs.jpeg2k_encode(stored, codecformat="j2k", reversible=True, level=0),
    }
    for name, (syntax, encode) in zip(("rle", "jpeg", "jpeg2000"), encoders.items(), strict=True):
        for path in write_ct_series(root / name, volume):
            dataset = dcmread(path)
            if encode is None:
                dataset.compress(syntax)
            else:
                dataset.PixelData = encapsulate([encode(np.ascontiguousarray(dataset.pixel_array))])
                dataset["PixelData"].is_undefined_length, dataset["PixelData"].VR = True, "OB"
                dataset.file_meta.TransferSyntaxUID = syntax
            dataset.save_as(path)
        yield Base(root / name, (Truth(volume),))


def _write_masks(root: Path, volume: np.ndarray, labels: np.ndarray) -> Iterator[Base]:
    truths = (Truth(volume, labels),)
    write_ct_series(root / "rtstruct", volume)
    # Half a pixel around the centres of columns 3 to 8 and rows 2 to 6.
    corners = {z: rectangle_mm((-8.75, -5.75), (-18.875, -15.125), 100.0 + 3.0 * z) for z in range(SLICES)}
    write_rtstruct(root / "rtstruct" / "rs", {"bone": [corners[1], corners[2]], "other": [corners[0]]})
    yield Base(root / "rtstruct", truths, {"bone": 1})
    affine = np.diag([-0.5, -0.75, 3.0, 1.0])
    affine[:3, 3] = [10.0, 20.0, 100.0]
    for name in ("mask.nii", "mask.nii.gz"):
        write_ct_series(root / name, volume)
        write_nifti(root / name / name, labels.transpose(2, 1, 0), affine)
        yield Base(root / name, truths)
    paths = write_ct_series(root / "seg", volume)
    write_seg(root / "seg" / "mask.dcm", read_sources(paths), labels > 0, ["bone"])
    yield Base(root / "seg", truths, {"bone": 1})
    paths = write_ct_series(root / "labelmap", volume)
    label_map = write_seg(root / "labelmap" / "mask.dcm", read_sources(paths), labels, ["bone"], "LABELMAP")
    dataset = dcmread(label_map)
    dataset.compress(RLELossless)
    dataset.save_as(label_map)
    yield Base(root / "labelmap", truths, {"bone": 1})
    write_ct_series(root / "nrrd", volume)
    directions = np.diag(SPACING_MM_ZYX[::-1])
    fields = {"space": "left-posterior-superior", "space directions": directions, "space origin": np.array(ORIGIN_MM_XYZ)}
    nrrd.write(str(root / "nrrd" / "mask.nrrd"), labels.transpose(2, 1, 0), fields)
    yield Base(root / "nrrd", truths)


def _write_archive(folder: Path, volume: np.ndarray, labels: np.ndarray) -> Base:
    loose = folder.parent.parent / "loose"
    write_ct_series(loose, volume, overlays=_planes(labels))
    zip_folder(loose, folder / "patient.zip")
    return Base(folder, (Truth(volume, labels),), {"bone": 1}, set_aside=1)


def _write_medium(folder: Path) -> Base:
    write_medium(folder)
    return Base(folder, tuple(Truth(volume_hu(seed=seed)) for seed in range(2)), set_aside=1)


def _find_unseen(folder: Path) -> dict[str, tuple[Span, ...]]:
    return {path.relative_to(folder).as_posix(): tuple(_find_spans(path)) for path in list_files(folder)}


def _find_spans(path: Path) -> Iterator[Span]:
    size = path.stat().st_size
    if path.suffix == ".nii":
        yield Span(NIFTI_VOXELS, size, "mask")
    if path.name == "DICOMDIR" or path.suffix in (".nii", ".gz", ".nrrd", ".zip"):
        return
    dataset = dcmread(path)
    if dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        # A deflated stream has no checksum here: another bit can be any other data set.
        yield Span(0, size, None)
        return
    is_mask = dataset.get("Modality") == "SEG"
    unseen = {**UNSEEN, **(UNSEEN_IN_ENHANCED if "PerFrameFunctionalGroupsSequence" in dataset and not is_mask else {})}
    for tag, first, length in _walk(dataset):
        if tag in unseen:
            table_bytes = _measure_table(path, first) if length == UNDEFINED_LENGTH else 0
            yield Span(first + table_bytes, min(first + length, size), "mask" if is_mask else unseen[tag])


def _measure_table(path: Path, first: int) -> int:
    """Give the length of the item that compressed pixels begin with; its offsets can be compared with what they point to."""
    head = path.read_bytes()[first : first + 8]
    return 8 + int.from_bytes(head[4:], "little")


def _walk(dataset: Dataset, begin: int = 0) -> Iterator[tuple[int, int, int]]:
    """Give the tag of each value in a data set that begins at a position, where it begins, and its length as announced."""
    for tag, raw in list(dataset.items()):
        is_raw = isinstance(raw, RawDataElement)
        first = begin + int((raw.value_tell if is_raw else raw.file_tell) or 0)
        yield int(tag), first, raw.length if is_raw else UNDEFINED_LENGTH
        element = dataset[tag]
        for item in element.value if element.VR == "SQ" else ():
            # pydicom counts from the begin of a sequence of known length, whose bytes it reads by themselves.
            yield from _walk(item, first if is_raw else begin)
