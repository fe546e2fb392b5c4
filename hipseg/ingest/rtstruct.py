"""RTSTRUCT: what it was drawn on, which structures it holds, and their contours on the slices of a grid."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hipseg.axes import PointsF64, SliceBool
from hipseg.errors import MaskError
from hipseg.geometry import Grid, points_to_indices
from hipseg.ingest.dicomfile import MAX_NUMBER, integer, is_cut, items, read_dataset, text
from hipseg.ingest.laterality import Anatomy, read_anatomy
from hipseg.ingest.nesting import has_whole_items
from hipseg.ingest.planes import is_drawn_in_steps, median_gap
from hipseg.ingest.polygons import fill_closed, fill_even_odd
from hipseg.ingest.references import References, drop_empty

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

CONTOUR_DATA = 0x30060050
COUNTED_BY_NOTHING = (0x30060020, 0x30060039, 0x30060040)
"""Sequences of structures, of their lists of contours, and of the contours in one."""
XOR = "CLOSEDPLANAR_XOR"
CLOSED_TYPES = ("CLOSED_PLANAR", XOR)
"""Contour Geometric Types that enclose an area. Source: DICOM PS3.3 C.8.8.6.1 and C.8.8.6.3."""
POINT = "POINT"
LINE_MM = 0.001
"""Points no farther than this from one line enclose nothing."""
OFF_SLICE_TOLERANCE = 0.25
"""Of the slice distance. Beyond it a contour is as good as between two slices: it was drawn on another series."""
PLANE_TOLERANCE = 0.05
"""Of the slice distance, between the points of a contour and between the contours of a structure on one slice. Contours of
two planes of a finer series on one slice would cancel each other under the even-odd rule."""

Polygons = Mapping[int, Sequence[NDArray[np.float64]]]
"""Polygons by slice number, each float64 (n, 2), fractional pixel indices (column, row)."""


@dataclass(frozen=True, repr=False)
class Structure:
    """One structure with an area.

    Args:
        name: its ROI Name, free text of the source.
        frame_uid: frame of reference of its points; may be empty.
        contours_mm_xyz: points of each closed contour that encloses an area, LPS mm.
        open_contours: number of contours that are open lines, or do not say what they are.
        points: number of those that are points, or closed and without an area.
        is_xor: whether its contours exclude each other, so that they cancel each other where they overlap.
        anatomy: what it is and on which side, where that is coded.
        number: its ROI Number, of its own in its file.
    """

    name: str
    frame_uid: str
    contours_mm_xyz: tuple[PointsF64, ...]
    open_contours: int
    points: int = 0
    is_xor: bool = False
    anatomy: Anatomy | None = None
    number: int = 0


@dataclass(frozen=True, repr=False)
class StructureSet:
    """The content of one RTSTRUCT file."""

    references: References
    structures: tuple[Structure, ...]

    def structures_in(self, frame_uid: str) -> tuple[Structure, ...]:
        """Give the structures that lie in a series' frame of reference.

        A set may list several frames; the structures of the others are left out. A frame that the set does not list says
        nothing: real exports name the PET's frame for a structure that was copied to the CT.
        """
        listed = self.references.listed_frame_uids
        others = listed - {frame_uid} if frame_uid in listed else frozenset()
        return tuple(structure for structure in self.structures if structure.frame_uid not in others)


def read_structure_set(path: Path) -> StructureSet:
    """Read an RTSTRUCT file; contours stay polygons.

    Args:
        path: the file.
    Returns:
        References, and the structures that have at least one closed contour with an area.
    Raises:
        MaskError: the file cannot be walked, its structures are not numbered one by one, or a contour is no list of points.
    Source: DICOM PS3.3 C.8.8.5 and C.8.8.6.
    """
    try:
        dataset = read_dataset(path, has_pixels=False)
        if is_cut(dataset):
            raise MaskError("an RTSTRUCT file breaks off; copy it or export the structures again")
        if not has_whole_items(dataset, path, COUNTED_BY_NOTHING):
            raise MaskError(
                "an RTSTRUCT file whose structures (3006,0020) and contours (3006,0039) do not lie one behind the other; copy it "
                "or export the structures again"
            )
        references = _read_references(dataset)
        return StructureSet(references, tuple(s for s in _read_structures(dataset) if s.contours_mm_xyz))
    except OSError as error:
        raise MaskError("an RTSTRUCT file can no longer be opened; pack the folder again") from error
    except MaskError:
        raise
    except Exception as error:  # nested sequences are parsed when they are asked for, and pydicom raises nearly anything
        raise MaskError("an RTSTRUCT file breaks off or is damaged; export the structures again") from error


def place_contours(structure: Structure, grid: Grid) -> Polygons:
    """Put the contours of a structure onto the slices of a grid.

    Args:
        structure: at least one closed contour.
        grid: the series' grid.
    Returns:
        Polygons by slice number.
    Raises:
        MaskError: a contour is an open line, or lies off the slices, across them or beside the image.
    """
    if structure.open_contours:
        raise MaskError(
            f"{structure.open_contours} of {structure.open_contours + len(structure.contours_mm_xyz)} contours of a structure "
            "are open lines, which enclose no area, or have no Contour Geometric Type (3006,0042); only closed planar ones are "
            "accepted: export the structures again"
        )
    placed: dict[int, list[NDArray[np.float64]]] = defaultdict(list)
    heights: dict[int, list[float]] = defaultdict(list)
    for points_mm in structure.contours_mm_xyz:
        indices = points_to_indices(points_mm, grid)
        z = _find_slice(indices, grid)
        heights[z].append(float(indices[:, 2].mean()))
        placed[z].append(indices[:, :2])
    _check_one_plane(heights, grid)
    return placed


def fill_contours(structure: Structure, grid: Grid) -> Callable[[int], SliceBool | None]:
    """Make a structure ready to be read slice by slice.

    Returns:
        Gives bool (y, x) of a slice, None where no contour lies; raises MaskError where two of them cross or are nearly the same.
    Raises:
        MaskError: see `place_contours`.
    """
    polygons = place_contours(structure, grid)
    shape_yx = grid.shape_zyx[1:]
    fill = fill_even_odd if structure.is_xor else fill_closed
    return lambda z: fill(polygons[z], shape_yx) if z in polygons else None


def check_gaps(structure: Structure, grid: Grid) -> tuple[str, ...]:
    """Give a warning where contours leave out slices between them as a rule, as they are drawn to be interpolated.

    Args:
        structure, grid: whose contours lie on slices of the grid.
    """
    slices = find_slices([structure], grid)
    if not is_drawn_in_steps(slices):
        return ()
    return (
        f"the contours of a structure lie {median_gap(slices):.0f} slices apart as a rule, on {len(slices)} slices, and none on "
        "those between; if these are to belong to it, let the program that drew it interpolate",
    )


def find_slices(structures: Iterable[Structure], grid: Grid) -> set[float]:
    """Give the numbers of the slices nearest to the contours of some structures."""
    contours = (points_mm for structure in structures for points_mm in structure.contours_mm_xyz)
    return {float(np.rint(points_to_indices(points_mm, grid)[:, 2].mean())) for points_mm in contours}


def count_on_slices(structures: Sequence[Structure], grid: Grid) -> int:
    """Count the contours that lie on a slice of a grid."""
    count = 0
    for structure in structures:
        for points_mm in structure.contours_mm_xyz:
            try:
                _find_slice(points_to_indices(points_mm, grid), grid)
            except MaskError:
                continue
            count += 1
    return count


def _find_slice(indices_xyz: NDArray[np.float64], grid: Grid) -> int:
    """Give the slice number that a contour lies on."""
    slices, rows, columns = grid.shape_zyx
    spacing_mm = grid.spacing_mm_zyx[0]
    height = indices_xyz[:, 2]
    if np.ptp(height) > PLANE_TOLERANCE:
        raise MaskError(
            f"a contour runs across the slices: its points lie {np.ptp(height) * spacing_mm:.2f} mm apart along the normal of "
            f"the slices, at most {PLANE_TOLERANCE * spacing_mm:.2f} mm accepted; it was drawn in another plane"
        )
    z = round(float(height.mean()))
    nearest = min(max(z, 0), slices - 1)
    distance = abs(float(height.mean()) - nearest)
    if distance > OFF_SLICE_TOLERANCE:
        raise MaskError(
            f"a contour lies off the slices: {distance * spacing_mm:.2f} mm from slice {nearest + 1} of {slices} by position, "
            f"the nearest one; at most {OFF_SLICE_TOLERANCE * spacing_mm:.2f} mm accepted; it belongs to other slices"
        )
    low, high = indices_xyz[:, :2].min(axis=0), indices_xyz[:, :2].max(axis=0)
    if (high < -0.5).any() or low[0] > columns - 0.5 or low[1] > rows - 0.5:
        raise MaskError(
            f"a contour on slice {z + 1} of {slices} by position lies wholly beside the image of {rows} x {columns} pixels"
        )
    return z


def _check_one_plane(heights: Mapping[int, Sequence[float]], grid: Grid) -> None:
    for z, found in heights.items():
        if np.ptp(found) > PLANE_TOLERANCE:
            spacing_mm = grid.spacing_mm_zyx[0]
            raise MaskError(
                f"contours of several planes fall on slice {z + 1} of {grid.shape_zyx[0]} by position: they lie "
                f"{np.ptp(found) * spacing_mm:.2f} mm apart, at most {PLANE_TOLERANCE * spacing_mm:.2f} mm accepted; "
                "they were drawn on a finer series"
            )


def _read_references(dataset: "FileDataset") -> References:
    series_uids, image_uids, frame_uids = set(), set(), {text(dataset, "FrameOfReferenceUID")}
    for frame in items(dataset, "ReferencedFrameOfReferenceSequence"):
        frame_uids.add(text(frame, "FrameOfReferenceUID"))
        for study in items(frame, "RTReferencedStudySequence"):
            for series in items(study, "RTReferencedSeriesSequence"):
                series_uids.add(text(series, "SeriesInstanceUID"))
                image_uids |= {text(one, "ReferencedSOPInstanceUID") for one in items(series, "ContourImageSequence")}
    for contour in _walk_contours(dataset):
        image_uids |= {text(one, "ReferencedSOPInstanceUID") for one in items(contour, "ContourImageSequence")}
    roi_frame_uids = {text(roi, "ReferencedFrameOfReferenceUID") for roi in items(dataset, "StructureSetROISequence")}
    return References(
        drop_empty(series_uids),
        drop_empty(image_uids),
        drop_empty(frame_uids),
        drop_empty(frame_uids | roi_frame_uids),
        text(dataset, "PatientID"),
        text(dataset, "StudyInstanceUID"),
    )


def _walk_contours(dataset: "FileDataset") -> Iterator["Dataset"]:
    for roi in items(dataset, "ROIContourSequence"):
        yield from items(roi, "ContourSequence")


def _read_structures(dataset: "FileDataset") -> Iterator[Structure]:
    rois = items(dataset, "StructureSetROISequence")
    drawn = [roi for roi in items(dataset, "ROIContourSequence") if items(roi, "ContourSequence")]
    numbers, drawn_numbers = _numbers(rois, "ROINumber"), _numbers(drawn, "ReferencedROINumber")
    if (
        None in numbers
        or len(set(numbers)) < len(rois)
        or len(set(drawn_numbers)) < len(drawn)
        or set(drawn_numbers) - set(numbers)
    ):
        raise MaskError(
            f"an RTSTRUCT file does not number its structures one by one: {len(rois)} structures of {len(set(numbers) - {None})} "
            f"numbers (3006,0022), {len(drawn)} lists of contours for {len(set(drawn_numbers) & set(numbers))} of them "
            "(3006,0084); export the structures again"
        )
    contours = {number: items(roi, "ContourSequence") for number, roi in zip(drawn_numbers, drawn, strict=True)}
    anatomies: dict[int | None, set[Anatomy]] = defaultdict(set)
    for one in items(dataset, "RTROIObservationsSequence"):
        found = read_anatomy(one)
        anatomies[integer(one, "ReferencedROINumber")] |= set() if found is None else {found}
    for number, roi in zip(numbers, rois, strict=True):
        # Observations that contradict each other say nothing.
        coded = next(iter(anatomies[number])) if len(anatomies[number]) == 1 else None
        yield _read_structure(roi, contours.get(number, ()), coded)


def _numbers(rois: Sequence["Dataset"], keyword: str) -> list[int | None]:
    return [integer(roi, keyword) for roi in rois]


def _read_structure(roi: "Dataset", contours: Sequence["Dataset"], anatomy: Anatomy | None) -> Structure:
    kinds = [text(one, "ContourGeometricType") for one in contours]
    closed = [_read_points(one) for one, kind in zip(contours, kinds, strict=True) if kind in CLOSED_TYPES]
    areas = tuple(points_mm for points_mm in closed if _encloses_area(points_mm))
    return Structure(
        text(roi, "ROIName"),
        text(roi, "ReferencedFrameOfReferenceUID"),
        areas,
        len(contours) - len(closed) - kinds.count(POINT),
        kinds.count(POINT) + len(closed) - len(areas),
        XOR in kinds,
        anatomy,
        integer(roi, "ROINumber") or 0,
    )


def _encloses_area(points_mm: PointsF64) -> bool:
    """Say whether points are corners of an area, and not one, two, or all on one line."""
    from_first = points_mm - points_mm[0]
    lengths = np.linalg.norm(from_first, axis=1)
    longest = int(lengths.argmax())
    beside = np.linalg.norm(np.cross(from_first, from_first[longest]), axis=1)
    return bool(beside.max() > LINE_MM * lengths[longest])


def _read_points(contour: "Dataset") -> PointsF64:
    """Read the points of one contour, from its text at once: pydicom's own conversion takes a hundred times as long."""
    from pydicom.dataelem import RawDataElement  # noqa: PLC0415 - see `dictionary`

    element = contour.get_item(CONTOUR_DATA)
    if element is None:
        raise MaskError("a contour has no Contour Data (3006,0050); export the structures again")
    value = element.value
    parts = (value or b"").split(b"\\") if isinstance(element, RawDataElement) else [str(part) for part in value or ()]
    try:
        values = np.array(parts, dtype=np.float64)
    except ValueError as error:
        raise MaskError("a contour's Contour Data (3006,0050) is no list of numbers; export the structures again") from error
    announced = integer(contour, "NumberOfContourPoints")
    points = len(values) // 3 if announced is None else announced
    if points * 3 != len(values) or not points or not (np.abs(values) <= MAX_NUMBER).all():
        raise MaskError(
            f"a contour has {len(values)} coordinates for {points} points; three finite ones for each, and at least 1 point, are "
            "expected: export the structures again"
        )
    return values.reshape(-1, 3)
