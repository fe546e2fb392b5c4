"""Chosen structures of a case, joined into one label slice after another."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np

from hipseg.axes import SliceBool, SliceU8
from hipseg.errors import ConfigError, MaskError
from hipseg.geometry import Grid
from hipseg.ingest.absent import LabelWatch
from hipseg.ingest.carriers import find_oddities, place_carrier
from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.joining import DEFAULT_RULES, LabelSlices, Layer, MaskRules, ReadMask, join_layers
from hipseg.ingest.labels import LABEL_MAX, LabelVolume
from hipseg.ingest.nifti import WHAT, open_labels_on, read_grid
from hipseg.ingest.nrrd import open_nrrd_on
from hipseg.ingest.overlay import FIRST_FRAME, OverlayReader
from hipseg.ingest.overlaynames import OverlayStructure, check_words
from hipseg.ingest.planes import AS_IT_IS, number_slices
from hipseg.ingest.rtstruct import Structure, check_gaps, fill_contours
from hipseg.ingest.scratch import Scratch
from hipseg.ingest.segframes import Decoders
from hipseg.ingest.segmentation import Segmentation, check_steps, open_segment, place_frames
from hipseg.ingest.series import OrderedSeries
from hipseg.ingest.sides import check_chosen_sides
from hipseg.ingest.structures import (
    KINDS,
    AnyStructure,
    MaskSources,
    NiftiStructure,
    NrrdStructure,
    SegmentStructure,
    check_lists,
    find_by_name,
    find_structures,
    kind_of,
)
from hipseg.ingest.tilt import Straightening, straighten_labels
from hipseg.ingest.turning import AxisMatch, match_axes, turn_volume
from hipseg.labels import BACKGROUND_LABEL, MaskKind

Choice = tuple[int, AnyStructure]
"""Label number and structure."""

ONLY_LABEL = 1
"""What a case's only structure becomes where none is chosen by name."""
ON_SLICES: tuple[MaskKind, ...] = ("overlay", "segmentation")
"""Kinds of mask source that lie on the slices of the series, plane by plane."""
VOLUMES: tuple[MaskKind, ...] = ("nifti", "nrrd")
"""Kinds whose files hold numbers, one a voxel."""
CHOOSE = "choose with --roi NAME=LABEL; --list-roi shows the names"


@dataclass(frozen=True)
class OpenedMasks:
    """The masks of a case, ready to be read.

    Args:
        kind: kind of mask source.
        labels: gives the labels of a slice.
        warnings: what was taken although it is not as it should be, one sentence each, without any text of the source.
        late_warnings: gives more of them, that only the slices show; to be called when all have been read.
    """

    kind: MaskKind
    labels: LabelSlices
    warnings: tuple[str, ...] = ()
    late_warnings: Callable[[], tuple[str, ...]] = tuple


@dataclass(frozen=True, repr=False)
class _Case:
    """What the masks of a case are made from, and what is odd about them; `late` tells it when all slices were read."""

    sources: MaskSources
    series: OrderedSeries
    rules: MaskRules
    warnings: list[str]
    late: list[Callable[[], Iterable[str]]] = field(default_factory=list)

    def say_late(self) -> tuple[str, ...]:
        return tuple(words for say in self.late for words in say())


def check_rois(rois: Mapping[str, int]) -> None:
    """Refuse label numbers that a mask cannot hold.

    Raises:
        ConfigError: a label is not 1 to 255.
    """
    for label in rois.values():
        if not BACKGROUND_LABEL < label <= LABEL_MAX:
            raise ConfigError(f"label {label} cannot be given to a structure; 1 to {LABEL_MAX} are accepted (0 is background)")


