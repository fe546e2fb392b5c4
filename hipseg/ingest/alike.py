"""Headers of one series: runs of elements that are equal from image to image, byte for byte, are known and not walked over again.

Where an element begins, the bytes that follow say where the next one does. So bytes that were walked over once, from the begin of
an element to the end of another, hold the same elements wherever they lie in a file. A pattern is the runs that the images of a
series have in common, and between them the tags of the elements that each image has for its own.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Self

from hipseg.ingest.dictionary import IMPLICIT_LITTLE_ENDIAN, tag_of
from hipseg.ingest.elements import (
    MEDIA_CLASS,
    META_START,
    PREFIX,
    TRANSFER_SYNTAX,
    Elements,
    OddLayoutError,
    Place,
    begin_of,
    find_element,
    find_pixels,
)

KEPT = (MEDIA_CLASS, TRANSFER_SYNTAX, tag_of("SeriesInstanceUID"), tag_of("PixelRepresentation"))
"""Images that differ in one of these have no pattern in common: it says how the other elements are read."""

Kind = tuple[tuple[int, ...], tuple[bytes, ...]]
"""The tags of an image, and its bytes of the elements KEPT."""


class _Step(NamedTuple):
    """A run of elements, and the one after it that each image has for its own."""

    run: bytes
    tag: int
    is_explicit: bool
    is_wanted: bool


@dataclass(frozen=True, repr=False)
class Image:
    """The header of one image, taken apart whole; its bytes are private.

    Args:
        head: the first bytes of the file, up to the begin of its pixel data at least.
        elements: all that lie in them.
        pixels: its pixel data.
    """

    head: bytes
    elements: Elements
    pixels: Place

    @property
    def tags(self) -> tuple[int, ...]:
        """All tags before the pixel data."""
        return (*self.elements.meta, *self.elements.places)

    @property
    def kind(self) -> Kind:
        """What images need to have alike so that they may have a pattern in common."""
        ends = dict(self.spans())
        return self.tags, tuple(self.head[slice(*ends[tag])] for tag in KEPT if tag in ends)

    def spans(self) -> list[tuple[int, tuple[int, int]]]:
        """Give the tags in order, each with the positions of its element's first byte and of the one after its last."""
        begins = [begin_of(place) for place in (*self.elements.meta.values(), *self.elements.places.values(), self.pixels)]
        return list(zip(self.tags, pairwise(begins), strict=True))

    def differences(self, other: Self) -> set[int]:
        """Give the tags of the elements of which another image of the same kind has other bytes."""
        both = zip(self.spans(), other.spans(), strict=True)
        return {tag for (tag, ours), (_, theirs) in both if self.head[slice(*ours)] != other.head[slice(*theirs)]}


class Pattern:
    """Finds the elements of images that are equal to a known one but for some elements."""

    def __init__(self, image: Image, own: Collection[int], wanted: Collection[int]) -> None:
        """Take the runs out of an image.

        Args:
            image: the known one.
            own: the tags of the elements that may differ from it, none of KEPT.
            wanted: the tags of which places are to be found.
        """
        self._is_explicit = image.elements.syntax != IMPLICIT_LITTLE_ENDIAN
        self._start = position = end = META_START - len(PREFIX)
        steps = []
        for tag, (begin, end) in image.spans():
            if tag in own:
                steps.append(
                    _Step(image.head[position:begin], tag, tag in image.elements.meta or self._is_explicit, tag in wanted)
                )
                position = end
        self._steps, self._last_run = tuple(steps), image.head[position:end]

    def find(self, head: bytes) -> tuple[dict[int, Place], Place] | None:
        """Find the own elements that are wanted, and the pixel data.

        Args:
            head: the first bytes of a file.
        Returns:
            The places that `find_elements` gives; None where the file is not of this pattern, or its header longer than `head`.
        """
        places: dict[int, Place] = {}
        position = self._start
        try:
            for run, tag, is_explicit, is_wanted in self._steps:
                if not head.startswith(run, position):
                    return None
                found, place, position = find_element(head, position + len(run), is_explicit=is_explicit)
                if found != tag:
                    return None
                if is_wanted:
                    places[tag] = place
            if not head.startswith(self._last_run, position):
                return None
            pixels = find_pixels(head, position + len(self._last_run), is_explicit=self._is_explicit)
        except OddLayoutError:
            return None
        return None if pixels is None else (places, pixels)
