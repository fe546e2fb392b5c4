"""DICOM SEG: what it was drawn on, its segments, and their frames on the slices of a grid."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hipseg.axes import SliceBool
from hipseg.errors import MaskError
from hipseg.ingest.dicomfile import integer, is_cut, items, numbers, read_dataset, text
from hipseg.ingest.laterality import Anatomy, read_anatomy
from hipseg.ingest.planes import Plane, find_heights, is_drawn_in_steps, median_gap, place_plane
from hipseg.ingest.references import References, drop_empty
from hipseg.ingest.series import OrderedSeries
from hipseg.ingest.turning import AxisMatch, turn_volume
from hipseg.labels import BACKGROUND_LABEL

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentation Storage and Label Map Segmentation Storage. Source: DICOM PS3.4 B.5."""
KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
WHAT = "a DICOM SEG"
STORED_DIGITS = 9
"""Of a threshold times the largest stored value, beyond which the rounding of the product lies."""

Content = TypeVar("Content")
Decoder = Callable[[int], NDArray[Any]]
"""Gives the stored values (y, x) of a frame by its number from 1."""
PlacedFrames = Mapping[int, tuple[int, AxisMatch]]
"""By slice number: number of the frame, and how its rows and columns become the slice's."""


@dataclass(frozen=True, repr=False)
class Segment:
    """One segment; its label is free text of the source. `anatomy` is None where no side is coded."""

    number: int
    label: str
    anatomy: Anatomy | None


@dataclass(frozen=True, slots=True, repr=False)
class Frame:
    """One frame: its number from 1, the segment that it shows (None: a label map, all of them), and where it lies."""

    number: int
    segment: int | None
    plane: Plane


@dataclass(frozen=True, repr=False)
class Segmentation:
    """The content of one SEG file, its pixels not yet decoded; its frames, of which there may be thousands, only when asked for.

    Args:
        listed: what it says it was drawn on at its top; see `references`.
        kind: BINARY, FRACTIONAL or LABELMAP.
        maximum: the stored value that stands for a whole voxel; 1 unless fractional.
        background: stored values of a label map that stand for no segment.
    """

    path: Path
    series_uid: str
    listed: References
    kind: str
    maximum: int
    segments: tuple[Segment, ...]
    background: frozenset[int] = frozenset({BACKGROUND_LABEL})

    @cached_property
    def frames(self) -> tuple[Frame, ...]:
        """Give the frames; raises MaskError where it does not say what each shows."""
        return _read_header(self.path, lambda dataset: _parse_frames(dataset, self))

    @cached_property
    def references(self) -> References:
        """Give what it says it was drawn on, at its top or in any of its frames."""
        image_uids = self.listed.image_uids.union(*(frame.plane.source_uids for frame in self.frames))
        return replace(self.listed, image_uids=image_uids)

    def frames_of(self, segment: int) -> tuple[Frame, ...]:
        """Give the frames that show a segment; a label map's show them all."""
        return tuple(frame for frame in self.frames if frame.segment in (None, segment))


def read_segmentation(path: Path) -> Segmentation:
    """Read the header of a SEG file.

    Raises:
        MaskError: the file cannot be walked, or lacks what says which segments it has.
    Source: DICOM PS3.3 A.51, C.8.20.2 and C.7.6.16.
    """
    return _read_header(path, lambda dataset: _parse(dataset, path))


def place_frames(file: Segmentation, segment: int, series: OrderedSeries, slice_by_uid: Mapping[str, int]) -> PlacedFrames:
    """Put the frames of a segment onto the slices of a grid.

    Args:
        file: what `read_segmentation` gives.
        segment: number of the segment.
        series: the series, tilted or not.
        slice_by_uid: slice number by image identifier, for frames that say no place, and to check those that do.
    Returns:
        Frames by slice number.
    Raises:
        MaskError: a frame lies off the grid or contradicts its references, or two of them lie on one slice.
    """
    placed: dict[int, tuple[int, AxisMatch]] = {}
    for frame in file.frames_of(segment):
        z, axes = place_plane(frame.plane, series, slice_by_uid, f"frame {frame.number} of {WHAT}")
        if z in placed:
            raise MaskError(
                f"frames {placed[z][0]} and {frame.number} of {WHAT} show one segment on one slice ({z + 1} of "
                f"{series.grid.shape_zyx[0]} by position); one frame a segment and slice is expected: export the segments again"
            )
        placed[z] = frame.number, axes
    return placed


