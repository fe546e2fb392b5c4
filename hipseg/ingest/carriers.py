"""Overlay planes that lie beside the CT: in a second series of the same geometry, or in secondary captures of its slices."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
OTHER_PIXELS = (
    "overlay planes are taken from a CT series of other pixels that lies at the same place, as another phase or "
    "reconstruction does: check that what they show lies there in this one, too"
)
OTHER_PATIENT = (
    "overlay planes are taken from a series that names the images of this one, and another patient (0010,0020) or none: check "
    "that both are of one person"
)


@dataclass(frozen=True, repr=False)
class Carrier:
    """The images of another series that hold overlay planes for a case.

    Args:
        images: those with regions drawn on them.
        planes: where each lies, and which images of the case it names.
        rivals: number of other series that it fits as well.
        words: description, number and folder of the series, as far as it has them, which tell its structures from others'.
        has_other_pixels: whether it is a CT series whose pixels are not seen to be those of the case.
        is_lacking: whether files of it are known to be damaged or missing, and planes with them.
        has_other_patient: whether it names another patient than the case, whose images it names, or none.
        left_out: number of slices of the case, before its first image and behind its last, that a CT series does not have; None
            for captures, of which there need be no more than what is drawn.
    """

    images: Sequence[ImageHeader]
    planes: Sequence[Plane]
    rivals: int
    words: tuple[str, ...] = ()
    has_other_pixels: bool = False
    is_lacking: bool = False
    has_other_patient: bool = False
    left_out: int | None = None


def place_carrier(carrier: Carrier, series: OrderedSeries, numbers: Collection[int]) -> dict[int, tuple[int, AxisMatch]]:
    """Put the images of a carrier that hold one structure onto the slices of a series.

    Args:
        carrier: the other series.
        series: its slices in order.
        numbers: of the images that hold the structure; there may be others on the same slices, for other structures.
    Returns:
        By slice number: number of the carrier's image, and how its rows and columns become the slice's.
    Raises:
        MaskError: the carrier lacks files or fits several series, its images leave out the slices between them, one of them lies
            off the slices or on that of another, or the structure lies in two of them on one slice.
    """
    if carrier.is_lacking:
        raise MaskError(
            "overlay planes in another series of which files are damaged or missing, so that planes of it may be missing, too; "
            "copy or export that series again"
        )
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


def find_oddities(carrier: Carrier, placed: Mapping[int, tuple[int, AxisMatch]], series: OrderedSeries) -> Iterator[str]:
    """Say what is odd about a carrier that is taken, and about the places of a structure in it.

    Args:
        carrier: the other series.
        placed: what `place_carrier` gives for one structure.
        series: the slices that it is taken for.
    """
    if carrier.has_other_pixels:
        yield OTHER_PIXELS
    if carrier.has_other_patient:
        yield OTHER_PATIENT
    if carrier.left_out:
        whole = len(series.headers)
        yield (
            f"the series whose overlay planes are taken has {whole - carrier.left_out} of the {whole} slices; the others have no "
            "label"
        )
    step = usual_step([carrier.planes[number] for number, _ in placed.values()], series)
    between = max(placed) - min(placed) + 1 if placed else 0
    if is_coarser(step):
        yield f"overlay planes of a structure chosen lie {step:.0f} slices apart in another series, and none between them"
    elif carrier.left_out is None and len(placed) < between:
        # A capture that is lost leaves no other trace.
        yield (
            f"captures of a structure chosen leave out {between - len(placed)} of the {between} slices from its first to its "
            "last, which are taken as empty"
        )


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
