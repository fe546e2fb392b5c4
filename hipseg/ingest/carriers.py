"""Overlay planes that lie beside the CT: in a second series of the same geometry, or in secondary captures of its slices."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from hipseg.errors import MaskError
from hipseg.ingest.dicomfile import UnreadableFileError, integer, items, read_dataset, text
from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.planes import Plane, is_coarser, number_slices, place_plane, usual_step
from hipseg.ingest.series import OrderedSeries
from hipseg.ingest.turning import AxisMatch

WHAT = "an image of overlay planes"
SOURCE_SEQUENCES = ("SourceImageSequence", "ReferencedImageSequence")
"""Source: DICOM PS3.3 C.7.6.1 and C.12.4, (0008,2112) and (0008,1140)."""
SOURCE_TAGS = (0x00082112, 0x00081140)
SERIES_TAGS = (0x00080005, 0x0008103E, 0x00200011)
"""Character set, description and number of a series. Source: DICOM PS3.3 C.7.3.1."""
MIN_CAPTURES = 3
"""Images of which none lies next to another before they count as those of a coarser series: two may be all that is drawn."""


@dataclass(frozen=True, repr=False)
class Carrier:
    """The images of another series that hold overlay planes for a case.

    Args:
        images: those with regions drawn on them.
        planes: where each lies, and which images of the case it names.
        rivals: number of other series that it fits as well.
        words: description, number and folder of the series, as far as it has them, which tell its structures from others'.
        has_other_pixels: whether it is a CT series whose pixels are not seen to be those of the case.
    """

    images: Sequence[ImageHeader]
    planes: Sequence[Plane]
    rivals: int
    words: tuple[str, ...] = ()
    has_other_pixels: bool = False


def place_carrier(carrier: Carrier, series: OrderedSeries, numbers: Collection[int]) -> dict[int, tuple[int, AxisMatch]]:
    """Put the images of a carrier that hold one structure onto the slices of a series.

    Args:
        carrier: the other series.
        series: its slices in order.
        numbers: of the images that hold the structure; there may be others on the same slices, for other structures.
    Returns:
        By slice number: number of the carrier's image, and how its rows and columns become the slice's.
    Raises:
        MaskError: the carrier fits several series, its images leave out the slices between them, one of them lies off the slices
            or on that of another, or the structure lies in two of them on one slice.
    """
    if carrier.rivals:
        raise MaskError(
            f"overlay planes in another series fit {carrier.rivals + 1} series of the patient, whose they are cannot be told; "
            "move the others elsewhere"
        )
    step = usual_step(carrier.planes, series)
    if len(carrier.planes) >= MIN_CAPTURES and is_coarser(step):
        raise MaskError(
            f"overlay planes in another series lie {step:.0f} slices apart, as drawn on a coarser series, so that the slices "
            "between would be empty; draw them on this series, or move them elsewhere"
        )
    slice_by_uid = number_slices(series.headers)
    placed: dict[int, tuple[int, AxisMatch]] = {}
    for number, plane in enumerate(carrier.planes):
        z, axes = place_plane(plane, series, slice_by_uid, WHAT)
        if number not in numbers:
            continue
        if z in placed:
            raise MaskError(
                f"two images of overlay planes hold a structure on slice {z + 1} of {len(series.headers)} by position; one is "
                "expected: remove the copy, or give each structure a label (60xx,1500) or a series of its own"
            )
        placed[z] = number, axes
    return placed


def read_planes(images: Iterable[ImageHeader]) -> tuple[Plane, ...]:
    """Give the place of each image, and the images that it says it was made from."""
    return tuple(replace(place_of(image), source_uids=_read_source_uids(image)) for image in images)


def place_of(image: ImageHeader) -> Plane:
    """Give the place of an image as its header has it."""
    return Plane((image.rows or 0, image.columns or 0), image.position_mm, image.orientation, image.pixel_spacing_mm, frozenset())


def read_series_words(image: ImageHeader) -> tuple[str, ...]:
    """Give what tells an image's series from others: its description, number and folder, as far as it has them; private."""
    folder = PurePosixPath(image.folder).name
    try:
        dataset = read_dataset(image.path, SERIES_TAGS, has_pixels=False)
    except (OSError, UnreadableFileError):
        return (folder,) if folder else ()
    number = integer(dataset, "SeriesNumber")
    words = (text(dataset, "SeriesDescription"), "" if number is None else str(number), folder)
    return tuple(word for word in words if word)


def _read_source_uids(image: ImageHeader) -> frozenset[str]:
    """Give the identifiers of the images that an image says it was made from; none where it can no longer be read."""
    try:
        dataset = read_dataset(image.path, SOURCE_TAGS, has_pixels=False)
    except (OSError, UnreadableFileError):
        return frozenset()
    uids = {text(one, "ReferencedSOPInstanceUID") for name in SOURCE_SEQUENCES for one in items(dataset, name)}
    return frozenset(uids - {""})
