"""Chosen structures of a case, joined into one label slice after another."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hipseg.axes import BACKGROUND_LABEL, SliceBool, VolumeU8
from hipseg.errors import ConfigError, MaskError
from hipseg.geometry import Grid
from hipseg.ingest.labels import LABEL_MAX
from hipseg.ingest.nifti import read_labels_on
from hipseg.ingest.overlay import FIRST_FRAME, read_overlay_masks
from hipseg.ingest.polygons import fill_even_odd
from hipseg.ingest.rtstruct import Polygons, Structure, place_contours
from hipseg.ingest.series import OrderedSeries
from hipseg.ingest.structures import (
    KINDS,
    AnyStructure,
    MaskKind,
    MaskSources,
    NiftiStructure,
    OverlayStructure,
    find_by_name,
    find_structures,
    kind_of,
)

SliceU8 = NDArray[np.uint8]
"""uint8 (y, x), label numbers; 0 is background."""
LabelSlices = Callable[[int], SliceU8]
"""Gives the labels of a slice by its number; may raise MaskError, to which the caller adds where."""
Choice = tuple[int, AnyStructure]
"""Label number and structure."""

ONLY_LABEL = 1
"""What a case's only structure becomes where none is chosen by name."""
CHOOSE = "choose with --roi NAME=LABEL; --list-roi shows the names"


def check_rois(rois: Mapping[str, int]) -> None:
    """Refuse label numbers that a mask cannot hold.

    Raises:
        ConfigError: a label is not 1 to 255.
    """
    for label in rois.values():
        if not BACKGROUND_LABEL < label <= LABEL_MAX:
            raise ConfigError(f"label {label} cannot be given to a structure; 1 to {LABEL_MAX} are accepted (0 is background)")


def open_masks(sources: MaskSources, series: OrderedSeries, rois: Mapping[str, int]) -> tuple[MaskKind, LabelSlices]:
    """Choose structures of a case that has mask sources, and make them ready to be read slice by slice.

    Args:
        sources: the case's mask sources, not empty.
        series: its slices and grid.
        rois: label by name; empty for the only structure there is.
    Returns:
        The kind of mask source, and the label slices. Contours are held as polygons, NIfTI labels as one uint8 volume,
        overlay planes are read with each slice.
    Raises:
        MaskError: nothing or too much is there to choose from, or a structure cannot be brought onto the grid.
    """
    choices = _choose_by_name(sources, rois) if rois else [(ONLY_LABEL, _choose_only(sources))]
    kinds = {kind_of(structure) for _, structure in choices}
    if len(kinds) > 1:
        raise MaskError(
            f"the structures chosen lie in mask sources of {len(kinds)} kinds ({_list_kinds(kinds)}); choose from one kind"
        )
    kind = kinds.pop()
    if kind == "overlay":
        return kind, _open_overlays(choices, series)
    if kind == "rtstruct":
        return kind, _open_contours(choices, series.grid)
    return kind, _open_niftis(choices, series.grid, keeps_labels=not rois)


def join_layers(layers: Iterable[tuple[int, SliceBool]], shape_yx: tuple[int, int]) -> SliceU8:
    """Join masks of one slice; masks of the same label are united.

    Args:
        layers: labels 1 to 255 with bool (y, x).
        shape_yx: rows and columns.
    Returns:
        uint8 (y, x); all background without layers.
    Raises:
        MaskError: two labels claim the same pixel.
    """
    labels: SliceU8 = np.zeros(shape_yx, dtype=np.uint8)
    for label, mask in layers:
        _paint(labels, mask, label)
    return labels


def _choose_by_name(sources: MaskSources, rois: Mapping[str, int]) -> list[Choice]:
    choices: list[Choice] = []
    for name, label in rois.items():
        namesakes = find_by_name(name.strip(), sources)
        if len(namesakes) > 1:
            raise MaskError(
                f"the name given for label {label} is ambiguous: {len(namesakes)} structures have it ({_count(namesakes)}); "
                "1 is expected: rename the others, or choose an overlay by its group, as 6000"
            )
        choices += [(label, structure) for structure in namesakes]
    if not choices:
        found = _count(find_structures(sources))
        raise MaskError(f"it has no structure of a name given with --roi ({len(rois)} given, it has {found}); {CHOOSE}")
    return choices


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


def _open_overlays(choices: Sequence[Choice], series: OrderedSeries) -> LabelSlices:
    chosen = [(label, structure) for label, structure in choices if isinstance(structure, OverlayStructure)]
    shape_yx = series.grid.shape_zyx[1:]

    def read_slice(z: int) -> SliceU8:
        groups = [(label, structure.groups[z]) for label, structure in chosen if z in structure.groups]
        if not groups:
            return join_layers((), shape_yx)
        header = series.headers[z]
        frame = FIRST_FRAME + (header.frame or 0)
        masks = read_overlay_masks(header.path, {group for _, group in groups}, shape_yx, frame)
        return join_layers(((label, masks[group]) for label, group in groups), shape_yx)

    return read_slice


def _open_contours(choices: Sequence[Choice], grid: Grid) -> LabelSlices:
    placed: list[tuple[int, Polygons]] = [
        (label, place_contours(structure, grid)) for label, structure in choices if isinstance(structure, Structure)
    ]
    shape_yx = grid.shape_zyx[1:]

    def fill_slice(z: int) -> SliceU8:
        return join_layers(
            ((label, fill_even_odd(polygons[z], shape_yx)) for label, polygons in placed if z in polygons), shape_yx
        )

    return fill_slice


def _open_niftis(choices: Sequence[Choice], grid: Grid, *, keeps_labels: bool) -> LabelSlices:
    by_path: dict[Path, list[tuple[int, NiftiStructure]]] = defaultdict(list)
    for label, structure in choices:
        if isinstance(structure, NiftiStructure):
            if structure.file.rivals:
                raise MaskError(
                    f"a NIfTI mask fits {structure.file.rivals + 1} series of the tree, which it belongs to cannot be told; "
                    "put it into the folder of its series"
                )
            by_path[structure.file.path].append((label, structure))
    joined: VolumeU8 = np.zeros(grid.shape_zyx, dtype=np.uint8)
    is_found = False
    for path, wanted in by_path.items():
        volume = read_labels_on(path, grid)
        if keeps_labels:
            return lambda z: np.ascontiguousarray(volume[z])
        is_found |= _join_volume(joined, volume, wanted)
    if not is_found:
        raise MaskError(f"none of the label numbers chosen occurs in its NIfTI masks; {CHOOSE}")
    return lambda z: joined[z]


def _join_volume(joined: VolumeU8, volume: VolumeU8, wanted: Sequence[tuple[int, NiftiStructure]]) -> bool:
    """Paint the chosen values of one file onto a label volume; say whether any occurs or need not."""
    is_found = False
    for z, image in enumerate(volume):
        for label, structure in wanted:
            mask = image > 0 if structure.value is None else image == structure.value
            is_found |= structure.value is None or structure.is_declared or bool(mask.any())
            _paint(joined[z], mask, label)
    return is_found


def _paint(labels: SliceU8, mask: SliceBool, label: int) -> None:
    """Give the pixels of a mask their label, in place; a pixel that has another one already is refused."""
    others = labels[mask & (labels != BACKGROUND_LABEL) & (labels != label)]
    if others.size:
        raise MaskError(
            f"{others.size} pixels of one slice lie in structures of two labels, {int(others[0])} and {label}; "
            "choose structures that do not overlap"
        )
    labels[mask] = label
