"""Spine and ribs as solids; tables are as in `bones`: (lateral, back, up) in mm of a grown person."""

import itertools

import numpy as np

from hipseg.phantom.bones import Frame
from hipseg.phantom.shapes import Compound, Ellipsoid, Grown, Solid, Tube

LUMBAR_LEVELS, ALL_LEVELS = 5, 12
LUMBAR_PITCH_MM, CHEST_PITCH_MM = 34.0, 25.5
LOWEST_BODY_MM = 104.0
LOWEST_RIB_MM, RIB_JOINT_MM, DISC_SPACE_MM = 284.0, 1.5, 2.5
RIB_REACH_DEG = (75, 100, 132, 132, 132, 132)
"""How far round the chest each rib goes, from below; 180 would be the breastbone. The two lowest end free in the flank."""


def spine_height(level: int) -> tuple[float, float]:
    """Give a vertebra's tabled height, and its size over a lumbar one's; level 0 is the lowest lumbar."""
    if level < LUMBAR_LEVELS:
        return LOWEST_BODY_MM + level * LUMBAR_PITCH_MM, 1.0
    above = level - (LUMBAR_LEVELS - 1)
    return LOWEST_BODY_MM + (LUMBAR_LEVELS - 1) * LUMBAR_PITCH_MM + above * CHEST_PITCH_MM + 4, 0.76


def spine_back(up: float) -> float:
    """Give how far back the vertebral bodies' centres lie: the lumbar spine bows forwards between sacrum and chest."""
    return 44 - 14 * max(0.0, 1 - abs(up - 160) / 90)


def make_discs(scale: float) -> Tube:
    """Build the column of discs, which the vertebrae are then drawn over."""
    rows = []
    for level in range(ALL_LEVELS):
        up, size = spine_height(level)
        rows.append((up * scale, 0.0, spine_back(up) * scale, 25 * size * scale, 18 * size * scale))
    low = (84 * scale, 0.0, 48 * scale, 25 * scale, 17 * scale)
    return Tube((low, *rows))


def make_vertebra(scale: float, level: int, keep_off: tuple[Solid, ...] = ()) -> Compound:
    """Build a vertebra: body, arch round the canal, spinous and transverse processes.

    Args:
        scale: of the patient.
        level: counted from the lowest lumbar vertebra, 0.
        keep_off: what the vertebra must not touch, such as the sacrum.
    """
    frame = Frame(scale)
    up, size = spine_height(level)
    back = spine_back(up)
    parts: list[Solid] = [
        frame.ball((0, back, up), (25 * size, 18 * size, 40 * size)),
        frame.rod((0, back + 42 * size, up - 4), (0, back + 62 * size, up - 11 * size), 4.5 * size, 5.5 * size),
    ]
    for side in (1, -1):
        half = Frame(scale, side)
        parts += [
            half.rod((16 * size, back + 12 * size, up + 5), (16 * size, back + 27 * size, up + 3), 6 * size, 6 * size),
            half.rod((16 * size, back + 27 * size, up + 3), (1, back + 42 * size, up - 5), 5.5 * size, 5 * size),
            half.rod((18 * size, back + 24 * size, up + 3), (42 * size, back + 30 * size, up + 3), 5 * size, 3.5 * size),
        ]
    half_height = 13.5 * size
    slab = 300.0
    cuts: tuple[Solid, ...] = (
        frame.rod((0, back + 27 * size, up - 30), (0, back + 27 * size, up + 30), 9 * size, 9 * size),
        *(
            Ellipsoid(frame.point(0, back, up + sign * (half_height + slab)), frame.sizes(slab * 4, slab * 4, slab))
            for sign in (1, -1)
        ),
    )
    return Compound(tuple(parts), 5 * scale, (*cuts, *(Grown(solid, DISC_SPACE_MM) for solid in keep_off)))


def make_ribs(scale: float, spine: tuple[Solid, ...]) -> list[Solid]:
    """Build the ribs of the chest's base on both sides, a joint space away from the vertebrae."""
    column = Grown(Compound(spine), RIB_JOINT_MM)
    ribs = [_make_rib(Frame(scale, side), number) for side in (1, -1) for number in range(len(RIB_REACH_DEG))]
    return [Compound((rib,), 0.0, (column,)) for rib in ribs]


def _make_rib(frame: Frame, number: int) -> Compound:
    # An arc round the chest that starts at the spine and falls towards the front.
    turns = np.deg2rad(np.linspace(14, RIB_REACH_DEG[number], 13))
    half_width, half_depth, start = 133 + 1.5 * number, 88 + number, LOWEST_RIB_MM + number * CHEST_PITCH_MM
    points = [
        (float(half_width * np.sin(turn)), float(8 + half_depth * np.cos(turn)), float(start - 85 * (turn / np.pi) ** 1.3))
        for turn in turns
    ]
    return Compound(tuple(frame.rod(a, b, 5.2, 5.2) for a, b in itertools.pairwise(points)))
