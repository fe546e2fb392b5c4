"""Soft tissue, air and table: the outline of the body, fat, muscles and the cavity that holds the organs.

Tables are as in `bones`: (lateral, back, up) in mm of a grown person.
"""

from dataclasses import dataclass

import numpy as np

from hipseg.labels import AIR_HU
from hipseg.phantom.bones import Frame, find_head
from hipseg.phantom.patients import Patient
from hipseg.phantom.shapes import FAR_MM, ArrayF32, Compound, Cone, Plane, Solid, Tube, measure, share_inside
from hipseg.phantom.texture import Texture

SKIN_HU, FAT_HU, MUSCLE_HU = 25.0, -100.0, 55.0
TABLE_SHELL_HU, TABLE_FOAM_HU, CUSHION_HU = 420.0, -880.0, -950.0
"""The shell of the table is as bright as bone, so that brightness alone does not tell bone."""
SKIN_MM, PRESSED_MM, CUSHION_MM, SHELL_MM, TABLE_DEPTH_MM = 1.6, 14.0, 14.0, 2.2, 46.0
CLEFT_REACH_MM = 45.0
"""The fat beneath the cleft between the buttocks is measured from its skin, so its distance must reach through the fat."""
TABLE_HALF_WIDTH_MM = 205.0
TABLE_BOW_MM = 1400.0
"""The table is a trough: at x it rises by x^2 over this."""
SEPTUM_MM = 1.5
"""Fat between two muscles."""

TRUNK_ROWS = (
    (-95, 10, 30, 44),
    (-70, 10, 92, 88),
    (-40, 10, 148, 108),
    (0, 10, 163, 114),
    (40, 9, 158, 113),
    (80, 8, 148, 108),
    (120, 5, 138, 102),
    (200, 3, 132, 98),
    (260, 2, 140, 98),
    (340, 4, 150, 105),
    (440, 6, 154, 107),
)
"""The trunk's section: (up, back, half-width, half-depth)."""
THIGH_ROWS = ((-320, 84, 0, 62, 62), (-120, 90, 2, 76, 80), (-60, 94, 6, 80, 88), (-20, 92, 6, 76, 86), (20, 88, 6, 50, 60))
"""The thigh's section: (up, lateral, back, half-width, half-depth)."""
CAVITY_ROWS = (
    (-48, 14, 16, 22),
    (-30, 10, 32, 38),
    (0, 8, 44, 50),
    (40, 4, 55, 56),
    (70, -10, 60, 58),
    (100, -20, 82, 58),
    (135, -20, 104, 58),
    (200, -16, 108, 62),
    (260, -10, 118, 72),
    (340, -3, 130, 84),
    (440, 0, 134, 88),
)
"""Section of the pelvic, abdominal and chest cavities: (up, back, half-width, half-depth)."""

Path = tuple[tuple[float, float, float], ...]
MUSCLES: dict[str, tuple[float, Path]] = {
    "gluteus maximus": (1.5, ((55, 104, 95), (95, 85, 20), (108, 62, -60))),
    "gluteus medius": (1.2, ((128, 25, 105), (134, 10, 20), (132, 14, -30))),
    "gluteus minimus": (0.9, ((104, -2, 80), (118, -14, 15))),
    "iliacus": (1.1, ((84, -8, 110), (84, -20, 50), (92, -34, 5), (102, -6, -60))),
    "rectus femoris": (1.0, ((98, -46, 15), (116, -52, -60), (112, -54, -130))),
    "sartorius": (0.6, ((116, -60, 60), (92, -74, -30), (60, -66, -130))),
    "tensor fasciae latae": (0.7, ((130, -44, 60), (146, -26, -40), (148, -16, -130))),
    "vastus lateralis": (1.2, ((150, 6, -40), (146, 14, -130))),
    "vastus intermedius": (1.0, ((122, -26, -45), (118, -24, -130))),
    "vastus medialis": (1.0, ((92, -22, -70), (88, -34, -130))),
    "adductor longus": (1.0, ((22, -50, -45), (48, -46, -90), (58, -40, -130))),
    "adductor magnus": (1.3, ((30, 4, -70), (62, 16, -100), (72, 12, -130))),
    "gracilis": (0.7, ((10, -30, -55), (26, -12, -130))),
    "biceps femoris": (1.0, ((66, 46, -70), (92, 58, -130))),
    "semitendinosus": (1.0, ((50, 40, -75), (60, 58, -130))),
    "obturator internus": (1.0, ((50, 14, 20), (56, 6, -35))),
    "obturator externus": (1.0, ((54, -18, -32), (82, 12, -42))),
    "pectineus": (0.8, ((42, -52, -15), (78, -34, -60))),
    "quadratus femoris": (0.8, ((86, 34, -20), (98, 34, -50))),
    "piriformis": (0.7, ((52, 66, 35), (80, 44, 22))),
    "rectus abdominis": (0.8, ((26, -92, 440), (24, -84, 110), (12, -66, -20))),
    "oblique": (1.0, ((122, -30, 440), (120, -34, 130))),
    "latissimus": (1.0, ((112, 60, 440), (104, 50, 130))),
    "erector spinae": (1.2, ((28, 84, 440), (30, 94, 110), (18, 102, 20))),
}
"""Strength and course, from above down, of the muscles of one side; each takes the space nearest to it by its strength."""


