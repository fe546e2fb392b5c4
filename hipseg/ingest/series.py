"""The images of one series -> slices in order and the grid that they lie on, or a refusal that says what is wrong where."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hipseg.errors import SeriesError
from hipseg.geometry import Grid, make_grid
from hipseg.ingest.headers import GREY, ImageHeader

SPACING_TOLERANCE_MM = 0.1
"""Beyond it a series is refused. Positions are often written with one decimal: two of them put a gap up to 0.1 mm wrong."""
ROUNDING_MM = 1e-6
"""Added to the tolerances, so that a gap that is wrong by just as much as they allow is not refused for its last bit."""
SPACING_WARNING_MM = 0.02
"""Beyond it a series is taken with a warning: twice what positions written with two decimals can put a gap wrong."""
MOST_OF_SPACING, WARNING_OF_SPACING = 1 / 3, 1 / 10
"""Parts of the distance between slices that the two are at most: a tenth of a millimetre is a whole slice of a micro-CT."""
DUPLICATE_TOLERANCE_MM = 0.01
"""Closer than any two slices of a scanner, wider than the rounding of a position written twice."""
SIDEWAYS_TOLERANCE_MM = 0.1
"""Over the whole stack; a gantry tilt of a tenth of a degree moves 60 mm of slices as far as this."""
SIDEWAYS_WARNING_MM = 0.02
"""As for the spacing; beyond it the slices are taken as if they lay straight, with a warning."""
MAX_TILT_DEGREES = 45
"""Scanners tilt by up to 30 degrees; slices that lie farther aside have wrong positions."""
DIRECTION_WARNING = 1e-5
"""Ten units of the last digit that most scanners write of a direction cosine; beyond it a warning."""
DIRECTION_TOLERANCE = 1e-4
"""Of a direction cosine: at the far edge of 500 mm this is the 0.05 mm within which two grids count as the same."""
RIGHT_ANGLE_TOLERANCE = 2e-3
"""What three decimals can leave of the lengths of two directions and of the angle between them: 0.0009 and 0.0017. Beyond
DIRECTION_TOLERANCE they are set right with a warning."""
PIXEL_SPACING_TOLERANCE_MM = 1e-4
"""At the 512th pixel this is 0.05 mm."""


@dataclass(frozen=True)
class OrderedSeries:
    """The images of a series by rising slice number, and their grid.

    Args:
        headers: the slices.
        grid: where their voxels lie; for tilted slices, the first slice's grid with all others straight above it.
        warnings: what was taken although it is not as it should be, a sentence each.
        shifts_mm_yx: how far each slice of a tilted series lies beside the first slice's normal, along its columns (y) and its
            rows (x); empty for a series without tilt.
    """

    headers: tuple[ImageHeader, ...]
    grid: Grid
    warnings: tuple[str, ...] = ()
    shifts_mm_yx: tuple[tuple[float, float], ...] = ()


def order_series(headers: Sequence[ImageHeader], case: str, *, takes_tilt: bool = False) -> OrderedSeries:
    """Check that images are the slices of one volume, and put them in order along the slices' normal.

    Args:
        headers: at least one image of one series, in any order.
        case: the case's key, for messages.
        takes_tilt: whether slices may lie beside each other's normal by an even step (gantry tilt).
    Returns:
        The slices by rising position along row direction x column direction, with their grid.
    Raises:
        SeriesError: the images are not one volume on a regular, rectangular grid.
    Source: DICOM PS3.3 C.7.6.2.1.1.
    """
    _check_values(headers, case)
    _check_alike(headers, case)
    row, column = _check_orientation(headers[0], case)
    normal = np.cross(row, column)
    positions = np.array([header.position_mm for header in headers])
    along = positions @ normal
    # Equal positions are refused below; the identifier only makes the order of the message's slices certain.
    order = sorted(range(len(headers)), key=lambda n: (along[n], headers[n].instance_uid, headers[n].frame or 0))
    ordered = tuple(headers[n] for n in order)
    positions, along = positions[order], along[order]
    _check_duplicates(ordered, along, case)
    aside = positions - positions[0] - np.outer(along - along[0], normal)
    is_tilted = _is_tilted(aside, along, case, takes_tilt=takes_tilt)
    spacing_mm = _check_gaps(along, case) if len(ordered) > 1 else _lone_spacing(ordered[0], case)
    shape = (len(ordered), ordered[0].rows, ordered[0].columns)
    spacing_mm_zyx = (spacing_mm, *(ordered[0].pixel_spacing_mm or ()))
    return OrderedSeries(
        ordered,
        make_grid(shape, spacing_mm_zyx, positions[0], (row, column, normal)),
        tuple(_warn(ordered, along, aside, spacing_mm, is_tilted=is_tilted)),
        tuple((float(one @ column), float(one @ row)) for one in aside) if is_tilted else (),
    )


def _warn(
    headers: Sequence[ImageHeader],
    along: NDArray[np.float64],
    aside: NDArray[np.float64],
    spacing_mm: float,
    *,
    is_tilted: bool,
) -> Iterator[str]:
    """Say what is odd about a series that is taken all the same."""
    if len(headers) == 1:
        # So ends a slice whose series identifier is damaged.
        yield "only one slice: no other one confirms its extent, nor that none is missing"
    drift = float(np.abs(along - along[0] - spacing_mm * np.arange(len(along))).max())
    if drift > min(SPACING_WARNING_MM, WARNING_OF_SPACING * spacing_mm):
        yield f"uneven slices: up to {drift:.3f} mm from their places on a grid of {spacing_mm:.3f} mm, taken as even"
    beside = float(np.linalg.norm(aside, axis=1).max())
    if not is_tilted and beside > SIDEWAYS_WARNING_MM:
        yield f"slices up to {beside:.3f} mm beside the first slice's normal, taken as straight"
    turned = float(np.ptp(np.array([h.orientation for h in headers]), axis=0).max())
    skew = _measure_skew(np.reshape(headers[0].orientation or (), (2, 3)))
    if skew > DIRECTION_TOLERANCE:
        yield f"directions of rows and columns {skew:.1g} off two unit vectors at right angles, as if rounded: set right"
    if turned > DIRECTION_WARNING:
        yield f"orientations differ by up to {turned:.1g} in a direction cosine, taken as equal"
    rescales = {(h.slope, h.intercept) for h in headers}
    if len(rescales) > 1:
        yield f"{len(rescales)} different rescale slopes and intercepts in {len(headers)} images, each applied to its own"
    stated = {h.spacing_between_slices_mm for h in headers}
    if len(headers) > 1 and any(one is not None and abs(abs(one) - spacing_mm) > SPACING_TOLERANCE_MM for one in stated):
        yield f"Spacing Between Slices (0018,0088) is not the {spacing_mm:.3f} mm between positions; the positions are believed"


def _check_values(headers: Sequence[ImageHeader], case: str) -> None:
    """Refuse images that lack what a volume in Hounsfield units needs."""
    flawed = [header for header in headers if header.flaw]
    if flawed:
        raise SeriesError(
            f"enhanced CT that cannot be read in case {case}: {flawed[0].flaw} ({len(flawed)} of {len(headers)} images); "
            "export the series whole, or as one file a slice"
        )
    several = [header for header in headers if header.is_multiframe]
    if several:
        raise SeriesError(
            f"multi-frame CT in case {case}: {len(several)} of {len(headers)} files hold several frames and are no enhanced CT, "
            "so that no frame says where it lies; export the series as one file a slice"
        )
    needs: dict[str, Callable[[ImageHeader], bool]] = {
        "Image Position (0020,0032)": lambda h: h.position_mm is not None,
        "Image Orientation (0020,0037)": lambda h: h.orientation is not None,
        "Pixel Spacing (0028,0030) above 0": lambda h: h.pixel_spacing_mm is not None and min(h.pixel_spacing_mm) > 0,
        "Rows and Columns (0028,0010 and 0011) above 0": lambda h: min(h.rows or 0, h.columns or 0) > 0,
        "Rescale Slope (0028,1053) other than 0": lambda h: bool(h.slope),
        "Rescale Intercept (0028,1052)": lambda h: h.intercept is not None,
        "Rescale Type (0028,1054) HU": lambda h: h.is_hounsfield,
        "one sample a pixel (0028,0002)": lambda h: h.samples == 1,
        "grey values, MONOCHROME1 or 2 (0028,0004)": lambda h: h.photometric in GREY,
        # No reader at hand shifts pixels down; the standard wants their highest bit to be the last one stored.
        "High Bit (0028,0102) one below Bits Stored (0028,0101)": lambda h: h.high_bit in (None, (h.bits_stored or 0) - 1),
    }
    for name, is_met in needs.items():
        lacking = [header for header in headers if not is_met(header)]
        if lacking:
            raise SeriesError(
                f"incomplete headers in case {case}: {len(lacking)} of {len(headers)} images{_instance(lacking[0])} "
                f"without {name}; export the series again"
            )


def _check_alike(headers: Sequence[ImageHeader], case: str) -> None:
    """Refuse a series whose images differ in size, frame of reference, pixel spacing or orientation."""
    _refuse_mixed("image sizes", [f"{h.rows} x {h.columns}" for h in headers], case)
    frames = {h.frame_uid for h in headers}
    if len(frames) > 1:
        raise SeriesError(
            f"mixed frames of reference in case {case}: {len(frames)} in {len(headers)} images, 1 expected; "
            "positions in different frames cannot be compared; export each part as its own series"
        )
    spacing = np.array([h.pixel_spacing_mm for h in headers])
    if np.ptp(spacing, axis=0).max() > PIXEL_SPACING_TOLERANCE_MM:
        _refuse_mixed("pixel spacings", [f"{h[0]:g} x {h[1]:g} mm" for h in spacing], case)
    directions = np.array([h.orientation for h in headers])
    if np.ptp(directions, axis=0).max() > DIRECTION_TOLERANCE:
        _refuse_mixed("orientations", [f"({', '.join(f'{v:.4f}' for v in h)})" for h in directions], case)


def _refuse_mixed(what: str, values: Sequence[Hashable], case: str) -> None:
    counts = Counter(values).most_common()
    if len(counts) > 1:
        (usual, many), (other, few) = counts[:2]
        raise SeriesError(
            f"mixed {what} in case {case}: {len(counts)} in {len(values)} images ({many} of {usual}, {few} of {other}), "
            "1 expected; export each part as its own series"
        )


def _check_orientation(header: ImageHeader, case: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the directions of rows and columns as unit vectors at right angles, where rounding can have made them so."""
    directions = np.array(header.orientation).reshape(2, 3)
    skew = _measure_skew(directions)
    if skew > RIGHT_ANGLE_TOLERANCE:
        raise SeriesError(
            f"impossible orientation in case {case}: rows and columns run along {directions.tolist()}; "
            "two unit vectors at right angles are expected"
        )
    if skew > DIRECTION_TOLERANCE:
        # The nearest ones, as far from the rows as from the columns. Source: Higham, the polar decomposition.
        left, _, right = np.linalg.svd(directions, full_matrices=False)
        directions = left @ right
    directions /= np.linalg.norm(directions, axis=1)[:, np.newaxis]
    return directions[0], directions[1]