def check_steps(files: Sequence[Segmentation], series: OrderedSeries) -> tuple[str, ...]:
    """Give a warning where the frames of some files, taken together, leave out slices between them as a rule.

    Args:
        files: the files of one SEG series that belong to the series.
        series: the series, tilted or not.
    Raises:
        MaskError: they leave them out, and name another series: it was a coarser one.
    """
    heights = find_heights([frame.plane for file in files for frame in file.frames], series)
    if not is_drawn_in_steps(heights):
        return ()
    found = f"the frames of {WHAT} lie {median_gap(heights):.0f} slices apart as a rule, on {len(heights)} slices,"
    if any(file.references.name_another_series(series.headers) for file in files):
        raise MaskError(
            f"{found} and it names another series, as drawn on a coarser one, so that the slices between would be empty; draw it "
            "on this series, or move it elsewhere"
        )
    return (f"{found} and none on those between; if these are to belong to it, let the program that drew it interpolate",)


def lies_on(file: Segmentation, series: OrderedSeries) -> bool:
    """Say whether all frames that say their place lie on the slices of a series."""
    try:
        for frame in file.frames:
            place_plane(frame.plane, series, {}, WHAT)
    except MaskError:
        return False
    return bool(file.frames)


def open_segment(
    file: Segmentation, segment: int, placed: PlacedFrames, threshold: float, decode: Decoder
) -> Callable[[int], SliceBool | None]:
    """Make a segment ready to be read slice by slice; a frame is decoded when its slice is asked for.

    Args:
        file, segment: the segment.
        placed: its frames by slice number.
        threshold: share of a voxel from which on a fractional segment has it, above 0 and at most 1.
        decode: gives the stored values of its frames.
    Returns:
        Gives bool (y, x) of a slice, None where no frame lies; raises MaskError where a frame cannot be decoded, is a label map
        with a number of no segment, or has more than the whole of a voxel.
    """
    known = [*(one.number for one in file.segments), *file.background]
    # Labels and thresholds are compared with whole stored values; 0.55 times 100 is a little more than 55.
    least = segment if file.kind == "LABELMAP" else round(threshold * file.maximum, STORED_DIGITS)

    def read_slice(z: int) -> SliceBool | None:
        if z not in placed:
            return None
        number, axes = placed[z]
        stored = decode(number)
        unknown = np.count_nonzero(~np.isin(stored, known)) if file.kind == "LABELMAP" else 0
        if unknown:
            raise MaskError(
                f"frame {number} of {WHAT} has {unknown} pixels with numbers of none of its "
                f"{len(file.segments)} segments (0062,0002); export the segments again"
            )
        if file.kind == "FRACTIONAL" and stored.max() > file.maximum:
            raise MaskError(
                f"frame {number} of {WHAT} has fractions of up to {stored.max()}, where Maximum Fractional Value (0062,000E) is "
                f"{file.maximum}; export the segments again"
            )
        mask: SliceBool = stored == least if file.kind == "LABELMAP" else stored >= least
        turned: SliceBool = turn_volume(mask[np.newaxis], axes)[0]
        return turned

    return read_slice


def _read_header(path: Path, parse: Callable[["FileDataset"], Content]) -> Content:
    """Read what is wanted of a header, and refuse a file that cannot be walked."""
    try:
        dataset = read_dataset(path, has_pixels=False)
        if is_cut(dataset):
            raise MaskError(f"{WHAT} breaks off; copy it or export the segments again")
        return parse(dataset)
    except OSError as error:
        raise MaskError(f"{WHAT} can no longer be opened; pack the folder again") from error
    except MaskError:
        raise
    except Exception as error:  # nested sequences are parsed when they are asked for, and pydicom raises nearly anything
        raise MaskError(f"{WHAT} breaks off or is damaged; export the segments again") from error