def open_masks(
    sources: MaskSources,
    series: OrderedSeries,
    rois: Mapping[str, int],
    rules: MaskRules = DEFAULT_RULES,
    plan: Straightening | None = None,
) -> OpenedMasks:
    """Choose structures of a case that has mask sources, and make them ready to be read slice by slice.

    Args:
        sources: the case's mask sources, not empty.
        series: its slices and grid.
        rois: label by name, in the order of precedence; empty for the only structure there is.
        rules: what is done where the source leaves it open.
        plan: how the slices of a tilted series are sheared back; the labels come on its straight grid then.
    Returns:
        The label slices, and of what kind they are. Contours are held as polygons, NIfTI and NRRD labels on disk, in a file
        without a name; overlay planes and the frames of a SEG are read with each slice.
    Raises:
        MaskError: nothing or too much is there to choose from, or a structure cannot be brought onto the grid.
        ConfigError: the folder for temporary files cannot be written, or its disk is full.
    """
    warnings: list[str] = []
    choices = _choose_by_name(sources, rois, warnings) if rois else [(ONLY_LABEL, _choose_only(sources))]
    kinds = {kind_of(structure) for _, structure in choices}
    if len(kinds) > 1:
        raise MaskError(
            f"the structures chosen lie in mask sources of {len(kinds)} kinds ({_list_kinds(kinds)}); choose from one kind"
        )
    kind = kinds.pop()
    # Contours and volumes lie in the patient and fall on a straight grid by themselves; planes lie on the slices as they were.
    if plan is not None and kind not in ON_SLICES:
        series = plan.series
    case = _Case(sources, series, rules, warnings)
    labels = _open_labels(kind, choices, case, keeps_labels=not rois)
    if plan is not None and kind in ON_SLICES:
        labels = partial(_straighten, labels, plan)
    # A file of numbers keeps those that it has.
    watch = LabelWatch(labels, () if kind in VOLUMES and not rois else {label for label, _ in choices})
    case.late.append(watch.warnings)
    return OpenedMasks(kind, watch.read, tuple(warnings), case.say_late)


def _open_labels(kind: MaskKind, choices: Sequence[Choice], case: _Case, *, keeps_labels: bool) -> LabelSlices:
    if kind in VOLUMES:
        return _open_volumes(choices, case, keeps_labels=keeps_labels)
    openers: Mapping[MaskKind, Callable[[Sequence[Choice], _Case], list[Layer]]] = {
        "overlay": _open_overlays,
        "rtstruct": _open_contours,
        "segmentation": _open_segments,
    }
    return join_layers(openers[kind](choices, case), case.series.grid.shape_zyx, case.rules.overlap)


def _straighten(labels: LabelSlices, plan: Straightening, z: int) -> SliceU8:
    return straighten_labels(labels(z), plan, z)


def _choose_by_name(sources: MaskSources, rois: Mapping[str, int], warnings: list[str]) -> list[Choice]:
    choices: list[Choice] = []
    for name, label in rois.items():
        namesakes = find_by_name(name.strip(), sources)
        if len(namesakes) > 1:
            raise MaskError(
                f"the name given for label {label} is ambiguous: {len(namesakes)} structures have it ({_count(namesakes)}); "
                f"1 is expected: {_say_how_to_choose(namesakes)}"
            )
        choices += [(label, structure) for structure in namesakes]
    missing = sorted(set(rois.values()) - {label for label, _ in choices})
    if missing:
        check_lists(sources)
    if not choices:
        found = _count(find_structures(sources))
        raise MaskError(f"it has no structure of a name given with --roi ({len(rois)} given, it has {found}); {CHOOSE}")
    for label in missing:
        names = sum(other == label for other in rois.values())
        warnings.append(f"no structure of a name given for label {label} ({names} given): the case has no voxel of that label")
    return choices


def _say_how_to_choose(namesakes: Sequence[AnyStructure]) -> str:
    """Say how one of several structures of a name can be chosen alone."""
    holders = {id(one.carrier) for one in namesakes if isinstance(one, OverlayStructure)}
    if len(holders) < len(namesakes):
        return (
            "choose an overlay by its group, as 6000, a structure of an RTSTRUCT or a segment by its number; where they lie in "
            "several files, move all but one elsewhere"
        )
    return (
        "each in a series of its own: choose it as NAME@SERIES by that one's Series Description, Series Number or folder, as "
        "--list-roi shows it, or leave only one of these series in the tree"
    )


def _choose_only(sources: MaskSources) -> AnyStructure:
    found = find_structures(sources)
    if not found:
        raise MaskError("its mask sources hold no structure with an area; draw one, or move the mask files elsewhere")
    if len(found) > 1:
        raise MaskError(f"{len(found)} structures ({_count(found)}); {CHOOSE}")
    return found[0]


def _count(structures: Sequence[AnyStructure]) -> str:
    return _list_kinds(kind_of(structure) for structure in structures) or "none"