def _measure_skew(directions: NDArray[np.float64]) -> float:
    """Say how far two directions (2, 3) are off unit length or a right angle, whichever is more."""
    lengths = np.linalg.norm(directions, axis=1)
    return max(float(np.abs(lengths - 1).max()), abs(float(directions[0] @ directions[1])))


def _check_duplicates(headers: Sequence[ImageHeader], along: NDArray[np.float64], case: str) -> None:
    close = np.flatnonzero(np.diff(along) < DUPLICATE_TOLERANCE_MM)
    if not close.size:
        return
    first = int(close[0])
    pair = headers[first : first + 2]
    is_copy = pair[0].instance_uid == pair[1].instance_uid != "" and pair[0].frame == pair[1].frame
    # As a copying program leaves one that was broken off.
    is_hidden = any(header.path.name.startswith(".") for header in pair)
    cure = f"remove the copy{', a hidden file' * is_hidden}" if is_copy else "export each pass as its own series"
    raise SeriesError(
        f"duplicate positions in case {case}: slices {first + 1} and {first + 2} of {len(headers)} by position lie "
        f"{along[first + 1] - along[first]:.3f} mm apart ({'the same image twice' if is_copy else 'different images'}; "
        f"{close.size} such pairs); one image a position is expected: {cure}"
    )


