"""Bones as solids. Measures are those of a grown person in a frame centred between the hip joints, scaled to the patient.

Tabled points are (lateral, back, up) in mm: away from the middle, towards the back, towards the head.
The measures are estimates made for this phantom: they are to be believable and let the parts fit, not to be anthropometry.
"""

from dataclasses import dataclass

import numpy as np

from hipseg.phantom.patients import HEAD_RADIUS_MM, HIP_CENTRE_MM, Hip
from hipseg.phantom.shapes import ArrayF32, Compound, Cone, Cup, Ellipsoid, Grown, Point, Ribbon, Sheet, Solid

BLEND_MM = 9.0
JOINT_SPACE_MM = 4.0
SACROILIAC_SPACE_MM = 2.6
THINNEST_PLATE_MM = 3.0
"""Half-thickness below which no bone plate goes, whatever the age: about five pixels of a child's scan on 256 x 256."""

ILIUM_HEIGHTS_MM = (6.0, 25.0, 48.0, 70.0, 95.0, 115.0, 129.0, 134.0)
ILIUM_ROWS = (
    ((78, -22, 9), (72, -6, 9), (66, 10, 9), (62, 24, 7)),
    ((86, -33, 9), (82, -12, 9), (72, 12, 9), (61, 33, 6)),
    ((98, -43, 6.5), (90, -12, 6), (72, 20, 7.5), (54, 57, 8)),
    ((113, -45, 6.5), (97, -14, 4), (81, 30, 6), (47, 80, 8.5)),
    ((120, -30, 6), (117, -4, 4), (92, 42, 5), (46, 86, 8)),
    ((117, -12, 5), (117, 10, 4.5), (101, 42, 5), (68, 74, 6)),
    ((114, 4, 4.5), (111, 16, 5), (106, 26, 5), (98, 38, 4.5)),
    ((112, 12, 2), (110, 17, 2), (108, 22, 2), (105, 27, 2)),
)
"""The wing from the roof of the socket to the crest: at each height four points (lateral, back, half-thickness)."""


@dataclass(frozen=True)
class Frame:
    """Scales tabled points and mirrors them to one side.

    Args:
        scale: patient's bone length over a grown person's.
        side: 1 left, -1 right.
        up_mm: how much higher this side stands.
    """

    scale: float
    side: int = 1
    up_mm: float = 0.0

    def point(self, lateral: float, back: float, up: float) -> Point:
        """Give a tabled point in patient millimetres (x, y, z)."""
        return self.side * lateral * self.scale, back * self.scale, up * self.scale + self.up_mm

    def sizes(self, a: float, b: float, c: float) -> Point:
        """Give three tabled lengths in millimetres."""
        return a * self.scale, b * self.scale, c * self.scale

    def ball(self, centre: Point, half_axes: Point) -> Ellipsoid:
        """Make an ellipsoid from a tabled centre and half-axes."""
        return Ellipsoid(self.point(*centre), self.sizes(*half_axes))

    def rod(self, start: Point, end: Point, start_radius: float, end_radius: float) -> Cone:
        """Make a rod between two tabled points."""
        return Cone(self.point(*start), self.point(*end), start_radius * self.scale, end_radius * self.scale)


@dataclass(frozen=True)
class Shaft:
    """How a long bone changes along its shaft: below `top_mm` the cortex thickens and the marrow takes over.

    Args:
        top_mm, bottom_mm: heights between which it changes.
        cortex_mm: thickness of the cortex of the shaft.
        marrow_hu: density in the shaft's canal.
    """

    top_mm: float
    bottom_mm: float
    cortex_mm: float
    marrow_hu: float


@dataclass(frozen=True)
class Bone:
    """A solid with a cortical shell and a cancellous core."""

    solid: Solid
    cortex_mm: float
    cortical_hu: float
    cancellous_hu: float
    shaft: Shaft | None = None

    def density_hu(self, distance: ArrayF32, z_mm: float) -> ArrayF32:
        """Give the bone's density from the depth under its surface.

        Args:
            distance: float32, mm, negative inside.
            z_mm: height of the plane.
        Returns:
            float32 HU of the same shape; outside the surface that of the cortex, which partial volume then thins.
        """
        cortex, core = self.cortex_mm, self.cancellous_hu
        if self.shaft is not None:
            along = float(np.clip((self.shaft.top_mm - z_mm) / (self.shaft.top_mm - self.shaft.bottom_mm), 0, 1))
            cortex += along * (self.shaft.cortex_mm - cortex)
            core += along * (self.shaft.marrow_hu - core)
        shell = np.clip((np.float32(cortex) + distance) * np.float32(0.9) + np.float32(0.5), 0, 1)
        density: ArrayF32 = np.float32(core) + np.float32(self.cortical_hu - core) * shell
        return density