def _parse(dataset: "FileDataset", path: Path) -> Segmentation:
    kind = text(dataset, "SegmentationType")
    rows, columns = integer(dataset, "Rows") or 0, integer(dataset, "Columns") or 0
    maximum = (integer(dataset, "MaximumFractionalValue") or 0) if kind == "FRACTIONAL" else 1
    if kind not in KINDS or min(rows, columns, maximum) < 1:
        raise MaskError(
            f"{WHAT} without a Segmentation Type (0062,0001) of {', '.join(KINDS)}, rows, columns or Maximum Fractional Value "
            "(0062,000E); export the segments again"
        )
    segments = tuple(
        Segment(integer(item, "SegmentNumber") or 0, text(item, "SegmentLabel"), read_anatomy(item))
        for item in items(dataset, "SegmentSequence")
        # The background of a label map may be listed as segment 0.
        if integer(item, "SegmentNumber")
    )
    listed = {one.number for one in segments}
    if not segments or len(listed) < len(segments):
        raise MaskError(
            f"{WHAT} lists {len(segments)} segments (0062,0002) of {len(listed)} numbers (0062,0004), at least 1 and each of "
            "its own are expected; export the segments again"
        )
    background = frozenset({BACKGROUND_LABEL, integer(dataset, "PixelPaddingValue") or BACKGROUND_LABEL})
    references = _parse_references(dataset)
    return Segmentation(path, text(dataset, "SeriesInstanceUID"), references, kind, maximum, segments, background)


def _parse_frames(dataset: "FileDataset", file: Segmentation) -> tuple[Frame, ...]:
    shape_yx = (integer(dataset, "Rows") or 0, integer(dataset, "Columns") or 0)
    frames = tuple(_walk_frames(dataset, shape_yx, is_map=file.kind == "LABELMAP"))
    listed = {one.number for one in file.segments}
    strangers = [frame.number for frame in frames if frame.segment not in (None, *listed)]
    if strangers:
        raise MaskError(
            f"{len(strangers)} of {len(frames)} frames of {WHAT}, the first is frame {strangers[0]}, show a segment (0062,000B) "
            "that it does not list (0062,0002); export the segments again"
        )
    return frames


def _walk_frames(dataset: "FileDataset", shape_yx: tuple[int, int], *, is_map: bool) -> Iterator[Frame]:
    from pydicom.dataset import Dataset  # noqa: PLC0415 - see `dictionary`

    shared = next(iter(items(dataset, "SharedFunctionalGroupsSequence")), Dataset())
    announced = integer(dataset, "NumberOfFrames") or 1
    own = items(dataset, "PerFrameFunctionalGroupsSequence")
    if len(own) != announced:
        raise MaskError(f"{WHAT} of {announced} frames describes {len(own)} of them; export the segments again")
    for number, groups in enumerate(own, 1):

        def find(macro: str, groups: "Dataset" = groups) -> "Dataset":
            return next(iter(items(groups, macro) or items(shared, macro)), Dataset())

        segment = integer(find("SegmentIdentificationSequence"), "ReferencedSegmentNumber")
        if segment is None and not is_map:
            raise MaskError(f"frame {number} of {WHAT} names no segment (0062,000B); export the segments again")
        derivations = items(groups, "DerivationImageSequence") or items(shared, "DerivationImageSequence")
        sources = {
            text(source, "ReferencedSOPInstanceUID") for one in derivations for source in items(one, "SourceImageSequence")
        }
        yield Frame(
            number,
            None if is_map else segment,
            Plane(
                shape_yx,
                numbers(find("PlanePositionSequence"), "ImagePositionPatient", 3),
                numbers(find("PlaneOrientationSequence"), "ImageOrientationPatient", 6),
                numbers(find("PixelMeasuresSequence"), "PixelSpacing", 2),
                frozenset(sources - {""}),
            ),
        )


def _parse_references(dataset: "FileDataset") -> References:
    series_uids, image_uids = set(), set()
    for series in items(dataset, "ReferencedSeriesSequence"):
        series_uids.add(text(series, "SeriesInstanceUID"))
        image_uids |= {text(one, "ReferencedSOPInstanceUID") for one in items(series, "ReferencedInstanceSequence")}
    frame_uids = {text(dataset, "FrameOfReferenceUID")}
    return References(
        drop_empty(series_uids),
        drop_empty(image_uids),
        drop_empty(frame_uids),
        drop_empty(frame_uids),
        text(dataset, "PatientID"),
        text(dataset, "StudyInstanceUID"),
    )