def _is_tilted(aside: NDArray[np.float64], along: NDArray[np.float64], case: str, *, takes_tilt: bool) -> bool:
    """Say whether slices lie beside each other's normal by an even step; refuse a tilt that is not taken, or uneven.

    Gantry tilt shears the grid, so spacing alone cannot reveal it.
    """
    beside = np.linalg.norm(aside, axis=1)
    if beside.max() <= SIDEWAYS_TOLERANCE_MM + ROUNDING_MM:
        return False
    worst = int(beside.argmax())
    even = np.outer((along - along[0]) / (along[-1] - along[0]), aside[-1])
    uneven = np.linalg.norm(aside - even, axis=1)
    if uneven.max() > SIDEWAYS_TOLERANCE_MM + ROUNDING_MM:
        raise SeriesError(
            f"shifted slices in case {case}: slice {int(uneven.argmax()) + 1} of {len(along)} by position lies "
            f"{uneven.max():.1f} mm beside the line through the first and last, at most {SIDEWAYS_TOLERANCE_MM} mm accepted; "
            "no gantry tilt explains it: export the series again"
        )
    degrees = np.degrees(np.arctan2(beside[worst], along[worst] - along[0]))
    if degrees > MAX_TILT_DEGREES:
        raise SeriesError(
            f"shifted slices in case {case}: slice {worst + 1} of {len(along)} by position lies {beside[worst]:.1f} mm beside "
            f"the first slice's normal ({degrees:.1f} degrees), no gantry tilts by more than {MAX_TILT_DEGREES}: export the "
            "series again"
        )
    if not takes_tilt:
        raise SeriesError(
            f"gantry tilt in case {case}: slice {worst + 1} of {len(along)} by position lies {beside[worst]:.1f} mm beside the "
            f"first slice's normal ({degrees:.1f} degrees), at most {SIDEWAYS_TOLERANCE_MM} mm accepted; "
            "resample the series to straight slices, or let --untilt do it"
        )
    return True