def _list_kinds(kinds: Iterable[MaskKind]) -> str:
    counts = Counter(kinds)
    return ", ".join(f"{counts[kind]} {words}" for kind, words in KINDS.items() if counts[kind])


def _open_overlays(choices: Sequence[Choice], case: _Case) -> list[Layer]:
    chosen = [(label, structure) for label, structure in choices if isinstance(structure, OverlayStructure)]
    placed = [(label, _place_overlay(structure, case)) for label, structure in chosen]
    reader = OverlayReader({group for _, structure in chosen for group in structure.groups.values()})
    case.late.append(partial(_warn_of_bits, reader))
    groups_by_image: dict[Path, set[int]] = defaultdict(set)
    shapes_yx: dict[Path, tuple[int, int]] = {}
    for _, overlay in placed:
        for number, group in overlay.structure.groups.items():
            image = overlay.images[number]
            groups_by_image[image.path].add(group)
            shapes_yx[image.path] = (image.rows or 0, image.columns or 0)

    # The planes of a slice lie in one file, which is read once for all structures.
    @lru_cache(maxsize=2)
    def read_planes(path: Path, frame: int) -> Mapping[int, SliceBool | None]:
        return reader.read(path, groups_by_image[path], shapes_yx[path], frame)

    return [(label, partial(overlay.read, read_planes)) for label, overlay in placed]


@dataclass(frozen=True, repr=False)
class _PlacedOverlay:
    """An overlay structure, the images that hold its planes, and by slice of the series which of them, turned how."""

    structure: OverlayStructure
    images: Sequence[ImageHeader]
    by_slice: Mapping[int, tuple[int, AxisMatch]]

    def read(self, read_planes: Callable[[Path, int], Mapping[int, SliceBool | None]], z: int) -> SliceBool | None:
        number, axes = self.by_slice.get(z, (-1, AS_IT_IS))
        if number not in self.structure.groups:
            return None
        image = self.images[number]
        mask = read_planes(image.path, FIRST_FRAME + (image.frame or 0))[self.structure.groups[number]]
        return None if mask is None else turn_volume(mask[np.newaxis], axes)[0]


def _place_overlay(structure: OverlayStructure, case: _Case) -> _PlacedOverlay:
    carrier, headers = structure.carrier, case.series.headers
    if carrier is None:
        placed = _PlacedOverlay(structure, headers, {z: (z, AS_IT_IS) for z in range(len(headers))})
    else:
        placed = _PlacedOverlay(structure, carrier.images, place_carrier(carrier, case.series, structure.groups))
    case.warnings.extend(check_words(structure, placed.images))
    if carrier is not None:
        found = find_oddities(carrier, placed.by_slice, case.series)
        case.warnings.extend(words for words in found if words not in case.warnings)
    return placed


def _warn_of_bits(reader: OverlayReader) -> Iterator[str]:
    """Say which bits were cut off."""
    if reader.beside:
        yield (
            f"{sum(reader.beside.values())} bits set on {len(reader.beside)} overlay planes lie beside the image and are cut off "
            "(as where an overlay is larger than its image or has frames beyond it, or its origin (60xx,0050) is wrong): look at "
            "the masks"
        )
    if reader.moved:
        yield (
            f"{len(reader.moved)} overlay planes of the image's own size begin beside its first pixel (60xx,0050), as where that "
            "is counted from 0: look at the masks"
        )


def _open_contours(choices: Sequence[Choice], case: _Case) -> list[Layer]:
    chosen = [(label, structure) for label, structure in choices if isinstance(structure, Structure)]
    grid = case.series.grid
    for structure_set in case.sources.structure_sets:
        structures = structure_set.structures
        numbers = [number for number, one in enumerate(structures) if any(one is structure for _, structure in chosen)]
        if numbers:
            case.warnings.extend(structure_set.references.warnings(case.series.headers))
        anatomies = {number: one.anatomy for number, one in enumerate(structures)}
        check_chosen_sides(anatomies, numbers, lambda number, own=structures: fill_contours(own[number], grid), grid)  # type: ignore[misc]
    points = sum(structure.points for _, structure in chosen)
    if points:
        case.warnings.append(f"{points} contours of the structures chosen are points or enclose no area; they are left out")
    case.warnings.extend(words for _, structure in chosen for words in check_gaps(structure, grid))
    return [(label, fill_contours(structure, grid)) for label, structure in chosen]


