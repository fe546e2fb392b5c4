"""The segments that 3D Slicer, and what writes files for it, list in the header of an NRRD file."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hipseg.errors import MaskError
from hipseg.ingest.labels import LABEL_MAX

FIELD = re.compile(r"Segment(\d{1,6})_(?:Name|ID)", re.ASCII)


@dataclass(frozen=True, repr=False)
class NrrdSegment:
    """One segment as 3D Slicer names it: free text of the source, its value, and the layer that it lies in.

    A value of None stands for all above 0.
    """

    name: str
    value: int | None
    layer: int


def parse_segments(fields: Mapping[str, Any], layers: int, what: str) -> tuple[NrrdSegment, ...]:
    """Give the segments that a header lists as Segment0_Name, Segment0_LabelValue and Segment0_Layer.

    3D Slicer up to 4.10, and others today, write a layer for each segment, one after the other, and neither its value nor its
    layer; what is not 0 in it belongs to the segment.

    Args:
        fields: of the header.
        layers: how many values a voxel has.
        what: what the file is, for messages.
    Raises:
        MaskError: it is open which voxels are a segment's.
    Source: 3D Slicer's manual, segmentation file format.
    """
    # Some count from 1.
    numbers = sorted({int(match[1]) for match in map(FIELD.fullmatch, fields) if match})
    places = _find_layers(fields, numbers, layers, what)
    counts = Counter(places.values())
    segments = tuple(_parse_segment(fields, number, places[number], counts, what) for number in numbers)
    claims = Counter((one.value, one.layer) for one in segments)
    for number, one in zip(numbers, segments, strict=True):
        if not (one.value is None or 1 <= one.value <= LABEL_MAX) or not 0 <= one.layer < layers:
            raise MaskError(
                f"{what} lists segment {number} with value {one.value} in layer {one.layer}; values 1 to {LABEL_MAX} and layers "
                f"0 to {layers - 1} are accepted: save it again"
            )
        if claims[one.value, one.layer] > 1:
            raise MaskError(
                f"{what} lists {claims[one.value, one.layer]} segments with value {one.value} in layer {one.layer}, segment "
                f"{number} is one; each has a value or a layer of its own: save it again"
            )
    return segments


def _find_layers(fields: Mapping[str, Any], numbers: list[int], layers: int, what: str) -> dict[int, int]:
    """Give the layer of each segment by its number."""
    said = {number: int(fields[f"Segment{number}_Layer"]) for number in numbers if f"Segment{number}_Layer" in fields}
    if layers == 1 or (said and len(said) == len(numbers)):
        return dict.fromkeys(numbers, 0) | said
    if not numbers:
        raise MaskError(f"{what} has {layers} layers and lists no segments, so that nothing says what they are; save one a file")
    if said or len(numbers) != layers:
        raise MaskError(
            f"{what} has {layers} layers, and says of {len(said)} of its {len(numbers)} segments in which they lie; of all, or "
            "one layer for each segment, is expected: save it again"
        )
    return {number: layer for layer, number in enumerate(numbers)}


def _parse_segment(fields: Mapping[str, Any], number: int, layer: int, counts: Counter[int], what: str) -> NrrdSegment:
    name, value = (
        fields.get(f"Segment{number}_Name", fields.get(f"Segment{number}_ID")),
        fields.get(f"Segment{number}_LabelValue"),
    )
    if value is None and counts[layer] > 1:
        raise MaskError(
            f"{what} lists {counts[layer]} segments in one layer and does not say which value segment {number} has; save it again"
        )
    return NrrdSegment(str(name).strip(), None if value is None else int(value), layer)