def make_hip_bone(frame: Frame, hip: Hip, age_years: float) -> Compound:
    """Build one half of the pelvis: ilium, socket, pubis and ischium, less the joint space round the femoral head."""
    centre = frame.point(HIP_CENTRE_MM, 0, 0)
    radius = HEAD_RADIUS_MM * frame.scale
    steepness = float(np.clip((hip.migration - 0.15) / 0.85, 0, 1))
    cup = Cup(
        centre,
        radius + JOINT_SPACE_MM * frame.scale,
        radius + JOINT_SPACE_MM * frame.scale + max(8.5 * frame.scale, 6.0),
        _unit(frame.side * 0.72, -0.3, -0.5 - 0.35 * steepness),
        (5 - 9 * steepness) * frame.scale,
    )
    parts = (
        _make_wing(frame),
        cup,
        frame.ball((76, -2, 33), (12, 26, 13)),
        frame.rod((66, -24, -9), (14, -47, -25), 11, 8),
        frame.ball((12, -47, -33), (9.5, 8.5, 18)),
        frame.rod((12, -45, -44), (48, 12, -72), 7, 7.5),
        frame.rod((71, 23, -12), (56, 27, -70), 13.5, 12),
        frame.ball((55, 27, -74), (12, 15, 15)),
        frame.rod((60, 30, 2), (47, 42, -6), 7, 4),
    )
    joint = Ellipsoid(find_head(frame, hip), (radius + JOINT_SPACE_MM * frame.scale * 0.8,) * 3)
    socket = Ellipsoid(centre, (cup.inner_radius,) * 3)
    middle = Ellipsoid(frame.point(-98, -45, -35), frame.sizes(100.5, 100, 100))
    cartilage = _make_triradiate_cartilage(frame, age_years)
    return Compound(parts, BLEND_MM * frame.scale, (joint, socket, middle, *cartilage))


def find_head(frame: Frame, hip: Hip) -> Point:
    """Give the centre of the femoral head, wherever the hip has migrated to."""
    x, y, z = frame.point(HIP_CENTRE_MM, 0, 0)
    return x + frame.side * hip.lateral_mm, y + hip.back_mm, z + hip.up_mm


def make_femur(frame: Frame, hip: Hip, age_years: float) -> Compound:
    """Build the upper femur: head, growth plate, neck, both trochanters and the shaft."""
    head = np.array(find_head(frame, hip))
    along = _neck_direction(frame, hip)
    scale, radius = frame.scale, HEAD_RADIUS_MM * frame.scale
    base = head + along * 47 * scale

    def near_base(lateral: float, back: float, up: float) -> Point:
        x, y, z = base + np.array([frame.side * lateral, back, up]) * scale
        return float(x), float(y), float(z)

    parts = (
        Ellipsoid(_triple(head), (radius, radius, radius * (1 - 0.08 * min(hip.migration, 1)))),
        Cone(_triple(head + along * 0.4 * radius), _triple(base), 0.72 * radius, 0.74 * radius),
        Ellipsoid(near_base(2, 2, -6), frame.sizes(19, 18, 22)),
        Cone(near_base(6, 6, -4), near_base(11, 9, 18), 13 * scale, 9.5 * scale),
        Ellipsoid(near_base(-13, 12, -30), frame.sizes(9, 8, 11)),
        Cone(near_base(2, 2, -12), near_base(-1, 2, -50), 17.5 * scale, 13.5 * scale),
        Cone(near_base(-1, 2, -50), near_base(-22, -6, -320), 13.5 * scale, 13 * scale),
    )
    return Compound(parts, BLEND_MM * scale, _make_growth_plates(head, along, near_base(9, 8, 9), radius, age_years))


def make_shaft(frame: Frame, hip: Hip, marrow_hu: float) -> Shaft:
    """Say where the femur turns from cancellous bone into a tube with marrow."""
    base_z = find_head(frame, hip)[2] + float(_neck_direction(frame, hip)[2]) * 47 * frame.scale
    return Shaft(base_z - 22 * frame.scale, base_z - 60 * frame.scale, 5.5 * frame.scale, marrow_hu)


def make_implant(frame: Frame, hip: Hip) -> Compound:
    """Build a plate along the femur with a blade in its neck and three screws through its shaft."""
    head = np.array(find_head(frame, hip))
    along, scale = _neck_direction(frame, hip), frame.scale
    base = head + along * 47 * scale
    outer = base + np.array([frame.side * 19, 2, -12]) * scale
    foot = base + np.array([frame.side * 15, 2, -78]) * scale
    rods = [Cone(_triple(outer), _triple(foot), 3.4 * scale, 3.4 * scale)]
    rods.append(Cone(_triple(outer), _triple(head + along * 0.75 * HEAD_RADIUS_MM * scale), 3.2 * scale, 3.2 * scale))
    for share in (0.4, 0.65, 0.9):
        start = outer + share * (foot - outer)
        inner = start - np.array([frame.side * 31, 0, 0]) * scale
        rods.append(Cone(_triple(start), _triple(inner), 2.3 * scale, 2.3 * scale))
    return Compound(tuple(rods))