@dataclass(frozen=True)
class Softness:
    """The soft tissue of one patient, ready to be drawn.

    Args:
        outline: skin surface before the body is pressed flat by the table.
        cavity: what holds the organs.
        fat_mm: thickness under the skin.
        cushion_mm: height y of the cushion's surface in the middle.
        half_depth_mm: of the trunk, to thicken the fat towards the back.
        frames: of the two sides.
        lean, fatty: fields that make muscle and fat uneven.
    """

    outline: Solid
    cavity: Solid
    fat_mm: float
    cushion_mm: float
    half_depth_mm: float
    frames: tuple[Frame, Frame]
    lean: Texture
    fatty: Texture

    def densities_hu(self, plane: Plane, pixel_mm: float) -> tuple[ArrayF32, ArrayF32]:
        """Draw air, table, skin, fat and muscle on one plane.

        Args:
            plane: the pixels.
            pixel_mm: width of one.
        Returns:
            float32 (rows, columns): HU; and the share of each pixel that is body.
        """
        above_table = self.cushion_mm - (plane.x_mm**2)[None, :] / np.float32(TABLE_BOW_MM) - plane.y_mm[:, None]
        density = _draw_table(above_table, plane.x_mm, pixel_mm)
        skin = _soft_max(self.outline.distance(plane), -above_table, PRESSED_MM)
        inside = share_inside(skin, pixel_mm)
        tissue = FAT_HU + 9 * self.fatty.values(plane)
        muscle = share_inside(self._muscle_distance(skin, plane), pixel_mm)
        tissue += muscle * (MUSCLE_HU + 7 * self.lean.values(plane) - tissue)
        tissue += share_inside(-(skin + np.float32(SKIN_MM)), pixel_mm) * (SKIN_HU - tissue)
        return density + inside * (tissue - density), inside

    def _muscle_distance(self, skin: ArrayF32, plane: Plane) -> ArrayF32:
        thicker_behind = 1 + 0.5 * np.clip(plane.y_mm / np.float32(self.half_depth_mm), -0.3, 1)
        distance: ArrayF32 = skin + (np.float32(self.fat_mm) * thicker_behind)[:, None]
        middle = int(np.searchsorted(plane.x_mm, 0.0))
        for frame, columns in zip(self.frames, (slice(middle, None), slice(None, middle)), strict=True):
            septa = _find_septa(frame, plane.part((slice(None), columns)))
            distance[:, columns] = np.maximum(distance[:, columns], septa)
        measured = measure(self.cavity, plane)
        if measured is not None:
            window, cavity = measured
            distance[window] = np.maximum(distance[window], -cavity)
        return distance


