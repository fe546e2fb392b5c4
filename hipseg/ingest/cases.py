"""Folder tree -> cases; case -> grid and a stream of slices in Hounsfield units with their labels."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from hipseg.axes import SliceI16
from hipseg.errors import ConfigError, MaskError, SeriesError
from hipseg.geometry import Grid
from hipseg.ingest.ahead import Span, fetch_ahead
from hipseg.ingest.archive import ZipMember
from hipseg.ingest.compressed import MAX_FRAME_PIXELS
from hipseg.ingest.ctorg import find_ctorg_cases
from hipseg.ingest.enhanced import FrameReader
from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.hounsfield import ValueWatch, check_hu
from hipseg.ingest.joining import DEFAULT_RULES, LabelSlices, MaskRules
from hipseg.ingest.layout import Layout, detect_layout
from hipseg.ingest.masks import OpenedMasks, check_rois, open_masks
from hipseg.ingest.niftiimage import open_nifti_image
from hipseg.ingest.nnunet import find_nnunet_cases
from hipseg.ingest.pixels import read_slice_hu
from hipseg.ingest.rounding import Rounding
from hipseg.ingest.rtstruct import read_structure_set
from hipseg.ingest.segmentation import read_segmentation
from hipseg.ingest.series import OrderedSeries, order_series
from hipseg.ingest.source import FoundCases, SourceCase, load_case
from hipseg.ingest.structures import MaskSources, StructureName, find_names, has_masks
from hipseg.ingest.tilt import Straightening, plan_straightening, straighten_image
from hipseg.ingest.tree import find_dicom_cases
from hipseg.labels import BACKGROUND_LABEL, MaskKind

FINDERS: Mapping[Layout, Callable[[Path], FoundCases]] = MappingProxyType(
    {"dicom": find_dicom_cases, "nnunet": find_nnunet_cases, "ctorg": find_ctorg_cases}
)

LateWarnings = Callable[[], tuple[str, ...]]
"""Gives warnings that only the slices show, when all have been read."""


@dataclass(frozen=True)
class Choosing:
    """Which structures become which labels, and by which rules."""

    rois: Mapping[str, int]
    rules: MaskRules


@dataclass(frozen=True)
class OpenedCase:
    """A case whose geometry and mask sources are checked.

    Args:
        grid: where its voxels lie.
        mask_kind: kind of mask source; None where there is none at all.
        slices: by rising slice number of the grid, int16 (y, x) HU with uint8 (y, x) labels, None without mask. Running it
            may raise SeriesError or MaskError.
        warnings: what was taken although it is not as it should be, one sentence each, without any text of the source.
        late_warnings: gives more of them, that only the slices show; to be called when all have run.
    """

    grid: Grid
    mask_kind: MaskKind | None
    slices: Iterator[tuple[NDArray[np.int16], NDArray[np.uint8] | None]]
    warnings: tuple[str, ...] = ()
    late_warnings: LateWarnings = tuple


def find_cases(root: Path, layout: Layout | None = None) -> FoundCases:
    """Find the CT series or volumes below a folder, and the mask sources that belong to each.

    Args:
        root: the folder; links below it are not followed.
        layout: how it is laid out; None to find out.
    Returns:
        The cases, and what was left aside. A series that cannot be packed is a case here and refused when it is opened.
    Raises:
        ConfigError: there is no such folder, its layout is ambiguous, or what is found has no room in the folder for temporary
            files.
        SeriesError: it holds no case, or is not laid out as it should be.
    """
    if not _is_folder(root):
        raise ConfigError(f"no folder at {root}; name the folder that holds the CT series")
    return FINDERS[layout or detect_layout(root)](root)


def list_structures(source: SourceCase) -> tuple[StructureName, ...]:
    """List the structures of a case by the names that choose them.

    Raises:
        MaskError: an RTSTRUCT or DICOM SEG file cannot be read.
    """
    loaded = load_case(source)
    return find_names(_mask_sources(loaded, loaded.images))


def open_case(
    source: SourceCase, case: str, rois: Mapping[str, int], *, untilt: bool = False, rules: MaskRules = DEFAULT_RULES
) -> OpenedCase:
    """Check a case and open it for reading.

    Args:
        source: the case, as `find_cases` gives it.
        case: its key, for messages.
        rois: label number by structure name; empty for the case's only structure (label 1; a NIfTI keeps its labels).
        untilt: whether a series with gantry tilt is sheared back instead of refused.
        rules: what is done where masks leave it open.
    Returns:
        The opened case. At most one slice is decoded at a time.
    Raises:
        SeriesError: the images are not one volume.
        MaskError: there is a mask source, but no mask can be made of it.
        ConfigError: a label number is not 1 to 255, or the folder for temporary files cannot be written or is full.
    """
    check_rois(rois)
    if source.fault:
        raise SeriesError(f"case {case}: {source.fault}")
    if source.volume is not None:
        return _open_volume(source, source.volume, case, Choosing(rois, rules))
    source = load_case(source)
    if source.damaged:
        raise SeriesError(
            f"damaged file in case {case}: {source.damaged} of {len(source.images) + source.damaged} files beside each other are "
            "empty, break off inside the header or unpack too far; copy or export the series again"
        )
    return _open_series(source, order_series(source.images, case, takes_tilt=untilt), case, Choosing(rois, rules))


def _open_series(source: SourceCase, series: OrderedSeries, case: str, choosing: Choosing) -> OpenedCase:
    plan = plan_straightening(series) if series.shifts_mm_yx else None
    _, rows, columns = (series if plan is None else plan.series).grid.shape_zyx
    if rows * columns > MAX_FRAME_PIXELS:
        # Before anything takes room for them.
        raise SeriesError(
            f"giant images in case {case}: {rows} x {columns} pixels, at most {MAX_FRAME_PIXELS} are read; export them again"
        )
    try:
        masks = _open_labels(source, series, plan, choosing)
    except MaskError as error:
        raise MaskError(f"mask of case {case}: {error}") from error
    grid, warnings = (series.grid, series.warnings) if plan is None else (plan.series.grid, plan.series.warnings)
    if source.stacks > 1:
        warnings = (f"one of {source.stacks} stacks of one series, each packed as a case of its own", *warnings)
    if source.warning:
        warnings = (source.warning, *warnings)
    kind, labels, mask_warnings, late_warnings = _take_apart(masks)
    values = ValueWatch()
    slices = _read_slices(series, labels, case, plan, values.rounding)
    late = partial(_join_warnings, values.warnings, late_warnings)
    return OpenedCase(grid, kind, values.watch(slices, case), (*warnings, *mask_warnings), late)


def _open_volume(source: SourceCase, path: Path, case: str, choosing: Choosing) -> OpenedCase:
    values = ValueWatch()
    try:
        grid, images = open_nifti_image(path, values.rounding)
    except SeriesError as error:
        raise SeriesError(f"case {case}: {error}") from error
    try:
        masks = _open_labels(source, OrderedSeries((), grid), None, choosing)
    except MaskError as error:
        raise MaskError(f"mask of case {case}: {error}") from error
    kind, labels, warnings, late_warnings = _take_apart(masks)
    numbers = {number for nifti in source.niftis for _, number in nifti.names}
    # Structures chosen by name have numbers of the user's.
    declared = None if choosing.rois or not numbers else frozenset(numbers)
    slices = _read_volume(images, labels, case, declared)
    late = partial(_join_warnings, values.warnings, late_warnings)
    return OpenedCase(grid, kind, values.watch(slices, case), warnings, late)


def _open_labels(source: SourceCase, series: OrderedSeries, plan: Straightening | None, choosing: Choosing) -> OpenedMasks | None:
    sources = _mask_sources(source, series.headers)
    rois, rules = choosing.rois, choosing.rules
    if has_masks(sources, rois):
        return open_masks(sources, series, rois, rules, plan)
    if source.strangers:
        raise MaskError(
            f"{source.strangers} mask files (RTSTRUCT, DICOM SEG or captures with overlay planes) beside the series, and no mask "
            "of its own: they name another series, other images and another frame of reference, or lie off its slices; draw them "
            "on this series, or move them elsewhere"
        )
    return None


def _take_apart(masks: OpenedMasks | None) -> tuple[MaskKind | None, LabelSlices | None, tuple[str, ...], LateWarnings]:
    return (None, None, (), tuple) if masks is None else (masks.kind, masks.labels, masks.warnings, masks.late_warnings)


def _join_warnings(*sources: LateWarnings) -> tuple[str, ...]:
    return tuple(words for source in sources for words in source())


def _is_folder(root: Path) -> bool:
    try:
        return root.is_dir()
    except OSError:
        # A folder above may not be entered.
        return False


def _read_slices(
    series: OrderedSeries, labels: LabelSlices | None, case: str, plan: Straightening | None, rounding: Rounding
) -> Iterator[tuple[SliceI16, NDArray[np.uint8] | None]]:
    with closing(FrameReader()) as frames:
        for z, header in enumerate(fetch_ahead(series.headers, _locate)):
            where = f"case {case}, slice {z + 1} of {len(series.headers)} by position"
            try:
                image_hu = (
                    read_slice_hu(header.path, header, rounding) if header.frame is None else frames.read_hu(header, rounding)
                )
                check_hu(image_hu, header)
            except SeriesError as error:
                raise SeriesError(f"{where}: {error}") from error
            try:
                straight_hu = image_hu if plan is None else straighten_image(image_hu, plan, z)
                yield straight_hu, None if labels is None else labels(z)
            except MaskError as error:
                raise MaskError(f"mask of {where}: {error}") from error


def _locate(header: ImageHeader) -> Span | None:
    """Say which file to ask for: none of an archive, which is unpacked, and no file of many frames for each of them."""
    if header.frame is not None or isinstance(header.path, ZipMember) or header.stamp is None:
        return None
    return header.path, header.stamp.size_bytes


def _read_volume(
    images: Iterator[SliceI16], labels: LabelSlices | None, case: str, declared: frozenset[int] | None
) -> Iterator[tuple[SliceI16, NDArray[np.uint8] | None]]:
    try:
        for z, image_hu in enumerate(images):
            image_labels = None if labels is None else labels(z)
            if image_labels is not None and declared is not None:
                _check_declared(image_labels, declared)
            yield image_hu, image_labels
    except SeriesError as error:
        raise SeriesError(f"case {case}: {error}") from error
    except MaskError as error:
        raise MaskError(f"mask of case {case}: {error}") from error


def _check_declared(labels: NDArray[np.uint8], declared: frozenset[int]) -> None:
    others = set(np.unique(labels).tolist()) - declared - {BACKGROUND_LABEL}
    if others:
        raise MaskError(
            f"label {min(others)} is not among the {len(declared)} that its data set declares ({len(others)} such in one slice); "
            "mend the labels, or choose with --roi NAME=LABEL"
        )


def _mask_sources(source: SourceCase, headers: Sequence[ImageHeader]) -> MaskSources:
    return MaskSources(
        tuple(headers),
        tuple(read_structure_set(path) for path in source.rtstructs),
        source.niftis,
        tuple(read_segmentation(path) for path in source.segmentations),
        source.nrrds,
        source.carriers,
    )