def _check_gaps(along: NDArray[np.float64], case: str) -> float:
    """Give the distance between slices, mm, and refuse a series whose slices are not evenly spaced."""
    gaps = np.diff(along)
    # The lower one of two medians, so that it is one of the gaps.
    expected = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    tolerance_mm = min(SPACING_TOLERANCE_MM, MOST_OF_SPACING * expected)
    wrong = np.flatnonzero(np.abs(gaps - expected) > tolerance_mm + ROUNDING_MM)
    if wrong.size:
        first = int(wrong[0])
        missing = round(gaps[first] / expected) - 1
        is_whole = missing > 0 and abs(gaps[first] - (missing + 1) * expected) <= tolerance_mm + ROUNDING_MM
        finding = f" ({missing} slice{'s' * (missing > 1)} missing)" if is_whole else ""
        raise SeriesError(
            f"slice gap in case {case}: {gaps[first]:.2f} mm between slices {first + 1} and {first + 2} of {len(along)} by "
            f"position{finding}, expected {expected:.2f} \u00b1 {tolerance_mm:.2g} mm ({wrong.size} such gaps); "
            "export the series again"
        )
    spacing = float(along[-1] - along[0]) / (len(along) - 1)
    drift = np.abs(along - along[0] - spacing * np.arange(len(along)))
    if drift.max() > tolerance_mm + ROUNDING_MM:
        # Gaps that each pass can still add up, as where two passes of slightly different spacing are joined.
        raise SeriesError(
            f"uneven slices in case {case}: slice {int(drift.argmax()) + 1} of {len(along)} by position lies "
            f"{drift.max():.2f} mm from its place on a grid of {spacing:.3f} mm, "
            f"at most {tolerance_mm:.2g} mm accepted; export the series again"
        )
    return spacing


def _lone_spacing(header: ImageHeader, case: str) -> float:
    """Give the extent of a single slice along its normal, mm."""
    for spacing in (header.spacing_between_slices_mm, header.slice_thickness_mm):
        if spacing is not None and spacing > 0:
            return spacing
    raise SeriesError(
        f"single slice without extent in case {case}: 1 image, and neither Spacing Between Slices (0018,0088) nor "
        "Slice Thickness (0018,0050) above 0; export the whole series"
    )


def _instance(header: ImageHeader) -> str:
    return "" if header.instance_number is None else f" (the first has instance number {header.instance_number})"
