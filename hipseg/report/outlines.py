"""Cases as a page carries them: each slice a small WebP picture and an SVG path for every outline."""

import base64
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import approximate_polygon, find_contours

from hipseg.axes import SliceBool
from hipseg.views import CaseView, SliceView

PICTURE_SIDE = 384
"""Most pixels of a picture's longer side; larger ones are averaged down."""
WEBP_QUALITY = 70
OUTLINE_TOLERANCE_PIXELS = 0.35
"""How far a simplified outline may run from the mask's, in pixels of the packed image."""
HALF = 0.5


def encode_case(view: CaseView) -> dict[str, Any]:
    """Turn a case into a JSON value.

    Args:
        view: at least one slice.
    Returns:
        `case`, `depth`, `width` and `height` of the picture's frame in mm, `start` (index of the slice with most of the truth)
        and `slices`: each `z`, `image` (a data: address), `truth` and `answers` (arm -> path), paths in mm of that frame.
    """
    rows, columns = view.slices[0].image.shape
    row_mm, column_mm = view.spacing_mm_yx
    return {
        "case": view.case,
        "depth": view.depth,
        "width": round(columns * column_mm, 1),
        "height": round(rows * row_mm, 1),
        "start": view.slices.index(view.largest),
        "slices": [_encode_slice(one, view.spacing_mm_yx) for one in view.slices],
    }


def encode_picture(image: NDArray[np.uint8]) -> str:
    """Encode a grey picture as a data: address of a WebP, at most PICTURE_SIDE pixels high and wide."""
    picture = Image.fromarray(image)
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.BOX)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=WEBP_QUALITY)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def trace_outline(mask: SliceBool, spacing_mm_yx: tuple[float, float]) -> str:
    """Trace the outlines of a mask as an SVG path.

    Args:
        mask: bool (y, x).
        spacing_mm_yx: distance between pixels.
    Returns:
        Closed polygons along the border between voxels inside and outside, x and y in mm from the corner of the first pixel;
        empty for an empty mask.
    """
    # A frame of background closes outlines that touch the edge.
    contours = find_contours(np.pad(mask, 1).astype(np.float32), HALF)
    return "".join(_draw_polygon(approximate_polygon(one, OUTLINE_TOLERANCE_PIXELS), spacing_mm_yx) for one in contours)


def _encode_slice(one: SliceView, spacing_mm_yx: tuple[float, float]) -> dict[str, Any]:
    return {
        "z": one.z,
        "image": encode_picture(one.image),
        "truth": trace_outline(one.truth, spacing_mm_yx),
        "answers": {arm: trace_outline(answer, spacing_mm_yx) for arm, answer in one.answers.items()},
    }


def _draw_polygon(points_yx: Iterable[Iterable[float]], spacing_mm_yx: tuple[float, float]) -> str:
    row_mm, column_mm = spacing_mm_yx
    # The frame of background moves every centre by one, and a pixel's corner lies half a pixel before its centre.
    places = [f"{(x - HALF) * column_mm:.1f} {(y - HALF) * row_mm:.1f}" for y, x in points_yx]
    # The last point of a closed outline is the first.
    return f"M{'L'.join(places[:-1])}Z"