def make_softness(patient: Patient, lean: Texture, fatty: Texture) -> Softness:
    """Build a patient's soft tissue.

    Args:
        patient: whose body it is.
        lean: field for muscle.
        fatty: field for fat.
    """
    scale, girth = patient.scale, patient.girth
    wide = scale * girth
    trunk = Tube(tuple((up * scale, 0.0, back * scale, a * wide, b * wide) for up, back, a, b in TRUNK_ROWS))
    cavity = Tube(tuple((up * scale, 0.0, back * scale, a * scale, b * scale) for up, back, a, b in CAVITY_ROWS))
    frames = tuple(Frame(scale, hip.side, hip.tilt_mm) for hip in patient.hips)
    limbs: list[Solid] = []
    for frame, hip in zip(frames, patient.hips, strict=True):
        out = frame.side * 0.45 * hip.lateral_mm
        rows = ((up * scale, frame.side * x * scale + out, y * scale, a * wide, b * wide) for up, x, y, a, b in THIGH_ROWS)
        limbs.append(Tube(tuple(rows)))
        # The trochanter of a dislocated hip stands out and takes the skin with it.
        x, y, z = find_head(frame, hip)
        top = (x + frame.side * 30 * scale, y + 12 * scale, z - 15 * scale)
        bottom = (x + frame.side * 24 * scale, y + 8 * scale, z - 110 * scale)
        limbs.append(Cone(top, bottom, 42 * wide, 40 * wide))
    cleft = Frame(scale).ball((0, 130, -58), (4, 44, 50))
    return Softness(
        outline=Compound((trunk, *limbs), 34 * scale, (cleft,), reach_mm=CLEFT_REACH_MM),
        cavity=cavity,
        fat_mm=patient.fat_mm,
        cushion_mm=109 * wide,
        half_depth_mm=110 * scale,
        frames=(frames[0], frames[1]),
        lean=lean,
        fatty=fatty,
    )


def _draw_table(above_table: ArrayF32, x_mm: ArrayF32, pixel_mm: float) -> ArrayF32:
    depth = -above_table
    sideways = np.abs(x_mm) - np.float32(TABLE_HALF_WIDTH_MM)
    density = np.full(depth.shape, AIR_HU, np.float32)
    cushion = np.maximum(np.maximum(depth - np.float32(CUSHION_MM), -depth), sideways + 12)
    table = np.maximum(np.maximum(depth - np.float32(CUSHION_MM + TABLE_DEPTH_MM), np.float32(CUSHION_MM) - depth), sideways)
    for distance, hu in ((cushion, CUSHION_HU), (table, TABLE_SHELL_HU), (table + np.float32(SHELL_MM), TABLE_FOAM_HU)):
        density += share_inside(distance, pixel_mm) * (np.float32(hu) - density)
    return density


def _find_septa(frame: Frame, plane: Plane) -> ArrayF32:
    # The two nearest muscles of each pixel are found by squared distance; where they are equally near lies a sheet of fat.
    nearest = np.full(plane.shape, FAR_MM**2, np.float32)
    second = nearest.copy()
    up = (plane.z_mm - frame.up_mm) / frame.scale
    for strength, path in MUSCLES.values():
        course = np.array(path)[::-1]
        if not course[0, 2] - 15 <= up <= course[-1, 2] + 15:
            continue
        lateral, back = (float(np.interp(up, course[:, 2], course[:, axis])) * frame.scale for axis in (0, 1))
        x, y, _ = plane.seen_from((frame.side * lateral, back, 0.0))
        away = (x**2 + y**2) * np.float32(1 / strength**2)
        second = np.minimum(second, np.maximum(nearest, away))
        nearest = np.minimum(nearest, away)
    # Two courses lie some 40 mm apart in a grown person: the difference of squares over twice that is the distance.
    septa: ArrayF32 = np.float32(SEPTUM_MM * max(frame.scale, 0.7) / 2) - (second - nearest) / np.float32(80 * frame.scale)
    return septa


def _soft_max(a: ArrayF32, b: ArrayF32, blend_mm: float) -> ArrayF32:
    near = np.maximum(np.float32(blend_mm) - np.abs(a - b), 0)
    greater: ArrayF32 = np.maximum(a, b) + near * near * np.float32(0.25 / blend_mm)
    return greater
