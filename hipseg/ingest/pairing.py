"""Which mask source belongs to which series: RTSTRUCT and SEG by their references, NIfTI and NRRD by folder and grid."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hipseg.errors import MaskError
from hipseg.geometry import Grid, points_to_indices
from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.images import SeriesKey
from hipseg.ingest.index import SeriesIndex
from hipseg.ingest.lattices import LATTICE_TOLERANCE_MM
from hipseg.ingest.nifti import read_grid
from hipseg.ingest.nrrd import find_voxel_file, read_nrrd_header
from hipseg.ingest.planes import is_coarser, median_gap, usual_step
from hipseg.ingest.references import References
from hipseg.ingest.rtstruct import StructureSet, count_on_slices, find_slices, read_structure_set
from hipseg.ingest.scan import FoundFile
from hipseg.ingest.segmentation import lies_on, read_segmentation
from hipseg.ingest.turning import place_volume


@dataclass(frozen=True, repr=False)
class _Fits:
    """The series that a label file belongs to, and what is doubtful about it; see `NiftiFile`."""

    keys: tuple[SeriesKey, ...]
    rivals: int = 0
    has_common_corner: bool = False


class OtherModalityError(MaskError):
    """A mask file was drawn on a series of the tree that is no CT."""


@dataclass(frozen=True, repr=False)
class NiftiFile:
    """A NIfTI file beside a series.

    Args:
        path: the file.
        rivals: number of other series that it fits as well, or may fit that are no volume.
        names: names of its label numbers, where its data set declares them; any of them may be absent from the file. Empty where
            nothing is declared.
        has_common_corner: whether it is a part of the series that begins at a corner of it, among series of several patients: so
            does another patient's where origins were lost.
    """

    path: Path
    rivals: int = 0
    names: tuple[tuple[str, int], ...] = ()
    has_common_corner: bool = False


@dataclass(frozen=True, repr=False)
class NrrdFile:
    """An NRRD file beside a series.

    Args:
        path: the file, or its header where the voxels lie in another one.
        rivals: see `NiftiFile`.
        voxels: the file that the voxels lie in, where that is another one.
    """

    path: Path
    rivals: int = 0
    voxels: Path | None = None
    has_common_corner: bool = False


def pair_rtstruct(found: FoundFile, index: SeriesIndex) -> tuple[SeriesKey, ...]:
    """Find the series that an RTSTRUCT file was drawn on.

    Its series identifier decides, and among the stacks that a series was split into its image identifiers; where the first names
    no series here, the second alone; where they name none either, as after a new export of the images, its frame of reference,
    within one patient: some programs give all patients one frame. Among several series in that frame, or stacks none of whose
    images is named, those have it on whose slices all contours lie, and before others those on which they lie one next to the
    other. All of these say where the contours lie in the patient, so that more than one series may have them.

    Args:
        found: the file.
        index: the series.
    Returns:
        Keys of the series, sorted; none where nothing matches.
    Raises:
        OtherModalityError: it names a series here that is no CT.
        MaskError: the file cannot be read.
    """
    structure_set = read_structure_set(found.path)
    return _pair_by_references(structure_set.references, found, index, lambda key: _find_step(structure_set, key, index))


def pair_segmentation(found: FoundFile, index: SeriesIndex) -> tuple[SeriesKey, ...]:
    """Find the series that a DICOM SEG file was drawn on, by the same rules as `pair_rtstruct`.

    Raises:
        OtherModalityError: it names a series here that is no CT.
        MaskError: the file cannot be read.
    """
    file = read_segmentation(found.path)
    named = index.find_named(file.listed.series_uids)
    if len(named) == 1:
        # As nearly always, and no frame has to be looked at.
        return named

    def find_step(key: SeriesKey) -> float | None:
        series = index.ordered(key)
        return None if series is None or not lies_on(file, series) else usual_step([one.plane for one in file.frames], series)

    return _pair_by_references(file.references, found, index, find_step)


def pair_nifti(found: FoundFile, index: SeriesIndex) -> Mapping[SeriesKey, NiftiFile]:
    """Find the series that a NIfTI file belongs to.

    Going up from its folder, the first folder with CT series in or below it gives the candidates. A single one has the file,
    whether its grid fits or not: a misfit is refused when the mask is chosen. Of several, those on the same grid have it, else
    those of whose grid it is a part. More than one are refused when it is chosen, and so is one where another that is no volume
    may be whose it is. Where it fits none, all have it if they are of one patient, else none.

    Args:
        found: the file.
        index: the series.
    Returns:
        The file by series; empty where it belongs to none.
    """
    fits = _pair_by_grid(found, index, read_grid)
    return {key: NiftiFile(found.path, fits.rivals, has_common_corner=fits.has_common_corner) for key in fits.keys}


def pair_nrrd(found: FoundFile, index: SeriesIndex) -> Mapping[SeriesKey, NrrdFile]:
    """Find the series that an NRRD file belongs to, by the same rules as `pair_nifti`."""
    fits = _pair_by_grid(found, index, lambda path: read_nrrd_header(path).layout.grid)
    voxels = find_voxel_file(found.path)
    return {key: NrrdFile(found.path, fits.rivals, voxels, fits.has_common_corner) for key in fits.keys}


def _pair_by_references(
    references: References, found: FoundFile, index: SeriesIndex, find_step: Callable[[SeriesKey], float | None]
) -> tuple[SeriesKey, ...]:
    """Find series by references; `find_step` gives the slices of a series between what is drawn, None where it lies elsewhere."""
    keys = index.find_named(references.series_uids)
    # Stacks of one series share its identifier.
    named = tuple(key for key in keys if index.has_image(key, references.image_uids)) if len(keys) > 1 else ()
    if not keys:
        named = index.find_imaged(references.image_uids)
        if not named and references.series_uids & index.other_uids:
            raise OtherModalityError
        keys = named or _find_framed(references, found, index)
    if named or len(keys) <= 1:
        return named or keys
    steps = {key: step for key in keys if (step := find_step(key)) is not None}
    # On a finer series the slices between would be empty.
    return tuple(key for key, step in steps.items() if not is_coarser(step)) or tuple(steps) or keys


def _find_framed(references: References, found: FoundFile, index: SeriesIndex) -> tuple[SeriesKey, ...]:
    """Give the series in a file's frame of reference that are of its patient, else of its study, else of the one near by."""
    keys = index.find_framed(references.frame_uids)
    own = tuple(key for key in keys if references.patient_id and index.series[key].patient_id == references.patient_id)
    if not own and references.study_uid:
        own = tuple(key for key in keys if index.series[key][0].study_uid == references.study_uid)
    if own:
        return own
    below = index.find_below(found.folder)
    near = tuple(key for key in below if key in keys)
    # A file that names a patient of its own is another one's, unless there is nobody else whose it could be.
    patients = {patient for patient, _ in (below if references.patient_id else near)}
    return near if len(patients) == 1 else ()