def make_sacrum(scale: float, ilia: tuple[Solid, Solid]) -> Compound:
    """Build sacrum and coccyx with canal and foramina, a joint space away from both ilia."""
    frame = Frame(scale)
    parts: list[Solid] = [
        frame.ball((0, 49, 73), (28, 18, 16)),
        frame.ball((0, 65, 48), (21, 13, 16)),
        frame.ball((0, 77, 26), (17, 11, 14)),
        frame.ball((0, 82, 5), (14, 9, 13)),
        frame.ball((0, 80, -12), (10, 7, 11)),
        frame.rod((0, 76, -20), (0, 60, -40), 6, 4),
        frame.rod((0, 84, 78), (0, 97, 28), 5.5, 4.5),
    ]
    cuts: list[Solid] = [Grown(ilium, SACROILIAC_SPACE_MM * max(scale, 0.7)) for ilium in ilia]
    cuts.append(frame.rod((0, 70, 95), (0, 84, 62), 9, 7))
    cuts.append(frame.rod((0, 84, 62), (0, 91, 14), 7, 3))
    for side in (1, -1):
        half = Frame(scale, side)
        parts += [
            half.rod((2, 52, 70), (46, 60, 64), 17, 15),
            half.rod((2, 66, 48), (36, 68, 44), 14, 12),
            half.rod((2, 77, 26), (25, 76, 26), 11, 8),
            half.rod((2, 82, 6), (18, 80, 8), 9, 6),
            half.rod((24, 66, 70), (3, 86, 76), 5, 5),
            half.rod((20, 74, 46), (3, 92, 48), 5, 5),
        ]
        cuts += [half.rod((x, 40, z - 8), (x, 110, z), r, r) for x, z, r in ((22, 62, 4), (18, 38, 3.6), (15, 17, 3))]
    return Compound(tuple(parts), 10 * scale, tuple(cuts))


def _make_wing(frame: Frame) -> Ribbon:
    rows = tuple(
        tuple(
            (*frame.point(lateral, back, 0)[:2], max(half * frame.scale, THINNEST_PLATE_MM if half > 2 else 1.0))
            for lateral, back, half in row
        )
        for row in ILIUM_ROWS
    )
    return Ribbon(tuple(up * frame.scale + frame.up_mm for up in ILIUM_HEIGHTS_MM), rows)


def _make_triradiate_cartilage(frame: Frame, age_years: float) -> tuple[Solid, ...]:
    # It ossifies at 12 to 14 years; until then a cleft runs through the socket's floor, aslant, so that no slice lies in it.
    if age_years >= 13:
        return ()
    thickness = 3.4 - 0.14 * age_years
    within = Ellipsoid(frame.point(60, 4, 2), frame.sizes(22, 44, 30))
    return (Sheet(frame.point(276, 0, 210), 298.5 * frame.scale, thickness, within),)


def _make_growth_plates(
    head: np.ndarray, along: np.ndarray, trochanter: Point, radius: float, age_years: float
) -> tuple[Solid, ...]:
    # The head's plate is a dome, its hollow side to the neck; it thins with age and is last seen at about 16.
    thickness = max(1.4, 3.0 - 0.1 * age_years)
    ball = Ellipsoid(_triple(head), (1.25 * radius,) * 3)
    plates: list[Solid] = [Sheet(_triple(head + along * 2.4 * radius), 2.0 * radius, thickness, ball)]
    if age_years < 14:
        x, y, z = trochanter
        tip = Ellipsoid(trochanter, (0.85 * radius,) * 3)
        plates.append(Sheet((x - 2.2 * radius * np.sign(x), y, z - 2.6 * radius), 3.4 * radius, thickness, tip))
    return tuple(plates)


def _neck_direction(frame: Frame, hip: Hip) -> np.ndarray:
    tilt, turn = np.deg2rad(180 - hip.neck_shaft_deg), np.deg2rad(hip.anteversion_deg)
    return np.array([frame.side * np.sin(tilt) * np.cos(turn), np.sin(tilt) * np.sin(turn), -np.cos(tilt)])


def _unit(x: float, y: float, z: float) -> Point:
    vector = np.array([x, y, z])
    return _triple(vector / np.linalg.norm(vector))


def _triple(vector: np.ndarray) -> Point:
    x, y, z = (float(part) for part in vector)
    return x, y, z