def _open_segments(choices: Sequence[Choice], case: _Case) -> list[Layer]:
    decoders = Decoders()
    grid, slice_by_uid = case.series.grid, number_slices(case.series.headers)

    def open_mask(file: Segmentation, number: int) -> ReadMask:
        placed = place_frames(file, number, case.series, slice_by_uid)
        return open_segment(file, number, placed, case.rules.fraction, decoders.open(file.path))

    parts = [
        (label, *part) for label, structure in choices if isinstance(structure, SegmentStructure) for part in structure.parts
    ]
    files = {id(file): file for _, file, _ in parts}.values()
    for series_uid in {file.series_uid for file in files}:
        together = [file for file in case.sources.segmentations if file.series_uid == series_uid]
        case.warnings.extend(check_steps(together, case.series))
    for file in files:
        if file.listed.name_another_frame(case.series.headers):
            raise MaskError(
                "a DICOM SEG lies in another frame of reference (0020,0052) than the series, so that their places cannot be "
                "compared; draw it on this series"
            )
        case.warnings.extend(file.references.warnings(case.series.headers))
        anatomies = {segment.number: segment.anatomy for segment in file.segments}
        numbers = [number for _, other, number in parts if other is file]
        check_chosen_sides(anatomies, numbers, partial(open_mask, file), grid)
    return [(label, open_mask(file, number)) for label, file, number in parts]


def _open_volumes(choices: Sequence[Choice], case: _Case, *, keeps_labels: bool) -> LabelSlices:
    scratch, grid = Scratch(), case.series.grid

    # Several structures may be values of one file, which is read once.
    @cache
    def open_volume(path: Path, layer: int | None) -> LabelVolume:
        volume = open_labels_on(path, grid, scratch) if layer is None else open_nrrd_on(path, grid, scratch, layer)
        if volume.is_part:
            own, whole = (" x ".join(map(str, shape)) for shape in (volume.shape_zyx, grid.shape_zyx))
            case.warnings.append(f"a mask file has {own} of the {whole} voxels (z, y, x) of the series; the others have no label")
        return volume

    layers: list[Layer] = []
    is_found = False
    for label, structure in choices:
        if not isinstance(structure, NiftiStructure | NrrdStructure):
            continue
        _check_file(structure, grid)
        volume = open_volume(structure.file.path, structure.layer if isinstance(structure, NrrdStructure) else None)
        if keeps_labels and structure.value is None:
            if volume.values - {ONLY_LABEL} and not (isinstance(structure, NiftiStructure) and structure.file.names):
                case.warnings.append(
                    f"label numbers up to {max(volume.values)} are kept as the {KINDS[kind_of(structure)]} mask has them, and "
                    "mean what they mean in it alone; choose with --roi NAME=LABEL"
                )
            return volume.read
        needs_none = structure.value is None or (isinstance(structure, NiftiStructure) and structure.is_declared)
        is_found |= needs_none or structure.value in volume.values
        layers.append((label, partial(_read_mask, volume, structure.value)))
    if not is_found:
        raise MaskError(f"none of the label numbers chosen occurs in its label files; {CHOOSE}")
    return join_layers(layers, grid.shape_zyx, case.rules.overlap)


def _read_mask(volume: LabelVolume, value: int | None, z: int) -> SliceBool:
    image = volume.read(z)
    return image > 0 if value is None else image == value


def _check_file(structure: NiftiStructure | NrrdStructure, grid: Grid) -> None:
    if isinstance(structure, NiftiStructure) and structure.file.names:
        # A data set that declares its labels has each with its image, on the same grid.
        match_axes(read_grid(structure.file.path), grid, WHAT)
    what, cure = f"a {KINDS[kind_of(structure)]} mask", "put it into the folder of its series"
    if structure.file.rivals:
        raise MaskError(
            f"{what} fits {structure.file.rivals + 1} series of the tree, or may fit one that is refused, so that whose it is "
            f"cannot be told; {cure}"
        )
    if structure.file.has_common_corner:
        raise MaskError(
            f"{what} has a part of the voxels of the series and begins at its corner, among series of several patients, so that "
            f"it may be another one's, whose place was lost; {cure}"
        )
