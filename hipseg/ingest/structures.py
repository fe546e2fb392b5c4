"""The structures that a case's mask sources hold, and the names by which they are chosen."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from hipseg.errors import MaskError
from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.labels import LABEL_MAX
from hipseg.ingest.nifti import name_stem, read_label_values
from hipseg.ingest.pairing import NiftiFile
from hipseg.ingest.rtstruct import Structure, StructureSet

MaskKind = Literal["overlay", "rtstruct", "nifti"]
KINDS: Mapping[MaskKind, str] = {"overlay": "overlay", "rtstruct": "RTSTRUCT", "nifti": "NIfTI"}


@dataclass(frozen=True)
class StructureName:
    """One structure that can be chosen; the name is free text of the source and private."""

    kind: MaskKind
    name: str


@dataclass(frozen=True, repr=False)
class OverlayStructure:
    """One structure drawn as overlay planes: on each slice at most one plane.

    Args:
        title: its label, else its description, else its group in hexadecimal.
        names: everything that it can be chosen by.
        groups: group of its plane by slice number; slices without a plane are missing.
    """

    title: str
    names: frozenset[str]
    groups: Mapping[int, int]


@dataclass(frozen=True, repr=False)
class NiftiStructure:
    """A NIfTI label file: the voxels of one value, or all that are not zero.

    `is_declared` says that its data set declares the value, so that a file without such voxels is an empty mask, no mistake.
    """

    file: NiftiFile
    value: int | None = None
    is_declared: bool = False


AnyStructure = OverlayStructure | Structure | NiftiStructure


@dataclass(frozen=True, repr=False)
class MaskSources:
    """Everything that may hold masks of one series: its slices in order, and the other files that belong to it."""

    headers: tuple[ImageHeader, ...]
    structure_sets: tuple[StructureSet, ...]
    niftis: tuple[NiftiFile, ...]

    @property
    def is_empty(self) -> bool:
        """Say whether there is no mask source at all."""
        return not (self.structure_sets or self.niftis or any(header.overlays for header in self.headers))


def find_structures(sources: MaskSources) -> tuple[AnyStructure, ...]:
    """Give every structure of a case once; a NIfTI file counts as one, whatever labels it holds."""
    return (
        *find_overlays(sources.headers),
        *_drawn_structures(sources),
        *(NiftiStructure(file) for file in sources.niftis),
    )


def find_by_name(name: str, sources: MaskSources) -> tuple[AnyStructure, ...]:
    """Give the structures that a name means; more than one where it is ambiguous.

    Args:
        name: an overlay's label, description or group (as 6000); an RTSTRUCT's ROI Name; a NIfTI file's name without
            .nii or .nii.gz, followed by a colon and a number for the voxels of one value, or the name that its data set
            declares for a value.
        sources: where to look.
    """
    return (
        *_overlays_by_name(name, sources.headers),
        *(structure for structure in _drawn_structures(sources) if structure.name == name),
        *_niftis_by_name(name, sources.niftis),
    )


def find_names(sources: MaskSources) -> tuple[StructureName, ...]:
    """List the names by which the structures of a case can be chosen, sorted."""
    names = {StructureName("overlay", structure.title) for structure in find_overlays(sources.headers)}
    names |= {StructureName("rtstruct", structure.name) for structure in _drawn_structures(sources)}
    for file in sources.niftis:
        names |= {StructureName("nifti", name) for name in _nifti_names(file)}
    return tuple(sorted(names, key=lambda one: (one.kind, one.name)))


def kind_of(structure: AnyStructure) -> MaskKind:
    """Say which kind of mask source a structure comes from."""
    if isinstance(structure, OverlayStructure):
        return "overlay"
    return "rtstruct" if isinstance(structure, Structure) else "nifti"


def find_overlays(headers: Sequence[ImageHeader]) -> tuple[OverlayStructure, ...]:
    """Tell the overlay structures of a series apart by label, else description, else group.

    An export may put a structure into another group on each slice, so that the words identify it where there are any. Words
    that two planes of one slice share do not: then the group does.

    Args:
        headers: the slices in order.
    Returns:
        The structures, sorted by title.
    """
    planes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    names: dict[str, set[str]] = defaultdict(set)
    for z, header in enumerate(headers):
        for plane in header.overlays:
            title = plane.label or plane.description or f"{plane.group:04X}"
            planes[title].append((z, plane.group))
            names[title] |= {title, plane.label, plane.description} - {""}
    shared = {title for title, found in planes.items() if len(dict(found)) < len(found)}
    own = [
        OverlayStructure(title, frozenset(names[title]), dict(found)) for title, found in planes.items() if title not in shared
    ]
    by_group = [_overlay_of_group(group, headers) for group in sorted({group for title in shared for _, group in planes[title]})]
    return tuple(sorted([*own, *by_group], key=lambda one: one.title))


def _overlay_of_group(group: int, headers: Sequence[ImageHeader]) -> OverlayStructure:
    found = {z: group for z, header in enumerate(headers) if any(plane.group == group for plane in header.overlays)}
    return OverlayStructure(f"{group:04X}", frozenset({f"{group:04X}"}), found)


def _overlays_by_name(name: str, headers: Sequence[ImageHeader]) -> Iterable[OverlayStructure]:
    found = [structure for structure in find_overlays(headers) if name in structure.names]
    groups = {plane.group for header in headers for plane in header.overlays if f"{plane.group:04X}" == name.upper()}
    for one in (_overlay_of_group(group, headers) for group in groups):
        if one.groups not in [structure.groups for structure in found]:
            found.append(one)
    return found


def _drawn_structures(sources: MaskSources) -> Iterable[Structure]:
    frame_uid = sources.headers[0].frame_uid if sources.headers else ""
    return (structure for one in sources.structure_sets for structure in one.structures_in(frame_uid))


def _niftis_by_name(name: str, files: Sequence[NiftiFile]) -> Iterable[NiftiStructure]:
    found = [NiftiStructure(file, value, True) for file in files for declared, value in file.names if declared == name]
    if found:
        return found
    found = [NiftiStructure(file) for file in files if name_stem(file.path) == name]
    stem, _, value = name.rpartition(":")
    if value.isascii() and value.isdigit() and 1 <= int(value) <= LABEL_MAX:
        found += [NiftiStructure(file, int(value)) for file in files if name_stem(file.path) == stem]
    return found


def _nifti_names(file: NiftiFile) -> list[str]:
    """Name a NIfTI file, and each of its label numbers where it holds several; or as its data set declares them."""
    if file.names:
        return [name for name, _ in file.names]
    stem = name_stem(file.path)
    try:
        values = read_label_values(file.path)
    except MaskError:
        # An image beside the series, or a damaged file: it says so when it is chosen.
        return [stem]
    return [stem, *(f"{stem}:{value}" for value in values)] if len(values) > 1 else [stem]
