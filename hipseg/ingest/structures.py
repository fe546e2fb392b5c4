"""The structures that a case's mask sources hold, and the names by which they are chosen."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from hipseg.errors import MaskError
from hipseg.ingest.carriers import Carrier
from hipseg.ingest.headers import ImageHeader, has_regions
from hipseg.ingest.labels import LABEL_MAX
from hipseg.ingest.nifti import name_stem, read_label_values
from hipseg.ingest.nrrd import nrrd_stem, read_nrrd_header, read_nrrd_values
from hipseg.ingest.overlaynames import OverlayStructure, find_named_overlays, find_overlays
from hipseg.ingest.pairing import NiftiFile, NrrdFile
from hipseg.ingest.rtstruct import Structure, StructureSet
from hipseg.ingest.segmentation import Segmentation
from hipseg.labels import MaskKind

KINDS: Mapping[MaskKind, str] = {
    "overlay": "overlay",
    "rtstruct": "RTSTRUCT",
    "segmentation": "DICOM SEG",
    "nifti": "NIfTI",
    "nrrd": "NRRD",
}

ONE_POSITION_MM = 0.01
"""Frames closer than this, along the axis of the patient that they lie most apart on, lie on one slice."""


SERIES_MARK = "@"
"""Stands between the name of an overlay and the series that holds it."""


@dataclass(frozen=True)
class StructureName:
    """One structure that can be chosen; the name is free text of the source and private.

    `is_graphics` says that it is drawn as overlay graphics, which become a mask only where `--roi` names them.
    """

    kind: MaskKind
    name: str
    is_graphics: bool = False


@dataclass(frozen=True, repr=False)
class SegmentStructure:
    """One segment of a DICOM SEG, which may be spread over several files of one series.

    Args:
        label: its Segment Label; may be empty.
        parts: each file with the segment's number in it.
    """

    label: str
    parts: tuple[tuple[Segmentation, int], ...]


@dataclass(frozen=True, repr=False)
class NiftiStructure:
    """A NIfTI label file: the voxels of one value, or all that are not zero.

    `is_declared` says that its data set declares the value, so that a file without such voxels is an empty mask, no mistake.
    """

    file: NiftiFile
    value: int | None = None
    is_declared: bool = False


@dataclass(frozen=True, repr=False)
class NrrdStructure:
    """An NRRD label file: the voxels of one value in one layer, or all of that layer that are not zero."""

    file: NrrdFile
    value: int | None = None
    layer: int = 0


AnyStructure = OverlayStructure | Structure | SegmentStructure | NiftiStructure | NrrdStructure


@dataclass(frozen=True, repr=False)
class MaskSources:
    """Everything that may hold masks of one series: its slices in order, and the other files that belong to it."""

    headers: tuple[ImageHeader, ...]
    structure_sets: tuple[StructureSet, ...]
    niftis: tuple[NiftiFile, ...]
    segmentations: tuple[Segmentation, ...] = ()
    nrrds: tuple[NrrdFile, ...] = ()
    carriers: tuple[Carrier, ...] = ()

    @cached_property
    def overlays(self) -> tuple[tuple[Carrier | None, Sequence[ImageHeader], tuple[OverlayStructure, ...]], ...]:
        """Give the overlay structures of the series itself (None) and of each carrier, with the images that they lie in."""
        series = ((None, self.headers), *((carrier, carrier.images) for carrier in self.carriers))
        return tuple(
            (carrier, images, tuple(replace(one, carrier=carrier) for one in find_overlays(images))) for carrier, images in series
        )

    @property
    def is_empty(self) -> bool:
        """Say whether there is no mask source at all; graphics are none until they are named."""
        files = (self.structure_sets, self.niftis, self.segmentations, self.nrrds, self.carriers)
        return not (any(files) or any(has_regions(header) for header in self.headers))


def has_masks(sources: MaskSources, names: Iterable[str]) -> bool:
    """Say whether there is a mask source, or graphics that one of the names chooses."""
    return not sources.is_empty or any(_overlays_by_name(name.strip(), sources) for name in names)


def find_structures(sources: MaskSources) -> tuple[AnyStructure, ...]:
    """Give every structure of a case once, without graphics.

    A NIfTI file counts as one, whatever labels it holds; so does an NRRD file that lists no segments.
    """
    return (
        *(one for _, _, structures in sources.overlays for one in structures if not one.is_graphics),
        *(structure for drawn in _drawn_structures(sources) for structure in drawn),
        *find_segments(sources.segmentations),
        *(NiftiStructure(file) for file in sources.niftis),
        *(structure for file in sources.nrrds for structure in _nrrd_structures(file)),
    )


def find_by_name(name: str, sources: MaskSources) -> tuple[AnyStructure, ...]:
    """Give the structures that a name means; more than one where it is ambiguous.

    Args:
        name: an overlay's label, description or group (as 6000), followed by @ and Series Description, Series Number or folder of
            the second series that holds it, where several do; an RTSTRUCT's ROI Name or a DICOM SEG's Segment Label or, where
            none is that, its number; a NIfTI or NRRD file's name without .nii, .nii.gz or .nrrd, followed by a colon and a
            number for the voxels of one value, or the name that its data set declares for a value; an NRRD's segment name.
        sources: where to look.
    """
    plain = _plain(name)
    return (
        *_overlays_by_name(name, sources),
        *_drawn_by_name(plain, [structure for drawn in _drawn_structures(sources) for structure in drawn]),
        *_segments_by_name(plain, sources.segmentations),
        *_niftis_by_name(plain, sources.niftis),
        *(structure for file in sources.nrrds for structure in _nrrd_by_name(plain, file)),
    )


def check_lists(sources: MaskSources) -> None:
    """Refuse files that may list a structure which was not found, and cannot be read.

    Raises:
        MaskError: the header of an NRRD file cannot be used.
    """
    for file in sources.nrrds:
        read_nrrd_header(file.path)


def find_names(sources: MaskSources) -> tuple[StructureName, ...]:
    """List the names by which the structures of a case can be chosen, sorted."""
    names = set(_overlay_names([one for _, _, structures in sources.overlays for one in structures], sources.carriers))
    names |= {StructureName("segmentation", name) for name in _segment_names(find_segments(sources.segmentations))}
    names |= {StructureName("nrrd", name) for file in sources.nrrds for name in _nrrd_names(file)}
    names |= {StructureName("rtstruct", name) for drawn in _drawn_structures(sources) for name in _drawn_names(drawn)}
    for file in sources.niftis:
        names |= {StructureName("nifti", name) for name in _nifti_names(file)}
    return tuple(sorted(names, key=lambda one: (one.kind, one.name, one.is_graphics)))


def kind_of(structure: AnyStructure) -> MaskKind:
    """Say which kind of mask source a structure comes from."""
    kinds: Mapping[type, MaskKind] = {
        OverlayStructure: "overlay",
        Structure: "rtstruct",
        SegmentStructure: "segmentation",
        NiftiStructure: "nifti",
        NrrdStructure: "nrrd",
    }
    return kinds[type(structure)]


def find_segments(files: Sequence[Segmentation]) -> tuple[SegmentStructure, ...]:
    """Give the segments of SEG files; those of one label in files of one series are one, if no two of them share a slice."""
    by_label: dict[tuple[str, str, int], list[tuple[Segmentation, int]]] = defaultdict(list)
    for file in files:
        for segment in file.segments:
            by_label[file.series_uid, segment.label, segment.number].append((file, segment.number))
    found: list[SegmentStructure] = []
    for (_, label, _), parts in by_label.items():
        if len(parts) > 1 and _lie_apart(parts):
            found.append(SegmentStructure(label, tuple(parts)))
        else:
            found += [SegmentStructure(label, (part,)) for part in parts]
    return tuple(found)


def _lie_apart(parts: Sequence[tuple[Segmentation, int]]) -> bool:
    """Say whether positions of all frames are told, and no two of them are one; programs do not write one position alike."""
    places_mm = [frame.plane.position_mm for file, number in parts for frame in file.frames_of(number)]
    if not places_mm or None in places_mm:
        return False
    places = np.array(places_mm, dtype=np.float64)
    along = np.sort(places[:, np.ptp(places, axis=0).argmax()])
    return bool((np.diff(along) >= ONE_POSITION_MM).all())


def _overlays_by_name(name: str, sources: MaskSources) -> Sequence[OverlayStructure]:
    """Give the overlays of a name; graphics only where no region has it."""
    found = _named_in(sources, name)
    if not found and SERIES_MARK in name:
        # A label may itself hold the mark.
        before, _, words = name.rpartition(SERIES_MARK)
        found = [one for one in _named_in(sources, before) if one.carrier is not None and words in one.carrier.words]
    return [one for one in found if not one.is_graphics] or found


def _named_in(sources: MaskSources, name: str) -> list[OverlayStructure]:
    return [
        replace(one, carrier=carrier)
        for carrier, images, structures in sources.overlays
        for one in find_named_overlays(name, structures, images)
    ]


def _overlay_names(structures: Sequence[OverlayStructure], carriers: Sequence[Carrier]) -> Iterable[StructureName]:
    """Name overlays by their titles; those of second series with the series where they share them."""
    titles = Counter((one.title, one.is_graphics) for one in structures)
    series = Counter(word for carrier in carriers for word in carrier.words)
    for one in structures:
        name = one.title
        if titles[one.title, one.is_graphics] > 1 and one.carrier is not None and one.carrier.words:
            name += SERIES_MARK + min(one.carrier.words, key=lambda word: series[word])
        yield StructureName("overlay", name, one.is_graphics)


def _plain(name: str) -> str:
    """Give a name as it is compared: Macs part accents from letters, which looks alike, and blanks at the ends are not seen."""
    return unicodedata.normalize("NFC", name).strip()


def _drawn_structures(sources: MaskSources) -> Iterable[tuple[Structure, ...]]:
    """Give the structures of each structure set."""
    frame_uid = sources.headers[0].frame_uid if sources.headers else ""
    return (one.structures_in(frame_uid) for one in sources.structure_sets)


def _drawn_by_name(name: str, structures: Sequence[Structure]) -> list[Structure]:
    # A name may itself be a number.
    return [one for one in structures if _plain(one.name) == name] or [one for one in structures if str(one.number) == name]


def _drawn_names(structures: Sequence[Structure]) -> list[str]:
    """Name the structures of one set; by their numbers where they have no name, as some anonymisers leave them, or share it."""
    return _name_or_number([(_plain(one.name), one.number) for one in structures])


def _name_or_number(structures: Sequence[tuple[str, int]]) -> list[str]:
    counts = Counter(name for name, _ in structures)
    return [name if name and counts[name] == 1 else str(number) for name, number in structures]


def _stem(file: NiftiFile | NrrdFile) -> str:
    return _plain((name_stem if isinstance(file, NiftiFile) else nrrd_stem)(file.path))


def _niftis_by_name(name: str, files: Sequence[NiftiFile]) -> Iterable[NiftiStructure]:
    found = [NiftiStructure(file, value, True) for file in files for declared, value in file.names if _plain(declared) == name]
    if found:
        return found
    found = [NiftiStructure(file) for file in files if _stem(file) == name]
    stem, _, value = name.rpartition(":")
    if value.isascii() and value.isdigit() and 1 <= int(value) <= LABEL_MAX:
        found += [NiftiStructure(file, int(value)) for file in files if _stem(file) == stem]
    return found


def _nifti_names(file: NiftiFile) -> list[str]:
    """Name a NIfTI file, and each of its label numbers where it holds several; or as its data set declares them."""
    if file.names:
        return [name for name, _ in file.names]
    stem = _stem(file)
    try:
        values = read_label_values(file.path)
    except MaskError:
        # An image beside the series, or a damaged file: it says so when it is chosen.
        return [stem]
    return [stem, *(f"{stem}:{value}" for value in values)] if len(values) > 1 else [stem]


def _segments_by_name(name: str, files: Sequence[Segmentation]) -> list[SegmentStructure]:
    segments = find_segments(files)
    # A label may itself be a number.
    return [one for one in segments if _plain(one.label) == name] or [one for one in segments if str(one.parts[0][1]) == name]


def _segment_names(segments: Sequence[SegmentStructure]) -> list[str]:
    """Name segments by their labels; by their numbers where they have none, or share it."""
    return _name_or_number([(_plain(one.label), one.parts[0][1]) for one in segments])


def _nrrd_structures(file: NrrdFile) -> list[NrrdStructure]:
    """Give the segments that a file lists; else the file as one. A damaged one says so when it is chosen."""
    try:
        segments = read_nrrd_header(file.path).segments
    except MaskError:
        segments = ()
    return [NrrdStructure(file, one.value, one.layer) for one in segments] or [NrrdStructure(file)]


def _nrrd_by_name(name: str, file: NrrdFile) -> list[NrrdStructure]:
    try:
        segments = read_nrrd_header(file.path).segments
    except MaskError:
        segments = ()
    if segments:
        return [NrrdStructure(file, one.value, one.layer) for one in segments if _plain(one.name) == name]
    stem = _stem(file)
    before, _, value = name.rpartition(":")
    if before == stem and value.isascii() and value.isdigit() and 1 <= int(value) <= LABEL_MAX:
        return [NrrdStructure(file, int(value))]
    return [NrrdStructure(file)] if name == stem else []


def _nrrd_names(file: NrrdFile) -> list[str]:
    """Name the segments of an NRRD file; where it lists none, the file and each of its label numbers if it holds several."""
    stem = _stem(file)
    try:
        segments = read_nrrd_header(file.path).segments
        if segments:
            return [_plain(one.name) for one in segments]
        values = read_nrrd_values(file.path)
    except MaskError:
        return [stem]
    return [stem, *(f"{stem}:{value}" for value in values)] if len(values) > 1 else [stem]
