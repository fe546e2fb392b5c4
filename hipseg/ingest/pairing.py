"""Which mask source belongs to which series: RTSTRUCT and SEG by their references, NIfTI and NRRD by folder and grid."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hipseg.errors import MaskError, SeriesError
from hipseg.geometry import Grid
from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.nifti import read_grid
from hipseg.ingest.nrrd import find_voxel_file, read_nrrd_header
from hipseg.ingest.rtstruct import References, StructureSet, count_on_slices, read_structure_set
from hipseg.ingest.scan import FoundFile
from hipseg.ingest.segmentation import lies_on, read_segmentation
from hipseg.ingest.series import OrderedSeries, order_series
from hipseg.ingest.turning import match_axes

SeriesKey = tuple[str, str]
"""Patient and series identifier; private."""
SeriesMap = Mapping[SeriesKey, Sequence[ImageHeader]]


@dataclass(frozen=True, repr=False)
class NiftiFile:
    """A NIfTI file beside a series.

    Args:
        path: the file.
        rivals: number of other series that it fits as well.
        names: names of its label numbers, where its data set declares them; any of them may be absent from the file. Empty where
            nothing is declared.
    """

    path: Path
    rivals: int = 0
    names: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, repr=False)
class NrrdFile:
    """An NRRD file beside a series.

    Args:
        path: the file, or its header where the voxels lie in another one.
        rivals: number of other series that it fits as well.
        voxels: the file that the voxels lie in, where that is another one.
    """

    path: Path
    rivals: int = 0
    voxels: Path | None = None


class SeriesIndex:
    """The series of a tree, by folder, with their grids worked out once."""

    def __init__(self, series: SeriesMap) -> None:
        """Index the images of each series by their folders and the folders above."""
        self.series = series
        self._below: dict[PurePosixPath, set[SeriesKey]] = defaultdict(set)
        self._ordered: dict[SeriesKey, OrderedSeries | None] = {}
        for key, images in series.items():
            for folder in {header.folder for header in images}:
                for parent in (PurePosixPath(folder), *PurePosixPath(folder).parents):
                    self._below[parent].add(key)

    def find_below(self, folder: str) -> tuple[SeriesKey, ...]:
        """Give the series in or below the first folder that has some, going up from one."""
        start = PurePosixPath(folder)
        return next((tuple(sorted(self._below[up])) for up in (start, *start.parents) if up in self._below), ())

    def find_in(self, folder: str) -> tuple[SeriesKey, ...]:
        """Give the series of which images lie in a folder itself."""
        return tuple(sorted(key for key, images in self.series.items() if any(one.folder == folder for one in images)))

    def grid(self, key: SeriesKey) -> Grid | None:
        """Give the grid of a series; None where its slices lie on none, be it that they are tilted."""
        ordered = self.ordered(key)
        return None if ordered is None or ordered.shifts_mm_yx else ordered.grid

    def ordered(self, key: SeriesKey) -> OrderedSeries | None:
        """Give a series in order, tilted or not; None where it is no volume, which is refused when it is opened."""
        if key not in self._ordered:
            try:
                self._ordered[key] = order_series(self.series[key], "", takes_tilt=True)
            except SeriesError:
                self._ordered[key] = None
        return self._ordered[key]


def pair_rtstruct(found: FoundFile, index: SeriesIndex) -> tuple[SeriesKey, ...]:
    """Find the series that an RTSTRUCT file was drawn on.

    Its series identifier decides, and among the stacks that a series was split into its image identifiers; where the first names
    no series here, the second alone; where they name none either, as after a new export of the images, its frame of reference.
    Among several series in that frame, or stacks none of whose images is named, those have it on whose slices all contours lie.
    All of these say where the contours lie in the patient, so that more than one series may have them.

    Args:
        found: the file.
        index: the series.
    Returns:
        Keys of the series, sorted; none where nothing matches.
    Raises:
        MaskError: the file cannot be read.
    """
    structure_set = read_structure_set(found.path)
    return _pair_by_references(structure_set.references, index, lambda key: _is_drawn_on(structure_set, key, index))


def pair_segmentation(found: FoundFile, index: SeriesIndex) -> tuple[SeriesKey, ...]:
    """Find the series that a DICOM SEG file was drawn on, by the same rules as `pair_rtstruct`.

    Raises:
        MaskError: the file cannot be read.
    """
    file = read_segmentation(found.path)

    def is_drawn_on(key: SeriesKey) -> bool:
        series = index.ordered(key)
        return series is not None and lies_on(file, series)

    return _pair_by_references(file.references, index, is_drawn_on)


def pair_nifti(found: FoundFile, index: SeriesIndex) -> Mapping[SeriesKey, NiftiFile]:
    """Find the series that a NIfTI file belongs to.

    Going up from its folder, the first folder with CT series in or below it gives the candidates. A single one has the file,
    whether its grid fits or not: a misfit is refused when the mask is chosen. Of several, those on the same grid have it (more
    than one: refused when chosen); where it fits none, all have it if they are of one patient, else none.

    Args:
        found: the file.
        index: the series.
    Returns:
        The file by series; empty where it belongs to none.
    """
    rivals = _pair_by_grid(found, index, read_grid)
    return {key: NiftiFile(found.path, others) for key, others in rivals.items()}


def pair_nrrd(found: FoundFile, index: SeriesIndex) -> Mapping[SeriesKey, NrrdFile]:
    """Find the series that an NRRD file belongs to, by the same rules as `pair_nifti`."""
    rivals = _pair_by_grid(found, index, lambda path: read_nrrd_header(path).layout.grid)
    voxels = find_voxel_file(found.path)
    return {key: NrrdFile(found.path, others, voxels) for key, others in rivals.items()}


def _pair_by_references(
    references: References, index: SeriesIndex, is_drawn_on: Callable[[SeriesKey], bool]
) -> tuple[SeriesKey, ...]:
    for is_named in (_has_series_uid, _has_image_uid, _has_frame_uid):
        keys = tuple(sorted(key for key, images in index.series.items() if is_named(images, references)))
        if keys:
            break
    else:
        return ()
    if is_named is _has_image_uid or len(keys) == 1:
        return keys
    # Stacks of one series share its identifier.
    named = tuple(key for key in keys if _has_image_uid(index.series[key], references))
    return named or tuple(key for key in keys if is_drawn_on(key)) or keys


def _pair_by_grid(found: FoundFile, index: SeriesIndex, read: Callable[[Path], Grid]) -> dict[SeriesKey, int]:
    """Give the number of rivals by series."""
    keys = index.find_below(found.folder)
    if len(keys) == 1:
        return {keys[0]: 0}
    own = _grid_of_file(found.path, read)
    fitting = [key for key in keys if _lies_on(own, index.grid(key))]
    if fitting:
        return dict.fromkeys(fitting, len(fitting) - 1)
    is_one_patient = len({patient for patient, _ in keys}) == 1
    return dict.fromkeys(keys, 0) if is_one_patient else {}


def _has_series_uid(images: Sequence[ImageHeader], references: References) -> bool:
    return images[0].series_uid in references.series_uids


def _has_image_uid(images: Sequence[ImageHeader], references: References) -> bool:
    return any(header.instance_uid in references.image_uids for header in images)


def _has_frame_uid(images: Sequence[ImageHeader], references: References) -> bool:
    return any(header.frame_uid in references.frame_uids for header in images)


def _is_drawn_on(structure_set: StructureSet, key: SeriesKey, index: SeriesIndex) -> bool:
    """Say whether all contours of the series' frame of reference lie on its slices."""
    grid = index.grid(key)
    structures = structure_set.structures_in(index.series[key][0].frame_uid)
    contours = sum(len(structure.contours_mm_xyz) for structure in structures)
    return grid is not None and contours > 0 and count_on_slices(structures, grid) == contours


def _lies_on(own: Grid | None, grid: Grid | None) -> bool:
    if own is None or grid is None:
        return False
    try:
        match_axes(own, grid, "")
    except MaskError:
        return False
    return True


def _grid_of_file(path: Path, read: Callable[[Path], Grid]) -> Grid | None:
    """Give the grid of a label file; None where its header cannot be used, which is refused when the mask is chosen."""
    try:
        return read(path)
    except MaskError:
        return None
