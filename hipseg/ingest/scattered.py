"""Lone images that are slices of one volume, as an export leaves them that gives each file identifiers of its own.

An image that is alone in its series says nothing of its neighbours, and most are what they seem: single slices of a collection.
Those of a volume betray themselves by where they lie, one even step behind the other.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter

import numpy as np

from hipseg.ingest.headers import ImageHeader
from hipseg.ingest.images import SeriesKey, SeriesMap
from hipseg.ingest.series import DUPLICATE_TOLERANCE_MM, ROUNDING_MM, SPACING_TOLERANCE_MM
from hipseg.ingest.sorting import sort_apart
from hipseg.ingest.stacks import is_volume, round_geometry

MIN_LINE = 3
"""Images that are needed to see an even step: two lie in line with each other anyhow."""
ASIDE_DIGITS = 1
"""Images whose corners lie beside each other by less than that decimal, mm, are looked at as one stack."""

MOST_STEPS = 0.75
"""Part of the steps that are alike in a volume with slices missing; single slices at whole millimetres may have half alike."""
ANYONE, PATIENT, FRAME, NOTHING, STUDY, PERSON = "anyone", "patient", "frame", "nothing", "study", "person"
APART = frozenset((STUDY, PERSON))
"""Companies of images in whatever folders and frames of reference."""
UNSURE = frozenset((ANYONE, *APART))
"""Companies in which some images may lie in line by chance."""
APART_COUNTS = range(5, 4_001)
"""How many of those that lie apart are looked at: a few single slices at whole millimetres may have even steps by chance, and
no scan has more."""

_Lone = tuple[SeriesKey, ImageHeader]
_Company = tuple[Hashable, ...]
"""What images that may be of one volume have in common: what it is, and its value."""


def find_scattered(series: SeriesMap) -> dict[SeriesKey, str]:
    """Find lone images that lie in even steps, in one frame of reference, or in one folder of one patient or none.

    Where most of the steps are alike, all are refused: chance does not put the images of different scans so, and a slice that is
    missing leaves the others as they are. Images that name no series need not be in one folder. Those of one folder that name
    different patients are believed, unless all of them together are one whole volume; so are those of one patient, or
    of one study, in whatever folders and frames of reference.

    Returns:
        What is wrong and what to do, by series, in our own words.
    """
    found: dict[SeriesKey, tuple[int, str]] = {}
    for (_, kind), alike in groupby(_gather(series), key=itemgetter(0, 2)):
        numbered = [(number, key) for _, number, _, key in alike]
        # Headers are read anew, so that only those of one group are in memory.
        is_asked = len(numbered) in APART_COUNTS if kind in APART else len(numbered) >= MIN_LINE
        lone = [(key, series[key][0]) for _, key in numbered] if is_asked else []
        for line in _lines(lone, is_sure=kind not in UNSURE):
            said = numbered[0][0], _say(len(line))
            for key, _ in line:
                # Of what several groups say the first one's is told.
                found[key] = min(said, found.get(key, said))
    return {key: words for key, (_, words) in found.items()}


def _gather(series: SeriesMap) -> Iterator[tuple[str, int, str, SeriesKey]]:
    """Give lone images by what they have in common: that as text, a rising number, its kind, and the series."""
    lone = (
        (company, key)
        for key, images in series.items()
        if len(images) == 1 and (header := images[0]).position_mm is not None and header.orientation is not None
        for company in _companies(header)
    )
    return sort_apart((repr(company), number, str(company[0]), key) for number, (company, key) in enumerate(lone))


def _companies(header: ImageHeader) -> Iterator[_Company]:
    """Say with which others an image may be of one volume."""
    geometry = round_geometry(header)
    yield ANYONE, header.folder, geometry
    yield PATIENT, header.folder, header.patient_id, geometry
    if header.patient_id:
        yield STUDY, header.patient_id, header.study_uid, geometry
        yield PERSON, header.patient_id, geometry
    if header.frame_uid:
        yield FRAME, header.frame_uid, geometry
    elif not header.series_uid:
        yield NOTHING, header.patient_id, geometry


def _lines(group: Sequence[_Lone], *, is_sure: bool) -> Iterator[Sequence[_Lone]]:
    """Give the images that lie in even steps, a gantry tilt moves them aside, too; those of anyone only if all do."""
    if not group:
        return
    # Whoever gives each file a series of its own may have done so with the frame of reference.
    if is_volume([replace(header, frame_uid="") for _, header in group]):
        yield group
        return
    if not is_sure:
        return
    stacks: dict[tuple[float, ...], list[_Lone]] = defaultdict(list)
    heights_mm: dict[tuple[float, ...], list[float]] = defaultdict(list)
    normal = np.cross(*np.reshape(group[0][1].orientation or (), (2, 3)))
    for lone in group:
        position = np.array(lone[1].position_mm)
        height = float(position @ normal)
        aside = tuple(float(one) + 0.0 for one in np.round(position - height * normal, ASIDE_DIGITS))
        stacks[aside].append(lone)
        heights_mm[aside].append(height)
    for aside, stack in stacks.items():
        if _has_even_steps(heights_mm[aside]):
            yield stack


def _has_even_steps(heights_mm: Sequence[float]) -> bool:
    """Say whether most of the steps are alike; two images at one place, as of two phases, make none."""
    steps = np.diff(np.sort(heights_mm))
    steps = steps[steps > DUPLICATE_TOLERANCE_MM]
    if len(steps) < MIN_LINE - 1:
        return False
    usual = float(np.median(steps))
    alike = np.count_nonzero(np.abs(steps - usual) <= SPACING_TOLERANCE_MM + ROUNDING_MM)
    # Among steps as small as the tolerance all are alike, whatever scans the images are of.
    return usual > 2 * SPACING_TOLERANCE_MM and int(alike) >= MOST_STEPS * len(steps)


def _say(count: int) -> str:
    return (
        f"contradictory identifiers: {count} images, each alone in its series (0020,000E) or without one, lie one even step "
        "behind the other; they may be of one series: export it again under one identifier, or move those of others elsewhere"
    )