def _pair_by_grid(found: FoundFile, index: SeriesIndex, read: Callable[[Path], Grid]) -> _Fits:
    keys = index.find_below(found.folder)
    if len(keys) == 1:
        return _Fits(keys)
    own, lattices = _grid_of_file(found.path, read), index.lattices(keys)
    lying = [] if own is None else [key for key in lattices.find_at(own.origin_mm_xyz) if _lies_on(own, index.grid(key))]
    # A mask of a whole series may also be a part of a longer one.
    whole = [key for key in lying if _has_shape(own, index.grid(key))]
    fitting = tuple(whole or lying)
    is_one_patient = not whole and len({patient for patient, _ in keys}) == 1
    if own is None or not fitting:
        return _Fits(keys if is_one_patient else ())
    broken = sum(_may_be_slice_of(own, index.series[key][0]) for key in lattices.broken)
    has_common_corner = not (whole or is_one_patient) and any(_has_common_corner(own, index.grid(key)) for key in fitting)
    return _Fits(fitting, len(fitting) - 1 + broken, has_common_corner)


def _find_step(structure_set: StructureSet, key: SeriesKey, index: SeriesIndex) -> float | None:
    """Give the step of the contours of a series' frame of reference; None unless all of them lie on its slices."""
    grid = index.grid(key)
    structures = structure_set.structures_in(index.series[key].frame_uid)
    contours = sum(len(structure.contours_mm_xyz) for structure in structures)
    if grid is None or not contours or count_on_slices(structures, grid) < contours:
        return None
    return median_gap(find_slices(structures, grid))


def _lies_on(own: Grid | None, grid: Grid | None) -> bool:
    if own is None or grid is None:
        return False
    try:
        place_volume(own, grid, "")
    except MaskError:
        return False
    return True


def _may_be_slice_of(own: Grid, image: ImageHeader) -> bool:
    """Say whether the corners of an image are voxels of a label file, so that the file may have been drawn on its series."""
    if not image.position_mm or not image.orientation or not image.pixel_spacing_mm or not image.rows or not image.columns:
        return False
    row, column = np.array(image.orientation).reshape(2, 3)
    down_mm, along_mm = (image.rows - 1) * image.pixel_spacing_mm[0], (image.columns - 1) * image.pixel_spacing_mm[1]
    corners = np.array([image.position_mm + y * down_mm * column + x * along_mm * row for y in (0, 1) for x in (0, 1)])
    indices = points_to_indices(corners, own)
    voxels = np.rint(indices)
    is_inside = (voxels >= 0).all() and (voxels < own.shape_zyx[::-1]).all()
    return bool(is_inside and (np.abs(indices - voxels) * own.spacing_mm_zyx[::-1] <= LATTICE_TOLERANCE_MM).all())


def _has_common_corner(own: Grid, grid: Grid | None) -> bool:
    """Say whether the first voxel of a label file lies at a corner of a grid."""
    if grid is None:
        return False
    first_xyz = np.rint(points_to_indices(np.array([own.origin_mm_xyz]), grid)[0])
    return bool(((first_xyz == 0) | (first_xyz == np.array(grid.shape_zyx[::-1]) - 1)).all())


def _has_shape(own: Grid | None, grid: Grid | None) -> bool:
    return own is not None and grid is not None and sorted(own.shape_zyx) == sorted(grid.shape_zyx)


def _grid_of_file(path: Path, read: Callable[[Path], Grid]) -> Grid | None:
    """Give the grid of a label file; None where its header cannot be used, which is refused when the mask is chosen."""
    try:
        return read(path)
    except MaskError:
        return None
